import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { get, Problem, query } from "../api/client";
import { post, useAction, useQueues } from "../api/hooks";
import { useMay } from "../api/may";
import type { CloudEvent, Letter, Page } from "../api/types";
import { useEvents } from "../live/context";
import { useNamespace } from "../namespace";
import { says } from "./say";
import { ofEvent, useTrace, Waterfall } from "./trace";
import { dateTime, plural, shortType, timeOf } from "../ui/format";
import { Ago, Badge, Button, Dialog, Empty, Facts, Loading, PageHead, Panel, ProblemBox, Tabs, type Tone } from "../ui/parts";

const keep = 1000;
const shownAtOnce = 200;

/** What happens, as it happens; what each function has before it; and what could not be delivered. */
export default function Events() {
  const [, go] = useLocation();
  const tab = new URLSearchParams(useSearch()).get("tab") ?? "stream";
  const queues = useQueues();
  const dead = queues.data?.items.reduce((a, q) => a + q.dead, 0) ?? 0;
  return (
    <div className="page">
      <PageHead title="Functions & events" sub="Every change is an event; functions take them one by one and decide." />
      <Tabs
        label="About events"
        value={tab}
        onChange={(t) => go("/events" + query({ tab: t === "stream" ? undefined : t }), { replace: true })}
        tabs={[
          { id: "stream", title: "Live stream", body: <Stream /> },
          { id: "functions", title: "Functions", body: <Functions /> },
          { id: "dead", title: <>Dead letters {dead > 0 && <Badge tone="bad">{dead}</Badge>}</>, body: <DeadLetters /> },
        ]}
      />
    </div>
  );
}

function toneOf(type: string): Tone {
  if (/failed|rejected|trapped|revoked|lost/.test(type)) return "bad";
  if (/enrolled|completed|answered/.test(type)) return "ok";
  if (/disconnected|pended|missed|requested/.test(type)) return "warn";
  if (/connected|state|rollout|command|board/.test(type)) return "info";
  return "idle";
}

const noise = /telemetry\.received|logs\.received|timer\.due/;

function Stream() {
  const ns = useNamespace();
  const [paused, setPaused] = useState(false);
  const [all, setAll] = useState(false);
  const [text, setText] = useState("");
  const [type, setType] = useState("");
  const [noisy, setNoisy] = useState(false);
  const [open, setOpen] = useState<CloudEvent | null>(null);
  const live = useEvents(all ? "" : ns, keep, paused);
  const recent = useQuery({
    queryKey: ["recent", all ? "" : ns],
    queryFn: ({ signal }) => newest(all ? "" : ns, signal),
    staleTime: Infinity,
    gcTime: 0,
  });
  const seen = new Set(live.events.map((e) => e.source + e.id));
  const events = [...live.events, ...(recent.data ?? []).filter((e) => !seen.has(e.source + e.id))];
  const types = [...new Set(events.map((e) => e.type))].sort();
  const shown = events.filter((e) => (!type || e.type === type) && (noisy || type || !noise.test(e.type)) && (!text || (e.subject ?? "").includes(text) || e.type.includes(text) || e.id.includes(text)));
  return (
    <Panel
      flush
      title="Events"
      actions={
        <span className="small muted" role="status">
          {plural(shown.length, "event")}
        </span>
      }
    >
      <div className="filters">
        <input className="input auto grow" type="search" aria-label="Filter by subject, type or id" placeholder="Filter by subject, type or id" value={text} onChange={(e) => setText(e.target.value)} />
        <select aria-label="Type" value={type} onChange={(e) => setType(e.target.value)}>
          <option value="">Any type</option>
          {types.map((t) => (
            <option key={t} value={t}>
              {shortType(t)}
            </option>
          ))}
        </select>
        <label className="check small">
          <input type="checkbox" checked={noisy} onChange={(e) => setNoisy(e.target.checked)} />
          telemetry, logs, timers
        </label>
        <label className="check small">
          <input type="checkbox" checked={all} onChange={(e) => setAll(e.target.checked)} />
          all namespaces
        </label>
        <Button icon={paused ? "play" : "pause"} onClick={() => setPaused(!paused)} aria-pressed={paused}>
          {paused ? "Go on" : "Pause"}
        </Button>
      </div>
      {live.problem && (
        <div className="panel-body">
          <ProblemBox error={live.problem} title="The stream is not to be had" />
        </div>
      )}
      {recent.isPending ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : shown.length === 0 ? (
        <Empty icon="events" title="No event is like that yet">
          What happens is shown here at once. <Link href="/deploy">Deploy something</Link> and watch.
        </Empty>
      ) : (
        <div>
          {shown.slice(0, shownAtOnce).map((e) => (
            <button key={e.source + e.id} type="button" className="event-row" onClick={() => setOpen(e)} aria-haspopup="dialog">
              <span className="muted mono nowrap">{e.time ? timeOf(e.time) : "–"}</span>
              <span className="ellipsis">
                <Badge tone={toneOf(e.type)}>{shortType(e.type)}</Badge>
              </span>
              <span className="ellipsis">
                {subjectOf(e)} <span className="muted">{says(e)}</span>
              </span>
            </button>
          ))}
          {shown.length > shownAtOnce && <p className="panel-body small muted">The newest {shownAtOnce} are shown; filter to see others of the last {keep}.</p>}
        </div>
      )}
      <Dialog open={!!open} onOpenChange={() => setOpen(null)} title={open ? shortType(open.type) : ""} wide>
        {open && <Detail e={open} others={events} pick={setOpen} />}
      </Dialog>
    </Panel>
  );
}

