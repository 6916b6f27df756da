import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "wouter";
import { at, get, Problem } from "../api/client";
import { useNamespace } from "../namespace";
import { dateTime, plural, shortType, span, timeOf } from "../ui/format";
import { Badge, Empty, Facts, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";

export interface Hop {
  id: string;
  parent?: string;
  name: string;
  kind?: string;
  component?: string;
  instance?: string;
  namespace?: string;
  subject?: string;
  start: string;
  duration_us?: number;
  status?: string;
  message?: string;
  attributes?: Record<string, string>;
}

export interface Trace {
  trace: string;
  root?: string;
  hops: Hop[];
  complete: boolean;
  dropped?: number;
  followed?: number;
}

interface Line {
  hop: Hop;
  depth: number;
  from: number; // µs since the first hop began
  to: number;
}

/** What a hop was done by, of the few that a way leads through. */
function lane(h: Hop): string {
  const c = (h.component ?? "").toLowerCase();
  if (/^ledger/.test(h.name)) return "ledger";
  if (/kube|^status|crd/.test(c) || /^(kubernetes|status|crd)/i.test(h.name)) return "kubernetes";
  for (const l of ["source", "broker", "gateway", "device", "provisioner", "api"]) if (c.includes(l)) return l;
  return "function";
}

const lanes = ["kubernetes", "source", "api", "broker", "function", "ledger", "gateway", "device", "provisioner"];

/** Microseconds since 1970. Dates have milliseconds only: what is behind them is read from the text. */
function micros(at: string): number {
  const ms = Date.parse(at);
  const fine = /\.\d{3}(\d{1,3})/.exec(at)?.[1] ?? "";
  return ms * 1000 + Number(fine.padEnd(3, "0"));
}

/** The hops as a tree, in the order in which they began; one whose parent is not there stands at the left. */
function tree(hops: Hop[]): Line[] {
  const known = hops.filter((h) => h && h.id && !Number.isNaN(Date.parse(h.start)));
  if (!known.length) return [];
  const first = Math.min(...known.map((h) => micros(h.start)));
  const ids = new Set(known.map((h) => h.id));
  const children = new Map<string, Hop[]>();
  for (const h of known) {
    const p = h.parent && ids.has(h.parent) && h.parent !== h.id ? h.parent : "";
    children.set(p, [...(children.get(p) ?? []), h]);
  }
  const out: Line[] = [];
  const seen = new Set<string>();
  const walk = (p: string, depth: number) => {
    for (const h of (children.get(p) ?? []).sort((a, b) => micros(a.start) - micros(b.start))) {
      if (seen.has(h.id)) continue;
      seen.add(h.id);
      const from = micros(h.start) - first;
      out.push({ hop: h, depth: Math.min(depth, 12), from, to: from + Math.max(h.duration_us ?? 0, 0) });
      walk(h.id, depth + 1);
    }
  };
  walk("", 0);
  return out;
}

/** Where a time stands between 0 and 1. Folded, long waits are drawn short: each stretch counts by its square root. */
function scale(lines: Line[], folded: boolean): (t: number) => number {
  const marks = [...new Set(lines.flatMap((l) => [l.from, l.to]))].sort((a, b) => a - b);
  const long = (d: number) => (folded ? Math.sqrt(d) : d);
  const at: number[] = [0];
  for (let i = 1; i < marks.length; i++) at.push((at[i - 1] ?? 0) + long((marks[i] ?? 0) - (marks[i - 1] ?? 0)));
  const all = at.at(-1) || 1;
  const place = new Map(marks.map((m, i) => [m, (at[i] ?? 0) / all]));
  return (t) => place.get(t) ?? 0;
}

/** A trace, read again until nothing is added. */
export function useTrace(path: string) {
  return useQuery({
    queryKey: ["trace", path],
    queryFn: ({ signal }) => get<Trace>(path, signal),
    refetchInterval: (q) => (q.state.error || (q.state.data?.complete && q.state.dataUpdateCount > 3) ? false : 1000),
    retry: false,
  });
}

/** Where the trace of an event is. */
export const ofEvent = (id: string) => `/events/${encodeURIComponent(id)}/trace`;

/** From the change of an application's spec to what its devices reported, and back into its status. */
export function ApplicationTrace({ name }: { name: string }) {
  const ns = useNamespace();
  const q = useTrace(at(ns, "applications", name, "trace"));
  return (
    <Panel title={<span>The way of the last change <span className="small muted">from the object to the devices, and back into its status</span></span>}>
      {q.isPending ? <Loading lines={6} /> : q.data ? <Waterfall trace={q.data} /> : <NoTrace error={q.error} />}
    </Panel>
  );
}

/** A trace's hops over time: what caused what, and where the time went. */
export function Waterfall({ trace }: { trace: Trace }) {
  const lines = useMemo(() => tree(Array.isArray(trace.hops) ? trace.hops : []), [trace]);
  const [folded, setFolded] = useState(true);
  const [open, setOpen] = useState("");
  const place = useMemo(() => scale(lines, folded), [lines, folded]);
  if (!lines.length) return <Empty icon="events" title="Nothing of it was recorded">Traces are kept for an hour.</Empty>;
  const total = Math.max(...lines.map((l) => l.to));
  const used = lanes.filter((l) => lines.some((x) => lane(x.hop) === l));
  const bad = lines.filter((l) => l.hop.status === "error").length;
  return (
    <div className="stack">
      <div className="row between wrap">
        <span className="row wrap small">
          <b>{span(total / 1e6)}</b>
          <span className="muted">
            {plural(lines.length, "hop")}, from {timeOf(lines[0]?.hop.start ?? "")}
          </span>
          {bad > 0 && <Badge tone="bad">{plural(bad, "failed hop")}</Badge>}
          {!trace.complete && <Badge tone="info">still going on</Badge>}
          {(trace.dropped ?? 0) > 0 && <Badge tone="warn">{trace.dropped} more not kept</Badge>}
        </span>
        <label className="check small">
          <input type="checkbox" checked={folded} onChange={(e) => setFolded(e.target.checked)} />
          long waits drawn short
        </label>
      </div>
      <div className="legend-row">
        {used.map((l) => (
          <span key={l}>
            <span className={`swatch lane-${l}`} />
            {l}
          </span>
        ))}
      </div>
      <ol className="waterfall" aria-label="Hops, in the order in which they began">
        {lines.map((l) => {
          const h = l.hop;
          const left = place(l.from) * 100;
          const wide = Math.max((place(l.to) - place(l.from)) * 100, 0.4);
          const took = span((l.to - l.from) / 1e6);
          return (
            <li key={h.id}>
              <button type="button" className="hop" aria-expanded={open === h.id} onClick={() => setOpen(open === h.id ? "" : h.id)}>
                <span className="hop-name" style={{ paddingLeft: l.depth * 12 }}>
                  <span className="ellipsis">
                    {shortType(h.name.replace(/io\.wasmbed\./g, ""))}
                    {h.status === "error" && <b className="field-error"> failed</b>}
                  </span>
                  <span className="small muted ellipsis">{[h.component, h.subject].filter(Boolean).join(" · ")}</span>
                </span>
                <span className="hop-time">
                  <span className={`hop-bar lane-${lane(h)} ${h.status === "error" ? "wrong" : ""}`} style={{ left: `${Math.min(left, 99.4)}%`, width: `${Math.min(wide, 100 - Math.min(left, 99.4))}%` }} />
                  <span className={`hop-took ${left > 60 ? "before" : ""}`} style={left > 60 ? { right: `${100 - left}%` } : { left: `${Math.min(left + wide, 100)}%` }}>
                    {took}
                  </span>
                </span>
              </button>
              {open === h.id && (
                <div className="hop-more">
                  {h.message && <p className="field-error">{h.message}</p>}
                  <Facts
                    items={[
                      ["Began", `${dateTime(h.start)}, ${span(l.from / 1e6)} after the first`],
                      ["Took", took],
                      ["By", [h.component, h.instance].filter(Boolean).join(" · ") || "–"],
                      ...Object.entries(h.attributes ?? {}).map(([k, v]) => [k, <span key={k} className="mono">{String(v)}</span>] as [string, React.ReactNode]),
                    ]}
                  />
                </div>
              )}
            </li>
          );
        })}
      </ol>
    </div>
  );
}

/** The way of one event as a page of its own, which can be sent to somebody. */
export default function TracePage({ id }: { id: string }) {
  const q = useTrace(ofEvent(id));
  return (
    <div className="page">
      <PageHead
        crumbs={<Link href="/events">Functions &amp; events</Link>}
        title="The way of an event"
        sub={
          <>
            <span className="mono">{id}</span>
            {q.data && (
              <span className="muted">
                trace <span className="mono">{q.data.trace}</span>
              </span>
            )}
          </>
        }
      />
      <Panel>{q.isPending ? <Loading lines={6} /> : q.data ? <Waterfall trace={q.data} /> : <NoTrace error={q.error} />}</Panel>
    </div>
  );
}

export function NoTrace({ error }: { error: unknown }) {
  if (error instanceof Problem && (error.status === 404 || error.status === 501)) {
    return (
      <Empty icon="events" title="Its way was not recorded">
        {error.mend ?? "Traces are kept for an hour, and what nobody asked for is recorded now and then only."}
      </Empty>
    );
  }
  return <ProblemBox error={error} />;
}
