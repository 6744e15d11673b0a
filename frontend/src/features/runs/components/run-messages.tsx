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
        <Message key={notice.id} tone="warning" title={noticeTitle(notice)}>
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
};

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
