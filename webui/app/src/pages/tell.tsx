import { useQueries, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { at, get, Problem, query } from "../api/client";
import { post, useAction } from "../api/hooks";
import { useMay } from "../api/may";
import type { DeviceView, Operation, Page } from "../api/types";
import { useNamespace } from "../namespace";
import { plural } from "../ui/format";
import { Badge, Button, Empty, Field, Loading, Panel, ProblemBox, type Tone } from "../ui/parts";

export type Kind = "invoke" | "message";

interface Words {
  kind: Kind;
  target: string;
  as: "text" | "json" | "payload";
  payload: string;
  timeout: string;
}

/** What a command says, as fields and as the body of a request. */
export function useWords(start: Partial<Words> = {}) {
  const [w, setW] = useState<Words>({ kind: "invoke", target: "", as: "text", payload: "", timeout: "10s", ...start });
  let wrong: string | undefined;
  if (w.as === "json") {
    try {
      JSON.parse(w.payload || "null");
    } catch (e) {
      wrong = e instanceof Error ? e.message : String(e);
    }
  }
  const body = (): Record<string, unknown> => ({
    timeout: w.timeout,
    [w.kind === "invoke" ? "function" : "topic"]: w.target,
    ...((w.payload || w.as === "text") && { [w.as]: w.as === "json" ? (JSON.parse(w.payload || "null") as unknown) : w.payload }),
  });
  return { w, set: (x: Partial<Words>) => setW((o) => ({ ...o, ...x })), wrong, body };
}

/** The fields of a command; known are functions and topics that were used before. */
export function WordFields({ x, known = [] }: { x: ReturnType<typeof useWords>; known?: { kind: string; name: string }[] }) {
  const { w, set, wrong } = x;
  const names = [...new Set(known.filter((k) => k.kind.toLowerCase() === w.kind).map((k) => k.name))];
  return (
    <>
      <div className="form-grid">
        <Field label="What">
          {(id) => (
            <select id={id} value={w.kind} onChange={(e) => set({ kind: e.target.value as Kind })}>
              <option value="invoke">Invoke a function</option>
              <option value="message">Send a message</option>
            </select>
          )}
        </Field>
        <Field label={w.kind === "invoke" ? "Function" : "Topic"} help={w.kind === "invoke" ? "the name that the module's invoke gets" : "the module must permit message"}>
          {(id) => (
            <>
              <input id={id} className="input mono" required maxLength={64} list={names.length ? id + "-known" : undefined} value={w.target} onChange={(e) => set({ target: e.target.value })} placeholder={w.kind === "invoke" ? "sum" : "config"} autoComplete="off" />
              {names.length > 0 && (
                <datalist id={id + "-known"}>
                  {names.map((n) => (
                    <option key={n} value={n} />
                  ))}
                </datalist>
              )}
            </>
          )}
        </Field>
      </div>
      <div className="form-grid">
        <Field label="Payload as">
          {(id) => (
            <select id={id} value={w.as} onChange={(e) => set({ as: e.target.value as "text" })}>
              <option value="text">Text</option>
              <option value="json">JSON</option>
              <option value="payload">base64</option>
            </select>
          )}
        </Field>
        <Field label="Time to answer">{(id) => <input id={id} className="input" value={w.timeout} onChange={(e) => set({ timeout: e.target.value })} pattern="[0-9.]+(ms|s|m)" />}</Field>
      </div>
      <Field label="Payload" error={wrong}>
        {(id) => <textarea id={id} rows={3} value={w.payload} spellCheck={false} onChange={(e) => set({ payload: e.target.value })} />}
      </Field>
    </>
  );
}

const tones: Record<string, Tone> = { Done: "ok", asked: "info", Refused: "warn", Failed: "bad" };
const answersAtOnce = 50;

interface Outcome {
  command: { id: string };
  status: string;
  reason?: string;
  message?: string;
  payload?: string;
}

/** Bytes as text when they are, else as base64. */
function readable(payload: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0)));
  } catch {
    return payload;
  }
}

