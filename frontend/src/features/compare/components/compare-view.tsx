import { Anchor, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { describeError } from "@/api/client";
import { HighlightProvider } from "@/charts/highlight";
import { Message } from "@/components/message";
import { Empty, Failure, Loading } from "@/components/state-messages";
import { useTopic } from "@/live/live-provider";
import { type Comparison, useComparison } from "../api/compared-runs";
import { caveatsOf } from "../caveats";
import { type CompareSearch, MAX_COMPARED, withoutRun, wordsOf } from "../compare-search";
import { AddRun } from "./add-run";
import classes from "./compare.module.css";
import { CompareCharts } from "./compare-charts";
import { CompareToolbar } from "./compare-toolbar";
import { HowToRead } from "./how-to-read";
import { ResultsTable } from "./results-table";
import { RunLegend } from "./run-legend";
import { SpecDiff } from "./spec-diff-table";

export interface CompareProps {
  search: CompareSearch;
  /** Writes the new state into the address. */
  onChange: (change: Partial<CompareSearch>) => void;
}

/** Runs side by side: curves, numbers, specs. */
export function CompareView({ search, onChange }: CompareProps) {
  const comparison = useComparison(search);
  const { compared, absent, studyError } = comparison;
  // While the slider moves its value is here; the address gets it when it is let go.
  const [weight, setWeight] = useState<number | null>(null);
  if (search.runs === undefined && search.study === undefined) return <NothingChosen onChange={onChange} />;
  if (compared.length === 0 && comparison.isPending) return <Loading label="Loading the runs" />;
  if (compared.length === 0 && studyError) return <Failure {...describeError(studyError)} />;

  const hidden = new Set(wordsOf(search.hidden));
  return (
    <HighlightProvider>
      {search.study !== undefined && <Topic name="runs" />}
      {compared.map(({ run }) => (
        <Topic key={run.id} name={`run:${run.id}`} />
      ))}
      <div className={classes.notes}>
        <Notes search={search} onChange={onChange} comparison={comparison} />
      </div>
      {compared.length > 0 && (
        <>
          <div className={classes.columns}>
            <RunLegend search={search} onChange={onChange} compared={compared} absent={absent} />
            <div className={classes.main}>
              <CompareToolbar
                search={search}
                onChange={onChange}
                compared={compared}
                smoothing={weight ?? search.smooth ?? 0}
                onSmoothing={setWeight}
                onSmoothed={(smooth) => {
                  setWeight(null);
                  onChange({ smooth: smooth > 0 ? smooth : undefined });
                }}
              />
              <CompareCharts
                search={search}
                smoothing={weight ?? search.smooth ?? 0}
                compared={compared}
                visible={compared.filter(({ run }) => !hidden.has(run.id))}
              />
            </div>
          </div>
          <ResultsTable search={search} onChange={onChange} compared={compared} />
          <SpecDiff search={search} onChange={onChange} compared={compared} />
          <HowToRead />
        </>
      )}
    </HighlightProvider>
  );
}

function Topic({ name }: { name: string }) {
  useTopic(name);
  return null;
}

function NothingChosen({ onChange }: Pick<CompareProps, "onChange">) {
  return (
    <Empty title="Choose runs to compare">
      <Text c="dimmed" ta="center" maw={560}>
        Tick runs in{" "}
        <Anchor component={Link} to="/" inherit>
          the list
        </Anchor>{" "}
        and press Compare, open a{" "}
        <Anchor component={Link} to="/studies" inherit>
          study
        </Anchor>
        , or find a run here:
      </Text>
      <div className={classes.firstRun}>
        <AddRun known={[]} onAdd={(id) => onChange({ runs: id })} />
      </div>
    </Empty>
  );
}

/** What taking runs out may empty: named, so that a change that lacks them clears them. */
const ALL_LISTS: Partial<CompareSearch> = { runs: undefined, hidden: undefined, baseline: undefined };

/** What a reader should know before reading: what is missing, what does not compare. */
function Notes({ search, onChange, comparison }: CompareProps & { comparison: Comparison }) {
  const { compared, absent, chosen, isStudyEmpty, studyError } = comparison;
  const caveats = caveatsOf(compared.map(({ run }) => run.spec));
  return (
    <>
      {isStudyEmpty && (
        <Message tone="neutral" title={`The study “${search.study}” has no runs that you may see.`}>
          Name it when you submit a run, or tick runs in the list and choose Add to study.
        </Message>
      )}
      {studyError && <Message tone="bad" title={`The study “${search.study}” could not be loaded.`} />}
      {absent.length > 0 && (
        <Message
          tone="warning"
          title={absent.length === 1 ? "One run cannot be shown" : `${absent.length} runs cannot be shown`}
        >
          {absent.map(({ id, detail }) => (
            <div key={id}>
              <code>{id}</code>: {detail}
            </div>
          ))}
          <button
            type="button"
            className={classes.plain}
            onClick={() =>
              onChange(absent.reduce((rest, { id }) => ({ ...ALL_LISTS, ...withoutRun(rest, id) }), search))
            }
          >
            Take {absent.length === 1 ? "it" : "them"} out
          </button>
        </Message>
      )}
      {chosen.more && (
        <Message
          tone="warning"
          title={`${MAX_COMPARED} of ${chosen.count ?? `more than ${MAX_COMPARED}`} chosen runs are shown.`}
        >
          The named ones come first, then the newest of the study. To see others, tick up to {MAX_COMPARED} in{" "}
          <Anchor component={Link} to={search.study ? `/?study=${encodeURIComponent(search.study)}` : "/"} inherit>
            the list
          </Anchor>{" "}
          and press Compare.
        </Message>
      )}
      {caveats.length > 0 && (
        <Message tone="neutral" title={caveats[0] ?? ""}>
          {caveats.slice(1).map((caveat) => (
            <div key={caveat}>{caveat}</div>
          ))}
        </Message>
      )}
    </>
  );
}
