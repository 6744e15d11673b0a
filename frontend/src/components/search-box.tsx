import { TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { IconSearch } from "./icons";

/** Keystrokes in a row make one search. */
const SETTLE_MS = 250;

interface SearchBoxProps {
  label: string;
  placeholder: string;
  value: string | undefined;
  onChange: (value: string | undefined) => void;
}

/** A text filter that waits until typing pauses; Escape empties it, `/` anywhere on the page leads to it. */
export function SearchBox({ label, placeholder, value = "", onChange }: SearchBoxProps) {
  const [text, setText] = useState(value);
  const sent = useRef(value);
  const tell = useRef(onChange);
  tell.current = onChange;
  // The address changed by other means, such as the back button: it wins over what stands here.
  useEffect(() => {
    if (value === sent.current) return;
    sent.current = value;
    setText(value);
  }, [value]);
  useEffect(() => {
    const wanted = text.trim();
    if (wanted === sent.current) return;
    const timer = window.setTimeout(() => {
      sent.current = wanted;
      tell.current(wanted || undefined);
    }, SETTLE_MS);
    return () => window.clearTimeout(timer);
  }, [text]);
  return (
    <TextInput
      size="xs"
      type="search"
      data-page-search
      aria-label={label}
      placeholder={placeholder}
      leftSection={<IconSearch size={14} />}
      value={text}
      maxLength={128}
      onChange={(event) => setText(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        if (text === "") event.currentTarget.blur();
        setText("");
      }}
    />
  );
}
