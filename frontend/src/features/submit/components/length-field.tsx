import { SegmentedControl } from "@mantine/core";
import type { SpecProblem } from "@/api/types";
import { problemSentence } from "../problems";
import type { Path, Spec } from "../spec-document";
import type { Field } from "../spec-schema";
import { FieldFrame, FieldGroup } from "./field-frame";
import classes from "./fields.module.css";
import { TextField } from "./text-field";

interface LengthFieldProps {
  epochs: Field;
  steps: Field;
  spec: Spec;
  setFields: (fields: readonly (readonly [Path, unknown])[]) => void;
  problems: readonly SpecProblem[];
}

/** How long it trains: in epochs or in steps, never both. */
export function LengthField({ epochs, steps, spec, setFields, problems }: LengthFieldProps) {
  const inSteps = isGiven(spec.steps);
  const [used, other] = inSteps ? [steps, epochs] : [epochs, steps];
  const both = isGiven(spec.steps) && isGiven(spec.epochs);
  const turn = (unit: string) => {
    if (unit === used.path) return;
    const value = spec[used.path];
    const whole = other.input.kind === "number" && other.input.integer && typeof value === "number";
    setFields([
      [[used.path], undefined],
      [[other.path], whole ? Math.max(1, Math.round(value)) : (value ?? 1)],
    ]);
  };
  return (
    <FieldFrame name="Length" description={`${epochs.description} ${steps.description}`} width="two">
      <FieldGroup name="Length">
        <SegmentedControl
          aria-label="Unit of the length"
          data={[
            { value: epochs.path, label: "epochs" },
            { value: steps.path, label: "steps" },
          ]}
          value={used.path}
          onChange={turn}
        />
        <TextField
          name={`Length in ${used.path}`}
          input={used.input}
          value={spec[used.path]}
          onChange={(value) =>
            setFields([[[used.path], value], ...(both ? ([[[other.path], undefined]] as const) : [])])
          }
          error={problems.map(problemSentence).join(" ") || undefined}
          className={classes.number}
        />
      </FieldGroup>
    </FieldFrame>
  );
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}
