import { Anchor, Code, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { CopyButton } from "@/components/copy-button";
import { Empty } from "@/components/state-messages";
import type { RunListSearch } from "../run-list-search";
import classes from "./run-list-empty.module.css";

const EXAMPLE = `basin run submit - <<'EOF'
model:
  name: vit_tiny_patch16_224
  arguments: {patch_size: 2, embed_dim: 64, depth: 3, num_heads: 4}
optimizer: {name: adamw, lr: 0.001}
method: {name: looksam, rho: 0.05, k: 5}
global_batch_size: 256
epochs: 40
resources: {workers: 2}
EOF`;

/** In place of the list: how to get a first run, or how to leave a filter that matches none. */
export function RunListEmpty({ search }: { search: RunListSearch }) {
  const { status, study, q } = search;
  if (status !== undefined || study !== undefined || q !== undefined) {
    const what = [status && `${status} `, "runs", q && ` like “${q}”`, study && ` in the study “${study}”`];
    return (
      <Empty title={`No ${what.filter(Boolean).join("")}`}>
        <Anchor component={Link} to="/">
          Show all runs
        </Anchor>
      </Empty>
    );
  }
  return (
    <Empty title="No runs yet">
      <Text c="dimmed" ta="center" maw={520}>
        Submit a training spec from a shell and watch it here as it trains. This one needs two CPU slots:
      </Text>
      <div className={classes.example}>
        <pre className={classes.code}>{EXAMPLE}</pre>
        <div className={classes.copy}>
          <CopyButton text={EXAMPLE} label="Copy" />
        </div>
      </div>
      <Text c="dimmed" size="sm">
        Or let <Code>make demo</Code> submit four runs to compare.
      </Text>
    </Empty>
  );
}
