import { SegmentedControl } from "@mantine/core";
import type { SpecProblem } from "@/api/types";
import { MathText } from "@/components/math-text";
import { KIND_LABELS } from "../form-layout";
import { problemSentence } from "../problems";
import { kindDescription, kindsOf, type UnionSection } from "../spec-schema";
import classes from "./fields.module.css";

interface KindFieldProps {
  section: UnionSection;
  title: string;
  kind: string;
  onChange: (kind: string) => void;
  problems: readonly SpecProblem[] | undefined;
}

/** Which kind a section is; the fields beneath follow. */
export function KindField({ section, title, kind, onChange, problems }: KindFieldProps) {
  const names = kindsOf(section).names;
  const known = names.includes(kind);
  const error = problems?.map(problemSentence).join(" ");
  return (
    <div className={classes.kind}>
      <SegmentedControl
        aria-label={title}
        style={{ alignSelf: "flex-start", flexWrap: "wrap" }}
        data={names.map((name) => ({ value: name, label: KIND_LABELS[name] ?? name }))}
        // An unknown kind of the YAML is none of them: nothing is chosen then.
        value={known ? kind : ""}
        onChange={onChange}
      />
      {error ? (
        <p className={`${classes.kindHint} ${classes.error}`} role="alert">
          {error}
        </p>
      ) : (
        <p className={classes.kindHint}>
          <MathText>{kindDescription(section, kind)}</MathText>
        </p>
      )}
    </div>
  );
}
