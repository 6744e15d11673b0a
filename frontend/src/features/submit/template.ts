/** Where an empty submit page begins: a small LookSAM run that any machine can train, each choice explained. */
export const TEMPLATE = `# A small vision transformer on scikit-learn's digits.
model:
  name: vit_tiny_patch16_224
  arguments: {patch_size: 2, embed_dim: 64, depth: 3, num_heads: 4} # makes it small
data:
  source: digits
optimizer:
  name: adamw
  lr: 0.001
method:
  name: looksam
  rho: 0.05 # how far the ascent goes
  k: 5 # refresh the stored direction every 5 steps
global_batch_size: 256
epochs: 40
seed: 0
resources:
  workers: 1
`;

/** Good first choices; behind them come all that timm has. */
export const WELL_KNOWN_MODELS: readonly string[] = [
  "vit_tiny_patch16_224",
  "vit_small_patch16_224",
  "vit_base_patch16_224",
  "resnet18",
  "resnet50",
  "wide_resnet50_2",
  "convnext_tiny",
  "mobilenetv3_small_100",
  "efficientnet_b0",
  "mixer_s16_224",
];
