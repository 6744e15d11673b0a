import { MathText } from "@/components/math-text";
import { Panel } from "@/components/panel";
import classes from "./compare.module.css";

const ENTRIES: readonly (readonly [string, string])[] = [
  [
    "Gradient evaluations",
    "Forward-backward passes over a global batch. A plain optimizer takes one a step, SAM two, LookSAM with k = 5 six in five steps. Put on the x axis, it shows what a method gets for the same work; steps do not.",
  ],
  [
    "Refresh and reuse",
    "SAM climbs to nearby weights where the loss is higher and takes the gradient there. LookSAM does so at every k-th step only (a refresh) and keeps g_v, the part of that gradient orthogonal to the plain one; in between it adds g_v, scaled by alpha (a reuse). Look-LayerSAM does the same with a climb whose size is set layer by layer.",
  ],
  [
    "Method signals",
    "The loss rise says how steep the climb is. ‖g_v‖/‖g‖ says how much the climb adds to the plain gradient. The cosine between two refreshes says whether the stored direction still holds when it is reused: near 1 reuse costs nothing, near 0 it adds noise.",
  ],
  [
    "Sharpness",
    "How much the loss over the whole training set rises for one step of fixed length up its own gradient, at the final weights. All runs are measured with the same radius whatever their own rho, so the numbers compare; a method's own loss rise, taken at its own rho, does not.",
  ],
  [
    "Training and validation loss",
    "A training loss near zero beside a validation loss that rises again is overfitting. A flatter minimum is worth its price when validation top-1 or loss is better, not because the training loss is higher.",
  ],
  [
    "CPU-seconds and seconds",
    "CPU time of all workers in training steps, and time on the clock without waiting and start-up. Both depend on the machine and on what else runs there; gradient evaluations do not.",
  ],
  [
    "One seed is not evidence",
    "The same spec with another seed often differs by as much as two methods do. Repeat each with three or more seeds before you choose.",
  ],
];

/** What each number and curve says, and what it does not. */
export function HowToRead() {
  return (
    <Panel title="How to read this" collapsible>
      <dl className={classes.explained}>
        {ENTRIES.map(([term, meaning]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>
              <MathText>{meaning}</MathText>
            </dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}
