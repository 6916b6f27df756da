import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { at, call, get, Problem } from "../api/client";
import { post, postEmpty, remove, useAction } from "../api/hooks";
import { useMay } from "../api/may";
import type { Condition, Meta, Page } from "../api/types";
import { useNamespace } from "../namespace";
import { base64, duration, plural, shortType } from "../ui/format";
import { Ago, Badge, Button, Confirm, Copyable, Dialog, Empty, Facts, Field, Loading, Menu, PageHead, Panel, ProblemBox } from "../ui/parts";
import { Sources } from "./hooksources";

interface Webhook {
  metadata: Meta;
  spec: { url: string; types?: string[]; filter?: { subjectPrefix?: string; application?: string }; secretRef?: { name: string }; format?: string; handshake?: string; allowPrivate?: boolean; paused?: boolean; enables?: number; maxAttempts?: number };
  status?: { conditions?: Condition[]; delivered?: number; failed?: number; dropped?: number; waiting?: number; lastDelivery?: { time?: string; status?: number; message?: string } };
}

interface Delivery {
  id: string;
  event: { id: string; source: string; type: string; subject?: string };
  status: "Waiting" | "Delivered" | "Failed";
  attempts: number;
  created: string;
  next?: string;
  tries: { time: string; seconds: number; status?: number; reason?: string; message?: string; response?: string }[];
  body?: string;
  cut?: boolean;
}

/** A new key to sign with, as Standard Webhooks has it. */
function newSecret(): string {
  return "whsec_" + base64(crypto.getRandomValues(new Uint8Array(32)));
}

/** What is told to the world outside, and whether it heard. */
export default function Webhooks() {
  const ns = useNamespace();
  const q = useQuery({ queryKey: ["webhooks", ns], queryFn: ({ signal }) => get<Page<Webhook>>(at(ns, "webhooks"), signal), refetchInterval: 3000 });
  const may = useMay();
  const [making, setMaking] = useState(false);
  const missing = q.error instanceof Problem && (q.error.status === 404 || q.error.status === 501);
  return (
    <div className="page">
      <PageHead
        title="Webhooks"
        sub="Any event, to a URL: signed as Standard Webhooks says, retried, and every delivery on record."
        actions={
          !missing && (
            <Button tone="primary" icon="plus" why={may("create webhooks")} onClick={() => setMaking(true)}>
              Register
            </Button>
          )
        }
      />
      {q.isPending ? (
        <Loading />
      ) : missing ? (
        <Panel>
          <Empty icon="webhook" title="This platform has no webhooks">
            The REST API it runs does not offer them{q.error instanceof Problem && q.error.mend ? `: ${q.error.mend}` : ""}. Events can be followed live under Functions &amp; events, and sent on by a Trigger of the broker.
          </Empty>
        </Panel>
      ) : !q.data ? (
        <ProblemBox error={q.error} retry={() => void q.refetch()} />
      ) : q.data.items.length === 0 ? (
        <Panel>
          <Empty icon="webhook" title="None is registered" action={<Button tone="primary" icon="plus" why={may("create webhooks")} onClick={() => setMaking(true)}>Register a webhook</Button>}>
            A receiver outside gets each event at least once, with a signature that it can check.
          </Empty>
        </Panel>
      ) : (
        q.data.items.map((w) => <One key={w.metadata.name} w={w} />)
      )}
      {!missing && <Sources />}
      <Dialog open={making} onOpenChange={setMaking} title="Register a webhook" wide>
        {making && <Form close={() => setMaking(false)} />}
      </Dialog>
    </div>
  );
}

