import { useMemo } from "react";
import { stringify } from "yaml";
import type { Run } from "@/api/types";
import { CopyButton } from "@/components/copy-button";
import { Panel } from "@/components/panel";
import { inReadingOrder } from "../spec-order";
import classes from "./run-spec.module.css";

/** The spec with its defaults filled in, as YAML that can be submitted again. */
export function RunSpec({ run }: { run: Run }) {
  const yaml = useMemo(() => stringify(inReadingOrder(run.spec), { lineWidth: 0 }).trimEnd(), [run.spec]);
  return (
    <Panel title="Spec" collapsible tools={<CopyButton text={yaml} label="Copy YAML" />}>
      <pre className={classes.code}>
        {yaml.split("\n").map((line, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: the lines of one text never move
          <SpecLine key={index} line={line} />
        ))}
      </pre>
    </Panel>
  );
}

function SpecLine({ line }: { line: string }) {
  const parts = /^(\s*(?:- )?)([\w.]+:)(.*)$/.exec(line);
  if (!parts) return <div>{line}</div>;
  const [, indent, key, value = ""] = parts;
  return (
    <div>
      {indent}
      <span className={classes.key}>{key}</span>
      <span className={value.trim() === "null" ? classes.off : undefined}>{value}</span>
    </div>
  );
}
