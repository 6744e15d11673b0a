import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { ApiError, describeError } from "@/api/client";
import { Failure, Loading } from "@/components/state-messages";
import { LogPanel } from "@/features/logs/components/log-panel";
import { RunCharts } from "@/features/metrics/components/run-charts";
import { runQuery } from "@/features/runs/api/runs";
import { RunAttempts } from "@/features/runs/components/run-attempts";
import { RunHeader } from "@/features/runs/components/run-header";
import { RunMessages } from "@/features/runs/components/run-messages";
import { RunSpec } from "@/features/runs/components/run-spec";
import { RunTimeline } from "@/features/runs/components/run-timeline";
import { isLive } from "@/features/runs/describe-run";
import { useTopic } from "@/live/live-provider";
import { MissingRun } from "./failures";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

const route = getRouteApi("/runs/$runId");

/** One run: how it goes, what its method sees, what it said and what happened to it. */
export function RunPage() {
  const { runId } = route.useParams();
  useTopic(`run:${runId}`);
  const { data: run, error, isPending, refetch } = useQuery(runQuery(runId));
  usePageTitle(run?.name ?? "Run");
  if (isPending) return <Loading label="Loading the run" />;
  if (error instanceof ApiError && error.status === 404) return <MissingRun detail={error.detail} />;
  if (!run) return <Failure {...describeError(error)} onRetry={() => refetch()} />;

  const live = isLive(run);
  return (
    <div className={classes.stack}>
      <RunHeader run={run} />
      <RunMessages run={run} />
      <RunCharts runId={run.id} method={run.method} attempts={run.attempts} live={live} />
      <div className={classes.columns}>
        <div className={classes.stack}>
          {run.attempt !== null && <LogPanel key={run.id} runId={run.id} newestAttempt={run.attempt} live={live} />}
          <RunSpec run={run} />
        </div>
        <div className={classes.stack}>
          <RunTimeline runId={run.id} />
          <RunAttempts attempts={run.attempts} />
        </div>
      </div>
    </div>
  );
}
