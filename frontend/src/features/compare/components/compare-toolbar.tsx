import { Button, Checkbox, NativeSelect, Popover, SegmentedControl, Slider, Switch } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { catalogueQuery } from "@/api/metrics";
import { X_AXES, type XKind } from "@/charts/x-axis";
import { IconChevron } from "@/components/icons";
import { MathText } from "@/components/math-text";
import type { ComparedRun } from "../api/compared-runs";
import { listOf, MAX_SMOOTHING, toggled, wordsOf } from "../compare-search";
import { chosenMetrics, metricMenu, metricTitle } from "../metric-choice";
import classes from "./compare.module.css";
import type { CompareProps } from "./compare-view";

const AXES = Object.entries(X_AXES).map(([value, { label }]) => ({ value, label }));

interface CompareToolbarProps extends CompareProps {
  compared: readonly ComparedRun[];
  smoothing: number;
  /** While the slider moves. */
  onSmoothing: (weight: number) => void;
  /** When it is let go. */
  onSmoothed: (weight: number) => void;
}

/** How the charts are drawn: x axis, smoothing, logarithm, which metrics, against which run. */
export function CompareToolbar(props: CompareToolbarProps) {
  const { search, onChange, compared, smoothing, onSmoothing, onSmoothed } = props;
  return (
    <section className={classes.toolbar} aria-label="How the charts are drawn">
      <div className={classes.control}>
        <span className={classes.controlName}>x axis</span>
        <SegmentedControl
          size="xs"
          aria-label="x axis"
          data={AXES}
          value={search.x ?? "step"}
          onChange={(x) => onChange({ x: x === "step" ? undefined : (x as XKind) })}
        />
      </div>
      <div className={classes.control}>
        <span className={classes.controlName}>Smoothing</span>
        <Slider
          className={classes.slider}
          size="sm"
          min={0}
          max={MAX_SMOOTHING}
          step={0.01}
          label={null}
          thumbLabel="Smoothing"
          value={smoothing}
          onChange={onSmoothing}
          onChangeEnd={onSmoothed}
        />
        <output className={classes.weight}>{smoothing.toFixed(2)}</output>
      </div>
      <Switch
        size="xs"
        label="Log y"
        checked={search.log ?? false}
        onChange={(event) => onChange({ log: event.currentTarget.checked || undefined })}
      />
      <Switch
        size="xs"
        label="Training and validation together"
        checked={search.pair ?? false}
        onChange={(event) => onChange({ pair: event.currentTarget.checked || undefined })}
      />
      <MetricMenu search={search} onChange={onChange} compared={compared} />
      <div className={classes.control}>
        <span className={classes.controlName}>Baseline</span>
        <NativeSelect
          size="xs"
          aria-label="Baseline"
          className={classes.baseline}
          value={search.baseline ?? ""}
          onChange={(event) => onChange({ baseline: event.currentTarget.value || undefined })}
          data={[{ value: "", label: "none" }, ...compared.map(({ run }) => ({ value: run.id, label: run.name }))]}
        />
      </div>
    </section>
  );
}

function MetricMenu({
  search,
  onChange,
  compared,
}: Omit<CompareToolbarProps, "smoothing" | "onSmoothing" | "onSmoothed">) {
  const { data: catalogue = [] } = useQuery(catalogueQuery);
  const runs = compared.map(({ run }) => run);
  const chosen = chosenMetrics(wordsOf(search.metrics), runs, catalogue).map(({ name }) => name);
  const reported = (name: string) => runs.some(({ latest }) => name in latest);
  return (
    <Popover position="bottom-end" shadow="md" trapFocus>
      <Popover.Target>
        <Button size="xs" variant="default" rightSection={<IconChevron size={14} />}>
          Metrics ({chosen.length})
        </Button>
      </Popover.Target>
      <Popover.Dropdown className={classes.metricMenu} aria-label="Metrics">
        {metricMenu(catalogue).map(({ title, metrics }) => (
          <fieldset key={title} className={classes.metricGroup}>
            <legend>{title}</legend>
            {metrics.map((metric) => (
              <Checkbox
                key={metric.name}
                size="xs"
                label={<MathText>{metricTitle(metric)}</MathText>}
                description={reported(metric.name) ? undefined : "not reported by these runs"}
                checked={chosen.includes(metric.name)}
                onChange={() => onChange({ metrics: toggled(listOf(chosen), metric.name) })}
              />
            ))}
          </fieldset>
        ))}
        {search.metrics !== undefined && (
          <Button size="compact-xs" variant="subtle" onClick={() => onChange({ metrics: undefined })}>
            Back to the usual ones
          </Button>
        )}
      </Popover.Dropdown>
    </Popover>
  );
}
