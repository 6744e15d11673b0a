import type { Role } from "@/charts/palette";

export interface LineDefinition {
  /** The metric's name in the catalogue. */
  metric: string;
  label: string;
  role: Role;
  /** A dot at each point: for metrics that come seldom. */
  dots?: boolean;
}

export interface ChartDefinition {
  title: string;
  description: string;
  lines: readonly LineDefinition[];
  /** Methods that report it; absent: all do. */
  methods?: readonly string[];
  canBeLogarithmic?: boolean;
  zeroLine?: boolean;
  bounds?: readonly [number, number];
}

export interface ChartSection {
  title: string;
  charts: readonly ChartDefinition[];
}

const ASCENDING = ["sam", "looksam"];
const REUSING = ["looksam"];

/** The charts of a run's page, in order. To add one, add an entry: metrics are named as in `trainer/contract/metrics.py`. */
export const SECTIONS: readonly ChartSection[] = [
  {
    title: "Learning",
    charts: [
      {
        title: "Loss",
        description: "Mean loss of the training batch before each step, and over the whole validation set.",
        lines: [
          { metric: "train_loss", label: "training", role: "training" },
          { metric: "validation_loss", label: "validation", role: "validation", dots: true },
        ],
        canBeLogarithmic: true,
      },
      {
        title: "Top-1 accuracy",
        description: "Share of the images classified rightly: of the training batch, and of the validation set.",
        lines: [
          { metric: "train_top1", label: "training", role: "training" },
          { metric: "validation_top1", label: "validation", role: "validation", dots: true },
        ],
        bounds: [0, 100],
      },
    ],
  },
  {
    title: "Method signals",
    charts: [
      {
        title: "Loss rise L(w+ε) − L(w)",
        description: "How much the ascent of size rho raises the loss of the batch. Lower means a flatter basin.",
        lines: [{ metric: "loss_rise", label: "loss rise", role: "signal" }],
        methods: ASCENDING,
        zeroLine: true,
      },
      {
        title: "‖g_v‖ / ‖g‖",
        description: "Size of the part of the ascent gradient orthogonal to g, against g: what the ascent adds.",
        lines: [{ metric: "orthogonal_ratio", label: "‖g_v‖ / ‖g‖", role: "signal" }],
        methods: ASCENDING,
        canBeLogarithmic: true,
      },
      {
        title: "cos(g_v now, g_v before)",
        description:
          "Cosine between the directions of two refreshes. Near 0, a stored direction says little by the time it is reused.",
        lines: [{ metric: "direction_cosine", label: "cosine", role: "signal" }],
        methods: REUSING,
        zeroLine: true,
        bounds: [-1, 1],
      },
      {
        title: "α in use",
        description:
          "Strength of the reuse until the next refresh. With alpha auto it is min(1, ‖g_v‖/‖g‖) times c, the running estimate of how much of the direction persists.",
        lines: [
          { metric: "alpha", label: "α", role: "signal" },
          { metric: "persistence", label: "c (persistence)", role: "second" },
        ],
        methods: REUSING,
        zeroLine: true,
      },
    ],
  },
  {
    title: "Schedule and cost",
    charts: [
      {
        title: "Learning rate",
        description: "Learning rate of each step.",
        lines: [{ metric: "learning_rate", label: "learning rate", role: "training" }],
      },
      {
        title: "Gradient evaluations",
        description: "Forward-backward passes over a global batch so far: the fair axis between methods.",
        lines: [{ metric: "gradient_evaluations", label: "so far", role: "training" }],
      },
      {
        title: "Gradient norm ‖g‖",
        description: "L2 norm of the gradient at the weights, over all parameters.",
        lines: [{ metric: "grad_norm", label: "‖g‖", role: "training" }],
        canBeLogarithmic: true,
      },
      {
        title: "Speed",
        description: "Training images per second over all workers since the last point.",
        lines: [{ metric: "images_per_second", label: "all workers", role: "training" }],
      },
    ],
  },
];

/** Every metric that some chart draws. */
export const CHARTED_METRICS: readonly string[] = SECTIONS.flatMap(({ charts }) =>
  charts.flatMap(({ lines }) => lines.map(({ metric }) => metric)),
);
