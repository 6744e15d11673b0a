import { Anchor, Button, Code, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { describeError } from "@/api/client";
import type { Study } from "@/api/types";
import { Empty, Failure, Loading } from "@/components/state-messages";
import { useNow } from "@/components/use-now";
import { formatAgo, formatInstant } from "@/format/duration";
import { formatCount } from "@/format/number";
import { studiesQuery } from "../api/studies";
import classes from "./study-list.module.css";

/** As many as the API lists. */
const MOST = 200;

/** All studies with what became of their runs; each leads to its list and its comparison. */
export function StudyList({ q }: { q: string | undefined }) {
  const studies = useQuery(studiesQuery(q));
  const now = useNow(true, 30_000);
  if (studies.isPending) return <Loading label="Loading the studies" />;
  if (!studies.data) return <Failure {...describeError(studies.error)} onRetry={() => studies.refetch()} />;
  const { items } = studies.data;
  if (items.length === 0) return <NoStudies q={q} />;
  return (
    <>
      <ul className={classes.list}>
        {items.map((study) => (
          <StudyCard key={study.name} study={study} now={now} />
        ))}
      </ul>
      {items.length === MOST && <p className={classes.foot}>The {MOST} newest; search to find older ones.</p>}
    </>
  );
}

function StudyCard({ study, now }: { study: Study; now: number }) {
  const { name, runs, live, succeeded, failed, newest_at } = study;
  const other = runs - live - succeeded - failed;
  return (
    <li className={classes.card}>
      <div className={classes.text}>
        <Link to="/" search={{ study: name }} className={classes.name} title={name} dir="auto">
          {name}
        </Link>
        <span className={classes.note} title={formatInstant(newest_at)}>
          newest run {formatAgo(newest_at, now)}
        </span>
      </div>
      <div className={classes.counts}>
        <span>
          <b>{formatCount(runs)}</b> {runs === 1 ? "run" : "runs"}
        </span>
        {live > 0 && <span data-tone="moving">{formatCount(live)} active</span>}
        {succeeded > 0 && <span data-tone="good">{formatCount(succeeded)} succeeded</span>}
        {failed > 0 && <span data-tone="bad">{formatCount(failed)} failed</span>}
        {other > 0 && <span>{formatCount(other)} cancelled</span>}
      </div>
      <Button
        size="xs"
        variant="default"
        className={classes.compare}
        aria-label={`Compare the runs of ${name}`}
        renderRoot={(props) => <Link to="/compare" search={{ study: name }} {...props} />}
      >
        Compare
      </Button>
    </li>
  );
}

function NoStudies({ q }: { q: string | undefined }) {
  if (q !== undefined) {
    return (
      <Empty title={`No study is called like “${q}”`}>
        <Anchor component={Link} to="/studies">
          Show all studies
        </Anchor>
      </Empty>
    );
  }
  return (
    <Empty title="No studies yet">
      <Text c="dimmed" ta="center" maw={520}>
        A study is a name that runs share: the arms of one question. Give it when you submit, with{" "}
        <Code>--study NAME</Code> or in the form, or tick runs in{" "}
        <Anchor component={Link} to="/" inherit>
          the list
        </Anchor>{" "}
        and choose Add to study.
      </Text>
    </Empty>
  );
}
