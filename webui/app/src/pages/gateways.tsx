import { useState } from "react";
import { Link } from "wouter";
import { at, call } from "../api/client";
import { remove, useAction, useGateways, useOverview } from "../api/hooks";
import type { Gateway } from "../api/types";
import { useNamespace } from "../namespace";
import { plural, tidy } from "../ui/format";
import { Ago, Badge, Button, Confirm, Dialog, Dot, Empty, Facts, Field, Loading, Menu, PageHead, Panel, ProblemBox } from "../ui/parts";

/** Where devices connect, and on which terms. */
export default function Gateways() {
  const ns = useNamespace();
  const q = useGateways(ns);
  const [edit, setEdit] = useState<Gateway | "new" | null>(null);
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  return (
    <div className="page">
      <PageHead
        title="Gateways"
        sub="A gateway is one address with one or more processes behind it; a change of its terms is followed within seconds."
        actions={
          <Button tone="primary" icon="plus" onClick={() => setEdit("new")}>
            New gateway
          </Button>
        }
      />
      {q.data.items.length === 0 ? (
        <Panel>
          <Empty icon="gateway" title="No gateway in this namespace">Devices need one to connect.</Empty>
        </Panel>
      ) : (
        q.data.items.map((g) => <One key={g.metadata.name} g={g} edit={() => setEdit(g)} />)
      )}
      <Dialog open={edit !== null} onOpenChange={() => setEdit(null)} title={edit === "new" ? "New gateway" : `Terms of ${edit?.metadata.name ?? ""}`} sub={edit === "new" ? "Gateway processes serve it when they are started with its name (WASMBED_GATEWAY)." : undefined}>
        {edit !== null && <Form g={edit === "new" ? null : edit} close={() => setEdit(null)} />}
      </Dialog>
    </div>
  );
}

