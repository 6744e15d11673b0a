import type { Field } from "./spec-schema";

export interface FormSection {
  title: string;
  /** Which fields it holds: whole sections of the spec, or single fields. */
  holds: readonly string[];
}

/** The form from top to bottom. Every field of the schema belongs to exactly one section; a test checks it. */
export const FORM_SECTIONS: readonly FormSection[] = [
  { title: "Model", holds: ["model"] },
  { title: "Data", holds: ["data"] },
  { title: "Optimizer", holds: ["optimizer", "schedule"] },
  { title: "Method", holds: ["method"] },
  { title: "Batch and length", holds: ["global_batch_size", "epochs", "steps", "micro_batch_size"] },
  { title: "Regularization", holds: ["regularization", "clip_norm", "ema_decay"] },
  { title: "Execution", holds: ["precision", "ascent_precision", "execution"] },
  { title: "Workers, seed and limits", holds: ["resources", "seed", "limits"] },
  { title: "Evaluation and records", holds: ["evaluation", "checkpoint", "logging"] },
];

/** What most people leave as it is: folded away until asked for, or until it has a problem. */
const ADVANCED: readonly string[] = [
  "model.init_from",
  "model.image_size",
  "data.split_seed",
  "data.augmentation",
  "data.mean",
  "data.std",
  "data.loader_workers",
  "optimizer.betas",
  "optimizer.eps",
  "optimizer.nesterov",
  "optimizer.max_grad_norm",
  "schedule.final_lr_fraction",
  "optimizer.layer_decay",
  "method.one_dimensional",
  "method.rho_schedule",
  "method.start_step",
  "method.stop_step",
  "method.perturbation",
  "method.scope",
  "micro_batch_size",
  "regularization",
  "clip_norm",
  "ema_decay",
  "precision",
  "ascent_precision",
  "execution",
  "evaluation.batch_size",
  "checkpoint",
  "logging",
  "limits",
];

/** Names where the field's own, with spaces, would not do. */
export const LABELS: Readonly<Record<string, string>> = {
  "model.name": "Model",
  "model.init_from": "Start with trained weights",
  "data.train": "Training folder",
  "data.validation": "Validation folder",
  "data.validation_fraction": "Held out to validate",
  "data.train_size": "Training images",
  "data.split_seed": "Seed of the split",
  "data.augmentation.crop_scale": "Random crop, share kept",
  "data.augmentation.horizontal_flip": "Chance of a horizontal flip",
  "data.augmentation.color_jitter": "Colour jitter",
  "data.augmentation.auto_augment": "RandAugment",
  "data.augmentation.random_erasing": "Chance of random erasing",
  "data.mean": "Colour means",
  "data.std": "Colour deviations",
  "data.loader_workers": "Reading processes",
  "optimizer.lr": "Learning rate",
  "optimizer.eps": "Epsilon",
  "optimizer.max_grad_norm": "LAMB's own clipping",
  "schedule.name": "Schedule",
  "schedule.final_lr_fraction": "Final share of the rate",
  "method.rho": "rho",
  "method.k": "k",
  "method.alpha": "alpha",
  "method.layerwise": "Layer-wise rule",
  "method.one_dimensional": "Biases and norm layers",
  "method.rho_schedule": "rho over time",
  "method.start_step": "Starts with step",
  "method.stop_step": "Stops with step",
  "method.perturbation": "Ascent follows the gradient of",
  "optimizer.layer_decay": "Layer decay",
  "optimizer.trust_coefficient": "Trust coefficient",
  "execution.tf32": "TF32",
  ema_decay: "Average of the weights (EMA)",
  clip_norm: "Clip the direction to",
  "evaluation.every_epochs": "Validate every (epochs)",
  "evaluation.batch_size": "Validation batch size",
  "evaluation.sharpness_radius": "Sharpness radius",
  "evaluation.curvature_images": "Images for the Hessian",
  "checkpoint.every_steps": "Checkpoint every (steps)",
  "checkpoint.keep": "Checkpoints kept",
  "checkpoint.keep_best": "Keep the best one, too",
  "logging.every_steps": "Report every (steps)",
  "resources.gpus_per_worker": "GPUs per worker",
  "limits.max_failures": "Failures tolerated",
  "limits.time_limit_seconds": "Time limit (seconds)",
};

/** Kinds as people call them. */
export const KIND_LABELS: Readonly<Record<string, string>> = {
  digits: "Digits",
  image_folder: "Image folder",
  torchvision: "torchvision",
  huggingface: "Hugging Face",
  webdataset: "webdataset (tar files)",
  sgd: "SGD",
  adamw: "AdamW",
  lamb: "LAMB",
  lars: "LARS",
  lion: "Lion",
  muon: "Muon",
  none: "None",
  sam: "SAM",
  looksam: "LookSAM",
  layersam: "LayerSAM",
  look_layersam: "Look-LayerSAM",
};

export function labelOf(path: string): string {
  const name = path.slice(path.lastIndexOf(".") + 1).replaceAll("_", " ");
  return LABELS[path] ?? name.charAt(0).toUpperCase() + name.slice(1);
}

export function isAdvanced(field: Pick<Field, "path" | "required">): boolean {
  return !field.required && ADVANCED.some((path) => isWithin(field.path, path));
}

/** The fields of a section, those for everybody first. */
export function fieldsIn(section: FormSection, fields: readonly Field[]): { plain: Field[]; advanced: Field[] } {
  const held = fields.filter(({ path }) => section.holds.some((part) => isWithin(path, part)));
  return { plain: held.filter((field) => !isAdvanced(field)), advanced: held.filter(isAdvanced) };
}

/** Whether `path` is `part` or lies within it. */
export function isWithin(path: string, part: string): boolean {
  return path === part || path.startsWith(`${part}.`);
}

/** What the number means, which a bare "rho" does not say. */
export const RHO_UNITS: Readonly<Record<string, string>> = {
  trust: "a share of each tensor’s norm",
  literal: "a share of each tensor’s norm, divided by ‖g‖",
  unit: "an absolute norm for each tensor",
  asam_dual: "relative, over all tensors together",
};

/** The unit of `rho` for a method; its layer-wise rule decides where it has one. */
export function rhoUnit(layerwise: unknown): string {
  if (layerwise === undefined) return "an absolute norm over all parameters";
  return RHO_UNITS[String(layerwise)] ?? "depends on the layer-wise rule";
}
