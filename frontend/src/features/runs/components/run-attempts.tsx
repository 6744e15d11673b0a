import type { Attempt } from "@/api/types";
import { Panel } from "@/components/panel";
import { useNow } from "@/components/use-now";
import { formatDuration, formatInstant, secondsBetween } from "@/format/duration";
import { formatCount } from "@/format/number";
import { reasonWords } from "@/run/describe-run";
import classes from "./run-attempts.module.css";

/** Each try at the run: how it went, where it resumed, on what it ran. */
export function RunAttempts({ attempts }: { attempts: readonly Attempt[] }) {
  const now = useNow(attempts.some((attempt) => attempt.ended_at === null));
  if (attempts.length === 0) return null;
  return (
    <Panel title={attempts.length === 1 ? "Attempt" : "Attempts"} collapsible>
      <ul className={classes.list}>
        {attempts.toReversed().map((attempt) => (
          <li key={attempt.id} className={classes.item}>
            <div className={classes.head}>
              <b>Attempt {attempt.number}</b>
              <span>{stateOf(attempt)}</span>
              <time dateTime={attempt.created_at} title={formatInstant(attempt.created_at)} className={classes.dim}>
                {formatDuration(Math.floor(secondsBetween(attempt.created_at, attempt.ended_at, now) ?? 0))}
              </time>
            </div>
            {attempt.detail && <div className={classes.detail}>{attempt.detail}</div>}
            <div className={classes.dim}>{facts(attempt).join(" · ")}</div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function stateOf(attempt: Attempt): string {
  if (attempt.reason) return reasonWords(attempt.reason);
  if (attempt.first_step_at) return "training";
  return attempt.doing || (attempt.claimed_at ? "starting" : "waiting for its trainer");
}

function facts(attempt: Attempt): string[] {
  const found = [`${attempt.world_size} ${attempt.world_size === 1 ? "worker" : "workers"}`];
  if (attempt.resume_step) found.push(`resumed at step ${formatCount(attempt.resume_step)}`);
  found.push(`reached step ${formatCount(attempt.step)}`);
  const firstStep = secondsBetween(attempt.created_at, attempt.first_step_at, Number.NaN);
  if (attempt.first_step_at && firstStep !== null) found.push(`first step after ${formatDuration(firstStep)}`);
  const { host, devices, ...versions } = attempt.environment ?? {};
  if (Array.isArray(devices)) found.push([...new Set(devices)].join(", "));
  if (typeof host === "string") found.push(host);
  for (const [part, version] of Object.entries(versions)) if (version) found.push(`${part} ${version}`);
  return found;
}
