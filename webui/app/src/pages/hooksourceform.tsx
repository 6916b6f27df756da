import { useState } from "react";
import { at, call } from "../api/client";
import { useAction } from "../api/hooks";
import { useNamespace } from "../namespace";
import { base64, shortType, tidy } from "../ui/format";
import { Button, Copyable, Field, IconButton, ProblemBox } from "../ui/parts";
import type { Rule, Source } from "./hooksources";

/** A new key: as Standard Webhooks has it, or plain characters for who takes it as it stands. */
export function newKey(scheme: string): string {
  const b = crypto.getRandomValues(new Uint8Array(32));
  return scheme === "GitHub" || scheme === "Token" ? [...b].map((x) => x.toString(16).padStart(2, "0")).join("") : "whsec_" + base64(b);
}

/** Requests that a door can make, and what each needs. */
const asks: Record<string, string> = {
  "io.wasmbed.deploy.requested.v1": "application, and module (a Module's name) or oci (with a digest)",
  "io.wasmbed.rollback.requested.v1": "application; to and reason when they are known",
  "io.wasmbed.command.requested.v1": "kind (Invoke, Message, Reboot), devices, selector or all; application, function or topic",
};

const presets: { title: string; about: string; scheme: string; header?: string; rules: Rule[] }[] = [
  { title: "A CI job deploys", about: "signs its request, and names a Module", scheme: "StandardWebhooks", rules: [{ type: "io.wasmbed.deploy.requested.v1", data: { application: "$.application", module: "$.module", reason: "a CI job" } }] },
  {
    title: "A registry push deploys",
    about: "Docker Registry notifications, with a token",
    scheme: "Token",
    rules: [
      {
        when: [
          { path: "$.events[0].action", in: ["push"] },
          { path: "$.events[0].target.repository", in: ["acme/app"] },
        ],
        type: "io.wasmbed.deploy.requested.v1",
        data: { application: "app", oci: "registry.example.net/{$.events[0].target.repository}@{$.events[0].target.digest}" },
      },
    ],
  },
  { title: "GitHub tells of a release", about: "any event becomes one of your own", scheme: "GitHub", rules: [{ when: [{ path: "header.X-GitHub-Event", in: ["release"] }], type: "com.example.release.v1", data: { tag: "$.release.tag_name", repository: "$.repository.full_name" } }] },
  { title: "From nothing", about: "one rule that takes everything", scheme: "StandardWebhooks", rules: [{ type: "com.example.posted.v1" }] },
];

