import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { useOverview, useQueues, useSystem } from "../api/hooks";
import type { CloudEvent, FeedEntry } from "../api/types";
import type { Series } from "../charts/timechart";
import { useFeed, useTopic } from "../live/context";
import { useNamespace } from "../namespace";
import { Ago, Badge, Dot, Facts, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";
import { Charts, FunctionTable, PartTable, useSummary, type Summary } from "./figures";
import { AttentionList } from "./overview";

const TimeChart = lazy(() => import("../charts/timechart"));

const every = 2000; // ms between two points
const keep = 900; // points: half an hour

interface Point {
  t: number;
  online: number;
  offline: number;
  events: number;
  moves: number;
  waiting: number;
  retried: number;
}

/** Kept while the dashboard is open, so that leaving the page does not forget it. */
const history = new Map<string, Point[]>();

const partWords: Record<string, string> = {
  redis: "what is so: the ledger, and who holds whom",
  gateway: "holds the devices' connections",
  broker: "takes events durably and delivers them",
  kubernetes: "what is wanted",
  functions: "decide, one event at a time",
  provisioner: "makes emulated boards",
  api: "this REST API",
  webui: "this dashboard",
  source: "tells the broker what changed in Kubernetes",
  admission: "defaults and checks what people write",
};

/** How the platform itself is. */
export default function Monitoring() {
  const ns = useNamespace();
  const o = useOverview(ns);
  const sys = useSystem();
  const queues = useQueues();
  const [minutes, setMinutes] = useState(15);
  const summary = useSummary(minutes);
  const [points, setPoints] = useState<Point[]>(history.get(ns) ?? []);
  const count = useRef({ events: 0, moves: 0 });
  const now = useRef({ o: o.data, q: queues.data });
  now.current = { o: o.data, q: queues.data };
  useTopic<CloudEvent>({ topic: "events", namespace: ns }, (items) => void (count.current.events += items.length));
  useFeed((e: FeedEntry[]) => void (count.current.moves += e.length));
  useEffect(() => {
    const t = setInterval(() => {
      const { o, q } = now.current;
      if (!o) return;
      const p: Point = {
        t: Date.now() / 1000,
        online: o.devices.online,
        offline: o.devices.offline,
        events: count.current.events / (every / 1000),
        moves: count.current.moves / (every / 1000),
        waiting: q?.items.reduce((a, l) => a + l.waiting, 0) ?? 0,
        retried: q?.items.reduce((a, l) => a + l.parked, 0) ?? 0,
      };
      count.current = { events: 0, moves: 0 };
      const all = [...(history.get(ns) ?? []), p].slice(-keep);
      history.set(ns, all);
      setPoints(all);
    }, every);
    return () => clearInterval(t);
  }, [ns]);
  const line = (name: string, f: (p: Point) => number): Series => ({ name, points: points.map((p) => [p.t, f(p)]) });
  if (o.isPending) return <Loading lines={6} />;
  if (!o.data) return <ProblemBox error={o.error} retry={() => void o.refetch()} />;
  const words = Object.entries(sys.data?.parts ?? o.data.parts).sort();
  // The API's own figures, where it has them; a part that it only knows the health of stands there too.
  const s = summary.data;
  const parts: Summary["parts"] = [...(s?.parts ?? []), ...words.filter(([n]) => !s?.parts?.some((p) => p.name === n || p.name.startsWith(n + "/"))).map(([n, w]) => ({ name: n, healthy: w === "ok", message: w === "ok" ? undefined : w }))].sort((a, b) => (a.name < b.name ? -1 : 1));
  const charted = (s?.history?.times?.length ?? 0) > 1;
  return (
    <div className="page">
      <PageHead
        title="Monitoring"
        sub="Parts, alerts, and what moves. Every process has Prometheus metrics at /metrics, too."
        actions={
          charted && (
            <select className="auto" aria-label="Time shown" value={minutes} onChange={(e) => setMinutes(Number(e.target.value))}>
              <option value={5}>The last 5 minutes</option>
              <option value={15}>The last 15 minutes</option>
              <option value={60}>The last hour</option>
            </select>
          )
        }
      />
      <div className="grid">
        {o.data.attention.length > 0 && (
        <Panel className="c12" title="Alerts" flush actions={<Badge tone="warn">{o.data.attention.length}</Badge>}>
          <AttentionList items={o.data.attention} />
        </Panel>
        )}
        {charted && s ? (
          <>
            <Charts s={s} />
            <FunctionTable s={s} />
          </>
        ) : points.length < 2 ? (
          <Panel className="c12" title="What moves">
            <div className="stack" role="status">
              <p className="muted">Measuring: the first line is there in a few seconds, and goes on as long as the dashboard is open.</p>
              <Loading lines={2} />
            </div>
          </Panel>
        ) : (
          <Suspense fallback={<Loading />}>
            <Panel className="c6" title="Devices">
              <TimeChart label="Devices" series={[line("online", (p) => p.online), line("offline", (p) => p.offline)]} />
            </Panel>
            <Panel className="c6" title="Events per second" actions={<Link href="/events">Live stream</Link>}>
              <TimeChart label="Events per second" series={[line("events", (p) => p.events), line("moves of devices", (p) => p.moves)]} />
            </Panel>
            <Panel className="c6" title="Before the functions" actions={<Link href="/events?tab=functions">Functions</Link>}>
              <TimeChart label="Queues" series={[line("waiting", (p) => p.waiting), line("retried later", (p) => p.retried)]} />
            </Panel>
            <Panel className="c6" title="Gateways" flush actions={<Link href="/gateways">All</Link>}>
              <table className="table">
                <tbody>
                  {o.data.gateways.map((g) => (
                    <tr key={g.id}>
                      <td>
                        <Dot tone={g.state === "Up" ? "ok" : "warn"} label={g.id} />
                      </td>
                      <td>{g.devices.toLocaleString()} devices</td>
                      <td className="muted">
                        <Ago at={g.started} />
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Panel>
          </Suspense>
        )}
        <Panel className="c12" title="Parts" flush>
          <PartTable parts={parts} words={partWords} />
          {sys.data && (
            <div className="panel-body">
              <Facts
                items={[
                  ["Version", sys.data.version],
                  ["API started", <Ago key="s" at={sys.data.started} />],
                ]}
              />
            </div>
          )}
        </Panel>
      </div>
    </div>
  );
}
