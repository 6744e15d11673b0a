import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { Draft, Origin } from "./draft";
import { DraftStorage } from "./draft-storage";
import { type Path, type Reading, readSpec, type Spec, withField, withFields } from "./spec-document";
import type { UnionSection } from "./spec-schema";
import { withKind } from "./spec-values";

export interface DraftState {
  draft: Draft;
  /** The text as it can be read, or why it cannot. */
  reading: Reading;
  /** What the form shows: the spec of the last text that could be read. */
  spec: Spec;
  /** Whether anything was entered that a new beginning would lose. */
  changed: boolean;
  setText: (text: string) => void;
  setMeta: (change: Partial<Omit<Draft, "text">>) => void;
  setField: (path: Path, value: unknown) => void;
  setFields: (fields: readonly (readonly [Path, unknown])[]) => void;
  setKind: (section: UnionSection, kind: string) => void;
  /** Goes back to the last text that could be read. */
  revert: () => void;
  /** Begins again where the page began. */
  startOver: () => void;
  /** The Idempotency-Key of a body. */
  keyFor: (body: string) => string;
  /** After it was submitted. */
  forget: () => void;
}

/** A draft in the making: the YAML text is what counts, the form reads it and changes it field by field. */
export function useDraft(origin: Origin, user: string): DraftState {
  const storage = useMemo(() => new DraftStorage(user, origin.copiedFrom), [user, origin.copiedFrom]);
  const [draft, setDraft] = useState<Draft>(() => storage.load() ?? origin.draft);
  const reading = useMemo(() => readSpec(draft.text), [draft.text]);
  const [last, setLast] = useState<{ text: string; spec: Spec }>({ text: origin.draft.text, spec: {} });
  if (reading.ok && last.text !== draft.text) setLast({ text: draft.text, spec: reading.spec });
  const gone = useRef(false);

  useEffect(() => {
    if (gone.current) return;
    if (isSame(draft, origin.draft)) storage.forget();
    else storage.save(draft);
  }, [draft, origin, storage]);

  const edit = useCallback((change: (text: string) => string) => {
    setDraft((before) => ({ ...before, text: change(before.text) }));
  }, []);
  return {
    draft,
    reading,
    spec: reading.ok ? reading.spec : last.spec,
    changed: !isSame(draft, origin.draft),
    setText: useCallback((text) => edit(() => text), [edit]),
    setMeta: useCallback((change) => setDraft((before) => ({ ...before, ...change })), []),
    setField: useCallback((path, value) => edit((text) => withField(text, path, value)), [edit]),
    setFields: useCallback((fields) => edit((text) => withFields(text, fields)), [edit]),
    setKind: useCallback((section, kind) => edit((text) => withKind(text, section, kind)), [edit]),
    revert: useCallback(() => edit(() => last.text), [edit, last.text]),
    startOver: useCallback(() => setDraft(origin.draft), [origin]),
    keyFor: useCallback((body) => storage.keyFor(body, draft), [storage, draft]),
    forget: useCallback(() => {
      gone.current = true;
      storage.forget();
    }, [storage]),
  };
}

function isSame(a: Draft, b: Draft): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
