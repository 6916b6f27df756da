import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import { useQueryClient } from "@tanstack/react-query";
import { Link, useLocation } from "wouter";
import { useFleet, useOverview } from "../api/hooks";
import type { DeviceView, FeedEntry } from "../api/types";
import { moved, useFeed } from "../live/context";
import { useNamespace } from "../namespace";
import { plural } from "../ui/format";
import { Empty, Loading, PageHead, ProblemBox } from "../ui/parts";
import { cssVar, useTheme } from "../ui/theme";

interface Node {
  d: DeviceView;
  x: number;
  y: number;
}

interface Hub {
  id: string;
  x: number;
  y: number;
  r: number;
  n: number;
}

const golden = Math.PI * (3 - Math.sqrt(5));

/** Places each gateway process and its devices around it, in a sunflower's order: thousands have room, none moves when another comes. */
function layout(devices: DeviceView[], hubs: string[], w: number, h: number, dot: number): { nodes: Node[]; hubs: Hub[] } {
  const groups = new Map<string, DeviceView[]>(hubs.map((g) => [g, []]));
  for (const d of devices) {
    const key = d.online && d.instance ? d.instance : "";
    const g = groups.get(key);
    if (g) g.push(d);
    else groups.set(key, [d]);
  }
  const list = [...groups].filter(([k, v]) => k || v.length);
  const columns = Math.max(1, Math.ceil(Math.sqrt((list.length * w) / Math.max(h, 1))));
  const rows = Math.ceil(list.length / columns);
  const out: Hub[] = [];
  const nodes: Node[] = [];
  list.forEach(([id, all], i) => {
    const cx = ((i % columns) + 0.5) * (w / columns);
    const cy = (Math.floor(i / columns) + 0.5) * (h / rows);
    const room = Math.min(w / columns, h / rows) / 2 - 34;
    const inner = dot > 10 ? 64 : 30;
    const step = Math.min((room - inner) / Math.max(1, Math.sqrt(all.length)), dot * 7);
    out.push({ id, x: cx, y: cy, r: 20, n: all.length });
    all.forEach((d, k) => {
      const r = inner + step * Math.sqrt(k + 1);
      nodes.push({ d, x: cx + r * Math.cos(k * golden), y: cy + r * Math.sin(k * golden) });
    });
  });
  return { nodes, hubs: out };
}

function colour(d: DeviceView): string {
  if (d.known && !d.approved) return "--set-held";
  if (!d.online) return "--set-away";
  if (d.apps?.some((a) => a.set === "failed")) return "--set-failed";
  if (d.apps?.some((a) => a.set === "inflight")) return "--set-inflight";
  return "--set-done";
}

