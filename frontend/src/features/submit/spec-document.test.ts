import { describe, expect, test } from "vitest";
import { placeOf, readSpec, withField, withFields } from "./spec-document";

const TEXT = `# A first try
model:
  name: vit_tiny_patch16_224 # small
  arguments: {patch_size: 2, embed_dim: 64}

optimizer: {name: adamw, lr: 1e-3} # peak
# the point of it all
method:
  name: looksam
  rho: 0.05 # radius
  k: 5
global_batch_size: 256
epochs: 40
someday: {unknown: field}
`;

describe("readSpec", () => {
  test("gives the fields", () => {
    expect(readSpec(TEXT)).toMatchObject({ ok: true, spec: { optimizer: { lr: 0.001 }, epochs: 40 } });
  });

  test("an empty text is an empty spec", () => {
    expect(readSpec("")).toMatchObject({ ok: true, spec: {} });
    expect(readSpec("# nothing yet\n")).toMatchObject({ ok: true, spec: {} });
  });

  test.each([
    ["model:\n  name: [vit\nsteps: 5\n", 3],
    ["steps: 5\nsteps: 6\n", 2],
    ["steps: 5\n\tseed: 1\n", 2],
    ["- a\n- b\n", 1],
    ["seed: 1\noptimizer:\n  lr: .inf\n", 3],
    ["a: *nowhere\n", 1],
  ])("says the line and why of %j", (text, line) => {
    const reading = readSpec(text);
    expect(reading).toMatchObject({ ok: false, line });
    expect((reading as { reason: string }).reason.length).toBeGreaterThan(10);
  });
});

describe("withField", () => {
  test("changes the one value and keeps comments, order and unknown fields", () => {
    expect(withField(TEXT, ["method", "rho"], 0.1)).toBe(TEXT.replace("rho: 0.05", "rho: 0.1"));
    expect(withField(TEXT, ["optimizer", "lr"], 0.002)).toBe(TEXT.replace("lr: 1e-3", "lr: 0.002"));
    expect(withField(TEXT, ["model", "name"], "resnet18")).toBe(TEXT.replace("vit_tiny_patch16_224", "resnet18"));
  });

  test("a number may become a word and a word a number", () => {
    const auto = withField(TEXT, ["method", "alpha"], "auto");
    expect(auto).toContain("  k: 5\n  alpha: auto\n");
    expect(withField(auto, ["method", "alpha"], 0.3)).toContain("  alpha: 0.3\n");
    expect(withField("seed: '5'\n", ["seed"], 6)).toBe("seed: 6\n");
  });

  test("makes a section that is not there, in its usual place", () => {
    const text = withField(TEXT, ["schedule", "warmup_steps"], 10);
    expect(text).toContain("  k: 5\nschedule:\n  warmup_steps: 10\nglobal_batch_size: 256\n");
    expect(withField(text, ["schedule", "warmup_steps"], undefined)).toBe(TEXT);
  });

  test("removing what is not there changes nothing", () => {
    expect(withField(TEXT, ["logging", "every_steps"], undefined)).toBe(TEXT);
  });

  test("keeps a section that a comment explains", () => {
    const text = "logging:\n  # often\n  every_steps: 1\nseed: 1\n";
    expect(withField(text, ["logging", "every_steps"], 5)).toBe(text.replace("1\nseed", "5\nseed"));
  });

  test("writes lists on one line", () => {
    expect(withField("optimizer:\n  name: adamw\n", ["optimizer", "betas"], [0.9, 0.99])).toBe(
      "optimizer:\n  name: adamw\n  betas: [0.9, 0.99]\n",
    );
  });

  test("changes the entries of a mapping one by one", () => {
    const text = "model:\n  arguments:\n    depth: 3 # shallow\n    num_heads: 4\n";
    expect(withField(text, ["model", "arguments"], { depth: 6, embed_dim: 64 })).toBe(
      "model:\n  arguments:\n    depth: 6 # shallow\n    embed_dim: 64\n",
    );
  });

  test("fields put into what an alias stands for do not change its anchor", () => {
    const text = "evaluation: &often {every_epochs: 1}\nlogging: *often\n";
    expect(readSpec(withField(text, ["logging", "every_steps"], 2))).toMatchObject({
      spec: { evaluation: { every_epochs: 1 }, logging: { every_epochs: 1, every_steps: 2 } },
    });
  });

  test("begins in an empty text, and behind a lonely comment", () => {
    expect(withField("", ["model", "name"], "resnet18")).toBe("model:\n  name: resnet18\n");
    expect(withField("# mine\n", ["seed"], 1)).toContain("# mine\n");
    expect(withField("seed: 1\n", ["seed"], undefined)).toBe("");
  });

  test("leaves a text alone that cannot be read", () => {
    expect(withField("a: [", ["a"], 1)).toBe("a: [");
  });

  test("several fields at once", () => {
    const text = withFields(TEXT, [
      [["epochs"], undefined],
      [["steps"], 100],
    ]);
    expect(text).not.toContain("epochs");
    expect(text).toContain("global_batch_size: 256\nsteps: 100\n");
  });
});

describe("placeOf", () => {
  const at = (path: string[]) => {
    const place = placeOf(TEXT, path);
    return place && [place.line, TEXT.slice(place.from, place.to)];
  };
  test("a field with its value", () => expect(at(["method", "rho"])).toEqual([10, "rho: 0.05"]));
  test("a section by its name", () => expect(at(["method"])).toEqual([8, "method"]));
  test("what is missing, at the deepest part that is there", () => {
    expect(at(["method", "alpha"])).toEqual([8, "method"]);
    expect(at(["schedule", "name"])).toBeNull();
  });
  test("an item of a list", () => {
    expect(placeOf("optimizer:\n  betas: [0.9, 2]\n", ["optimizer", "betas", "1"])).toMatchObject({
      line: 2,
      from: 26,
    });
  });
});
