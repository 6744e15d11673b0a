import type { Run, TimelineEvent } from "@/api/types";
import { Message } from "@/components/message";
import { formatCount } from "@/format/number";
import { reasonWords } from "@/run/describe-run";
import classes from "./run-messages.module.css";

/** What a person should know before any curve: why it ended, that it is silent, what the trainer noticed. */
export function RunMessages({ run }: { run: Run }) {
  return (
    <>
      {run.reason !== null && run.status !== "succeeded" && (
        <Message tone={run.status === "failed" ? "bad" : "neutral"} title={run.sentence ?? reasonWords(run.reason)}>
          {run.detail && <div className={classes.detail}>{run.detail}</div>}
          <div className={classes.note}>
            Reason: {reasonWords(run.reason)}
            {run.status === "failed" && run.fault && run.fault !== "nobody" ? `. It lies with the ${run.fault}.` : "."}
          </div>
        </Message>
      )}
      {run.silent && <Message tone="warning" title={run.sentence ?? "No sign of life from the trainer."} />}
      {newestByCode(run.notices).map((notice) => (
        <Message key={notice.id} tone={saysAllIsWell(notice) ? "neutral" : "warning"} title={noticeTitle(notice)}>
          {notice.text}
          {typeof notice.data.step === "number" && (
            <span className={classes.note}> Said at step {formatCount(notice.data.step)}.</span>
          )}
        </Message>
      ))}
    </>
  );
}

const NOTICE_TITLES: Record<string, string> = {
  direction_does_not_persist: "The stored direction does not persist",
  sam_doctor: "SAM doctor: the optimizer does what the spec says",
  sam_doctor_calendar: "SAM doctor: refreshes",
  sam_doctor_warns_size: "SAM doctor: the ascent has another size",
  sam_doctor_warns_restore: "SAM doctor: the weights did not come back",
  sam_doctor_warns_ranks: "SAM doctor: the workers moved apart",
  sam_doctor_warns_precision: "SAM doctor: the ascent is rounded away",
  sam_doctor_warns_passes: "SAM doctor: another number of passes",
  sam_doctor_warns_masks: "SAM doctor: the two passes differ",
  sam_doctor_warns_statistics: "SAM doctor: running statistics moved twice",
  sam_doctor_warns_calendar: "SAM doctor: a refresh is missing",
};

function saysAllIsWell(notice: TimelineEvent): boolean {
  return ["sam_doctor", "sam_doctor_calendar"].includes(codeOf(notice));
}

function noticeTitle(notice: TimelineEvent): string {
  return NOTICE_TITLES[codeOf(notice)] ?? "The trainer noticed something";
}

function codeOf(notice: TimelineEvent): string {
  return typeof notice.data.code === "string" ? notice.data.code : String(notice.id);
}

/** A notice that is repeated, say after a resume, is shown once. */
function newestByCode(notices: readonly TimelineEvent[]): TimelineEvent[] {
  return [...new Map(notices.map((notice) => [codeOf(notice), notice])).values()];
}