/** Gateways and their devices as a picture that lives. */
export default function Topology() {
  const ns = useNamespace();
  const [, go] = useLocation();
  const fleet = useFleet(ns);
  const client = useQueryClient();
  const overview = useOverview(ns);
  const [theme] = useTheme();
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ w: 0, h: 0 });
  const [over, setOver] = useState<{ name: string; x: number; y: number } | null>(null);
  const flashes = useRef(new Map<string, number>());
  const frame = useRef(0);
  const [beat, setBeat] = useState(0);
  const waiting = useRef<FeedEntry[]>([]);

  useFeed((entries, lagged) => {
    if (lagged) void client.invalidateQueries({ queryKey: ["fleet", ns] });
    for (const e of entries) flashes.current.set(e.device.name, performance.now());
    if (waiting.current.length === 0)
      setTimeout(() => {
        const all = waiting.current;
        waiting.current = [];
        const by = new Map<string, FeedEntry[]>();
        for (const e of all) by.set(e.device.name, [...(by.get(e.device.name) ?? []), e]);
        client.setQueryData<DeviceView[]>(["fleet", ns], (old) => old?.map((v) => (by.get(v.device.name) ?? []).reduce(moved, v)));
        if (all.some((e) => ["put", "deleted", "connected"].includes(e.kind))) void client.invalidateQueries({ queryKey: ["fleet", ns] });
        setBeat((n) => n + 1);
      }, 120);
    waiting.current.push(...entries);
  });

  const ready = !!fleet.data;
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const o = new ResizeObserver(() => setSize({ w: el.clientWidth, h: el.clientHeight }));
    o.observe(el);
    return () => o.disconnect();
  }, [ready]);

  const count = fleet.data?.length ?? 0;
  const dot = count > 4000 ? 1.8 : count > 1000 ? 2.6 : count > 200 ? 4 : count > 40 ? 7 : 12;
  const hubs = (overview.data?.gateways ?? []).map((g) => g.id).sort();
  const hubKey = hubs.join(" ");
  const drawing = useMemo(() => layout(fleet.data ?? [], hubKey ? hubKey.split(" ") : [], size.w, size.h, dot), [fleet.data, hubKey, size, dot]);

  useEffect(() => {
    const c = canvas.current;
    const g = c?.getContext("2d");
    if (!c || !g || !size.w) return;
    const scale = devicePixelRatio || 1;
    c.width = size.w * scale;
    c.height = size.h * scale;
    const palette = new Map(["--set-held", "--set-away", "--set-failed", "--set-inflight", "--set-done", "--line-strong", "--text", "--muted", "--panel", "--accent", "--line"].map((n) => [n, cssVar(n)]));
    const p = (n: string) => palette.get(n) ?? "#888";
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const draw = () => {
      const now = performance.now();
      g.setTransform(scale, 0, 0, scale, 0, 0);
      g.clearRect(0, 0, size.w, size.h);
      if (count <= 1500) {
        g.strokeStyle = p("--line");
        g.lineWidth = 1;
        g.beginPath();
        const at = new Map(drawing.hubs.map((h) => [h.id, h]));
        for (const n of drawing.nodes) {
          const h = n.d.online ? at.get(n.d.instance ?? "") : undefined;
          if (!h) continue;
          g.moveTo(h.x, h.y);
          g.lineTo(n.x, n.y);
        }
        g.stroke();
      }
      let alive = false;
      for (const n of drawing.nodes) {
        g.fillStyle = p(colour(n.d));
        g.beginPath();
        g.arc(n.x, n.y, dot, 0, 7);
        g.fill();
        const t = flashes.current.get(n.d.device.name);
        if (t !== undefined && now - t < 1200 && !still) {
          alive = true;
          g.strokeStyle = p(colour(n.d));
          g.globalAlpha = 1 - (now - t) / 1200;
          g.lineWidth = 1.5;
          g.beginPath();
          g.arc(n.x, n.y, dot + ((now - t) / 1200) * 12, 0, 7);
          g.stroke();
          g.globalAlpha = 1;
        }
      }
      g.textAlign = "center";
      if (count <= 40) {
        g.font = "12px system-ui";
        g.fillStyle = p("--muted");
        for (const n of drawing.nodes) g.fillText(n.d.device.name, n.x, n.y + dot + 15);
      }
      for (const h of drawing.hubs) {
        g.fillStyle = h.id ? p("--accent") : p("--line-strong");
        g.beginPath();
        g.arc(h.x, h.y, h.r, 0, 7);
        g.fill();
        g.fillStyle = p("--panel");
        g.font = "600 11px system-ui";
        g.fillText(String(h.n), h.x, h.y + 4);
        const word = h.id || "not connected";
        g.font = "12px system-ui";
        const wide = g.measureText(word).width;
        g.globalAlpha = 0.85;
        g.fillRect(h.x - wide / 2 - 5, h.y + h.r + 3, wide + 10, 18);
        g.globalAlpha = 1;
        g.fillStyle = p("--text");
        g.fillText(word, h.x, h.y + h.r + 16);
      }
      if (alive) frame.current = requestAnimationFrame(draw);
    };
    draw();
    return () => cancelAnimationFrame(frame.current);
  }, [drawing, size, theme, dot, count, beat]);

  const near = (e: PointerEvent<HTMLCanvasElement>): Node | null => {
    const r = e.currentTarget.getBoundingClientRect();
    const x = e.clientX - r.left;
    const y = e.clientY - r.top;
    let best: Node | null = null;
    let least = (dot + 5) ** 2;
    for (const n of drawing.nodes) {
      const d = (n.x - x) ** 2 + (n.y - y) ** 2;
      if (d < least) [best, least] = [n, d];
    }
    return best;
  };
  const [at, setAt] = useState(-1);
  const keys = (e: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (by && drawing.nodes.length) {
      e.preventDefault();
      const i = (at + by + drawing.nodes.length) % drawing.nodes.length;
      const n = drawing.nodes[i];
      setAt(i);
      if (n) setOver({ name: n.d.device.name, x: n.x, y: n.y });
    } else if (e.key === "Enter" && over) go(`/devices/${over.name}`);
  };
  const shown = over && fleet.data?.find((d) => d.device.name === over.name);
  return (
    <div className="page full">
      <PageHead
        title="Topology"
        sub={
          <>
            {plural(hubs.length, "gateway process", "gateway processes")} · {plural(count, "device")}
            <span className="legend-row">
              {[
                ["done", "as wanted"],
                ["inflight", "changing"],
                ["failed", "failed"],
                ["held", "unapproved"],
                ["away", "offline"],
              ].map(([s, w]) => (
                <span key={s}>
                  <span className={`swatch set-${s}`} />
                  {w}
                </span>
              ))}
            </span>
          </>
        }
      />
      {fleet.isPending ? (
        <Loading />
      ) : !fleet.data ? (
        <ProblemBox error={fleet.error} retry={() => void fleet.refetch()} />
      ) : count === 0 && hubs.length === 0 ? (
        <Empty icon="topology" title="Nothing is connected" action={<Link className="button" href="/setup">Initial setup</Link>} />
      ) : (
        <section className="panel fill" ref={box} style={{ position: "relative", overflow: "hidden" }} aria-label="Picture of the topology">
          <canvas
            ref={canvas}
            className="canvas"
            style={{ position: "absolute", inset: 0, width: "100%", height: "100%", cursor: over ? "pointer" : "default" }}
            tabIndex={0}
            role="application"
            aria-label={`${count} devices at ${hubs.length} gateway processes; arrow keys go from device to device, Enter opens one`}
            onKeyDown={keys}
            onPointerMove={(e) => {
              const n = near(e);
              setOver(n ? { name: n.d.device.name, x: n.x, y: n.y } : null);
            }}
            onPointerLeave={() => setOver(null)}
            onClick={() => over && go(`/devices/${over.name}`)}
          />
          {over && shown && (
            <div className="tooltip" role="status" style={{ position: "absolute", left: Math.min(over.x + 12, size.w - 220), top: Math.max(over.y - 44, 4), pointerEvents: "none" }}>
              <b>{over.name}</b> · {shown.board}
              <br />
              {shown.online ? `at ${shown.instance}` : "offline"} {(shown.apps ?? []).map((a) => `${a.app}: ${a.set ?? "–"}`).join(", ")}
            </div>
          )}
        </section>
      )}
    </div>
  );
}
