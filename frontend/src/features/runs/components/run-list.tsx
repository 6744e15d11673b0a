import { Button, Center } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { describeError } from "@/api/client";
import { Failure, Loading } from "@/components/state-messages";
import { runListQuery } from "../api/runs";
import { type StatusFilter, statusesOf } from "../run-list-search";
import { RunListEmpty } from "./run-list-empty";
import { RunTable } from "./run-table";

/** The runs that match a filter, newest first, with more on demand. */
export function RunList({ filter }: { filter: StatusFilter | undefined }) {
  const list = useInfiniteQuery(runListQuery({ statuses: statusesOf(filter) }));
  if (list.isPending) return <Loading label="Loading the runs" />;
  if (!list.data) return <Failure {...describeError(list.error)} onRetry={() => list.refetch()} />;

  const runs = list.data.pages.flatMap((page) => page.items);
  if (runs.length === 0) return <RunListEmpty filter={filter} />;
  return (
    <>
      <RunTable runs={runs} />
      {list.hasNextPage && (
        <Center mt="md">
          <Button variant="default" loading={list.isFetchingNextPage} onClick={() => list.fetchNextPage()}>
            Load more
          </Button>
        </Center>
      )}
    </>
  );
}
