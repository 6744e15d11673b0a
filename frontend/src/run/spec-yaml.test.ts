import { expect, test } from "vitest";
import { parse } from "yaml";
import { specYaml } from "./spec-yaml";

test("sections are blocks and lists stand on one line", () => {
  const spec = { optimizer: { name: "adamw", betas: [0.9, 0.999] }, steps: null, model: { arguments: {} } };
  expect(specYaml(spec)).toBe(
    "optimizer:\n  name: adamw\n  betas: [0.9, 0.999]\nsteps: null\nmodel:\n  arguments: {}\n",
  );
  expect(parse(specYaml(spec))).toEqual(spec);
});
