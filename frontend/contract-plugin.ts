import { readFileSync } from "node:fs";
import type { Plugin } from "vite";

const OPENAPI = new URL("../api/openapi.json", import.meta.url).pathname;
const MODEL_NAMES = new URL("../trainer/contract/model_names.txt", import.meta.url).pathname;

/** Virtual modules by name: the file each is made from, and its default export. */
const MODULES: Record<string, { file: string; read: (text: string) => unknown }> = {
  "virtual:spec-schema": { file: OPENAPI, read: (text) => specSchemas(JSON.parse(text)) },
  "virtual:model-names": { file: MODEL_NAMES, read: (text) => text.trim().split("\n") },
};

/**
 * Lets the page import what the service itself says of a training spec, so that descriptions, ranges, defaults and model
 * names never go stale. Only the spec's part of the OpenAPI document is taken: the rest would double the page's size.
 */
export function contract(): Plugin {
  return {
    name: "basin-contract",
    resolveId: (id) => (id in MODULES ? `\0${id}` : undefined),
    load(id) {
      const module = MODULES[id.slice(1)];
      if (!id.startsWith("\0") || !module) return;
      this.addWatchFile(module.file);
      return `export default ${JSON.stringify(module.read(readFileSync(module.file, "utf8")))}`;
    },
  };
}

type Schemas = Record<string, unknown>;

/** The schemas that TrainingSpec and Submission are made of, by name. */
function specSchemas(document: { components: { schemas: Schemas } }): Schemas {
  const all = document.components.schemas;
  const found: Schemas = {};
  const take = (name: string) => {
    if (name in found) return;
    found[name] = all[name];
    for (const [, inner = ""] of JSON.stringify(all[name]).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) take(inner);
  };
  take("Submission");
  return found;
}
