import { Title } from "@mantine/core";
import { getRouteApi } from "@tanstack/react-router";
import { RunFilterBar } from "@/features/runs/components/run-filter-bar";
import { RunList } from "@/features/runs/components/run-list";

import { useTopic } from "@/live/live-provider";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

const route = getRouteApi("/");

/** The landing page: all runs, live. The filter is in the address, so that a link shows the same list. */
export function RunListPage() {
  useTopic("runs");
  usePageTitle("Runs");
  const search = route.useSearch();
  const navigate = route.useNavigate();
  return (
    <>
      <div className={classes.head}>
        <Title order={1} size="h2">
          Runs
        </Title>
        <RunFilterBar search={search} onChange={(change) => navigate({ search: { ...search, ...change } })} />
      </div>
      <RunList search={search} />
    </>
  );
}
