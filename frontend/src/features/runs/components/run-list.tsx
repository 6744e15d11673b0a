import { Button, Center } from "@mantine/core";
import { useIntersection } from "@mantine/hooks";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { describeError } from "@/api/client";
import { runListQuery } from "@/api/runs";
import type { RunSummary } from "@/api/types";
import { Failure, Loading } from "@/components/state-messages";
import { useKeys } from "@/components/use-keys";
import { focusedRun, focusNeighbour } from "../list-focus";
import { filterOf, type RunListSearch } from "../run-list-search";
import { NOTHING_SELECTED, withAll, withToggled } from "../selection";
import { RunListEmpty } from "./run-list-empty";
import { RunTable } from "./run-table";
import { SelectionBar } from "./selection-bar";

/** The next page is asked for while its place is still this far below the window. */
const AHEAD = "800px";

/** The runs that match a filter, newest first, more of them as one scrolls; several can be ticked and acted upon. */
export function RunList({ search }: { search: RunListSearch }) {
  const list = useInfiniteQuery(runListQuery(filterOf(search)));
  const [selection, setSelection] = useState(NOTHING_SELECTED);
  const navigate = useNavigate();
  const runs = list.data?.pages.flatMap((page) => page.items) ?? [];
  const order = runs.map(({ id }) => id);
  // What a filter took out of sight is not acted upon.
  const selected = runs.filter(({ id }) => selection.ids.has(id));
  const toggle = (id: string, range: boolean) => setSelection((before) => withToggled(before, id, order, range));
  const compare = (chosen: readonly RunSummary[]) =>
    navigate({
      to: "/compare",
      search: {
        runs: [...chosen]
          .reverse()
          .map(({ id }) => id)
          .join(","),
      },
    });
  const dropSelection = () => {
    setSelection(NOTHING_SELECTED);
    return selected.length > 0;
  };

  useKeys({
    j: () => focusNeighbour(1),
    k: () => focusNeighbour(-1),
    x: () => {
      const id = focusedRun();
      if (id) toggle(id, false);
      return id !== null;
    },
    c: () => {
      if (selected.length > 0) void compare(selected);
      return selected.length > 0;
    },
    Escape: dropSelection,
  });

  if (list.isPending) return <Loading label="Loading the runs" />;
  if (!list.data) return <Failure {...describeError(list.error)} onRetry={() => list.refetch()} />;
  if (runs.length === 0) return <RunListEmpty search={search} />;
  return (
    <>
      <RunTable
        runs={runs}
        selected={selection.ids}
        onToggle={toggle}
        onToggleAll={() => setSelection((before) => withAll(before, order))}
      />
      {list.hasNextPage && (
        <More isLoading={list.isFetchingNextPage} failed={list.isFetchNextPageError} onWanted={list.fetchNextPage} />
      )}
      {selected.length > 0 && (
        <SelectionBar runs={selected} onCompare={() => compare(selected)} onClear={dropSelection} />
      )}
    </>
  );
}

interface MoreProps {
  isLoading: boolean;
  failed: boolean;
  onWanted: () => void;
}

/** Asks for more when it comes near; a button for who does not scroll, and after a failure. */
function More({ isLoading, failed, onWanted }: MoreProps) {
  const { ref, entry } = useIntersection({ rootMargin: AHEAD });
  const isNear = entry?.isIntersecting ?? false;
  useEffect(() => {
    if (isNear && !isLoading && !failed) onWanted();
  }, [isNear, isLoading, failed, onWanted]);
  return (
    <Center mt="md" ref={ref}>
      <Button variant="default" loading={isLoading} onClick={() => onWanted()}>
        Load more
      </Button>
    </Center>
  );
}
