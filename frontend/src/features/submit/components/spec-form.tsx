import { Button } from "@mantine/core";
import { useState } from "react";
import type { SpecProblem } from "@/api/types";
import { IconChevron } from "@/components/icons";
import { Panel } from "@/components/panel";
import { FORM_SECTIONS, type FormSection, fieldsIn } from "../form-layout";
import { type Field, fieldsOf, type KindOf, kindsOf, UNION_SECTIONS, type UnionSection } from "../spec-schema";
import { kindsIn, valueAt } from "../spec-values";
import type { DraftState } from "../use-draft";
import classes from "./fields.module.css";
import { KindField } from "./kind-field";
import { LengthField } from "./length-field";
import { SpecField } from "./spec-field";

type Problems = ReadonlyMap<string, SpecProblem[]>;

interface SpecFormProps {
  state: DraftState;
  problems: Problems;
}

/** The spec as a form: what the YAML says, field by field. */
export function SpecForm({ state, problems }: SpecFormProps) {
  const kinds = kindsIn(state.spec);
  const fields = fieldsOf(kinds);
  return (
    <fieldset className={classes.fieldset} disabled={!state.reading.ok} aria-label="Spec">
      {FORM_SECTIONS.map((section) => (
        <SectionPanel key={section.title} {...{ section, kinds, fields, state, problems }} />
      ))}
    </fieldset>
  );
}

interface SectionPanelProps extends SpecFormProps {
  section: FormSection;
  kinds: KindOf;
  fields: readonly Field[];
}

function SectionPanel({ section, kinds, fields, state, problems }: SectionPanelProps) {
  const [opened, setOpened] = useState(false);
  const { plain, advanced } = fieldsIn(section, fields);
  const union = UNION_SECTIONS.find((name) => section.holds.includes(name));
  // A problem must not hide in a fold.
  const isOpen = opened || advanced.some(({ path }) => problems.has(path));
  const set = advanced.filter(({ path }) => valueAt(state.spec, path) !== undefined).length;
  const grid = (shown: readonly Field[]) => <FieldGrid fields={shown} {...{ state, problems }} />;
  return (
    <Panel title={section.title}>
      <div className={classes.body}>
        {union && <UnionKind {...{ section: union, title: section.title, kinds, state, problems }} />}
        {plain.length > 0 && grid(plain)}
        {advanced.length > 0 && (
          <Button
            className={classes.more}
            variant="subtle"
            color="gray"
            size="compact-sm"
            aria-expanded={isOpen}
            rightSection={<IconChevron size={14} />}
            onClick={() => setOpened(!isOpen)}
          >
            {isOpen ? "Fewer settings" : `More settings${set > 0 ? ` (${set} set)` : ""}`}
          </Button>
        )}
        {isOpen && advanced.length > 0 && <div className={classes.advanced}>{grid(advanced)}</div>}
      </div>
    </Panel>
  );
}

interface UnionKindProps extends SpecFormProps {
  section: UnionSection;
  title: string;
  kinds: KindOf;
}

function UnionKind({ section, title, kinds, state, problems }: UnionKindProps) {
  return (
    <KindField
      section={section}
      title={title}
      kind={kinds[section]}
      onChange={(kind) => state.setKind(section, kind)}
      problems={problems.get(`${section}.${kindsOf(section).key}`)}
    />
  );
}

function FieldGrid({ fields, state, problems }: SpecFormProps & { fields: readonly Field[] }) {
  const layerwise = fields.find(({ path }) => path === "method.layerwise");
  const epochs = fields.find(({ path }) => path === "epochs");
  const steps = fields.find(({ path }) => path === "steps");
  return (
    <div className={classes.grid}>
      {fields.map((field) => {
        if (field === steps) return null;
        if (field === epochs && steps) {
          const found = [...(problems.get("epochs") ?? []), ...(problems.get("steps") ?? [])];
          return (
            <LengthField
              key="length"
              {...{ epochs, steps }}
              spec={state.spec}
              setFields={state.setFields}
              problems={found}
            />
          );
        }
        const value = valueAt(state.spec, field.path);
        return (
          <SpecField
            key={field.path}
            field={field}
            value={value}
            onChange={(next) => state.setField(field.path.split("."), next)}
            problems={problems.get(field.path)}
            layerwise={layerwise && (valueAt(state.spec, layerwise.path) ?? layerwise.default)}
          />
        );
      })}
    </div>
  );
}
