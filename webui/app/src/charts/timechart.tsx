import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { cssVar, useTheme } from "../ui/theme";

export interface Series {
  name: string;
  points: [number, number][]; // seconds since 1970, value
}

const lines = ["--set-inflight", "--set-done", "--set-held", "--set-failed", "--accent", "--muted"];

/** Values over time. It follows its width and the theme. */
export default function TimeChart({ series, height = 200, label, format }: { series: Series[]; height?: number; label: string; format?: (n: number) => string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [theme] = useTheme();
  const say = useRef(format);
  say.current = format;
  const names = series.map((s) => s.name).join("\u0000");
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const axis = { stroke: cssVar("--muted"), grid: { stroke: cssVar("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const p = new uPlot(
      {
        width: Math.max(el.clientWidth, 100),
        height,
        cursor: { drag: { setScale: false } },
        legend: { live: true },
        axes: [{ ...axis, space: 80, values: (_, at) => at.map((t) => new Date(t * 1000).toLocaleTimeString(undefined, { hour12: false })) }, { ...axis, size: 64, ...(format && { values: (_: uPlot, at: number[]) => at.map((n) => say.current?.(n) ?? String(n)) }) }],
        // A line that has just begun is not drawn over seconds of nothing but itself.
        scales: { x: { range: (_, from, to) => [to - from < 30 ? to - 30 : from, to] } },
        series: [{ value: (_, t) => (t ? new Date(t * 1000).toLocaleTimeString(undefined, { hour12: false }) : "–") }, ...names.split("\u0000").map((n, i) => ({ label: n, stroke: cssVar(lines[i % lines.length] ?? "--accent"), width: 2, points: { show: false }, spanGaps: true, ...(format && { value: (_: uPlot, n: number | null) => (n == null ? "–" : (say.current?.(n) ?? String(n))) }) }))],
      },
      merged(series),
      el,
    );
    plot.current = p;
    const o = new ResizeObserver(() => p.setSize({ width: Math.max(el.clientWidth, 100), height }));
    o.observe(el);
    return () => {
      o.disconnect();
      p.destroy();
      plot.current = null;
    };
    // the data comes by the effect below
  }, [names, height, theme]);
  useEffect(() => plot.current?.setData(merged(series)), [series]);
  const last = series.map((s) => `${s.name} ${s.points.length ? (format ?? String)(s.points.at(-1)?.[1] ?? 0) : "–"}`).join(", ");
  return <div className="chart" ref={box} role="img" aria-label={`${label}: ${last}`} />;
}

function merged(series: Series[]): uPlot.AlignedData {
  const xs = [...new Set(series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  const at = new Map(xs.map((x, i) => [x, i]));
  const ys = series.map((s) => {
    const y: (number | null)[] = new Array<number | null>(xs.length).fill(null);
    for (const [x, v] of s.points) y[at.get(x) ?? 0] = v;
    return y;
  });
  return [xs, ...ys];
}
