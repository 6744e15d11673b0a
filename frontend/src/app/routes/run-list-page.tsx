import { Title } from "@mantine/core";
import { getRouteApi } from "@tanstack/react-router";
import { RunList } from "@/features/runs/components/run-list";
import { StatusFilterBar } from "@/features/runs/components/status-filter-bar";
import { useTopic } from "@/live/live-provider";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

const route = getRouteApi("/");

/** The landing page: all runs, live. The filter is in the address, so that a link shows the same list. */
export function RunListPage() {
  useTopic("runs");
  usePageTitle("Runs");
  const { status } = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <>
      <div className={classes.head}>
        <Title order={1} size="h2">
          Runs
        </Title>
        <StatusFilterBar value={status} onChange={(chosen) => navigate({ search: { status: chosen } })} />
      </div>
      <RunList filter={status} />
    </>
  );
}