function One({ w }: { w: Webhook }) {
  const ns = useNamespace();
  const name = w.metadata.name;
  const refresh = [["webhooks", ns], ["deliveries", ns, name]];
  const may = useMay();
  const update = may("update webhooks");
  const [editing, setEditing] = useState(false);
  const [open, setOpen] = useState(false);
  const [ask, setAsk] = useState(false);
  const of = (t: string) => w.status?.conditions?.find((c) => c.type === t);
  const disabled = of("Disabled")?.status === "True";
  const ready = of("Ready");
  const test = useAction(() => postEmpty(at(ns, "webhooks", name, "test")), { done: "a test event is on its way", refresh });
  const set = useAction((spec: Record<string, unknown>) => call("PUT", at(ns, "webhooks", name), { metadata: { name, namespace: ns }, spec: { ...w.spec, ...spec } }), { done: (x) => `${name} is ${x.paused ? "paused" : "sending again"}`, refresh });
  const enable = useAction(() => postEmpty(at(ns, "webhooks", name, "enable")), { done: `${name} goes on`, refresh });
  const [fresh, setFresh] = useState("");
  const rotate = useAction((secret: string) => post(at(ns, "webhooks", name, "secret"), { secret }), { done: "the new key is in force, the one before too", refresh });
  const drop = useAction(() => remove(at(ns, "webhooks", name)), { done: `${name} is removed`, refresh });
  return (
    <Panel
      title={
        <span className="row">
          {name}
          {disabled ? <Badge tone="bad">disabled</Badge> : w.spec.paused ? <Badge tone="warn">paused</Badge> : ready?.status === "False" ? <Badge tone="bad">{ready.reason ?? "not ready"}</Badge> : <Badge tone="ok">sending</Badge>}
        </span>
      }
      actions={
        <>
          <Button small icon="bolt" why={may("create webhooks/deliveries")} busy={test.isPending} onClick={() => test.mutate(undefined)}>
            Test
          </Button>
          {disabled ? (
            <Button small tone="primary" icon="play" why={update} busy={enable.isPending} onClick={() => enable.mutate(undefined)}>
              Enable
            </Button>
          ) : (
            <Button small icon={w.spec.paused ? "play" : "pause"} why={update} busy={set.isPending} onClick={() => set.mutate({ paused: !w.spec.paused })}>
              {w.spec.paused ? "Go on" : "Pause"}
            </Button>
          )}
          <Menu label={`More about ${name}`} items={[{ label: "Edit…", icon: "edit", forbidden: update, onSelect: () => setEditing(true) }, { label: "New key…", icon: "lock", forbidden: update, onSelect: () => setFresh(newSecret()) }, null, { label: "Remove…", icon: "trash", danger: true, forbidden: may("delete webhooks"), onSelect: () => setAsk(true) }]} />
        </>
      }
    >
      <div className="stack">
        {(disabled || ready?.status === "False") && <ProblemBox error={{ detail: (disabled ? of("Disabled") : ready)?.message ?? "", mend: disabled ? "mend the receiver, then enable it" : "make the secret, and look at the URL" }} title={disabled ? "Nothing is sent any more" : "It cannot send"} />}
        <div className="grid">
          <div className="c6">
            <Facts
              items={[
                ["To", <span key="u" className="mono">{w.spec.url}</span>],
                ["Events", w.spec.types?.map(shortType).join(", ") ?? "all but telemetry, logs and timers"],
                ["Only", [w.spec.filter?.application && `application ${w.spec.filter.application}`, w.spec.filter?.subjectPrefix && `subject ${w.spec.filter.subjectPrefix}…`].filter(Boolean).join(", ") || "–"],
                ["As", w.spec.format ?? "CloudEventsStructured"],
                ["Secret", w.spec.secretRef?.name ?? "–"],
              ]}
            />
          </div>
          <div className="c6 row wrap">
            {(
              [
                ["delivered", w.status?.delivered],
                ["waiting", w.status?.waiting],
                ["dead letters", w.status?.failed],
                ["dropped", w.status?.dropped],
              ] as const
            ).map(([t, n]) => (
              <div key={t} className="stat" style={{ minWidth: 100 }}>
                <b>{(n ?? 0).toLocaleString()}</b>
                <span>{t}</span>
              </div>
            ))}
          </div>
        </div>
        <div>
          <Button small tone="plain" icon={open ? "down" : "right"} aria-expanded={open} onClick={() => setOpen(!open)}>
            Deliveries
          </Button>
          {open && <Deliveries name={name} />}
        </div>
      </div>
      <Dialog open={editing} onOpenChange={setEditing} title={`Webhook ${name}`} wide>
        {editing && <Form w={w} close={() => setEditing(false)} />}
      </Dialog>
      <Confirm open={!!fresh} onOpenChange={() => setFresh("")} title={`A new key for ${name}`} word="Put it in force" busy={rotate.isPending} onConfirm={() => rotate.mutate(fresh, { onSuccess: () => setFresh("") })}>
        <p>Copy it now: it is not shown again. Every delivery is signed with both keys until the one before is dropped, so that the receiver can change over.</p>
        <Copyable text={fresh} />
      </Confirm>
      <Confirm open={ask} onOpenChange={setAsk} title={`Remove ${name}?`} word="Remove" danger busy={drop.isPending} onConfirm={() => drop.mutate(undefined, { onSuccess: () => setAsk(false) })}>
        Nothing is sent to {w.spec.url} any more, and what waits is dropped.
      </Confirm>
    </Panel>
  );
}

