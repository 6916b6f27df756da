import { useEffect, useRef, useState, type KeyboardEvent } from "react";
import { useNamespace } from "../namespace";
import { complete, run } from "../terminal";
import { PageHead } from "../ui/parts";

interface Line {
  text: string;
  kind: "in" | "out" | "error" | "dim";
}

const historyKey = "wasmbed.history";
const maxLines = 2000;
const maxHistory = 200;

function past(): string[] {
  try {
    return JSON.parse(localStorage.getItem(historyKey) ?? "[]") as string[];
  } catch {
    return [];
  }
}

const hello: Line[] = [{ text: "The CLI's verbs, over the REST API and with your rights; no shell. help lists them.", kind: "dim" }];
let kept: Line[] = hello; // while the dashboard is open

/** The CLI's verbs in the browser. */
export default function Terminal() {
  const ns = useNamespace();
  const [lines, setLines] = useState<Line[]>(kept);
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const [hints, setHints] = useState<string[]>([]);
  const [history, setHistory] = useState(past);
  const [at, setAt] = useState(-1);
  const stop = useRef<AbortController | null>(null);
  const out = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    kept = lines;
    if (out.current) out.current.scrollTop = out.current.scrollHeight;
  }, [lines]);
  const add = (l: Line) => setLines((all) => [...all, l].slice(-maxLines));
  const enter = async () => {
    const line = text.trim();
    setText("");
    setHints([]);
    setAt(-1);
    add({ text: line, kind: "in" });
    if (!line) return;
    const h = [line, ...history.filter((x) => x !== line)].slice(0, maxHistory);
    setHistory(h);
    localStorage.setItem(historyKey, JSON.stringify(h));
    if (line === "clear") return setLines([]);
    setBusy(true);
    stop.current = new AbortController();
    await run({ ns, print: (t, kind) => add({ text: t, kind: kind ?? "out" }), signal: stop.current.signal }, line);
    setBusy(false);
    input.current?.focus();
  };
  const keys = async (e: KeyboardEvent<HTMLInputElement>) => {
    if (e.key === "Enter") return void (!busy && enter());
    if (e.key === "Escape") return setHints([]);
    if (e.key === "Tab" && !e.shiftKey && text) {
      e.preventDefault();
      const all = await complete({ ns }, text).catch(() => []);
      if (!all.length) return setHints([]);
      let same = all[0] ?? "";
      for (const w of all) while (!w.startsWith(same)) same = same.slice(0, -1);
      const cut = text.lastIndexOf(" ") + 1;
      setText(text.slice(0, cut) + same + (all.length === 1 ? " " : ""));
      setHints(all.length > 1 ? all : []);
      return;
    }
    if (e.key === "ArrowUp" || e.key === "ArrowDown") {
      e.preventDefault();
      const n = Math.max(-1, Math.min(history.length - 1, at + (e.key === "ArrowUp" ? 1 : -1)));
      setAt(n);
      setText(n < 0 ? "" : (history[n] ?? ""));
    }
    if (e.ctrlKey && e.key === "c" && !getSelection()?.toString()) {
      stop.current?.abort();
      if (!busy) {
        add({ text: text + "^C", kind: "in" });
        setText("");
      }
    }
    if (e.ctrlKey && e.key === "l") {
      e.preventDefault();
      setLines([]);
    }
  };
  return (
    <div className="page full">
      <PageHead title="Terminal" sub="Tab completes, arrows go through what was typed, Ctrl-C ends what runs." />
      <div className="term" onClick={() => !getSelection()?.toString() && input.current?.focus()}>
        <div className="term-out" ref={out} role="log" aria-label="Output" tabIndex={0}>
          {lines.map((l, i) => (
            <div key={i} className={l.kind === "error" ? "e" : l.kind === "dim" ? "d" : ""}>
              {l.kind === "in" && <span className="p">{ns} ❯ </span>}
              {l.text}
            </div>
          ))}
          {busy && <div className="d">…</div>}
        </div>
        <div className="term-hints" role="status">
          {hints.join("  ")}
        </div>
        <div className="term-in">
          <span className="p" aria-hidden="true">
            {ns} ❯
          </span>
          <input ref={input} aria-label="Command" autoFocus autoComplete="off" autoCapitalize="off" spellCheck={false} value={text} onChange={(e) => setText(e.target.value)} onKeyDown={(e) => void keys(e)} placeholder="help" />
        </div>
      </div>
    </div>
  );
}
