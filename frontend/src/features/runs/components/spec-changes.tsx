import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { describeError } from "@/api/client";
import { runQuery } from "@/api/runs";
import type { Run } from "@/api/types";
import { Panel } from "@/components/panel";
import { Loading } from "@/components/state-messages";
import { specDifferences } from "@/run/spec-diff";
import { inReadingOrder } from "@/run/spec-order";
import headerClasses from "./run-header.module.css";
import classes from "./spec-text.module.css";

/** In what the run differs from the one that it was copied from. */
export function SpecChanges({ run, from }: { run: Run; from: string }) {
  const origin = useQuery(runQuery(from));
  const changes = origin.data ? specDifferences(inReadingOrder(origin.data.spec), inReadingOrder(run.spec)) : [];
  return (
    <Panel title="Differences to its original">
      <p className={classes.note}>
        Copied from{" "}
        <Link to="/runs/$runId" params={{ runId: from }} className={headerClasses.link}>
          {origin.data?.name ?? from}
        </Link>
        .{origin.data && changes.length === 0 && " The two specs are the same."}
        {origin.isError && !origin.data && ` It cannot be shown: ${describeError(origin.error).detail}`}
      </p>
      {origin.isPending && <Loading label="Loading the original" />}
      {changes.length > 0 && (
        <table className={classes.changes}>
          <thead>
            <tr>
              <th scope="col">Field</th>
              <th scope="col">Before</th>
              <th scope="col">Now</th>
            </tr>
          </thead>
          <tbody>
            {changes.map(({ path, before, after }) => (
              <tr key={path}>
                <td>{path}</td>
                <td className={classes.before}>{shown(before)}</td>
                <td className={classes.after}>{shown(after)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function shown(value: unknown): string {
  if (value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}