/** How requests are verified, and the rules that make events of them; null is a door that is to be made. */
export function SourceForm({ x, close }: { x: Source | null; close: () => void }) {
  const ns = useNamespace();
  const [name, setName] = useState(x?.metadata.name ?? "");
  const [scheme, setScheme] = useState(x?.spec.verify?.scheme ?? "StandardWebhooks");
  const [header, setHeader] = useState(x?.spec.verify?.header ?? "Authorization");
  const [tolerance, setTolerance] = useState(tidy(x?.spec.verify?.tolerance) ?? "5m");
  const [timePath, setTimePath] = useState(x?.spec.verify?.timePath ?? "");
  const [rate, setRate] = useState(String(x?.spec.ratePerMinute ?? 60));
  const [rules, setRules] = useState<Rule[]>(x?.spec.rules ?? presets[0]?.rules ?? []);
  const [picked, setPicked] = useState(0);
  const [key, setKey] = useState(() => newKey("StandardWebhooks"));
  const choose = (s: string) => {
    setScheme(s);
    setKey(newKey(s));
  };
  const put = (i: number, r: Partial<Rule>) => setRules(rules.map((o, n) => (n === i ? { ...o, ...r } : o)));
  const save = useAction(
    () => {
      const spec = {
        ...x?.spec,
        verify: { scheme, tolerance, ...(scheme === "Token" && { header }), ...(timePath && scheme !== "StandardWebhooks" && { timePath }) },
        rules: rules.map((r) => ({ type: r.type, ...(r.when?.length && { when: r.when.map((w) => ({ path: w.path, ...(w.in?.length && { in: w.in }) })) }), ...(r.data && Object.keys(r.data).length && { data: r.data }) })),
        ratePerMinute: Number(rate),
      };
      const o = { apiVersion: "wasmbed.io/v1alpha1", kind: "WebhookSource", metadata: { name, namespace: ns }, spec };
      return x ? call("PUT", at(ns, "webhooksources", name), o) : call("POST", at(ns, "webhooksources"), { ...o, secret: key });
    },
    { done: x ? `${name} is saved` : `/hooks/${ns}/${name} is open`, refresh: [["webhooksources", ns]] },
  );
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), save.mutate(undefined, { onSuccess: close }))}>
      {!x && (
        <div className="cards two">
          {presets.map((p, i) => (
            <button
              key={p.title}
              type="button"
              className="card"
              aria-pressed={picked === i}
              onClick={() => {
                setPicked(i);
                choose(p.scheme);
                setRules(p.rules);
              }}
            >
              <b>{p.title}</b>
              <span className="small muted">{p.about}</span>
            </button>
          ))}
        </div>
      )}
      <div className="form-grid">
        {!x && <Field label="Name" help={`posts go to /hooks/${ns}/${name || "NAME"}`}>{(id) => <input id={id} className="input" required pattern="[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?" value={name} onChange={(e) => setName(e.target.value)} placeholder="ci" />}</Field>}
        <Field label="Verified by">
          {(id) => (
            <select id={id} value={scheme} onChange={(e) => choose(e.target.value)}>
              <option value="StandardWebhooks">Standard Webhooks signature</option>
              <option value="GitHub">GitHub signature</option>
              <option value="Token">A token in a header</option>
            </select>
          )}
        </Field>
        {scheme === "Token" && <Field label="Header">{(id) => <input id={id} className="input mono" required pattern="[A-Za-z][A-Za-z0-9\-]*" value={header} onChange={(e) => setHeader(e.target.value)} />}</Field>}
        <Field label="At most a minute">{(id) => <input id={id} className="input" type="number" min={1} max={6000} required value={rate} onChange={(e) => setRate(e.target.value)} />}</Field>
        <Field label="No older than" help="1s to 1h">
          {(id) => <input id={id} className="input" required value={tolerance} onChange={(e) => setTolerance(e.target.value)} />}
        </Field>
        {scheme !== "StandardWebhooks" && (
          <Field label="Its time stands at" help="a path in the body; empty: it has no age">
            {(id) => <input id={id} className="input mono" value={timePath} onChange={(e) => setTimePath(e.target.value.trim())} placeholder="$.timestamp" />}
          </Field>
        )}
      </div>
      {rules.map((r, i) => (
        <RuleFields key={i} n={i + 1} r={r} change={(c) => put(i, c)} drop={rules.length > 1 ? () => setRules(rules.filter((_, k) => k !== i)) : undefined} />
      ))}
      <div className="row">
        <Button small icon="plus" disabled={rules.length >= 16} onClick={() => setRules([...rules, { type: "com.example.posted.v1" }])}>
          Rule
        </Button>
        <span className="help">The first rule that fits makes the event.</span>
      </div>
      {!x && (
        <div className="field">
          <span className="legend">{scheme === "Token" ? "The token" : "Key that every request is signed with"}</span>
          <Copyable text={key} />
          <span className="help">Give it to the sender: it is stored as a Secret and not shown again.{scheme === "Token" && header === "Authorization" ? " It stands behind “Bearer ”." : ""}</span>
        </div>
      )}
      {save.error && <ProblemBox error={save.error} title="It was not saved" />}
      <div className="row end">
        <Button onClick={close}>Cancel</Button>
        <Button tone="primary" type="submit" busy={save.isPending}>
          {x ? "Save" : "Open the door"}
        </Button>
      </div>
    </form>
  );
}

