import { Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { ApiError, describeError } from "@/api/client";
import { runQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import { Failure, Loading } from "@/components/state-messages";
import { LogPanel } from "@/features/logs/components/log-panel";
import { SIGNALS } from "@/features/metrics/chart-definitions";
import { RunCharts } from "@/features/metrics/components/run-charts";
import { RunAttempts } from "@/features/runs/components/run-attempts";
import { RunHeader } from "@/features/runs/components/run-header";
import { RunMessages } from "@/features/runs/components/run-messages";
import { RunSpecs } from "@/features/runs/components/run-specs";
import { RunTimeline } from "@/features/runs/components/run-timeline";
import { RUN_TABS, type RunTab, tabsFor } from "@/features/runs/run-search";
import { useTopic } from "@/live/live-provider";
import { isLive } from "@/run/describe-run";
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
  return (
    <div className={classes.stack}>
      <RunHeader run={run} />
      <RunMessages run={run} />
      <RunTabs run={run} />
    </div>
  );
}

/** The tab is in the address, so that a link shows the same. */
function RunTabs({ run }: { run: Run }) {
  const { tab } = route.useSearch();
  const navigate = route.useNavigate();
  const { tabs, open } = tabsFor(run.method, tab);
  const choose = (chosen: string | null) => {
    const tab = chosen === "charts" ? undefined : (chosen as RunTab);
    void navigate({ search: (before) => ({ ...before, tab }), replace: true, resetScroll: false });
  };
  return (
    <Tabs value={open} onChange={choose} keepMounted={false}>
      <Tabs.List mb="md">
        {tabs.map((name) => (
          <Tabs.Tab key={name} value={name}>
            {RUN_TABS[name]}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {tabs.map((name) => (
        <Tabs.Panel key={name} value={name} className={classes.stack}>
          <TabContent tab={name} run={run} />
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}

function TabContent({ tab, run }: { tab: RunTab; run: Run }) {
  const live = isLive(run);
  const charts = { runId: run.id, method: run.method, attempts: run.attempts, live };
  if (tab === "charts") return <RunCharts {...charts} />;
  if (tab === "signals") return <RunCharts {...charts} sections={SIGNAL_SECTIONS} />;
  if (tab === "logs") {
    if (run.attempt === null) return <p className={classes.none}>There is a log once the run has started.</p>;
    return <LogPanel key={run.id} runId={run.id} newestAttempt={run.attempt} live={live} />;
  }
  if (tab === "spec") return <RunSpecs run={run} />;
  return (
    <div className={classes.columns}>
      <RunTimeline run={run} />
      <RunAttempts attempts={run.attempts} />
    </div>
  );
}

const SIGNAL_SECTIONS = [SIGNALS];
