import { describe, expect, test } from "vitest";
import { readSpec } from "./spec-document";
import { kindsIn, unknownFields, valueAt, withKind } from "./spec-values";
import { TEMPLATE } from "./template";

function specOf(text: string) {
  const reading = readSpec(text);
  if (!reading.ok) throw new Error(reading.reason);
  return reading.spec;
}

test("valueAt follows a path and says undefined beyond its end", () => {
  const spec = { method: { rho: 0 }, epochs: null, list: [1] };
  expect(valueAt(spec, "method.rho")).toBe(0);
  expect(valueAt(spec, "epochs")).toBeNull();
  expect(valueAt(spec, "method.rho.more")).toBeUndefined();
  expect(valueAt(spec, "list.0")).toBeUndefined();
});

test("kinds are the spec's, or the schema's default", () => {
  expect(kindsIn({ optimizer: { name: "sgd" } })).toEqual({ data: "digits", optimizer: "sgd", method: "none" });
  expect(kindsIn({ optimizer: "sgd", method: { name: 5 } })).toEqual({ data: "digits", optimizer: "", method: "none" });
});

describe("withKind", () => {
  const method = (text: string) => specOf(text).method;

  test("keeps what both kinds have, drops the rest, and keeps comments", () => {
    const sam = withKind(TEMPLATE, "method", "sam");
    expect(method(sam)).toEqual({ name: "sam", rho: 0.05, k: 5 });
    expect(sam).toContain("# how far the ascent goes");
    expect(method(withKind(sam, "method", "none"))).toEqual({ name: "none" });
  });

  test("drops rho where its unit changes, and only there", () => {
    const layerwise = withKind(TEMPLATE, "method", "look_layersam");
    expect(method(layerwise)).toEqual({ name: "look_layersam", k: 5 });
    const given = layerwise.replace("name: look_layersam", "name: look_layersam\n  rho: 0.02\n  layerwise: unit");
    expect(method(withKind(given, "method", "layersam"))).toEqual({
      name: "layersam",
      rho: 0.02,
      layerwise: "unit",
      k: 5,
    });
    expect(method(withKind(given, "method", "looksam"))).toEqual({ name: "looksam", k: 5 });
  });

  test("drops nested fields and leaves unknown ones to be flagged", () => {
    const text = "data:\n  source: image_folder\n  train: a\n  augmentation: {horizontal_flip: 0}\n  odd: 1\n";
    expect(specOf(withKind(text, "data", "digits")).data).toEqual({ source: "digits", odd: 1 });
  });

  test("names the kind where the default was meant", () => {
    expect(specOf(withKind("seed: 1\n", "method", "sam"))).toEqual({ seed: 1, method: { name: "sam" } });
  });

  test("the same kind again changes nothing", () => expect(withKind(TEMPLATE, "method", "looksam")).toBe(TEMPLATE));
});

describe("unknownFields", () => {
  test("the template has none", () => expect(unknownFields(specOf(TEMPLATE))).toEqual([]));

  test("names them with their path; a free mapping is free", () => {
    const spec = {
      spec_version: 1,
      modle: {},
      model: { name: "x", arguments: { anything: { at: "all" } } },
      method: { name: "sam", alpha: "auto" },
      data: { source: "image_folder", augmentation: { flip: 1 } },
    };
    expect(unknownFields(spec)).toEqual(["modle", "method.alpha", "data.augmentation.flip"]);
  });
});
