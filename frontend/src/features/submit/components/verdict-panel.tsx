import { Button, Loader } from "@mantine/core";
import type { ReactNode } from "react";
import type { SpecProblem } from "@/api/types";
import { IconCheck, IconWarning } from "@/components/icons";
import { formatCount } from "@/format/number";
import type { Verdict } from "../api/submission";
import { problemSentence } from "../problems";
import classes from "./verdict-panel.module.css";

interface VerdictPanelProps {
  verdict: Verdict | undefined;
  /** A newer question is open. */
  checking: boolean;
  /** Why there is no answer: the API is away, or the YAML cannot be read. */
  noAnswer: string | null;
  /** The line of a problem in the YAML; null for what stands beside it. */
  lineOf: (problem: SpecProblem) => number | null;
  onGoTo: (problem: SpecProblem) => void;
}

/** What the API says of the draft: what it would do, or what to mend. */
export function VerdictPanel({ verdict, checking, noAnswer, lineOf, onGoTo }: VerdictPanelProps) {
  if (noAnswer !== null) return <Frame tone="waiting" title={noAnswer} checking={checking} />;
  if (!verdict) return <Frame tone="waiting" title="Checking the spec" checking />;
  if (verdict.ok) {
    const { total_steps, gradient_evaluations, position, summary } = verdict.dryRun;
    return (
      <Frame tone="good" title="Ready to submit" checking={checking}>
        <p className={classes.summary}>{summary}</p>
        <dl className={classes.facts}>
          <Fact term="Steps">{total_steps === null ? "known at the start" : formatCount(total_steps)}</Fact>
          <Fact term="Gradient evaluations">
            {gradient_evaluations === null ? "known at the start" : formatCount(gradient_evaluations)}
          </Fact>
          <Fact term="Place in the queue">{formatCount(position)}</Fact>
        </dl>
      </Frame>
    );
  }
  const { problems, detail } = verdict;
  const title = problems.length === 0 ? detail : `${problems.length} ${problems.length === 1 ? "problem" : "problems"}`;
  return (
    <Frame tone="bad" title={title} checking={checking}>
      {problems.length > 0 && (
        <ul className={classes.problems}>
          {problems.map((problem) => {
            const line = lineOf(problem);
            return (
              <li key={problem.path}>
                <div className={classes.path}>
                  <code>{problem.path || "spec"}</code>
                  {problem.value && <code className={classes.value}>{problem.value}</code>}
                  {line !== null && (
                    <Button size="compact-xs" variant="subtle" onClick={() => onGoTo(problem)}>
                      Line {line}
                    </Button>
                  )}
                </div>
                <div>{problemSentence(problem)}</div>
              </li>
            );
          })}
        </ul>
      )}
    </Frame>
  );
}

interface FrameProps {
  tone: "good" | "bad" | "waiting";
  title: string;
  checking: boolean;
  children?: ReactNode;
}

function Frame({ tone, title, checking, children }: FrameProps) {
  return (
    <section className={classes.frame} data-tone={tone} aria-label="Check" aria-live="polite" aria-busy={checking}>
      <div className={classes.title}>
        {tone === "good" && <IconCheck size={18} />}
        {tone === "bad" && <IconWarning size={18} />}
        <span>{title}</span>
        {checking && <Loader size={14} aria-label="Checking" />}
      </div>
      {children}
    </section>
  );
}

function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <div>
      <dt>{term}</dt>
      <dd>{children}</dd>
    </div>
  );
}
