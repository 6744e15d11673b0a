/** Made by `contract-plugin.ts`. */
declare module "virtual:spec-schema" {
  const schemas: Record<string, unknown>;
  export default schemas;
}
declare module "virtual:model-names" {
  const names: string[];
  export default names;
}