function Deliveries({ name }: { name: string }) {
  const ns = useNamespace();
  const q = useQuery({ queryKey: ["deliveries", ns, name], queryFn: ({ signal }) => get<Page<Delivery>>(at(ns, "webhooks", name, "deliveries"), signal), refetchInterval: 2000 });
  const [open, setOpen] = useState("");
  const again = useAction((id: string) => postEmpty(at(ns, "webhooks", name, "deliveries", id, "redeliver")), { done: "it is delivered again", refresh: [["deliveries", ns, name]] });
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  if (!q.data.items.length) return <Empty icon="clock" title="Nothing was delivered yet">Test it, or wait for an event.</Empty>;
  return (
    <div className="scroll-x">
      <table className="table">
        <thead>
          <tr>
            <th>When</th>
            <th>Event</th>
            <th>Outcome</th>
            <th />
          </tr>
        </thead>
        <tbody>
          {q.data.items.map((d) => (
            <tr key={d.id}>
              <td className="nowrap muted">
                <Ago at={d.created} />
              </td>
              <td>
                {shortType(d.event.type)} <span className="muted">{d.event.subject}</span>
                <div>
                  <button type="button" className="link small" aria-haspopup="dialog" onClick={() => setOpen(d.id)}>
                    Body and attempts
                  </button>
                </div>
              </td>
              <td>
                <Badge tone={d.status === "Delivered" ? "ok" : d.status === "Waiting" ? "info" : "bad"}>{d.status}</Badge> <span className="small muted">{plural(d.attempts, "attempt")}</span>
                {d.next && d.status === "Waiting" && (
                  <div className="small muted">
                    next <Ago at={d.next} />
                  </div>
                )}
              </td>
              <td className="right">
                <Button small icon="refresh" onClick={() => again.mutate(d.id)}>
                  Again
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Dialog open={!!open} onOpenChange={() => setOpen("")} title="Delivery" wide>
        {open && <DeliveryDetail name={name} id={open} />}
      </Dialog>
    </div>
  );
}

function DeliveryDetail({ name, id }: { name: string; id: string }) {
  const ns = useNamespace();
  const q = useQuery({ queryKey: ["deliveries", ns, name, id], queryFn: ({ signal }) => get<Delivery>(at(ns, "webhooks", name, "deliveries", id), signal), refetchInterval: 3000 });
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  return (
    <div className="stack">
      <Facts
        items={[
          ["Event", <span key="e" className="mono">{q.data.event.type}</span>],
          ["Subject", q.data.event.subject ?? "–"],
          ["Status", q.data.status],
          ["Id", <span key="i" className="mono">{q.data.id}</span>],
        ]}
      />
      <h3>The last attempts</h3>
      {q.data.tries.length === 0 && <p className="muted">None yet.</p>}
      <ul className="timeline">
        {q.data.tries.map((t) => (
          <li key={t.time} className={(t.status ?? 0) >= 200 && (t.status ?? 0) < 300 ? "ok" : "bad"}>
            <b>{t.status || "no answer"}</b> {[t.reason, t.message].filter(Boolean).join(": ")}{" "}
            <span className="small muted">
              <Ago at={t.time} />, took {duration(t.seconds)}
            </span>
            {t.response && <pre className="pre">{t.response}</pre>}
          </li>
        ))}
      </ul>
      <h3>What is sent</h3>
      <pre className="pre" tabIndex={0}>
        {q.data.body ?? "not kept"}
        {q.data.cut ? "…" : ""}
      </pre>
    </div>
  );
}

const kinds = ["io.wasmbed.rollout.*", "io.wasmbed.device.state.changed.v1", "io.wasmbed.device.connected.v1", "io.wasmbed.device.disconnected.v1", "io.wasmbed.device.trapped.v1", "io.wasmbed.device.enroll*", "io.wasmbed.application.revised.v1", "io.wasmbed.rollback.decided.v1", "dev.knative.apiserver.ref.*"];

function Form({ w, close }: { w?: Webhook; close: () => void }) {
  const ns = useNamespace();
  const [name, setName] = useState(w?.metadata.name ?? "");
  const [url, setUrl] = useState(w?.spec.url ?? "https://");
  const [secret] = useState(newSecret);
  const [types, setTypes] = useState<string[]>(w?.spec.types ?? []);
  const [format, setFormat] = useState(w?.spec.format ?? "CloudEventsStructured");
  const [app, setApp] = useState(w?.spec.filter?.application ?? "");
  const [allowPrivate, setPrivate] = useState(w?.spec.allowPrivate ?? false);
  const save = useAction(
    () => {
      const spec = { ...w?.spec, url, format, types: types.length ? types : undefined, filter: app || w?.spec.filter?.subjectPrefix ? { ...w?.spec.filter, application: app || undefined } : undefined, allowPrivate: allowPrivate || undefined };
      const o = { apiVersion: "wasmbed.io/v1alpha1", kind: "Webhook", metadata: { name, namespace: ns }, spec };
      return w ? call("PUT", at(ns, "webhooks", name), o) : call("POST", at(ns, "webhooks"), { ...o, secret });
    },
    { done: w ? `${name} is saved` : `${name} is registered`, refresh: [["webhooks", ns]] },
  );
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), save.mutate(undefined, { onSuccess: close }))}>
      <div className="form-grid">
        {!w && <Field label="Name">{(id) => <input id={id} className="input" required pattern="[a-z0-9]([a-z0-9\-]*[a-z0-9])?" value={name} onChange={(e) => setName(e.target.value)} placeholder="ops" />}</Field>}
        <Field label="URL">{(id) => <input id={id} className="input mono" type="url" required value={url} onChange={(e) => setUrl(e.target.value)} />}</Field>
      </div>
      <fieldset>
        <legend>Events</legend>
        <div className="form-grid">
          {[...new Set([...kinds, ...types])].map((k) => (
            <label key={k} className="check">
              <input type="checkbox" checked={types.includes(k)} onChange={(e) => setTypes(e.target.checked ? [...types, k] : types.filter((x) => x !== k))} />
              <span className="mono">{shortType(k)}</span>
            </label>
          ))}
        </div>
        <div className="help">None ticked: all but telemetry, logs and timers.</div>
      </fieldset>
      <div className="form-grid">
        <Field label="Only about the application">{(id) => <input id={id} className="input" value={app} onChange={(e) => setApp(e.target.value)} />}</Field>
        <Field label="Body">
          {(id) => (
            <select id={id} value={format} onChange={(e) => setFormat(e.target.value)}>
              <option value="CloudEventsStructured">CloudEvent as JSON</option>
              <option value="CloudEventsBinary">CloudEvent in headers</option>
              <option value="JSON">plain JSON</option>
            </select>
          )}
        </Field>
      </div>
      {!w && <div className="field">
        <span className="legend">Key that every delivery is signed with</span>
        <Copyable text={secret} />
        <span className="help">Give it to the receiver: it is stored as a Secret and not shown again.</span>
      </div>}
      <label className="check">
        <input type="checkbox" checked={allowPrivate} onChange={(e) => setPrivate(e.target.checked)} />
        Also to loopback and private addresses, when the platform permits it
      </label>
      {save.error && <ProblemBox error={save.error} title={w ? "It was not saved" : "It was not registered"} />}
      <div className="row end">
        <Button onClick={close}>Cancel</Button>
        <Button tone="primary" type="submit" busy={save.isPending}>
          {w ? "Save" : "Register"}
        </Button>
      </div>
    </form>
  );
}
