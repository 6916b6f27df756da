import { useEffect, useRef, useState } from "react";
import { at, raw } from "../api/client";
import type { LogLine } from "../api/types";
import { useSeries } from "../live/series";
import { useNamespace } from "../namespace";
import { timeOf } from "../ui/format";
import { Button, Empty, Loading, Panel, ProblemBox } from "../ui/parts";

/** Keeps a box scrolled to its end while the reader is there. */
function useTail(dep: unknown) {
  const box = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  useEffect(() => {
    const el = box.current;
    if (el && stuck.current) el.scrollTop = el.scrollHeight;
  }, [dep]);
  return {
    ref: box,
    onScroll: () => {
      const el = box.current;
      if (el) stuck.current = el.scrollHeight - el.scrollTop - el.clientHeight < 24;
    },
  };
}

const levels = ["", "debug", "info", "warning", "error"];
const keepLines = 2000;

export function Log({ name }: { name: string }) {
  const ns = useNamespace();
  const { items, loading, problem } = useSeries<LogLine>(ns, name, "logs", keepLines);
  const [least, setLeast] = useState(1);
  const [text, setText] = useState("");
  const shown = items.filter((l) => l.level >= least && (!text || l.text.includes(text) || l.app === text));
  const tail = useTail(shown.length ? shown[shown.length - 1] : 0);
  return (
    <Panel
      title="Log"
      flush
      actions={
        <>
          <input className="input auto" type="search" aria-label="Filter the log" placeholder="Filter" value={text} onChange={(e) => setText(e.target.value)} />
          <select className="auto" aria-label="Least level" value={least} onChange={(e) => setLeast(Number(e.target.value))}>
            {levels.slice(1).map((l, i) => (
              <option key={l} value={i + 1}>
                {l} and worse
              </option>
            ))}
          </select>
        </>
      }
    >
      {problem ? (
        <div className="panel-body">
          <ProblemBox error={problem} />
        </div>
      ) : loading ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : (
        <div className="screen" tabIndex={0} role="log" aria-label={`Log of ${name}`} {...tail}>
          {shown.length === 0 && <span className="t">{items.length ? "No line is like that." : "Nothing was logged yet; what comes is shown at once."}</span>}
          {shown.map((l, i) => (
            <div key={i} className={`l${l.level}`}>
              <span className="t">{timeOf(l.time)} </span>
              <span className="app">{l.app || "firmware"} </span>
              {l.text}
            </div>
          ))}
        </div>
      )}
    </Panel>
  );
}

const keepConsole = 200_000; // characters

/** Characters that would move the cursor or colour the text are left out. */
function plain(s: string): string {
  // eslint-disable-next-line no-control-regex
  return s.replace(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, "").replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "");
}

export function Console({ name, emulated }: { name: string; emulated: boolean }) {
  const ns = useNamespace();
  const [text, setText] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [ended, setEnded] = useState(false);
  const [tries, again] = useState(0);
  const tail = useTail(text);
  useEffect(() => {
    if (!emulated) return;
    const stop = new AbortController();
    setText("");
    setError(null);
    setEnded(false);
    void (async () => {
      try {
        const resp = await raw("GET", at(ns, "devices", name, "console") + "?follow=true&tail=1000", undefined, { signal: stop.signal });
        const r = resp.body?.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const chunk = await r?.read();
          if (!chunk || chunk.done) break;
          setText((t) => (t + plain(chunk.value)).slice(-keepConsole));
        }
        setEnded(true);
      } catch (e) {
        if (!stop.signal.aborted) setError(e);
      }
    })();
    return () => stop.abort();
  }, [ns, name, emulated, tries]);
  if (!emulated)
    return (
      <Empty icon="terminal" title="The platform does not have this board's console">
        It is not emulated. A real board has a serial port; the Log tab shows what its modules and firmware log.
      </Empty>
    );
  return (
    <Panel
      title="Console"
      flush
      actions={
        ended && (
          <Button small icon="refresh" onClick={() => again((n) => n + 1)}>
            Follow again
          </Button>
        )
      }
    >
      {error ? (
        <div className="panel-body">
          <ProblemBox error={error} retry={() => again((n) => n + 1)} />
        </div>
      ) : (
        <div className="screen" tabIndex={0} role="log" aria-label={`Console of ${name}`} {...tail}>
          {text || <span className="t">Nothing was written yet; what comes is shown at once.</span>}
        </div>
      )}
    </Panel>
  );
}
