import { useMemo } from "react";
import type { Run } from "@/api/types";
import { inReadingOrder } from "@/run/spec-order";
import { SpecChanges } from "./spec-changes";
import { SpecText } from "./spec-text";
import classes from "./spec-text.module.css";

/** The spec as it runs, as it was sent, and in what it differs from its original. */
export function RunSpecs({ run }: { run: Run }) {
  const spec = useMemo(() => inReadingOrder(run.spec), [run.spec]);
  const request = useMemo(() => requestInOrder(run.request), [run.request]);
  return (
    <>
      {run.copied_from !== null && <SpecChanges run={run} from={run.copied_from} />}
      <div className={classes.beside}>
        <SpecText
          title="Spec"
          note="As it runs, with every default filled in. It can be submitted again as it stands."
          value={spec}
        />
        <SpecText title="Request" note="As it was sent, before any default." value={request} />
      </div>
    </>
  );
}

/** The database keeps keys sorted by their length. */
function requestInOrder({ spec, ...rest }: Record<string, unknown>): Record<string, unknown> {
  const isMapping = typeof spec === "object" && spec !== null && !Array.isArray(spec);
  return { ...rest, spec: isMapping ? inReadingOrder(spec as Record<string, unknown>) : spec };
}
