import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import { changeBetween } from "../text-change";
import classes from "./yaml-editor.module.css";

export interface Mark {
  from: number;
  to: number;
  message: string;
}

export interface YamlEditorProps {
  text: string;
  onChange: (text: string) => void;
  /** Places that have a problem. */
  marks: readonly Mark[];
  /** A place to go to; a new object each time. */
  goTo: { at: number } | null;
}

/** The spec as YAML with line numbers, colours and marked lines. Comes in a file of its own. */
export default function YamlEditor({ text, onChange, marks, goTo }: YamlEditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const change = useRef(onChange);
  useEffect(() => {
    change.current = onChange;
  }, [onChange]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the editor is made once; later texts reach it below
  useEffect(() => {
    if (!host.current) return;
    const editor = new EditorView({
      parent: host.current,
      state: EditorState.create({ doc: text, extensions: [EXTENSIONS, tellChanges((next) => change.current(next))] }),
    });
    view.current = editor;
    return () => {
      editor.destroy();
      view.current = null;
    };
  }, []);

  useEffect(() => {
    const editor = view.current;
    const edit = editor && changeBetween(editor.state.doc.toString(), text);
    // Only what differs is replaced, so that the cursor, the scroll position and the history of undo stay.
    if (edit) editor.dispatch({ changes: edit });
  }, [text]);

  useEffect(() => {
    const editor = view.current;
    if (editor)
      editor.dispatch(
        setDiagnostics(
          editor.state,
          marks.map((mark) => diagnosticOf(mark, editor)),
        ),
      );
  }, [marks]);

  useEffect(() => {
    const editor = view.current;
    if (!goTo || !editor) return;
    const at = Math.min(goTo.at, editor.state.doc.length);
    editor.dispatch({ selection: { anchor: at }, scrollIntoView: true });
    editor.focus();
  }, [goTo]);

  return <div ref={host} className={classes.editor} />;
}

function tellChanges(tell: (text: string) => void) {
  return EditorView.updateListener.of((update) => {
    if (update.docChanged) tell(update.state.doc.toString());
  });
}

function diagnosticOf({ from, to, message }: Mark, editor: EditorView): Diagnostic {
  const end = editor.state.doc.length;
  return { from: Math.min(from, end), to: Math.min(to, end), severity: "error", message };
}

const COLORS = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], class: classes.key },
  { tag: tags.comment, class: classes.comment },
  { tag: [tags.string, tags.content], class: classes.value },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], class: classes.punctuation },
]);

const EXTENSIONS = [
  lineNumbers(),
  lintGutter(),
  history(),
  indentOnInput(),
  highlightActiveLine(),
  yaml(),
  syntaxHighlighting(COLORS),
  EditorView.lineWrapping,
  EditorView.contentAttributes.of({ "aria-label": "Spec as YAML", spellcheck: "false" }),
  // Tab leaves the editor, as it does any other field: Mod-] and Mod-[ indent.
  keymap.of([...defaultKeymap, ...historyKeymap]),
];
