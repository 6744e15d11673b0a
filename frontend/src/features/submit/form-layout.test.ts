import { describe, expect, test } from "vitest";
import { FORM_SECTIONS, fieldsIn, isWithin, KIND_LABELS, LABELS, RHO_UNITS, rhoUnit } from "./form-layout";
import { type Field, fieldsOf, kindDescription, kindsOf, UNION_SECTIONS } from "./spec-schema";

/** Every combination of the kinds of data, optimizer and method. */
const ALL_FIELDS: Field[][] = kindsOf("data").names.flatMap((data) =>
  kindsOf("optimizer").names.flatMap((optimizer) =>
    kindsOf("method").names.map((method) => fieldsOf({ data, optimizer, method })),
  ),
);
const PATHS = new Set(ALL_FIELDS.flat().map(({ path }) => path));

test("every field of the schema is in exactly one section of the form", () => {
  expect(ALL_FIELDS).toHaveLength(5 * 6 * 5);
  for (const path of PATHS) {
    const holders = FORM_SECTIONS.filter(({ holds }) => holds.some((part) => isWithin(path, part)));
    expect([path, holders.length]).toEqual([path, 1]);
  }
});

test("whatever is named by hand exists in the schema", () => {
  for (const path of Object.keys(LABELS)) expect(PATHS).toContain(path);
  for (const part of FORM_SECTIONS.flatMap(({ holds }) => holds)) {
    expect([part, [...PATHS].some((path) => isWithin(path, part))]).toEqual([part, true]);
  }
  const kinds = UNION_SECTIONS.flatMap((section) => [...kindsOf(section).names]);
  expect(Object.keys(KIND_LABELS).sort()).toEqual(kinds.sort());
});

describe("the fields of each method are the contract's", () => {
  const fieldsOfMethod = (method: string) =>
    fieldsOf({ data: "digits", optimizer: "sgd", method })
      .map(({ path }) => path)
      .filter((path) => path.startsWith("method."))
      .map((path) => path.slice("method.".length));

  const ascending = ["rho", "k", "rho_schedule", "start_step", "stop_step", "perturbation"];
  test.each([
    ["none", []],
    ["sam", ascending],
    ["looksam", [...ascending, "alpha", "scope"]],
    ["layersam", [...ascending, "layerwise", "one_dimensional"]],
    ["look_layersam", [...ascending, "layerwise", "one_dimensional", "alpha", "scope"]],
  ])("%s: %j", (method, fields) => {
    expect(fieldsOfMethod(method).sort()).toEqual([...fields].sort());
  });

  test("rho has a default where its unit is absolute, and must be given where it is relative", () => {
    const rhoOf = (method: string) =>
      fieldsOf({ data: "digits", optimizer: "sgd", method }).find(({ path }) => path === "method.rho");
    expect(rhoOf("looksam")).toMatchObject({ required: false, default: 0.05 });
    expect(rhoOf("look_layersam")).toMatchObject({ required: true });
  });
});

test("each layer-wise rule has its unit of rho, and none is made up", () => {
  const rule = fieldsOf({ data: "digits", optimizer: "sgd", method: "layersam" }).find(
    ({ path }) => path === "method.layerwise",
  );
  expect(rule?.input).toEqual({ kind: "choice", options: Object.keys(RHO_UNITS) });
  expect(rhoUnit(undefined)).toContain("absolute");
  expect(rhoUnit("trust")).toContain("share");
});

test("descriptions and kinds come from the schema", () => {
  const fields = fieldsOf({ data: "image_folder", optimizer: "lamb", method: "looksam" });
  const find = (path: string) => fields.find((field) => field.path === path);
  expect(find("optimizer.lr")?.description).toContain("Peak learning rate");
  expect(find("method.alpha")?.input).toEqual({ kind: "number-or-choice", options: ["auto", "fresh_ratio"] });
  expect(find("data.augmentation.crop_scale")?.input).toEqual({ kind: "numbers", length: 2 });
  expect(find("model.arguments")?.input).toEqual({ kind: "mapping" });
  expect(find("model.init_from")?.input).toEqual({ kind: "mapping" });
  expect(find("ascent_precision")?.input).toEqual({ kind: "choice", options: ["fp32"] });
  expect(find("steps")?.input).toEqual({ kind: "number", integer: true });
  expect(find("data.train")).toMatchObject({ required: true, input: { kind: "text" }, example: "pets/train" });
  expect(kindDescription("method", "looksam")).toContain("LookSAM");
});

test("what must be given is never folded away", () => {
  for (const fields of ALL_FIELDS) {
    for (const section of FORM_SECTIONS) {
      expect(fieldsIn(section, fields).advanced.filter(({ required }) => required)).toEqual([]);
    }
  }
});
