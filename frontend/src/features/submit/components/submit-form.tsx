import { Button } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useMemo, useRef, useState } from "react";
import { describeError } from "@/api/client";
import type { SpecProblem } from "@/api/types";
import { Message } from "@/components/message";
import { dryRunQuery, useSubmit } from "../api/submission";
import { type Origin, submissionOf } from "../draft";
import { placeProblems, problemSentence, specPath } from "../problems";
import { placeOf } from "../spec-document";
import { fieldsOf, kindsOf, UNION_SECTIONS } from "../spec-schema";
import { kindsIn } from "../spec-values";
import { type DraftState, useDraft } from "../use-draft";
import { RunFields } from "./run-fields";
import { SpecForm } from "./spec-form";
import classes from "./submit-form.module.css";
import { VerdictPanel } from "./verdict-panel";
import type { Mark } from "./yaml-editor";
import { YamlPanel } from "./yaml-panel";

/** A pause in typing so long asks the API. */
const ASK_AFTER_MS = 400;
const META_FIELDS = ["name", "study", "priority", "project", "visibility"];

interface SubmitFormProps {
  origin: Origin;
  /** Whose drafts these are. */
  user: string;
  onSubmitted: (runId: string) => void;
}

/** The form and its YAML side by side, checked by the API while a person types. */
export function SubmitForm({ origin, user, onSubmitted }: SubmitFormProps) {
  const state = useDraft(origin, user);
  const check = useCheck(state, origin.copiedFrom);
  const submit = useSubmit();
  // The click that starts and the click that follows at once see the same `isPending`.
  const underWay = useRef(false);
  const [goTo, setGoTo] = useState<{ at: number } | null>(null);

  const send = (event: FormEvent) => {
    event.preventDefault();
    if (check.body === null || underWay.current) return;
    underWay.current = true;
    submit.mutate(
      { body: check.body, idempotencyKey: state.keyFor(JSON.stringify(check.body)) },
      {
        onSuccess: (run) => {
          state.forget();
          onSubmitted(run.id);
        },
        onSettled: () => {
          underWay.current = false;
        },
      },
    );
  };

  return (
    <form onSubmit={send} className={classes.columns} noValidate>
      <div className={classes.form}>
        <RunFields state={state} problems={check.byField} />
        <SpecForm state={state} problems={check.byField} />
      </div>
      <div className={classes.side}>
        <div className={classes.actions}>
          <Button type="submit" loading={submit.isPending} disabled={check.body === null || check.refused}>
            Submit the run
          </Button>
          {state.changed && (
            <Button variant="subtle" color="gray" onClick={state.startOver}>
              Start over
            </Button>
          )}
        </div>
        {submit.error && (
          <Message tone="bad" title={describeError(submit.error).title} urgent>
            {describeError(submit.error).detail}
          </Message>
        )}
        <VerdictPanel
          {...check.panel}
          lineOf={(problem) => placeOfProblem(problem, state.draft.text)?.line ?? null}
          onGoTo={(problem) => setGoTo({ at: placeOfProblem(problem, state.draft.text)?.from ?? 0 })}
        />
        <YamlPanel state={state} marks={check.marks} goTo={goTo} />
      </div>
    </form>
  );
}

/** Asks the API what it thinks of the draft, and puts its answer where it belongs. */
function useCheck(state: DraftState, copiedFrom: string | null) {
  const { draft, reading, spec } = state;
  const body = useMemo(
    () => (reading.ok ? submissionOf(draft, reading.spec, copiedFrom) : null),
    [draft, reading, copiedFrom],
  );
  const [asked] = useDebouncedValue(body, ASK_AFTER_MS);
  const answer = useQuery(dryRunQuery(asked));
  const problems = useMemo(() => (answer.data && !answer.data.ok ? answer.data.problems : []), [answer.data]);
  const fields = useMemo(() => {
    const kinds = UNION_SECTIONS.map((section) => `${section}.${kindsOf(section).key}`);
    return [...META_FIELDS, ...kinds, ...fieldsOf(kindsIn(spec)).map(({ path }) => path)];
  }, [spec]);
  const { byField } = useMemo(() => placeProblems(problems, fields), [problems, fields]);
  const marks = useMemo(
    () => marksOf(reading.ok ? problems : [], draft.text, reading),
    [problems, draft.text, reading],
  );
  const isOpen = body !== asked || answer.isFetching;
  const noAnswer = !reading.ok
    ? "Waiting for YAML that can be read"
    : answer.isError
      ? `${describeError(answer.error).title}. The check goes on by itself.`
      : null;
  return {
    body,
    byField,
    marks,
    refused: !isOpen && answer.data?.ok === false,
    panel: { verdict: answer.data, checking: isOpen && reading.ok, noAnswer },
  };
}

function marksOf(problems: readonly SpecProblem[], text: string, reading: DraftState["reading"]): Mark[] {
  if (!reading.ok) {
    const from =
      text
        .split("\n")
        .slice(0, reading.line - 1)
        .join("\n").length + (reading.line > 1 ? 1 : 0);
    const end = text.indexOf("\n", from);
    return [{ from, to: end < 0 ? text.length : end, message: reading.reason }];
  }
  return problems.flatMap((problem) => {
    const place = placeOfProblem(problem, text);
    return place ? [{ from: place.from, to: place.to, message: `${problem.path}: ${problemSentence(problem)}` }] : [];
  });
}

function placeOfProblem(problem: SpecProblem, text: string) {
  const path = specPath(problem.path);
  return path === null || path === "" ? null : placeOf(text, path.split("."));
}
