import { Autocomplete, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { SpecProblem } from "@/api/types";
import { Panel } from "@/components/panel";
import { studyNamesQuery } from "../api/choices";
import { problemSentence } from "../problems";
import { submissionDescription } from "../spec-schema";
import type { DraftState } from "../use-draft";
import { FieldFrame } from "./field-frame";
import classes from "./fields.module.css";

interface RunFieldsProps {
  state: DraftState;
  problems: ReadonlyMap<string, SpecProblem[]>;
}

/** What a submission says beside the spec. */
export function RunFields({ state, problems }: RunFieldsProps) {
  const { draft, setMeta } = state;
  const studies = useQuery(studyNamesQuery);
  const errorOf = (name: string) => problems.get(name)?.map(problemSentence).join(" ");
  return (
    <Panel title="Run">
      <div className={classes.grid}>
        <FieldFrame name="Name" description={submissionDescription("name")} width="two">
          <TextInput
            label="Name"
            placeholder="made of method and model"
            value={draft.name}
            error={errorOf("name")}
            onChange={(event) => setMeta({ name: event.currentTarget.value })}
            autoComplete="off"
          />
        </FieldFrame>
        <FieldFrame name="Priority" description={submissionDescription("priority")}>
          <TextInput
            label="Priority"
            placeholder="0"
            inputMode="numeric"
            value={draft.priority}
            error={errorOf("priority")}
            onChange={(event) => setMeta({ priority: event.currentTarget.value })}
            autoComplete="off"
          />
        </FieldFrame>
        <FieldFrame name="Study" description={submissionDescription("study")}>
          <Autocomplete
            label="Study"
            placeholder="none"
            data={[...new Set(studies.data ?? [])]}
            limit={30}
            value={draft.study}
            error={errorOf("study")}
            onChange={(study) => setMeta({ study })}
          />
        </FieldFrame>
        <FieldFrame name="Project" description={submissionDescription("project")}>
          <TextInput
            label="Project"
            placeholder="default"
            value={draft.project}
            error={errorOf("project")}
            onChange={(event) => setMeta({ project: event.currentTarget.value })}
            autoComplete="off"
          />
        </FieldFrame>
        <FieldFrame name="Visible to" description={submissionDescription("visibility")}>
          <Select
            label="Visible to"
            allowDeselect={false}
            data={[
              { value: "team", label: "everybody with a token" },
              { value: "private", label: "me and admins" },
            ]}
            value={draft.visibility}
            error={errorOf("visibility")}
            onChange={(chosen) => setMeta({ visibility: chosen === "private" ? "private" : "team" })}
          />
        </FieldFrame>
      </div>
    </Panel>
  );
}
