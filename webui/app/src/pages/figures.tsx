import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { Link } from "wouter";
import { get, Problem, query } from "../api/client";
import { useMay } from "../api/may";
import type { Series } from "../charts/timechart";
import { bytes, duration, span } from "../ui/format";
import { Badge, Button, Dialog, Dot, Loading, Panel, ProblemBox } from "../ui/parts";

const TimeChart = lazy(() => import("../charts/timechart"));

export interface Summary {
  time: string;
  every: number;
  figures: { name: string; title: string; unit: string }[];
  now: Record<string, number>;
  parts: { name: string; healthy: boolean; message?: string; sharedWith?: string; memory?: number; cpu?: number; goroutines?: number; uptime?: number }[];
  functions: { name: string; events: number; failed: number; total: number; p50?: number; p95?: number; p99?: number }[];
  redis?: { version?: string; memory: number; peak: number; commands: number; clients: number; keys: number; hits: number };
  history: { times: string[]; values: Record<string, (number | null)[]> };
}

/** The platform's own figures, as the API keeps them. */
export const useSummary = (minutes: number) =>
  useQuery({
    queryKey: ["metrics", minutes],
    queryFn: ({ signal }) => get<Summary>("/metrics/summary" + query({ minutes }), signal),
    refetchInterval: 5000,
    retry: (n, e) => !(e instanceof Problem && [403, 404, 501].includes(e.status)) && n < 2,
    structuralSharing: false,
  });

const charts: { title: string; about: string; figures: [string, string][]; unit: "n" | "rate" | "bytes" | "byterate" | "time" | "cores"; to?: [string, string] }[] = [
  { title: "Devices", about: "with a session, and connections that have none yet", figures: [["sessions", "sessions"], ["connections", "connections"]], unit: "n", to: ["/devices", "Devices"] },
  { title: "Events per second", about: "accepted by the broker, delivered, tried again", figures: [["events", "accepted"], ["deliveries", "delivered"], ["retries", "tried again"]], unit: "rate", to: ["/events", "Live stream"] },
  { title: "Time of a function", about: "for one event", figures: [["p50", "half"], ["p95", "95 %"], ["p99", "99 %"]], unit: "time", to: ["/events?tab=functions", "Functions"] },
  { title: "Before the functions", about: "events that wait, and those given up", figures: [["waiting", "waiting"], ["uplink", "at the gateways"], ["dead", "dead letters"]], unit: "n", to: ["/events?tab=dead", "Dead letters"] },
  { title: "Frames from devices", about: "a second", figures: [["frames", "frames"]], unit: "rate" },
  { title: "Traffic with devices", about: "a second", figures: [["bytesIn", "from devices"], ["bytesOut", "to devices"]], unit: "byterate" },
  { title: "Memory", about: "resident: the parts together, and Redis", figures: [["memory", "parts"], ["redisMemory", "Redis"]], unit: "bytes" },
  { title: "Processor", about: "cores that the parts use together", figures: [["cpu", "cores"]], unit: "cores" },
];

const formats: Record<(typeof charts)[number]["unit"], (n: number) => string> = {
  n: (n) => n.toLocaleString(undefined, { maximumFractionDigits: 1 }),
  rate: (n) => n.toLocaleString(undefined, { maximumFractionDigits: n < 10 ? 1 : 0 }),
  bytes: (n) => bytes(Math.round(n)),
  byterate: (n) => bytes(Math.round(n)) + "/s",
  time: (n) => (n === 0 ? "0" : span(n)),
  cores: (n) => n.toLocaleString(undefined, { maximumFractionDigits: 2 }),
};