/** The newest events that the broker keeps, newest first. */
async function newest(ns: string, signal: AbortSignal): Promise<CloudEvent[]> {
  let after = "";
  let out: CloudEvent[] = [];
  for (let i = 0; i < 40; i++) {
    const p: Page<CloudEvent> = await get("/events" + query({ namespace: ns, limit: 500, after }), signal);
    out = [...out, ...p.items].slice(-keep);
    if (!p.next || p.next === after) break;
    after = p.next;
  }
  return out.reverse();
}

function traceOf(e: CloudEvent): string | undefined {
  const t = e.traceparent;
  return typeof t === "string" ? t.split("-")[1] : undefined;
}

function Detail({ e, others, pick }: { e: CloudEvent; others: CloudEvent[]; pick: (e: CloudEvent) => void }) {
  const trace = traceOf(e);
  const way = others.filter((o) => (trace && traceOf(o) === trace) || (e.subject && o.subject === e.subject && Math.abs(Date.parse(o.time ?? "") - Date.parse(e.time ?? "")) < 5000)).slice(0, 40).reverse();
  const { data, data_base64: binary, specversion: _, ...rest } = e as CloudEvent & { data_base64?: string };
  const device = /^([^/]+)\/([^/]+)$/.exec(e.subject ?? "");
  return (
    <>
      <Facts
        items={[
          ["Type", <span key="t" className="mono">{e.type}</span>],
          ["Time", e.time ? dateTime(e.time) : "–"],
          ["Subject", /device|telemetry|logs/.test(e.type) && device ? <Link key="s" href={`/devices/${device[2]}`}>{e.subject}</Link> : (e.subject ?? "–")],
          ["Source", e.source],
          ["Id", <span key="i" className="mono">{e.id}</span>],
          ...Object.entries(rest)
            .filter(([k]) => !["type", "time", "subject", "source", "id", "datacontenttype"].includes(k))
            .map(([k, v]) => [k, <span key={k} className="mono">{String(v)}</span>] as [string, React.ReactNode]),
        ]}
      />
      <h3>Data</h3>
      <pre className="pre" tabIndex={0}>
        {data !== undefined ? JSON.stringify(data, null, 2) : (binary ?? "none")}
      </pre>
      <Way id={e.id} />
      <h3>{trace ? "The events of the same trace" : "What happened to the same subject within five seconds"}</h3>
      <ul className="timeline">
        {way.map((o) => (
          <li key={o.source + o.id} className={o === e ? "info" : toneOf(o.type)}>
            <button type="button" className="copyable" onClick={() => pick(o)} aria-current={o === e || undefined}>
              {o === e ? <b>{shortType(o.type)}</b> : shortType(o.type)}
            </button>{" "}
            <span className="small muted">
              {o.time ? timeOf(o.time) : ""} {o.subject}
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}

/** Where the event came through, and how long each took. */
function Way({ id }: { id: string }) {
  const q = useTrace(ofEvent(id));
  return (
    <>
      <div className="row between">
        <h3>Its way</h3>
        {q.data && <Link href={`/events/${encodeURIComponent(id)}`}>As a page</Link>}
      </div>
      {q.isPending ? <Loading /> : q.data ? <Waterfall trace={q.data} /> : <p className="small muted">{q.error instanceof Problem && q.error.status === 404 ? "It was not recorded: " + (q.error.mend ?? "what nobody asked for is recorded now and then only.") : q.error instanceof Problem ? q.error.detail : String(q.error)}</p>}
    </>
  );
}

/** The subject of a change of a Kubernetes object is a path; what it names is enough. */
function subjectOf(e: CloudEvent): string {
  const k = /\/namespaces\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(e.subject ?? "");
  return k ? `${k[2]} ${k[1]}/${k[3]}` : (e.subject ?? "");
}

const about: Record<string, string> = {
  enroll: "lets devices in: approvals, certificates, deny-list",
  deploy: "makes revisions and writes what each device shall run",
  rollback: "decides to go back to a revision that was complete",
  report: "records what devices say, and writes status",
  board: "follows emulated boards",
  command: "hands invokes, messages and reboots to devices",
  compile: "makes modules of source code",
  webhook: "tells the world outside",
};

function Functions() {
  const q = useQueues();
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  return (
    <Panel flush title="What each function has before it">
      <div className="scroll-x">
        <table className="table">
          <thead>
            <tr>
              <th>Function</th>
              <th>Waiting</th>
              <th>Retried later</th>
              <th>Dead letters</th>
              <th>Queue</th>
            </tr>
          </thead>
          <tbody>
            {q.data.items.map((l) => {
              const name = l.trigger.slice(l.trigger.indexOf("/") + 1);
              return (
                <tr key={l.trigger}>
                  <td>
                    <b>{name}</b>
                    <div className="small muted">{about[name] ?? l.trigger}</div>
                  </td>
                  <td>{l.waiting.toLocaleString()}</td>
                  <td>{l.parked > 0 ? <Badge tone="warn">{l.parked.toLocaleString()}</Badge> : 0}</td>
                  <td>{l.dead > 0 ? <Link href={`/events?tab=dead`}><Badge tone="bad">{l.dead.toLocaleString()}</Badge></Link> : 0}</td>
                  <td style={{ width: "24%" }}>
                    <div className="bar" role="img" aria-label={`${l.waiting} waiting, ${l.parked} retried later, ${l.dead} dead`}>
                      {l.waiting > 0 && <span className="set-inflight" style={{ flexGrow: l.waiting }} />}
                      {l.parked > 0 && <span className="set-held" style={{ flexGrow: l.parked }} />}
                      {l.dead > 0 && <span className="set-failed" style={{ flexGrow: l.dead }} />}
                    </div>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function DeadLetters() {
  const queues = useQueues();
  const why = useMay()("create events.wasmbed");
  const [picked, setPicked] = useState("");
  const lines = queues.data?.items ?? [];
  const trigger = picked || lines.find((l) => l.dead > 0)?.trigger || lines[0]?.trigger || "";
  const q = useQuery({
    queryKey: ["letters", trigger],
    queryFn: ({ signal }) => get<Page<Letter>>("/deadletters" + query({ trigger, limit: 100 }), signal),
    enabled: !!trigger,
    refetchInterval: 3000,
  });
  const again = useAction((ids?: string[]) => post("/deadletters", { trigger, ...(ids && { ids }) }), { done: (ids) => (ids ? "it is delivered again" : "all of them are delivered again"), refresh: [["letters", trigger], ["queues"]] });
  if (queues.error && !queues.data) return <ProblemBox error={queues.error} retry={() => void queues.refetch()} />;
  return (
    <Panel
      flush
      title="What could not be delivered"
      actions={
        <>
          <select className="auto" aria-label="Function" value={trigger} onChange={(e) => setPicked(e.target.value)}>
            {lines.map((l) => (
              <option key={l.trigger} value={l.trigger}>
                {l.trigger} ({l.dead})
              </option>
            ))}
          </select>
          <Button icon="refresh" why={why} busy={again.isPending} disabled={!q.data?.items.length} onClick={() => again.mutate(undefined)}>
            Deliver all again
          </Button>
        </>
      }
    >
      {q.isPending ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : !q.data ? (
        <div className="panel-body">
          <ProblemBox error={q.error} retry={() => void q.refetch()} />
        </div>
      ) : q.data.items.length === 0 ? (
        <Empty icon="check" title="No dead letter">Every event that this function wanted was taken by it.</Empty>
      ) : (
        <table className="table">
          <tbody>
            {q.data.items.map((l) => (
              <tr key={l.id}>
                <td>
                  <Badge tone="bad">{shortType(l.event.type)}</Badge> {l.event.subject}
                  <div className="small muted">
                    {l.reason} {l.status ? `(${l.status})` : ""} {l.message} · {plural(l.attempts, "attempt")} · given up <Ago at={l.time} />
                  </div>
                  <details className="small">
                    <summary>The event</summary>
                    <pre className="pre">{JSON.stringify(l.event, null, 2)}</pre>
                  </details>
                </td>
                <td className="right">
                  <Button small icon="refresh" why={why} onClick={() => again.mutate([l.id])}>
                    Deliver again
                  </Button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}