/** Calls a function on many devices, or hands many a message, and shows each one's answer as it comes. */
export function TellMany({ apps, devices }: { apps: string[]; devices?: string[] }) {
  const ns = useNamespace();
  const may = useMay();
  const x = useWords();
  const [app, setApp] = useState(apps[0] ?? "");
  const [to, setTo] = useState<"all" | "selector" | "devices">(devices ? "devices" : "all");
  const [selector, setSelector] = useState("");
  const [operation, setOperation] = useState("");
  const reach = useQuery({
    queryKey: ["reach", ns, app, to === "selector" ? selector : ""],
    queryFn: ({ signal }) => get<Page<DeviceView>>(at(ns, "devices") + query({ app, limit: 500, labelSelector: to === "selector" ? selector : undefined }), signal),
    enabled: !!app && to !== "devices" && (to === "all" || !!selector),
    retry: false,
    staleTime: 5000,
  });
  const tell = useAction(async () => {
    const body: Record<string, unknown> = { application: app, ...x.body() };
    if (to === "selector") body.selector = selector;
    else if (to === "devices") body.devices = devices;
    // “All” are the devices that have the application: of others each would only be refused.
    else if (reach.data && !reach.data.next && reach.data.items.length) body.devices = reach.data.items.map((d) => d.device.name);
    else body.all = true;
    const r = (await post(at(ns, x.w.kind), body)) as { operation: string };
    setOperation(r.operation);
    return r;
  });
  const n = reach.data?.items.length ?? 0;
  return (
    <div className="grid">
      <Panel className="c5" title="Speak to many">
        <form className="stack" onSubmit={(e) => (e.preventDefault(), tell.mutate(undefined))}>
          {apps.length > 1 && (
            <Field label="Application">
              {(id) => (
                <select id={id} value={app} onChange={(e) => setApp(e.target.value)}>
                  {apps.map((a) => (
                    <option key={a}>{a}</option>
                  ))}
                </select>
              )}
            </Field>
          )}
          <WordFields x={x} />
          {devices ? (
            <p className="small muted">To the {plural(devices.length, "selected device")}.</p>
          ) : (
            <fieldset>
              <legend>To</legend>
              <div className="row wrap">
                <label className="check">
                  <input type="radio" name="to" checked={to === "all"} onChange={() => setTo("all")} />
                  Every device that has it
                </label>
                <label className="check">
                  <input type="radio" name="to" checked={to === "selector"} onChange={() => setTo("selector")} />
                  By label
                </label>
              </div>
              {to === "selector" && <Field label="Label selector">{(id) => <input id={id} className="input mono" required value={selector} onChange={(e) => setSelector(e.target.value)} placeholder="site=lab" />}</Field>}
              {reach.error ? (
                <span className="field-error">{reach.error instanceof Problem ? reach.error.detail : String(reach.error)}</span>
              ) : (
                reach.data && (
                  <span className="help" role="status">
                    {plural(n, "device")}
                    {reach.data.next ? " and more" : ""} with {app}, {reach.data.items.filter((d) => d.online).length} online
                  </span>
                )
              )}
            </fieldset>
          )}
          <div className="row">
            <Button tone="primary" type="submit" icon="bolt" why={may(`create devices/${x.w.kind}`)} busy={tell.isPending} disabled={!x.w.target || !!x.wrong || (to === "selector" && !selector)}>
              {x.w.kind === "invoke" ? "Call it" : "Send it"}
            </Button>
          </div>
          {tell.error && <ProblemBox error={tell.error} />}
        </form>
      </Panel>
      <div className="c7">{operation ? <Progress key={operation} operation={operation} /> : <Panel title="Answers"><Empty icon="bolt" title="Nothing was asked yet">Each device&apos;s answer, refusal or silence shows up here as it comes.</Empty></Panel>}</div>
    </div>
  );
}

