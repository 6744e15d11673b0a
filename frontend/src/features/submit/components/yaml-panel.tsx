import { Button } from "@mantine/core";
import { lazy, Suspense } from "react";
import { CopyButton } from "@/components/copy-button";
import { IconDownload } from "@/components/icons";
import { Message } from "@/components/message";
import { Panel } from "@/components/panel";
import { patiently } from "@/live/patiently";
import { commandOf, fileNameOf } from "../draft";
import type { DraftState } from "../use-draft";
import type { Mark } from "./yaml-editor";
import classes from "./yaml-editor.module.css";

const YamlEditor = lazy(patiently(() => import("./yaml-editor")));

interface YamlPanelProps {
  state: DraftState;
  marks: readonly Mark[];
  goTo: { at: number } | null;
}

/** The spec as text, and the ways to take it along. */
export function YamlPanel({ state, marks, goTo }: YamlPanelProps) {
  const { draft, reading } = state;
  const file = fileNameOf(draft);
  return (
    <Panel
      title="YAML"
      tools={
        <>
          <Button
            size="compact-xs"
            variant="subtle"
            color="gray"
            leftSection={<IconDownload size={14} />}
            onClick={() => download(draft.text, file)}
          >
            Download YAML
          </Button>
          <CopyButton text={() => commandOf(draft, file)} label="Copy as command" />
        </>
      }
    >
      <Suspense fallback={<pre className={classes.waiting}>{draft.text}</pre>}>
        <YamlEditor text={draft.text} onChange={state.setText} marks={marks} goTo={goTo} />
      </Suspense>
      {!reading.ok && (
        <div style={{ marginTop: 12 }}>
          <Message tone="bad" title={`Line ${reading.line} cannot be read`} urgent>
            {reading.reason}. The form keeps what it had until the YAML can be read.
            <div>
              <Button mt={8} size="compact-xs" variant="default" onClick={state.revert}>
                Go back to the last readable YAML
              </Button>
            </div>
          </Message>
        </div>
      )}
    </Panel>
  );
}

function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
