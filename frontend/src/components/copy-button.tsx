import { Button } from "@mantine/core";
import { useEffect, useState } from "react";
import { IconCheck, IconCopy } from "./icons";

interface CopyButtonProps {
  /** What to copy; a function where it is dear to make. */
  text: string | (() => string);
  label: string;
}

/** Copies a text and says so for two seconds. */
export function CopyButton({ text, label }: CopyButtonProps) {
  const [state, setState] = useState<"idle" | "copied" | "refused">("idle");
  useEffect(() => {
    if (state === "idle") return;
    const timer = window.setTimeout(() => setState("idle"), 2000);
    return () => window.clearTimeout(timer);
  }, [state]);

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      setState("copied");
    } catch {
      // No clipboard on a page served without TLS from another host, or the person said no.
      setState("refused");
    }
  };
  const says = { idle: label, copied: "Copied", refused: "The browser refused" }[state];
  return (
    <Button
      size="compact-xs"
      variant="subtle"
      color="gray"
      leftSection={state === "copied" ? <IconCheck size={14} /> : <IconCopy size={14} />}
      onClick={copy}
    >
      <span aria-live="polite">{says}</span>
    </Button>
  );
}
