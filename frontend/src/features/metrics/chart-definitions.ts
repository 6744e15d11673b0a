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
  /** What good looks like, in one sentence that is always shown. */
  good?: string;
  lines: readonly LineDefinition[];
  /** Methods that report it; absent: all do; none: shown where there are points. */
  methods?: readonly string[];
  canBeLogarithmic?: boolean;
  zeroLine?: boolean;
  bounds?: readonly [number, number];
}

export interface ChartSection {
  title: string;
  charts: readonly ChartDefinition[];
}

const ASCENDING = ["sam", "looksam", "layersam", "look_layersam"];
const REUSING = ["looksam", "look_layersam"];

/** A run's charts, in order. To add one, add an entry: metrics are named as in `trainer/contract/metrics.py`. */
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
      {
        title: "Time of a step",
        description:
          "Where the seconds of a step go, the mean since the last point on rank 0: waiting for images; loss and gradient at the weights; the ascent with its second gradient; the optimizer; sums over the workers, with the wait for the slowest.",
        lines: [
          { metric: "forward_backward_seconds", label: "forward-backward", role: "training" },
          { metric: "ascent_seconds", label: "ascent", role: "signal" },
          { metric: "data_seconds", label: "data", role: "validation" },
          { metric: "communication_seconds", label: "communication", role: "second" },
          { metric: "optimizer_seconds", label: "optimizer", role: "third" },
        ],
      },
      {
        title: "Peak memory",
        description:
          "Rank 0's most: on a GPU of torch's tensors since the last point, on a CPU of the whole process so far.",
        lines: [{ metric: "memory_bytes", label: "rank 0", role: "training" }],
      },
      {
        title: "GPU utilisation",
        description: "Share of the last second or less in which a GPU computed, by NVML: the mean over the workers.",
        lines: [{ metric: "gpu_utilization", label: "mean", role: "training" }],
        methods: [],
        bounds: [0, 100],
      },
      {
        title: "GPU memory in use",
        description: "Memory in use on the fullest worker's GPU, by NVML, other processes' included.",
        lines: [{ metric: "gpu_memory_bytes", label: "fullest", role: "training" }],
        methods: [],
      },
      {
        title: "GPU power",
        description: "Power that the GPUs of all workers draw together, by NVML.",
        lines: [{ metric: "gpu_watts", label: "all workers", role: "training" }],
        methods: [],
      },
    ],
  },
];

/** What a method sees of the loss around the weights: the charts of the tab of that name. */
export const SIGNALS: ChartSection = {
  title: "Method signals",
  charts: [
    {
      title: "Loss rise L(w+ε) − L(w)",
      description: "How much the ascent of size rho raises the loss of the batch: a free measure of sharpness.",
      good: "Good is small, and falling or flat: a rise that grows while the loss falls says that the basin narrows.",
      lines: [{ metric: "loss_rise", label: "loss rise", role: "signal" }],
      methods: ASCENDING,
      zeroLine: true,
    },
    {
      title: "‖g_v‖ / ‖g‖",
      description: "Size of the part of the ascent gradient orthogonal to g, against g: what the ascent adds.",
      good: "Good is well above 0: near 0 the ascent adds nothing that g lacks, and rho may be larger.",
      lines: [{ metric: "orthogonal_ratio", label: "‖g_v‖ / ‖g‖", role: "signal" }],
      methods: ASCENDING,
      canBeLogarithmic: true,
    },
    {
      title: "cos(g_v now, g_v before)",
      description: "Cosine between the directions of two refreshes.",
      good: "Good is 0.2 or more: near 0 the stored direction no longer holds when it is reused; lower k or take a larger batch.",
      lines: [{ metric: "direction_cosine", label: "cosine", role: "signal" }],
      methods: REUSING,
      zeroLine: true,
      bounds: [-1, 1],
    },
    {
      title: "cos(g_v now, before) by layers",
      description:
        "The same over parts of the network alone: what comes before the blocks, the thirds of the blocks, and the head.",
      good: "Good is all five near each other: a part far below the rest is where reuse adds mostly noise.",
      lines: [
        { metric: "direction_cosine/stem", label: "stem", role: "validation" },
        { metric: "direction_cosine/early", label: "early blocks", role: "training" },
        { metric: "direction_cosine/middle", label: "middle blocks", role: "signal" },
        { metric: "direction_cosine/late", label: "late blocks", role: "second" },
        { metric: "direction_cosine/head", label: "head", role: "third" },
      ],
      methods: REUSING,
      zeroLine: true,
      bounds: [-1, 1],
    },
    {
      title: "cos(g, g_s)",
      description: "Cosine between the gradients at the weights and at the perturbed weights.",
      good: "Good is somewhat below 1: at 1 rho is too small to see anything, near 0 so large that g says nothing of the place.",
      lines: [{ metric: "gradient_cosine", label: "cosine", role: "signal" }],
      methods: ASCENDING,
      zeroLine: true,
      bounds: [-1, 1],
    },
    {
      title: "α in use, and c",
      description:
        "Strength of the reuse until the next refresh. With alpha auto it is min(1, ‖g_v‖/‖g‖) times c, the running estimate of how much of the direction persists.",
      good: "Good is steady: with alpha auto a c near 0 turns the reuse off, because the direction does not persist.",
      lines: [
        { metric: "alpha", label: "α", role: "signal" },
        { metric: "persistence", label: "c (persistence)", role: "second" },
      ],
      methods: REUSING,
      zeroLine: true,
    },
    {
      title: "‖g‖ and ‖g_s‖",
      description: "L2 norms over all parameters of the gradients at the weights and at the perturbed weights.",
      good: "Good is one order of size for both: a ‖g_s‖ many times ‖g‖ says that rho leaves the basin.",
      lines: [
        { metric: "grad_norm", label: "‖g‖", role: "training" },
        { metric: "perturbed_grad_norm", label: "‖g_s‖", role: "signal" },
      ],
      methods: ASCENDING,
      canBeLogarithmic: true,
    },
  ],
};

/** Every metric that some chart draws, each once. */
export const CHARTED_METRICS: readonly string[] = [
  ...new Set(
    [...SECTIONS, SIGNALS].flatMap(({ charts }) => charts.flatMap(({ lines }) => lines.map(({ metric }) => metric))),
  ),
];
