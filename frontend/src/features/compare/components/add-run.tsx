import { Loader, Select } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { runListQuery } from "@/api/runs";
import type { RunSummary } from "@/api/types";
import { IconSearch } from "@/components/icons";
import { methodLabel } from "@/run/describe-run";
import classes from "./compare.module.css";

interface AddRunProps {
  /** Runs that are there already. */
  known: readonly string[];
  onAdd: (id: string) => void;
}

/** Finds a run by part of its name or id. */
export function AddRun({ known, onAdd }: AddRunProps) {
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [q] = useDebouncedValue(text.trim(), 200);
  const list = useInfiniteQuery({ ...runListQuery({ statuses: [], q: q || undefined }), enabled: open });
  const found = (list.data?.pages[0]?.items ?? []).filter(({ id }) => !known.includes(id));
  const byId = new Map(found.map((run) => [run.id, run]));
  return (
    <Select
      size="xs"
      aria-label="Add a run"
      placeholder="Add a run"
      leftSection={<IconSearch size={14} />}
      rightSection={open && list.isFetching ? <Loader size={12} /> : <span />}
      searchable
      value={null}
      searchValue={text}
      onSearchChange={setText}
      onDropdownOpen={() => setOpen(true)}
      onDropdownClose={() => setOpen(false)}
      data={found.map(({ id, name }) => ({ value: id, label: name }))}
      filter={({ options }) => options}
      nothingFoundMessage={list.isPending ? "Looking…" : "No other run by this name or id"}
      renderOption={({ option }) => <Found run={byId.get(option.value)} />}
      onChange={(id) => {
        if (id) onAdd(id);
        setText("");
      }}
      maxDropdownHeight={320}
    />
  );
}

function Found({ run }: { run: RunSummary | undefined }) {
  if (!run) return null;
  return (
    <div className={classes.found}>
      <span className={classes.foundName}>{run.name}</span>
      <span className={classes.foundNote}>
        {methodLabel(run)} · {run.status} · {run.id}
      </span>
    </div>
  );
}
