import { useMemo, useState } from "react";
import type { Sample } from "../api/types";
import TimeChart, { type Series } from "../charts/timechart";
import { useSeries } from "../live/series";
import { useNamespace } from "../namespace";
import { Empty, Loading, Panel, ProblemBox } from "../ui/parts";

const keep = 5000;
const spans = [
  { s: 60, title: "1 minute" },
  { s: 300, title: "5 minutes" },
  { s: 1800, title: "30 minutes" },
  { s: 0, title: "All that is kept" },
];

/** What a device's modules measured, as it comes. */
export default function Telemetry({ name }: { name: string }) {
  const ns = useNamespace();
  const { items, loading, problem } = useSeries<Sample>(ns, name, "telemetry", keep);
  const [span, setSpan] = useState(300);
  const groups = useMemo(() => {
    const by = new Map<string, Series>();
    const newest = items.length ? Date.parse(items[items.length - 1]?.time ?? "") / 1000 : 0;
    for (const s of items) {
      const t = Date.parse(s.time) / 1000;
      if (Number.isNaN(t) || t < 1e9 || (span && t < newest - span)) continue;
      const key = `${s.app}\u0000${s.name}`;
      let series = by.get(key);
      if (!series) by.set(key, (series = { name: s.name, points: [] }));
      series.points.push([t, s.value]);
    }
    return [...by].map(([k, s]) => ({ app: k.split("\u0000")[0] ?? "", series: s })).sort((a, b) => (a.app + a.series.name < b.app + b.series.name ? -1 : 1));
  }, [items, span]);
  if (problem) return <ProblemBox error={problem} />;
  if (loading) return <Loading lines={5} />;
  if (!items.length)
    return (
      <Empty icon="monitor" title="Nothing was measured yet">
        A module measures with the host function <code>telemetry</code>; the template “Sensor reader” shows how.
      </Empty>
    );
  return (
    <div className="stack">
      <div className="row">
        <label className="row small">
          <span className="muted">Show</span>
          <select className="auto" value={span} onChange={(e) => setSpan(Number(e.target.value))}>
            {spans.map((s) => (
              <option key={s.s} value={s.s}>
                {s.title}
              </option>
            ))}
          </select>
        </label>
      </div>
      <div className="grid">
        {groups.map((g) => (
          <Panel key={g.app + g.series.name} className="c6" title={`${g.app} · ${g.series.name}`} actions={<b className="mono">{format(g.series.points.at(-1)?.[1])}</b>}>
            <TimeChart label={`${g.series.name} of ${g.app}`} series={[g.series]} height={180} />
          </Panel>
        ))}
      </div>
    </div>
  );
}

function format(v?: number): string {
  if (v === undefined) return "–";
  return Number.isInteger(v) ? v.toLocaleString() : v.toPrecision(5);
}
