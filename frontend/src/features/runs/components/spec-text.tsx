import { useMemo } from "react";
import { CopyButton } from "@/components/copy-button";
import { Panel } from "@/components/panel";
import { specYaml } from "@/run/spec-yaml";
import classes from "./spec-text.module.css";

interface SpecTextProps {
  title: string;
  /** What it is, in a sentence. */
  note: string;
  value: Record<string, unknown>;
}

/** A document as YAML, to read and to copy. */
export function SpecText({ title, note, value }: SpecTextProps) {
  const yaml = useMemo(() => specYaml(value).trimEnd(), [value]);
  return (
    <Panel title={title} tools={<CopyButton text={yaml} label="Copy YAML" />}>
      <p className={classes.note}>{note}</p>
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
