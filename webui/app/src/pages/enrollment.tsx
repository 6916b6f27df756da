import { useEffect, useState } from "react";
import { Link } from "wouter";
import { at } from "../api/client";
import { post, postEmpty, remove, useAction, useEnrollments, useGateways } from "../api/hooks";
import { useMay } from "../api/may";
import type { Device, Gateway } from "../api/types";
import { useNamespace } from "../namespace";
import { clock, dateTime } from "../ui/format";
import { Ago, Badge, Button, Copyable, Empty, Field, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";

/** Who asks to be let in, and the windows in which unknown devices may ask. */
export default function Enrollment() {
  const ns = useNamespace();
  const gateways = useGateways(ns);
  const pending = useEnrollments(ns);
  return (
    <div className="page">
      <PageHead title="Enrollment" sub="Unknown devices may ask while a pairing window is open. A device that is announced with a claim may always." />
      <div className="grid">
        <div className="c7">
          <Pending items={pending.data?.items} error={pending.error} retry={() => void pending.refetch()} more={!!pending.data?.next} />
        </div>
        <div className="c5 stack">
          {gateways.isPending ? (
            <Loading />
          ) : gateways.error && !gateways.data ? (
            <ProblemBox error={gateways.error} retry={() => void gateways.refetch()} />
          ) : gateways.data?.items.length === 0 ? (
            <Panel title="Pairing">
              <Empty icon="gateway" title="No gateway in this namespace" action={<Link className="button" href="/gateways">Gateways</Link>}>
                Devices enroll at a gateway. Make one first.
              </Empty>
            </Panel>
          ) : (
            gateways.data?.items.map((g) => <Window key={g.metadata.name} g={g} />)
          )}
        </div>
      </div>
    </div>
  );
}

function Pending({ items, error, retry, more }: { items?: Device[]; error: unknown; retry: () => void; more: boolean }) {
  const ns = useNamespace();
  const why = useMay()("update devices/approval");
  const refresh = [["enrollments", ns], ["overview", ns], ["devices", ns]];
  const act = useAction(({ name, verb }: { name: string; verb: string }) => postEmpty(at(ns, "devices", name, verb)), { done: ({ name, verb }) => `${name}: ${verb === "approve" ? "approved" : "rejected"}`, refresh });
  const all = useAction(() => post(at(ns, "bulk", "devices"), { action: "approve", names: items?.map((d) => d.metadata.name) }), { done: "all of them are approved", refresh });
  return (
    <Panel
      flush
      title="They wait for you"
      actions={
        items && items.length > 1 ? (
          <Button small icon="check" why={why} busy={all.isPending} onClick={() => all.mutate(undefined)}>
            Approve all {items.length}
          </Button>
        ) : undefined
      }
    >
      {error && !items ? (
        <div className="panel-body">
          <ProblemBox error={error} retry={retry} />
        </div>
      ) : !items ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : items.length === 0 ? (
        <Empty icon="check" title="Nobody waits">
          A device that asks for the first time shows up here by itself, with what it says of itself.
        </Empty>
      ) : (
        <ul>
          {items.map((d) => (
            <li key={d.metadata.name} className="attention warning">
              <div className="grow stack tight">
                <div className="row">
                  <Link href={`/devices/${d.metadata.name}`}>
                    <b>{d.metadata.name}</b>
                  </Link>
                  <Badge>{d.spec.board}</Badge>
                  <span className="small muted">
                    asked <Ago at={d.metadata.creationTimestamp} />
                  </span>
                </div>
                <div className="small muted">{d.spec.identity?.publicKey ? <>key <Copyable text={d.spec.identity.publicKey} short={44} /></> : "it has not shown a key yet"}</div>
              </div>
              <Button tone="primary" small icon="check" why={why} busy={act.isPending && act.variables?.name === d.metadata.name} onClick={() => act.mutate({ name: d.metadata.name, verb: "approve" })}>
                Approve
              </Button>
              <Button tone="danger" small why={why} disabled={act.isPending} onClick={() => act.mutate({ name: d.metadata.name, verb: "reject" })}>
                Reject
              </Button>
            </li>
          ))}
        </ul>
      )}
      {more && <p className="panel-body small muted">There are more; the list goes on as these are decided.</p>}
    </Panel>
  );
}

const lengths = ["5m", "10m", "30m", "1h", "8h"];

/** The pairing window of one gateway, with its clock. */
export function Window({ g }: { g: Gateway }) {
  const ns = useNamespace();
  const name = g.metadata.name;
  const until = g.spec.pairing?.until ? Date.parse(g.spec.pairing.until) : 0;
  const [now, setNow] = useState(Date.now());
  const [length, setLength] = useState("10m");
  const [approval, setApproval] = useState(g.spec.pairing?.approval ?? "Manual");
  const open = until > now;
  useEffect(() => {
    if (until <= Date.now()) return;
    const t = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(t);
  }, [until]);
  const why = useMay()("patch gateways");
  const refresh = [["gateways", ns]];
  const start = useAction(() => post(at(ns, "gateways", name, "pairing"), { for: length, approval }), { done: "the window is open", refresh });
  const stop = useAction(() => remove(at(ns, "gateways", name, "pairing")), { done: "the window is closed", refresh });
  return (
    <Panel title={`Pairing at ${name}`} actions={<Badge tone={open ? "ok" : "idle"}>{open ? "open" : "closed"}</Badge>}>
      <div className="stack">
        {open ? (
          <>
            <div className="row between">
              <div>
                <div className="countdown" role="timer" aria-label="Time left">
                  {clock((until - now) / 1000)}
                </div>
                <div className="small muted">until {dateTime(new Date(until).toISOString())}</div>
              </div>
              <Button tone="danger" icon="lock" why={why} busy={stop.isPending} onClick={() => stop.mutate(undefined)}>
                Close now
              </Button>
            </div>
            <p>
              {g.spec.pairing?.approval === "Automatic" ? <Badge tone="warn">Whoever asks is let in</Badge> : <Badge tone="info">Who asks waits for a person</Badge>}
            </p>
            <p className="muted">
              Devices dial <span className="mono">{g.spec.address}</span>.
            </p>
          </>
        ) : (
          <p className="muted">
            {until ? `It closed ${dateTime(new Date(until).toISOString())}. ` : ""}Unknown devices are refused. Known ones connect at <span className="mono">{g.spec.address}</span> as always.
          </p>
        )}
        <form className="stack" onSubmit={(e) => (e.preventDefault(), start.mutate(undefined))}>
          <div className="form-grid">
            <Field label={open ? "Open anew for" : "Open for"}>
              {(id) => (
                <select id={id} value={length} onChange={(e) => setLength(e.target.value)}>
                  {lengths.map((l) => (
                    <option key={l}>{l}</option>
                  ))}
                </select>
              )}
            </Field>
            <Field label="Who asks">
              {(id) => (
                <select id={id} value={approval} onChange={(e) => setApproval(e.target.value)}>
                  <option value="Manual">waits for a person</option>
                  <option value="Automatic">is let in at once</option>
                </select>
              )}
            </Field>
          </div>
          <div className="row">
            <Button tone={open ? undefined : "primary"} type="submit" icon="enroll" why={why} busy={start.isPending}>
              {open ? "Set the time anew" : "Open the window"}
            </Button>
          </div>
        </form>
      </div>
    </Panel>
  );
}
