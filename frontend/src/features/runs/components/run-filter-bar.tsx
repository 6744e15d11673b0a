import { CloseButton } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { SearchBox } from "@/components/search-box";
import type { RunListSearch } from "../run-list-search";
import classes from "./run-filter-bar.module.css";
import { StatusFilterBar } from "./status-filter-bar";

interface RunFilterBarProps {
  search: RunListSearch;
  onChange: (change: Partial<RunListSearch>) => void;
}

/** Chooses which runs the list shows: by study, text and status. */
export function RunFilterBar({ search, onChange }: RunFilterBarProps) {
  const { study } = search;
  return (
    <div className={classes.bar}>
      {study !== undefined && (
        <span className={classes.study}>
          <span className={classes.word}>Study</span>
          <span className={classes.name} title={study} dir="auto">
            {study}
          </span>
          <Link to="/compare" search={{ study }} className={classes.compare}>
            Compare
          </Link>
          <CloseButton size="xs" aria-label="Show all studies' runs" onClick={() => onChange({ study: undefined })} />
        </span>
      )}
      <SearchBox
        label="Find runs by name or id"
        placeholder="Name or id"
        value={search.q}
        onChange={(q) => onChange({ q })}
      />
      <StatusFilterBar value={search.status} onChange={(status) => onChange({ status })} />
    </div>
  );
}
