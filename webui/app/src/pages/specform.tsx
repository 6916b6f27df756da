import { useState } from "react";
import { useQuery } from "@tanstack/react-query";
import { at, get, query } from "../api/client";
import type { Application, DeviceView, Manifest, Page, Targets } from "../api/types";
import { useNamespace } from "../namespace";
import { plural, seconds, selectorText, tidy } from "../ui/format";
import { Button, Field, IconButton } from "../ui/parts";

type Spec = Application["spec"];

export const permissions: [string, string][] = [
  ["log", "write lines to the log"],
  ["clock", "know the time"],
  ["telemetry", "measure"],
  ["message", "send and get messages"],
  ["kv", "keep values over restarts"],
  ["gpio", "switch pins"],
  ["sensor", "read sensors"],
  ["timer", "set timers of its own"],
  ["random", "random numbers"],
];

/** Reads a selector such as "site=lab, tier in (a,b), !old". Throws an Error that says what is wrong. */
export function parseSelector(text: string): NonNullable<Targets["selector"]> {
  const out: NonNullable<Targets["selector"]> = {};
  const parts = text.match(/[^,(]+(\([^)]*\))?/g) ?? [];
  for (const raw of parts) {
    const p = raw.trim();
    if (!p) continue;
    const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(p);
    const eq = /^([^=!\s]+)\s*={1,2}\s*(\S*)$/.exec(p);
    if (set) (out.matchExpressions ??= []).push({ key: set[1] ?? "", operator: set[2] === "in" ? "In" : "NotIn", values: (set[3] ?? "").split(",").map((v) => v.trim()).filter(Boolean) });
    else if (eq) (out.matchLabels ??= {})[eq[1] ?? ""] = eq[2] ?? "";
    else if (/^![^\s=]+$/.test(p)) (out.matchExpressions ??= []).push({ key: p.slice(1), operator: "DoesNotExist" });
    else if (/^[^\s=!]+$/.test(p)) (out.matchExpressions ??= []).push({ key: p, operator: "Exists" });
    else throw new Error(`“${p}” is no requirement: site=lab, site in (lab,hall), site or !site`);
  }
  if (!out.matchLabels && !out.matchExpressions) throw new Error("an empty selector selects nothing: choose every device if that is meant");
  return out;
}

/** Which devices, with the number that it is right now. */
export function TargetsForm({ value, onChange }: { value: Targets; onChange: (t: Targets) => void }) {
  const ns = useNamespace();
  const kind = value.all ? "all" : value.names ? "names" : "selector";
  const [text, setText] = useState(kind === "selector" ? selectorText(value.selector) : "");
  const [names, setNames] = useState((value.names ?? []).join(" "));
  const [wrong, setWrong] = useState<string>();
  const some = useQuery({
    queryKey: ["targets", ns, value],
    queryFn: ({ signal }) => get<Page<DeviceView>>(at(ns, "devices") + query({ limit: 500, labelSelector: value.selector ? selectorText(value.selector) : undefined }), signal),
    enabled: kind !== "names" && !wrong,
    staleTime: 5000,
  });
  const list = useQuery({ queryKey: ["names", ns], queryFn: ({ signal }) => get<Page<DeviceView>>(at(ns, "devices") + "?limit=200", signal), staleTime: 10000 });
  const setSelector = (s: string) => {
    setText(s);
    try {
      onChange({ selector: parseSelector(s) });
      setWrong(undefined);
    } catch (e) {
      setWrong(e instanceof Error ? e.message : String(e));
    }
  };
  const setNamed = (s: string) => {
    setNames(s);
    const all = [...new Set(s.split(/[\s,]+/).filter(Boolean))];
    if (all.length) onChange({ names: all });
    setWrong(all.length ? undefined : "name at least one device");
  };
  return (
    <fieldset>
      <legend>Targets</legend>
      <div className="row wrap">
        {(
          [
            ["all", "Every device"],
            ["selector", "By label"],
            ["names", "By name"],
          ] as const
        ).map(([k, title]) => (
          <label key={k} className="check">
            <input
              type="radio"
              name="targets"
              checked={kind === k}
              onChange={() => {
                setWrong(undefined);
                if (k === "all") onChange({ all: true });
                else if (k === "names") {
                  onChange({ names: names.split(/[\s,]+/).filter(Boolean) });
                } else {
                  onChange({ selector: { matchLabels: {} } });
                  setSelector(text);
                }
              }}
            />
            {title}
          </label>
        ))}
      </div>
      {kind === "selector" && (
        <Field label="Label selector" error={wrong} help="site=lab, ring in (canary,first), !old">
          {(id) => <input id={id} className="input mono" value={text} onChange={(e) => setSelector(e.target.value)} placeholder="site=lab" />}
        </Field>
      )}
      {kind === "names" && (
        <>
          <Field label="Names" error={wrong} help="Several with spaces. One that does not exist yet is waited for.">
            {(id) => <input id={id} className="input mono" value={names} onChange={(e) => setNamed(e.target.value)} />}
          </Field>
          <div className="chips">
            {(list.data?.items ?? []).slice(0, 24).map((d) => {
              const on = value.names?.includes(d.device.name);
              return (
                <button key={d.device.name} type="button" className="button small" aria-pressed={on} onClick={() => setNamed((on ? value.names?.filter((n) => n !== d.device.name) : [...(value.names ?? []), d.device.name])?.join(" ") ?? "")}>
                  {on ? "✓ " : ""}
                  {d.device.name}
                </button>
              );
            })}
          </div>
        </>
      )}
      {kind !== "names" && some.data && !wrong && (
        <div className="help" role="status">
          {plural(some.data.items.length, "device")}
          {some.data.next ? " and more" : ""} now: {some.data.items.slice(0, 5).map((d) => d.device.name).join(", ")}
          {some.data.items.length > 5 ? ", …" : ""}. Devices that get the labels later are included.
        </div>
      )}
    </fieldset>
  );
}

