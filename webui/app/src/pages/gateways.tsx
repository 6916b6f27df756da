import { useState } from "react";
import { Link } from "wouter";
import { at } from "../api/client";
import { postEmpty, remove, useAction, useGateways, useOverview } from "../api/hooks";
import { useMay } from "../api/may";
import type { Gateway } from "../api/types";
import { useNamespace } from "../namespace";
import { plural, tidy } from "../ui/format";
import { Ago, Badge, Button, Confirm, Dialog, Dot, Empty, Facts, Loading, Menu, PageHead, Panel, ProblemBox } from "../ui/parts";
import { GatewayForm } from "./gatewayform";

/** Where devices connect, and on which terms. */
export default function Gateways() {
  const ns = useNamespace();
  const q = useGateways(ns);
  const may = useMay();
  const [edit, setEdit] = useState<Gateway | "new" | null>(null);
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  return (
    <div className="page">
      <PageHead
        title="Gateways"
        sub="A gateway is one address with one or more processes behind it; a change of its terms is followed within seconds."
        actions={
          <Button tone="primary" icon="plus" why={may("update gateways")} onClick={() => setEdit("new")}>
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
      <Dialog open={edit !== null} onOpenChange={() => setEdit(null)} title={edit === "new" ? "New gateway" : `Terms of ${edit?.metadata.name ?? ""}`} wide sub={edit === "new" ? "Gateway processes serve it when they are started with its name (WASMBED_GATEWAY)." : undefined}>
        {edit !== null && <GatewayForm g={edit === "new" ? null : edit} close={() => setEdit(null)} />}
      </Dialog>
    </div>
  );
}

function One({ g, edit }: { g: Gateway; edit: () => void }) {
  const ns = useNamespace();
  const name = g.metadata.name;
  const live = useOverview(ns).data?.gateways.filter((i) => i.gateway === name && i.namespace === ns) ?? [];
  const may = useMay();
  const [ask, setAsk] = useState(false);
  const ready = g.status?.conditions?.find((c) => c.type === "Ready");
  const drop = useAction(() => remove(at(ns, "gateways", name)), { done: `${name} is being deleted`, refresh: [["gateways", ns]] });
  const [off, setOff] = useState(false);
  const set = useAction((verb: string) => postEmpty(at(ns, "gateways", name, verb)), { done: (verb) => `${name} is ${verb}d`, refresh: [["gateways", ns], ["overview", ns]] });
  const open = !!g.spec.pairing?.until && Date.parse(g.spec.pairing.until) > Date.now();
  const most = g.spec.limits?.maxDevices ?? 100000;
  return (
    <Panel
      title={
        <span className="row">
          {name} <Badge tone={ready?.status === "True" ? "ok" : "bad"}>{ready?.status === "True" ? "Ready" : (ready?.reason ?? "not ready")}</Badge> {g.spec.disabled && <Badge tone="warn">disabled</Badge>} {open && <Badge tone="warn">pairing is open</Badge>}
        </span>
      }
      actions={
        <>
          <Link className="button small" href="/enrollment">
            Pairing
          </Link>
          <Button small icon="edit" why={may("update gateways")} onClick={edit}>
            Terms
          </Button>
          <Menu label={`More about ${name}`} items={[g.spec.disabled ? { label: "Enable", icon: "play", forbidden: may("patch gateways"), onSelect: () => set.mutate("enable") } : { label: "Disable…", icon: "pause", danger: true, forbidden: may("patch gateways"), onSelect: () => setOff(true) }, null, { label: "Delete…", icon: "trash", danger: true, forbidden: may("delete gateways"), onSelect: () => setAsk(true) }]} />
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
              ["Limits", `${most.toLocaleString()} devices per process, frames of ${(g.spec.limits?.maxFrame ?? 16384).toLocaleString()} bytes, ${(g.spec.limits?.preAuthPerAddress ?? 256).toLocaleString()} handshakes per address`],
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
      <Confirm open={off} onOpenChange={setOff} title={`Disable gateway ${name}?`} word="Disable" danger busy={set.isPending} onConfirm={() => set.mutate("disable", { onSettled: () => setOff(false) })}>
        Its processes end their sessions and take no device until it is enabled again. What devices run goes on.
      </Confirm>
      <Confirm open={ask} onOpenChange={setAsk} title={`Delete gateway ${name}?`} word="Delete" danger busy={drop.isPending} onConfirm={() => drop.mutate(undefined, { onSuccess: () => setAsk(false) })}>
        {live.length > 0 ? `${plural(live.reduce((a, i) => a + i.devices, 0), "device")} of it lose their connection.` : "No process serves it now."} Devices that dial its address are refused.
      </Confirm>
    </Panel>
  );
}