function One({ g, edit }: { g: Gateway; edit: () => void }) {
  const ns = useNamespace();
  const name = g.metadata.name;
  const live = useOverview(ns).data?.gateways.filter((i) => i.gateway === name && i.namespace === ns) ?? [];
  const [ask, setAsk] = useState(false);
  const ready = g.status?.conditions?.find((c) => c.type === "Ready");
  const drop = useAction(() => remove(at(ns, "gateways", name)), { done: `${name} is being deleted`, refresh: [["gateways", ns]] });
  const open = !!g.spec.pairing?.until && Date.parse(g.spec.pairing.until) > Date.now();
  const most = g.spec.limits?.maxDevices ?? 100000;
  return (
    <Panel
      title={
        <span className="row">
          {name} <Badge tone={ready?.status === "True" ? "ok" : "bad"}>{ready?.status === "True" ? "Ready" : (ready?.reason ?? "not ready")}</Badge> {open && <Badge tone="warn">pairing is open</Badge>}
        </span>
      }
      actions={
        <>
          <Link className="button small" href="/enrollment">
            Pairing
          </Link>
          <Button small icon="edit" onClick={edit}>
            Terms
          </Button>
          <Menu label={`More about ${name}`} items={[{ label: "Delete…", icon: "trash", danger: true, onSelect: () => setAsk(true) }]} />
        </>
      }
    >
      <div className="grid">
        <div className="c5">
          <Facts
            items={[
              ["Address", <span key="a" className="mono">{g.spec.address}</span>],
              ["Heartbeat", `${tidy(g.spec.heartbeat) ?? "10s"}; offline after three`],
              ["Certificates", `live ${tidy(g.spec.certificate?.life) ?? "168h"}, renewed at two thirds`],
              ["Approval", g.spec.pairing?.approval === "Automatic" ? "automatic inside a window" : "by a person"],
              ["Attestation", g.spec.attestation?.mode === "Require" ? `required: ${plural(g.spec.attestation.measurements?.length ?? 0, "measurement")}` : "none"],
              ["Limits", `${most.toLocaleString()} devices per process, frames of ${(g.spec.limits?.maxFrame ?? 16384).toLocaleString()} bytes`],
            ]}
          />
          {ready?.status !== "True" && ready?.message && <p className="field-error">{ready.message}</p>}
        </div>
        <div className="c7">
          {live.length === 0 ? (
            <Empty icon="gateway" title="No process serves it">
              Start one with <code>WASMBED_GATEWAY={name}</code>.
            </Empty>
          ) : (
            <table className="table">
              <thead>
                <tr>
                  <th>Process</th>
                  <th>Devices</th>
                  <th>Up</th>
                </tr>
              </thead>
              <tbody>
                {live.map((i) => (
                  <tr key={i.id}>
                    <td>
                      <Dot tone={i.state === "Up" ? "ok" : "warn"} label={`${i.id} · ${i.state}`} />
                    </td>
                    <td style={{ width: "40%" }}>
                      <div>{i.devices.toLocaleString()}</div>
                      <div className="bar" role="img" aria-label={`${i.devices} of ${most}`}>
                        {i.devices > 0 && <span className="set-inflight" style={{ flexGrow: i.devices }} />}
                        <span style={{ flexGrow: Math.max(most - i.devices, 0) }} />
                      </div>
                    </td>
                    <td className="nowrap muted">
                      <Ago at={i.started} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </div>
      </div>
      <Confirm open={ask} onOpenChange={setAsk} title={`Delete gateway ${name}?`} word="Delete" danger busy={drop.isPending} onConfirm={() => drop.mutate(undefined, { onSuccess: () => setAsk(false) })}>
        {live.length > 0 ? `${plural(live.reduce((a, i) => a + i.devices, 0), "device")} of it lose their connection.` : "No process serves it now."} Devices that dial its address are refused.
      </Confirm>
    </Panel>
  );
}

function Form({ g, close }: { g: Gateway | null; close: () => void }) {
  const ns = useNamespace();
  const [name, setName] = useState(g?.metadata.name ?? "");
  const [address, setAddress] = useState(g?.spec.address ?? "");
  const [heartbeat, setHeartbeat] = useState(tidy(g?.spec.heartbeat) ?? "10s");
  const [life, setLife] = useState(tidy(g?.spec.certificate?.life) ?? "168h");
  const [most, setMost] = useState(String(g?.spec.limits?.maxDevices ?? 100000));
  const save = useAction(
    () =>
      call("PUT", at(ns, "gateways", name), {
        apiVersion: "wasmbed.io/v1alpha1",
        kind: "Gateway",
        metadata: { name, namespace: ns },
        spec: { ...g?.spec, address, heartbeat, certificate: { ...g?.spec.certificate, life }, limits: { ...g?.spec.limits, maxDevices: Number(most) } },
      }),
    { done: `${name} is saved`, refresh: [["gateways", ns]] },
  );
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), save.mutate(undefined, { onSuccess: close }))}>
      {!g && <Field label="Name">{(id) => <input id={id} className="input" required pattern="[a-z0-9]([a-z0-9-]*[a-z0-9])?" value={name} onChange={(e) => setName(e.target.value)} placeholder="field" />}</Field>}
      <Field label="Address" help="host:port that devices dial">
        {(id) => <input id={id} className="input mono" required value={address} onChange={(e) => setAddress(e.target.value)} placeholder="gateway.example.net:8081" />}
      </Field>
      <div className="form-grid">
        <Field label="Heartbeat" help="100ms to 1h">
          {(id) => <input id={id} className="input" required value={heartbeat} onChange={(e) => setHeartbeat(e.target.value)} />}
        </Field>
        <Field label="Life of certificates" help="2m to 8760h">
          {(id) => <input id={id} className="input" required value={life} onChange={(e) => setLife(e.target.value)} />}
        </Field>
        <Field label="Devices per process">{(id) => <input id={id} className="input" type="number" min={1} max={1000000} required value={most} onChange={(e) => setMost(e.target.value)} />}</Field>
      </div>
      {save.error && <ProblemBox error={save.error} title="It was not saved" />}
      <div className="row end">
        <Button onClick={close}>Cancel</Button>
        <Button tone="primary" type="submit" busy={save.isPending}>
          Save
        </Button>
      </div>
    </form>
  );
}
