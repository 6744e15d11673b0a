import { expect, test } from "vitest";
import { isLive, methodDetail, methodLabel, ordinal, percentDone } from "./describe-run";

const base = { method: "none", method_settings: {}, optimizer: "adamw" };
const sam = { method: "sam", method_settings: { rho: 0.05, k: 1 }, optimizer: "adamw" };
const samK = { method: "sam", method_settings: { rho: 0.1, k: 5 }, optimizer: "sgd" };
const look = { method: "looksam", method_settings: { rho: 0.05, k: 5, alpha: "auto" }, optimizer: "adamw" };

test("methods are named as people say them", () => {
  expect([base, sam, samK, look].map(methodLabel)).toEqual(["AdamW", "SAM", "SAM k=5", "LookSAM k=5"]);
  expect([base, sam, look].map(methodDetail)).toEqual(["", "rho 0.05 · AdamW", "rho 0.05 · alpha auto · AdamW"]);
});

test("the layer-wise methods say their rule", () => {
  const layer = {
    method: "look_layersam",
    method_settings: { rho: 0.02, k: 5, layerwise: "asam_dual" },
    optimizer: "lamb",
  };
  expect(methodLabel(layer)).toBe("Look-LayerSAM k=5");
  expect(methodDetail(layer)).toBe("rho 0.02 · layerwise asam dual · LAMB");
});

test("a method this page does not know keeps its own name", () => {
  expect(methodLabel({ method: "newsam", method_settings: { k: 3 }, optimizer: "adamw" })).toBe("newsam k=3");
});

test("only what may still change is live", () => {
  expect(isLive({ status: "cancelling" })).toBe(true);
  expect(isLive({ status: "failed" })).toBe(false);
});

test("percentDone is null without a total and never above 100", () => {
  expect(percentDone({ step: 5, total_steps: null })).toBeNull();
  expect(percentDone({ step: 150, total_steps: 600 })).toBe(25);
  expect(percentDone({ step: 601, total_steps: 600 })).toBe(100);
});

test.each([
  [1, "1st"],
  [2, "2nd"],
  [3, "3rd"],
  [11, "11th"],
  [22, "22nd"],
  [113, "113th"],
])("ordinal of %d is %s", (place, text) => {
  expect(ordinal(place)).toBe(text);
});
