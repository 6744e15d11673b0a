import { beforeEach, describe, expect, test } from "vitest";
import { commandOf, type Draft, fileNameOf, newOrigin, originOf, submissionOf } from "./draft";
import { DraftStorage } from "./draft-storage";

const draft: Draft = { ...newOrigin().draft, name: " my run ", study: "sweep's", priority: "5" };

describe("submissionOf", () => {
  test("sends what was entered, without blanks, and leaves out what was not", () => {
    expect(submissionOf(draft, { seed: 1 }, "abc")).toEqual({
      spec: { seed: 1 },
      name: "my run",
      study: "sweep's",
      priority: 5,
      copied_from: "abc",
    });
    expect(submissionOf(newOrigin().draft, {}, null)).toEqual({ spec: {} });
  });

  test("leaves it to the API to say what a priority may be", () => {
    expect(submissionOf({ ...draft, priority: "high" }, {}, null).priority).toBe("high");
  });
});

test("a copy begins with the request as it was sent, but with a name of its own", () => {
  const request = {
    spec: { resources: { workers: 2 }, model: { arguments: { a: [1, 2] }, name: "resnet18" }, odd: true },
    name: "first",
    study: "s",
    priority: -3,
    project: "digits",
    visibility: "private",
  };
  const { draft: copy, copiedFrom } = originOf("r1", request);
  expect(copiedFrom).toBe("r1");
  expect(copy).toMatchObject({ name: "", study: "s", priority: "-3", project: "digits", visibility: "private" });
  expect(copy.text.indexOf("model:")).toBeLessThan(copy.text.indexOf("resources:"));
  expect(copy.text).toContain("odd: true");
  expect(submissionOf(copy, {}, copiedFrom)).toMatchObject({ copied_from: "r1", visibility: "private" });
});

test("the address may name another study for a copy", () => {
  expect(originOf("r1", { spec: {}, study: "s" }, "t").draft.study).toBe("t");
});

test("the command can be pasted into a shell", () => {
  expect(commandOf(draft, "my-run.yaml")).toBe(
    "basin run submit my-run.yaml --name 'my run' --study 'sweep'\\''s' --priority 5",
  );
  expect(commandOf(newOrigin().draft, "spec.yaml")).toBe("basin run submit spec.yaml");
});

test("file names are plain", () => {
  expect(fileNameOf(draft)).toBe("my-run.yaml");
  expect(fileNameOf({ ...draft, name: "../../etc" })).toBe("etc.yaml");
  expect(fileNameOf({ ...draft, name: "日本" })).toBe("spec.yaml");
});

describe("DraftStorage", () => {
  let items: Map<string, string>;
  const store = {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
    removeItem: (key: string) => void items.delete(key),
  };
  beforeEach(() => {
    items = new Map();
  });

  test("a reload finds the draft again; another person and another copy do not", () => {
    new DraftStorage("ann", null, store).save(draft);
    expect(new DraftStorage("ann", null, store).load()).toEqual(draft);
    expect(new DraftStorage("bob", null, store).load()).toBeNull();
    expect(new DraftStorage("ann", "r1", store).load()).toBeNull();
  });

  test("one body has one key, also after a reload; another body has another", () => {
    const key = new DraftStorage("ann", null, store).keyFor("a", draft);
    const reloaded = new DraftStorage("ann", null, store);
    reloaded.save({ ...draft, name: "typed on" });
    expect(reloaded.keyFor("a", draft)).toBe(key);
    const other = reloaded.keyFor("b", draft);
    expect(other).not.toBe(key);
    expect(other).toMatch(/^[0-9a-f]{32}$/);
  });

  test("what was submitted is forgotten, its key as well", () => {
    const storage = new DraftStorage("ann", null, store);
    const key = storage.keyFor("a", draft);
    storage.forget();
    expect(storage.load()).toBeNull();
    expect(storage.keyFor("a", draft)).not.toBe(key);
  });

  test("what cannot be read is no draft", () => {
    items.set("basin-draft:ann:new", "{");
    expect(new DraftStorage("ann", null, store).load()).toBeNull();
    items.set("basin-draft:ann:new", '{"draft": 5}');
    expect(new DraftStorage("ann", null, store).load()).toBeNull();
  });

  test("a full or forbidden storage is no reason to fail", () => {
    const full = {
      ...store,
      setItem: () => {
        throw new DOMException("full", "QuotaExceededError");
      },
    };
    expect(() => new DraftStorage("ann", null, full).save(draft)).not.toThrow();
  });
});