export function ManifestForm({ value, onChange, needed = [] }: { value: Manifest; onChange: (m: Manifest) => void; needed?: string[] }) {
  const has = value.permissions ?? ["log", "clock", "telemetry"];
  const window = seconds(value.health?.window ?? "10s");
  const late = (value.timers ?? []).find((t) => window !== undefined && (seconds(t.period) ?? 0) >= window);
  const missing = needed.filter((p) => !has.includes(p));
  return (
    <>
      <fieldset>
        <legend>Permissions</legend>
        <div className="form-grid">
          {permissions.map(([p, about]) => (
            <label key={p} className="check">
              <input type="checkbox" checked={has.includes(p)} onChange={(e) => onChange({ ...value, permissions: e.target.checked ? [...has, p] : has.filter((x) => x !== p) })} />
              <span>
                {p} <span className="small muted">{about}</span>
              </span>
            </label>
          ))}
        </div>
        {missing.length > 0 && (
          <div className="row">
            <span className="field-error">The module imports functions of: {missing.join(", ")}.</span>
            <Button small onClick={() => onChange({ ...value, permissions: [...has, ...missing] })}>
              Permit them
            </Button>
          </div>
        )}
      </fieldset>
      <fieldset>
        <legend>Timers</legend>
        {(value.timers ?? []).map((t, i) => (
          <div key={i} className="row">
            <input className="input auto" style={{ width: 84 }} type="number" min={0} max={255} aria-label={`Id of timer ${i + 1}`} value={t.id} onChange={(e) => onChange({ ...value, timers: value.timers?.map((x, n) => (n === i ? { ...x, id: Number(e.target.value) } : x)) })} />
            <input className="input" aria-label={`Period of timer ${i + 1}`} value={t.period} placeholder="5s" onChange={(e) => onChange({ ...value, timers: value.timers?.map((x, n) => (n === i ? { ...x, period: e.target.value } : x)) })} />
            <IconButton label={`Remove timer ${i + 1}`} icon="trash" onClick={() => onChange({ ...value, timers: value.timers?.filter((_, n) => n !== i) })} />
          </div>
        ))}
        <div className="row">
          <Button small icon="plus" onClick={() => onChange({ ...value, timers: [...(value.timers ?? []), { id: Math.max(0, ...(value.timers ?? []).map((t) => t.id)) + 1, period: "5s" }] })}>
            Timer
          </Button>
          <span className="help">The module&apos;s timer function is called each period.</span>
        </div>
      </fieldset>
      <fieldset>
        <legend>Configuration</legend>
        <Config value={value.config ?? {}} onChange={(config) => onChange({ ...value, config: Object.keys(config).length ? config : undefined })} />
      </fieldset>
      <fieldset>
        <legend>Limits and health</legend>
        <div className="form-grid">
          <Field label="Memory pages" help="of 64 KiB">
            {(id) => <input id={id} className="input" type="number" min={1} max={1024} value={value.limits?.memoryPages ?? 1} onChange={(e) => onChange({ ...value, limits: { ...value.limits, memoryPages: Number(e.target.value) } })} />}
          </Field>
          <Field label="Longest call">{(id) => <input id={id} className="input" value={value.limits?.callTimeout ?? "1s"} onChange={(e) => onChange({ ...value, limits: { ...value.limits, callTimeout: e.target.value } })} />}</Field>
          <Field label="Health window" help="on trial before it is believed">
            {(id) => <input id={id} className="input" value={value.health?.window ?? "10s"} onChange={(e) => onChange({ ...value, health: { ...value.health, window: e.target.value } })} />}
          </Field>
          <Field label="Traps until given up">{(id) => <input id={id} className="input" type="number" min={1} max={100} value={value.health?.maxTraps ?? 3} onChange={(e) => onChange({ ...value, health: { ...value.health, maxTraps: Number(e.target.value) } })} />}</Field>
        </div>
        {late && (
          <div className="field-error">
            The health window is shorter than the period of timer {late.id} ({late.period}): the module would be believed before that has run once.
          </div>
        )}
      </fieldset>
    </>
  );
}

