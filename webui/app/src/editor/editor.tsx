import { autocompletion, closeBrackets, closeBracketsKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, defaultHighlightStyle, foldGutter, HighlightStyle, indentOnInput, syntaxHighlighting, type LanguageSupport } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic as Finding } from "@codemirror/lint";
import { Compartment, EditorState } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags as t } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import type { Diagnostic } from "../api/types";
import { useTheme } from "../ui/theme";

/** The language of a file by its name, loaded when it is needed. */
async function languageOf(file: string): Promise<LanguageSupport | null> {
  switch (file.slice(file.lastIndexOf(".") + 1)) {
    case "c":
    case "h":
      return (await import("@codemirror/lang-cpp")).cpp();
    case "rs":
      return (await import("@codemirror/lang-rust")).rust();
    case "ts":
      return (await import("@codemirror/lang-javascript")).javascript({ typescript: true });
    case "go":
      return (await import("@codemirror/lang-go")).go();
    case "wat":
      return (await import("@codemirror/lang-wast")).wast();
    case "yaml":
      return (await import("@codemirror/lang-yaml")).yaml();
  }
  return null;
}

const dark = HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.controlKeyword], color: "#c792ea" },
  { tag: [t.string, t.special(t.string)], color: "#a5d6a7" },
  { tag: [t.number, t.bool, t.null], color: "#f7b267" },
  { tag: t.comment, color: "#8b97a8", fontStyle: "italic" },
  { tag: [t.function(t.variableName), t.function(t.definition(t.variableName))], color: "#82b1ff" },
  { tag: [t.typeName, t.className, t.namespace], color: "#7fdbca" },
  { tag: [t.propertyName, t.attributeName], color: "#9ecbff" },
  { tag: [t.meta, t.processingInstruction], color: "#d3a6ff" },
]);

function look(theme: string) {
  return [
    EditorView.theme(
      {
        "&": { backgroundColor: "transparent", color: "var(--text)" },
        ".cm-content": { caretColor: "var(--text)" },
        ".cm-cursor": { borderLeftColor: "var(--text)" },
        ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--muted)", border: "0" },
        ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--sunken) 55%, transparent)" },
        ".cm-activeLineGutter": { backgroundColor: "var(--line)" },
        "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 28%, transparent) !important" },
        ".cm-tooltip": { backgroundColor: "var(--panel)", border: "1px solid var(--line)", color: "var(--text)" },
      },
      { dark: theme === "dark" },
    ),
    syntaxHighlighting(theme === "dark" ? dark : defaultHighlightStyle),
  ];
}

/** A code editor. What it holds is its own; onChange tells each change, and a text from outside replaces it. */
export default function Editor({ file, text, onChange, diagnostics = [], label, readOnly }: { file: string; text: string; onChange: (t: string) => void; diagnostics?: Diagnostic[]; label: string; readOnly?: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const parts = useRef({ look: new Compartment(), language: new Compartment() });
  const latest = useRef(onChange);
  latest.current = onChange;
  const [theme] = useTheme();
  useEffect(() => {
    if (!box.current) return;
    const v = new EditorView({
      parent: box.current,
      state: EditorState.create({
        doc: text,
        extensions: [
          EditorView.cspNonce.of(document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? ""),
          lineNumbers(),
          highlightActiveLineGutter(),
          history(),
          foldGutter(),
          drawSelection(),
          indentOnInput(),
          bracketMatching(),
          closeBrackets(),
          autocompletion(),
          highlightActiveLine(),
          lintGutter(),
          keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...lintKeymap, indentWithTab]),
          EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" }),
          EditorView.editable.of(!readOnly),
          parts.current.look.of(look(theme)),
          parts.current.language.of([]),
          EditorView.updateListener.of((u) => {
            if (u.docChanged) latest.current(u.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = v;
    return () => {
      v.destroy();
      view.current = null;
    };
    // text, theme and file come by the effects below
  }, [label, readOnly]);
  useEffect(() => {
    const v = view.current;
    if (v && v.state.doc.toString() !== text) v.dispatch({ changes: { from: 0, to: v.state.doc.length, insert: text } });
  }, [text]);
  useEffect(() => view.current?.dispatch({ effects: parts.current.look.reconfigure(look(theme)) }), [theme]);
  useEffect(() => {
    let on = true;
    void languageOf(file).then((l) => on && view.current?.dispatch({ effects: parts.current.language.reconfigure(l ?? []) }));
    return () => void (on = false);
  }, [file]);
  useEffect(() => {
    const v = view.current;
    if (!v) return;
    const found: Finding[] = diagnostics
      .filter((d) => (!d.file || d.file === file) && (d.line ?? 0) > 0)
      .map((d) => {
        const line = v.state.doc.line(Math.min(d.line ?? 1, v.state.doc.lines));
        const from = Math.min(line.from + Math.max((d.column ?? 1) - 1, 0), line.to);
        return { from, to: Math.max(from, Math.min(from + 1, line.to)), severity: d.severity === "note" ? "info" : d.severity, message: d.message };
      });
    v.dispatch(setDiagnostics(v.state, found));
  }, [diagnostics, file]);
  return <div className="editor-box" ref={box} style={{ height: "100%" }} />;
}