/** A command to many, as it is answered. */
function Progress({ operation }: { operation: string }) {
  const ns = useNamespace();
  const [only, setOnly] = useState("");
  const q = useQuery({
    queryKey: ["operation", ns, operation],
    queryFn: async ({ signal }) => {
      try {
        return await get<Operation>(at(ns, "operations", operation), signal);
      } catch (e) {
        if (e instanceof Problem && e.status === 404) return null; // nobody has taken it up yet
        throw e;
      }
    },
    refetchInterval: (s) => (s.state.data?.finished ? false : 500),
  });
  const all = Object.entries(q.data?.devices ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = all.filter(([, s]) => !only || s === only).slice(0, answersAtOnce);
  // An answer that is there does not change.
  const answers = useQueries({
    queries: shown.map(([device, status]) => ({
      queryKey: ["answer", ns, operation, device],
      queryFn: async ({ signal }: { signal: AbortSignal }) => {
        const r = await get<{ results: Outcome[] }>(at(ns, "devices", device, "commands"), signal);
        return r.results.find((o) => o.command.id === operation) ?? null;
      },
      enabled: status !== "asked",
      staleTime: Infinity,
    })),
  });
  if (q.error) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  const counts = Object.entries(q.data?.counts ?? {}).filter(([, c]) => c > 0);
  const open = q.data?.counts.asked ?? 0;
  const total = q.data?.total ?? 0;
  return (
    <Panel title="Answers" actions={q.data?.finished ? <Badge tone="ok">all answered</Badge> : <Badge tone="info">{q.data ? `${total - open} of ${total}${q.data.listed ? "" : " and more"}` : "being asked"}</Badge>} flush>
      {!q.data ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : total === 0 && q.data.finished ? (
        <Empty icon="device" title="No device is meant">None that is known has these labels.</Empty>
      ) : (
        <>
          <div className="panel-body stack">
            <div className="bar thick" role="progressbar" aria-valuenow={total - open} aria-valuemin={0} aria-valuemax={total} aria-label="Answered">
              {(q.data.counts.Done ?? 0) > 0 && <span className="set-done" style={{ flexGrow: q.data.counts.Done }} />}
              {(q.data.counts.Refused ?? 0) > 0 && <span className="set-held" style={{ flexGrow: q.data.counts.Refused }} />}
              {(q.data.counts.Failed ?? 0) > 0 && <span className="set-failed" style={{ flexGrow: q.data.counts.Failed }} />}
              {open > 0 && <span style={{ flexGrow: open }} />}
            </div>
            <div className="legend-row">
              {counts.map(([s, c]) => (
                <button key={s} type="button" aria-pressed={only === s} onClick={() => setOnly(only === s ? "" : s)}>
                  <Badge tone={tones[s] ?? "idle"}>{s}</Badge> <b>{c.toLocaleString()}</b>
                </button>
              ))}
            </div>
          </div>
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th>Device</th>
                  <th>Outcome</th>
                  <th>Answer</th>
                </tr>
              </thead>
              <tbody>
                {shown.map(([device, status], i) => {
                  const a = answers[i]?.data;
                  return (
                    <tr key={device}>
                      <td>
                        <Link href={`/devices/${device}?tab=commands`}>{device}</Link>
                      </td>
                      <td>
                        <Badge tone={tones[status] ?? "idle"}>{status === "asked" ? "asked…" : status}</Badge>
                      </td>
                      <td className="break">
                        {a?.payload ? <span className="mono">{readable(a.payload)}</span> : null} <span className="muted">{[a?.reason, a?.message].filter(Boolean).join(": ")}</span>
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
          {all.length > shown.length && <p className="panel-body small muted">{only ? `Those that are ${only}. ` : ""}The first {shown.length} of {plural(all.length, "device")} are shown; the numbers are of all.</p>}
        </>
      )}
    </Panel>
  );
}