/** Charts of the last minutes, of whatever the API has measured. */
export function Charts({ s }: { s: Summary }) {
  const times = useMemo(() => (s.history?.times ?? []).map((t) => Date.parse(t) / 1000), [s]);
  const line = (figure: string, name: string): Series => ({ name, points: times.flatMap((t, i) => (s.history.values[figure]?.[i] != null ? [[t, s.history.values[figure][i]] as [number, number]] : [])) });
  return (
    <Suspense fallback={<Loading />}>
      {charts
        .filter((c) => c.figures.some(([f]) => f in (s.history?.values ?? {})))
        .map((c) => (
          <Panel key={c.title} className="c6" title={<span>{c.title} <span className="small muted">{c.about}</span></span>} actions={c.to && <Link href={c.to[0]}>{c.to[1]}</Link>}>
            <TimeChart label={c.title} height={150} format={formats[c.unit]} series={c.figures.filter(([f]) => f in s.history.values).map(([f, n]) => line(f, n))} />
          </Panel>
        ))}
    </Suspense>
  );
}

export function FunctionTable({ s }: { s: Summary }) {
  if (!s.functions?.length) return null;
  const t = (n?: number) => (n === undefined ? "–" : span(n));
  return (
    <Panel className="c12" title="Functions" flush actions={<Link href="/events?tab=functions">Their queues</Link>}>
      <div className="scroll-x">
        <table className="table numbers">
          <thead>
            <tr>
              <th>Function</th>
              <th>Events a second</th>
              <th>Failed a second</th>
              <th>Half within</th>
              <th>95 %</th>
              <th>99 %</th>
              <th>Since it began</th>
            </tr>
          </thead>
          <tbody>
            {s.functions.map((f) => (
              <tr key={f.name}>
                <td>
                  <b>{f.name}</b>
                </td>
                <td>{formats.rate(f.events)}</td>
                <td>{f.failed > 0 ? <Badge tone="warn">{formats.rate(f.failed)}</Badge> : "0"}</td>
                <td>{t(f.p50)}</td>
                <td>{t(f.p95)}</td>
                <td>{t(f.p99)}</td>
                <td>{f.total.toLocaleString()}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

/** The platform's parts with what each takes, and its log. */
export function PartTable({ parts, words }: { parts: Summary["parts"]; words: Record<string, string> }) {
  const why = useMay()("get parts/logs");
  const [log, setLog] = useState("");
  const about = (name: string) => words[name.split("/")[0] ?? ""] ?? "";
  return (
    <>
      <div className="scroll-x">
        <table className="table">
          <thead>
            <tr>
              <th>Part</th>
              <th>Memory</th>
              <th>Cores</th>
              <th>Up</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {parts.map((p) => (
              <tr key={p.name}>
                <td>
                  <Dot tone={p.healthy ? "ok" : "bad"} label={p.name} />
                  <div className={p.healthy ? "small muted" : "field-error"}>{p.healthy ? about(p.name) : p.message}</div>
                </td>
                {p.sharedWith ? (
                  <td colSpan={2} className="small muted">
                    in the process of {p.sharedWith}
                  </td>
                ) : (
                  <>
                    <td className="nowrap">{p.memory ? bytes(p.memory) : "–"}</td>
                    <td className="nowrap">{p.cpu !== undefined ? formats.cores(p.cpu) : "–"}</td>
                  </>
                )}
                <td className="nowrap muted">{p.uptime ? duration(p.uptime) : "–"}</td>
                <td className="right">
                  <Button small why={why} onClick={() => setLog(p.name.split("/")[0] ?? "")}>
                    Log
                  </Button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Dialog open={!!log} onOpenChange={() => setLog("")} title={`Log of ${log}`} wide>
        {log && <PartLog name={log} />}
      </Dialog>
    </>
  );
}

function PartLog({ name }: { name: string }) {
  const q = useQuery({ queryKey: ["partlog", name], queryFn: ({ signal }) => get<{ lines: string[] }>(`/parts/${encodeURIComponent(name)}/logs` + query({ lines: 300 }), signal), refetchInterval: 3000, retry: false });
  if (q.isPending) return <Loading lines={5} />;
  if (!q.data) return <ProblemBox error={q.error} />;
  return (
    <pre className="screen part-log" tabIndex={0}>
      {q.data.lines.length ? q.data.lines.join("\n") : "Nothing was logged."}
    </pre>
  );
}
