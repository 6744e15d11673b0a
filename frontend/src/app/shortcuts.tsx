import { Kbd, Modal } from "@mantine/core";
import { useState } from "react";
import { useKeys } from "@/components/use-keys";
import classes from "./shortcuts.module.css";

const KEYS: readonly (readonly [string[], string])[] = [
  [["/"], "Search on this page"],
  [["j", "k"], "Next and previous run in the list"],
  [["Enter"], "Open the run"],
  [["x"], "Select it"],
  [["c"], "Compare the selected runs"],
  [["Esc"], "Leave the search, drop the selection"],
  [["←", "→"], "Move through a chart's points"],
  [["?"], "This list"],
];

/** The keys that work on every page, and the list of all. */
export function Shortcuts() {
  const [open, setOpen] = useState(false);
  useKeys({
    "/": () => {
      const search = document.querySelector<HTMLInputElement>("input[data-page-search]");
      search?.focus();
      search?.select();
      return search !== null;
    },
    "?": () => {
      setOpen(true);
      return true;
    },
  });
  return (
    <Modal opened={open} onClose={() => setOpen(false)} title={<b>Keys</b>} centered size="sm">
      <dl className={classes.keys}>
        {KEYS.map(([keys, meaning]) => (
          <div key={meaning}>
            <dt>
              {keys.map((key) => (
                <Kbd key={key}>{key}</Kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