function RuleFields({ n, r, change, drop }: { n: number; r: Rule; change: (r: Partial<Rule>) => void; drop?: () => void }) {
  const own = !(r.type in asks);
  const data = Object.entries(r.data ?? {});
  const setData = (rows: [string, string][]) => change({ data: rows.length ? Object.fromEntries(rows) : undefined });
  const setWhen = (when: NonNullable<Rule["when"]>) => change({ when: when.length ? when : undefined });
  const when = r.when ?? [];
  return (
    <fieldset>
      <legend>Rule {n}</legend>
      <div className="form-grid">
        <Field label="Makes">
          {(id) => (
            <select id={id} value={own ? "" : r.type} onChange={(e) => change({ type: e.target.value || "com.example.posted.v1" })}>
              {Object.keys(asks).map((t) => (
                <option key={t} value={t}>
                  {shortType(t)}
                </option>
              ))}
              <option value="">an event of your own</option>
            </select>
          )}
        </Field>
        {own && <Field label="Its type">{(id) => <input id={id} className="input mono" required minLength={3} pattern="[A-Za-z0-9._\-]+" value={r.type} onChange={(e) => change({ type: e.target.value.trim() })} />}</Field>}
      </div>
      {!own && <div className="help">It needs {asks[r.type]}.</div>}
      <div className="legend">When</div>
      {when.map((w, i) => (
        <div key={i} className="row pair">
          <input className="input mono" aria-label={`Path of condition ${i + 1} of rule ${n}`} required value={w.path} placeholder="$.action, or header.X-GitHub-Event" onChange={(e) => setWhen(when.map((o, k) => (k === i ? { ...o, path: e.target.value.trim() } : o)))} />
          <span className="muted small nowrap">is one of</span>
          <input
            className="input mono"
            aria-label={`Values of condition ${i + 1} of rule ${n}`}
            defaultValue={(w.in ?? []).join(", ")}
            placeholder="empty: it is there"
            onChange={(e) => setWhen(when.map((o, k) => (k === i ? { ...o, in: e.target.value.split(",").map((v) => v.trim()).filter(Boolean) } : o)))}
          />
          <IconButton label={`Remove condition ${i + 1} of rule ${n}`} icon="trash" onClick={() => setWhen(when.filter((_, k) => k !== i))} />
        </div>
      ))}
      <div className="row">
        <Button small icon="plus" disabled={when.length >= 8} onClick={() => setWhen([...when, { path: "", in: [] }])}>
          Condition
        </Button>
        {when.length === 0 && <span className="help">None: every request fits.</span>}
      </div>
      <div className="legend">Data</div>
      {data.map(([k, v], i) => (
        <div key={i} className="row pair">
          <input className="input mono" aria-label={`Name of field ${i + 1} of rule ${n}`} required value={k} onChange={(e) => setData(data.map((o, j) => (j === i ? [e.target.value.trim(), v] : o)))} />
          <span className="muted small nowrap">=</span>
          <input className="input mono" aria-label={`Value of field ${i + 1} of rule ${n}`} value={v} placeholder="$.a.b[0], or text with {$.a}" onChange={(e) => setData(data.map((o, j) => (j === i ? [k, e.target.value] : o)))} />
          <IconButton label={`Remove field ${i + 1} of rule ${n}`} icon="trash" onClick={() => setData(data.filter((_, j) => j !== i))} />
        </div>
      ))}
      <div className="row between wrap">
        <span className="row">
          <Button small icon="plus" disabled={data.some(([k]) => !k) || data.length >= 32} onClick={() => setData([...data, ["", ""]])}>
            Field
          </Button>
          {data.length === 0 && <span className="help">None: the body is the data.</span>}
        </span>
        {drop && (
          <Button small tone="danger" onClick={drop}>
            Remove the rule
          </Button>
        )}
      </div>
    </fieldset>
  );
}