function Config({ value, onChange }: { value: Record<string, string>; onChange: (c: Record<string, string>) => void }) {
  const [rows, setRows] = useState<[string, string][]>(Object.entries(value));
  const put = (r: [string, string][]) => {
    setRows(r);
    onChange(Object.fromEntries(r.filter(([k]) => k)));
  };
  return (
    <>
      {rows.map(([k, v], i) => (
        <div key={i} className="row">
          <input className="input mono" aria-label={`Name of value ${i + 1}`} value={k} onChange={(e) => put(rows.map((r, n) => (n === i ? [e.target.value, r[1]] : r)))} />
          <input className="input mono" aria-label={`Value ${i + 1}`} value={v} onChange={(e) => put(rows.map((r, n) => (n === i ? [r[0], e.target.value] : r)))} />
          <IconButton label={`Remove value ${i + 1}`} icon="trash" onClick={() => put(rows.filter((_, n) => n !== i))} />
        </div>
      ))}
      <div className="row">
        <Button small icon="plus" onClick={() => put([...rows, ["", ""]])}>
          Value
        </Button>
        <span className="help">What the module can ask for by name.</span>
      </div>
    </>
  );
}

const asNumber = (s: string): number | string | undefined => (s === "" ? undefined : /^\d+$/.test(s) ? Number(s) : s);

export function PolicyForm({ value, onChange }: { value: NonNullable<Spec["rollout"]>; onChange: (p: NonNullable<Spec["rollout"]>) => void }) {
  return (
    <fieldset>
      <legend>Rollout</legend>
      <div className="form-grid">
        <Field label="Changing at once" help="a number or a share, like 25%">
          {(id) => <input id={id} className="input" value={value.maxUnavailable ?? "25%"} onChange={(e) => onChange({ ...value, maxUnavailable: asNumber(e.target.value) })} />}
        </Field>
        <Field label="Waves of" help="empty: one wave">
          {(id) => <input id={id} className="input" value={value.batchSize ?? ""} onChange={(e) => onChange({ ...value, batchSize: asNumber(e.target.value) })} />}
        </Field>
        <Field label="Fails after" help="so many failed devices">
          {(id) => <input id={id} className="input" value={value.failureThreshold ?? 1} onChange={(e) => onChange({ ...value, failureThreshold: asNumber(e.target.value) })} />}
        </Field>
        <Field label="Time per device">{(id) => <input id={id} className="input" value={tidy(value.progressDeadline) ?? "5m"} onChange={(e) => onChange({ ...value, progressDeadline: e.target.value })} />}</Field>
      </div>
      <label className="check">
        <input type="checkbox" checked={value.automaticRollback ?? true} onChange={(e) => onChange({ ...value, automaticRollback: e.target.checked })} />
        When it fails, roll back to the stable revision by itself
      </label>
    </fieldset>
  );
}
