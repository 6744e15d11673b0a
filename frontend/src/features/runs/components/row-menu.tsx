import { ActionIcon, Menu } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { RunSummary } from "@/api/types";
import { IconMore } from "@/components/icons";
import { isLive } from "@/run/describe-run";
import { actsOn } from "../acts";
import type { Act } from "../api/changes";
import { ActOnRuns, CancelRuns, SetPriority } from "./change-runs";

/** What can be done with one run of the list. The menu is made when it is first opened: a list has hundreds. */
export function RowMenu({ run }: { run: RunSummary }) {
  const [wasOpened, setWasOpened] = useState(false);
  const [dialog, setDialog] = useState<Act | "cancel" | "priority" | null>(null);
  const button = (
    <ActionIcon variant="subtle" color="gray" size="sm" aria-label={`Actions for ${run.name}`}>
      <IconMore />
    </ActionIcon>
  );
  if (!wasOpened) {
    return (
      <ActionIcon
        variant="subtle"
        color="gray"
        size="sm"
        aria-label={`Actions for ${run.name}`}
        aria-haspopup="menu"
        onClick={() => setWasOpened(true)}
      >
        <IconMore />
      </ActionIcon>
    );
  }
  return (
    <>
      <Menu position="bottom-end" width={190} defaultOpened>
        <Menu.Target>{button}</Menu.Target>
        <Menu.Dropdown>
          <Menu.Item component={Link} to={`/submit?from=${run.id}`}>
            Re-run with edits
          </Menu.Item>
          <Menu.Item component={Link} to={`/compare?runs=${run.id}`}>
            Compare
          </Menu.Item>
          {run.status === "queued" && <Menu.Item onClick={() => setDialog("priority")}>Set priority</Menu.Item>}
          {actsOn(run).map(({ act, label }) => (
            <Menu.Item key={act} color={act === "delete" ? "red" : undefined} onClick={() => setDialog(act)}>
              {label}
            </Menu.Item>
          ))}
          {isLive(run) && (
            <Menu.Item color="red" onClick={() => setDialog("cancel")}>
              Cancel the run
            </Menu.Item>
          )}
        </Menu.Dropdown>
      </Menu>
      {dialog === "cancel" && <CancelRuns runs={[run]} onClose={() => setDialog(null)} />}
      {dialog === "priority" && <SetPriority runs={[run]} onClose={() => setDialog(null)} />}
      {dialog !== null && dialog !== "cancel" && dialog !== "priority" && (
        <ActOnRuns act={dialog} runs={[run]} onClose={() => setDialog(null)} />
      )}
    </>
  );
}
