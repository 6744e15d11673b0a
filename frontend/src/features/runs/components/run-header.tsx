import { ActionIcon, Button, Title } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { meQuery } from "@/api/me";
import type { Run } from "@/api/types";
import { IconBack, IconPencil } from "@/components/icons";
import { isLive } from "@/run/describe-run";
import { StatusPill } from "@/run/status-pill";
import { mayChange } from "../may-change";
import { CancelRun } from "./cancel-run";
import { EditRun } from "./edit-run";
import { PauseRun } from "./pause-run";
import { RunFacts } from "./run-facts";
import classes from "./run-header.module.css";
import { RunProgress } from "./run-progress";

/** Who, what, how far, and what can be done: the top of a run's page. */
export function RunHeader({ run }: { run: Run }) {
  const [isEditing, edit] = useDisclosure(false);
  const { data: me } = useQuery(meQuery);
  const mayEdit = mayChange(me, run);
  return (
    <header className={classes.header}>
      <Link to="/" className={classes.back}>
        <IconBack size={14} /> Runs
      </Link>
      <div className={classes.titleRow}>
        <div className={classes.names}>
          <Title order={1} size="h2" className={classes.title}>
            {run.name}
          </Title>
          {mayEdit && (
            <ActionIcon variant="subtle" color="gray" aria-label="Edit name, study and priority" onClick={edit.open}>
              <IconPencil />
            </ActionIcon>
          )}
          <StatusPill run={run} size="md" />
          <span className={classes.id}>{run.id}</span>
        </div>
        <div className={classes.actions}>
          <Button
            size="xs"
            variant="default"
            renderRoot={(props) => <Link to="/compare" search={{ runs: run.id }} {...props} />}
          >
            Compare with…
          </Button>
          {me?.may_submit && (
            <Button
              size="xs"
              variant="default"
              renderRoot={(props) => <Link to="/submit" search={{ from: run.id }} {...props} />}
            >
              Re-run with edits
            </Button>
          )}
          {mayEdit && isLive(run) && <PauseRun run={run} />}
          {isLive(run) && <CancelRun run={run} />}
        </div>
      </div>
      <RunFacts run={run} onEditPriority={mayEdit && run.status === "queued" ? edit.open : undefined} />
      <RunProgress run={run} doing={run.attempts.at(-1)?.doing} />
      {isEditing && <EditRun run={run} onClose={edit.close} />}
    </header>
  );
}
