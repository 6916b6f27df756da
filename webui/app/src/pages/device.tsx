import { lazy, Suspense, useState } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { at, Problem, query } from "../api/client";
import { postEmpty, remove, useAction, useApplications, useDevice, useExplain, useTimeline } from "../api/hooks";
import { useMay } from "../api/may";
import type { AppView, Device, DeviceView, Explanation } from "../api/types";
import { setWords } from "../charts/sets";
import { useNamespace } from "../namespace";
import { bytes, dateTime, shortType, timeOf } from "../ui/format";
import { Ago, Badge, Button, Confirm, Copyable, Dialog, Empty, Facts, Labels, Loading, Menu, PageHead, Panel, ProblemBox, Tabs, type Tone } from "../ui/parts";
import { says, titleOf, toneOf } from "./say";
import { CommandForm, RecentCommands } from "./commands";
import { DeviceState } from "./devices";
import { EditLabels } from "./labels";
import { Console, Log } from "./screens";

const Telemetry = lazy(() => import("./telemetry"));

/** Everything about one device. */
export default function DevicePage({ name }: { name: string }) {
  const ns = useNamespace();
  const [, go] = useLocation();
  const tab = new URLSearchParams(useSearch()).get("tab") ?? "state";
  const d = useDevice(ns, name);
  const explain = useExplain(ns, name);
  if (d.isPending) return <Loading lines={8} />;
  if (!d.data) {
    if (d.error instanceof Problem && d.error.status === 404)
      return (
        <Empty icon="device" title={`There is no device ${name}`} action={<Link className="button" href="/devices">All devices</Link>}>
          It was deleted, or it has never enrolled in this namespace.
        </Empty>
      );
    return <ProblemBox error={d.error} retry={() => void d.refetch()} />;
  }
  const { object, view } = d.data;
  const behind = (explain.data?.items ?? []).filter((e) => e.cause !== "UpToDate");
  return (
    <div className="page">
      <PageHead
        crumbs={<Link href="/devices">Devices</Link>}
        title={name}
        sub={
          <>
            <DeviceState d={view} />
            <span>{object.spec.board}</span>
            {object.spec.emulation && <Badge tone="info">emulated by {object.spec.emulation.backend}</Badge>}
            {object.metadata.deletionTimestamp && <Badge tone="warn">being deleted</Badge>}
            {object.spec.hold && <Badge tone="warn">held</Badge>}
            {!view.online && <span>{view.lastSeen ? <>last seen <Ago at={view.lastSeen} /></> : "never connected"}</span>}
          </>
        }
        actions={<Actions d={object} v={view} />}
      />
      {d.error && <ProblemBox error={d.error} title="What you see may be old" />}
      {object.spec.approval !== "Approved" && <Approval d={object} />}
      <Tabs
        label="About this device"
        value={tab}
        onChange={(t) => go(`/devices/${name}` + query({ tab: t === "state" ? undefined : t }), { replace: true })}
        tabs={[
          { id: "state", title: "State", body: <State d={object} v={view} behind={behind} /> },
          { id: "why", title: <>Why is it not updated? {behind.length > 0 && <Badge tone="warn">{behind.length}</Badge>}</>, body: <Why items={explain.data?.items} error={explain.error} name={name} /> },
          {
            id: "telemetry",
            title: "Telemetry",
            body: (
              <Suspense fallback={<Loading />}>
                <Telemetry name={name} />
              </Suspense>
            ),
          },
          { id: "logs", title: "Log", body: <Log name={name} /> },
          { id: "console", title: "Console", body: <Console name={name} emulated={!!object.spec.emulation} /> },
          { id: "timeline", title: "Timeline", body: <Timeline name={name} /> },
          { id: "commands", title: "Commands", body: <Commands v={view} /> },
        ]}
      />
    </div>
  );
}

function Approval({ d }: { d: Device }) {
  const ns = useNamespace();
  const name = d.metadata.name;
  const why = useMay()("update devices/approval");
  const act = useAction((verb: string) => postEmpty(at(ns, "devices", name, verb)), { done: (v) => `${name} is ${v === "approve" ? "approved" : "rejected"}`, refresh: [["device", ns, name], ["enrollments", ns], ["overview", ns]] });
  return (
    <div className="problem warn" role="status">
      <div className="grow">
        <strong>This device is {(d.spec.approval ?? "Pending").toLowerCase()}</strong>
        <div>Only an approved device gets a certificate, and what applications want of it.</div>
      </div>
      <div className="row">
        <Button tone="primary" icon="check" why={why} busy={act.isPending} onClick={() => act.mutate("approve")}>
          Approve
        </Button>
        {d.spec.approval !== "Rejected" && (
          <Button tone="danger" why={why} disabled={act.isPending} onClick={() => act.mutate("reject")}>
            Reject
          </Button>
        )}
      </div>
    </div>
  );
}

function Actions({ d, v }: { d: Device; v: DeviceView }) {
  const ns = useNamespace();
  const [, go] = useLocation();
  const name = d.metadata.name;
  const [ask, setAsk] = useState<"" | "delete" | "revoke" | "power-cut" | "labels" | "reboot">("");
  const refresh = [["device", ns, name], ["devices", ns], ["overview", ns]];
  const act = useAction((verb: string) => postEmpty(at(ns, "devices", name, verb)), { done: (verb) => `${name}: ${verb} asked for`, refresh });
  const drop = useAction(() => remove(at(ns, "devices", name)), { done: `${name} is being deleted`, refresh });
  const may = useMay();
  const approval = may("update devices/approval");
  const power = may("update devices/power");
  const e = d.spec.emulation;
  const stopped = e?.state === "Stopped";
  const close = () => setAsk("");
  return (
    <>
      <Button icon={d.spec.hold ? "play" : "pause"} why={may("patch devices")} busy={act.isPending && (act.variables === "hold" || act.variables === "release")} onClick={() => act.mutate(d.spec.hold ? "release" : "hold")}>
        {d.spec.hold ? "Release" : "Hold"}
      </Button>
      {e && (
        <Menu
          label="Power"
          icon="bolt"
          trigger={
            <Button icon="bolt" className="">
              Power
            </Button>
          }
          items={[
            stopped ? { label: "Start", icon: "play", forbidden: power, onSelect: () => act.mutate("start") } : { label: "Stop", icon: "pause", forbidden: power, onSelect: () => act.mutate("stop") },
            { label: "Reset", icon: "refresh", forbidden: power, disabled: stopped, why: "it is stopped", onSelect: () => act.mutate("reset") },
            { label: "Cut the power…", icon: "bolt", danger: true, forbidden: power, disabled: stopped, why: "it is stopped", onSelect: () => setAsk("power-cut") },
          ]}
        />
      )}
      <Menu
        label="More actions"
        items={[
          { label: "Reboot", icon: "refresh", forbidden: may("create devices/reboot"), disabled: !v.online, why: "it is not connected", onSelect: () => setAsk("reboot") },
          { label: "Disconnect", icon: "link", forbidden: may("create devices/disconnect"), disabled: !v.online, why: "it is not connected", onSelect: () => act.mutate("disconnect") },
          { label: "Edit labels…", icon: "edit", forbidden: may("patch devices"), onSelect: () => setAsk("labels") },
          null,
          d.spec.approval === "Approved" ? { label: "Revoke…", icon: "lock", danger: true, forbidden: approval, onSelect: () => setAsk("revoke") } : { label: "Approve", icon: "check", forbidden: approval, onSelect: () => act.mutate("approve") },
          { label: "Delete…", icon: "trash", danger: true, forbidden: may("delete devices"), onSelect: () => setAsk("delete") },
        ]}
      />
      <Confirm open={ask === "reboot"} onOpenChange={close} title={`Reboot ${name}?`} word="Reboot" busy={act.isPending} onConfirm={() => act.mutate("reboot", { onSettled: close })}>
        Its modules stop and start again. It comes back by itself.
      </Confirm>
      <Confirm open={ask === "power-cut"} onOpenChange={close} title={`Cut the power of ${name}?`} word="Cut the power" danger busy={act.isPending} onConfirm={() => act.mutate("power-cut", { onSettled: close })}>
        In the middle of whatever it does, and then it is given back. What was being written must survive: that is what this is for.
      </Confirm>
      <Confirm open={ask === "revoke"} onOpenChange={close} title={`Revoke ${name}?`} word="Revoke" danger busy={act.isPending} onConfirm={() => act.mutate("revoke", { onSettled: close })}>
        Its certificate is void at once and its session ends. It can be approved again.
      </Confirm>
      <Confirm open={ask === "delete"} onOpenChange={close} title={`Delete ${name}?`} word="Delete" danger busy={drop.isPending} onConfirm={() => drop.mutate(undefined, { onSuccess: () => go("/devices") })}>
        {e ? "Its emulated board is removed with its storage, its session ends, and its key is denied." : "Its session ends and its key is denied. It must enroll anew to come back."}
      </Confirm>
      <Dialog open={ask === "labels"} onOpenChange={close} title={`Labels of ${name}`} sub="Applications select devices by their labels: a change can bring modules, or take them away.">
        {ask === "labels" && <EditLabels device={d} close={close} />}
      </Dialog>
    </>
  );
}

function State({ d, v, behind }: { d: Device; v: DeviceView; behind: Explanation[] }) {
  const c = v.capabilities;
  const b = d.status?.board;
  const apps = (v.apps ?? []).filter((a) => a.set || a.desired || a.reported);
  return (
    <div className="grid">
      <div className="c8 stack">
        {behind[0] && d.spec.approval === "Approved" && (
          <div className="problem warn" role="status">
            <div>
              <strong>{behind.length === 1 ? `${behind[0].application || "It"} is not as wanted: ${behind[0].cause}` : `${behind.length} applications are not as wanted`}</strong>
              <div>{behind[0].text}</div>
              <Link href={`/devices/${d.metadata.name}?tab=why`}>Why?</Link>
            </div>
          </div>
        )}
        {apps.length === 0 ? (
          <Panel title="Instances">
            <Empty icon="app" title="Nothing is wanted here" action={<Link className="button" href="/deploy">Deploy a module</Link>}>
              No application selects this device.
            </Empty>
          </Panel>
        ) : (
          apps.map((a) => <Instance key={a.app} a={a} />)
        )}
        <Lately name={d.metadata.name} />
      </div>
      <div className="c4 stack">
        <Panel title="Session">
          <Facts
            items={[
              ["State", <DeviceState key="s" d={v} />],
              ["Since", v.online ? <Ago key="a" at={v.connectedAt} /> : v.lastSeen ? <>away since <Ago at={v.lastSeen} /></> : "it has never been connected"],
              ["Gateway", v.gateway ? <>{v.gateway} <span className="muted">({v.instance})</span></> : "–"],
              ["Firmware", v.firmware ?? "–"],
              ["Boot", v.bootId ? <Copyable text={v.bootId} /> : "–"],
              ["Desired seen", `${v.seenDesired ?? 0} of ${v.desiredVersion ?? 0}`],
            ]}
          />
        </Panel>
        {(b || d.spec.emulation) && (
          <Panel title="Emulated board">
            <Facts
              items={[
                ["Phase", <Badge key="p" tone={b?.phase === "Running" ? "ok" : b?.phase === "Failed" ? "bad" : "info"}>{b?.phase ?? "Pending"}</Badge>],
                ["Backend", `${b?.backend ?? d.spec.emulation?.backend ?? ""} ${b?.engine ? `(${b.engine})` : ""}`],
                ["Transport", b?.transport ?? (d.spec.emulation?.transport || "–")],
                ...(d.spec.emulation?.resets ? ([["Resets", `${b?.resets ?? 0} of ${d.spec.emulation.resets} done`]] as [string, string][]) : []),
                ...(d.spec.emulation?.powerCuts ? ([["Power cuts", `${b?.powerCuts ?? 0} of ${d.spec.emulation.powerCuts} done`]] as [string, string][]) : []),
                ...(b?.restarts ? ([["Restarts", b.restarts]] as [string, number][]) : []),
                ...(b?.message ? ([["Why", b.message]] as [string, string][]) : []),
              ]}
            />
          </Panel>
        )}
        <Panel title="Identity">
          <Facts
            items={[
              ["Approval", <Badge key="a" tone={d.spec.approval === "Approved" ? "ok" : "warn"}>{d.spec.approval ?? "Pending"}</Badge>],
              ["Labels", <Labels key="l" labels={d.metadata.labels} />],
              ["Key", d.spec.identity?.publicKey ? <Copyable text={d.spec.identity.publicKey} short={24} /> : d.spec.identity?.claimDigest ? "by claim" : "none pinned yet"],
              ["Certificate", d.status?.certificate ? <>until {dateTime(d.status.certificate.notAfter)} <Copyable text={d.status.certificate.serial} short={16} /></> : "none"],
              ["Made", <Ago key="m" at={d.metadata.creationTimestamp} />],
            ]}
          />
        </Panel>
        {c && c.apps > 0 && (
          <Panel title="What it can hold">
            <Facts
              items={[
                ["Module RAM", bytes(c.moduleMemory)],
                ["Module size", bytes(c.moduleSize)],
                ["Applications", c.apps],
                ["ABI", c.abi],
                ["Permissions", (c.permissions ?? []).join(", ")],
              ]}
            />
          </Panel>
        )}
      </div>
    </div>
  );
}

const stateTone: Record<string, Tone> = { Running: "ok", Fetching: "info", Staged: "info", Starting: "info", Stopping: "info", Stopped: "idle", Failed: "bad", RolledBack: "warn" };

function Instance({ a }: { a: AppView }) {
  const want = a.desired ?? a.target;
  const got = a.reported;
  const differs = !!want && (got?.running !== want.revision || got?.state !== want.state);
  return (
    <Panel
      flush
      title={<Link href={`/applications/${a.app}`}>{a.app}</Link>}
      actions={
        a.set ? (
          <Badge tone={setWords[a.set].tone} title={setWords[a.set].about}>
            {setWords[a.set].title}
          </Badge>
        ) : (
          <Badge>not selected</Badge>
        )
      }
    >
      <div className={`sides ${differs ? "differs" : ""}`}>
        <div>
          <div className="small muted">Desired</div>
          {want ? (
            <Facts items={[["Revision", <span key="r" className="mono">{want.revision}</span>], ["State", want.state], ["Module", <>{bytes(want.size)} <Copyable text={want.digest} short={18} /></>], ["Attempt", want.attempt]]} />
          ) : (
            <span className="muted">nothing: it is removed from the device</span>
          )}
        </div>
        <div>
          <div className="small muted">Reported</div>
          {got ? (
            <Facts
              items={[
                ["Runs", <span key="r" className="mono">{got.running || "nothing"}</span>],
                ["State", <Badge key="s" tone={stateTone[got.state] ?? "idle"}>{got.state}{got.state === "Running" && !got.confirmed ? " on trial" : ""}</Badge>],
                ...(got.revision !== got.running ? ([["About", <span key="a" className="mono">{got.revision}</span>]] as [string, React.ReactNode][]) : []),
                ...(got.reason ? ([["Reason", `${got.reason}${got.message ? ": " + got.message : ""}`]] as [string, string][]) : []),
                ...(got.state === "Fetching" && want ? ([["Fetched", <progress key="p" max={want.size} value={got.progress ?? 0} aria-label="Fetched" />]] as [string, React.ReactNode][]) : []),
                ["Restarts", got.restarts ?? 0],
                ["Traps", a.traps ?? got.traps ?? 0],
              ]}
            />
          ) : (
            <span className="muted">it has said nothing about it yet</span>
          )}
        </div>
      </div>
      {(a.reason || a.message) && a.set !== "held" && (
        <div className="panel-body small">
          <b>{a.reason}</b> {a.message}
        </div>
      )}
    </Panel>
  );
}

const causeTone: Record<string, Tone> = { UpToDate: "ok", Failed: "bad", RolledBack: "warn", Refused: "bad", ApplicationWrong: "bad", Offline: "idle", Held: "warn", Paused: "warn", RolloutHalted: "bad", NotEnrolled: "warn" };

function Why({ items, error, name }: { items?: Explanation[]; error: unknown; name: string }) {
  const ns = useNamespace();
  const apps = useApplications(ns);
  const timeline = useTimeline(ns, name);
  const [other, setOther] = useState("");
  if (error && !items) return <ProblemBox error={error} />;
  if (!items) return <Loading />;
  const trapped = (timeline.data?.items ?? []).filter((m) => m.type.includes("device.trapped"));
  const trapsOf = (app: string) => trapped.map((m) => ({ id: m.id, time: m.time, ...(m.data as { app?: string; revision?: string; reason?: string; where?: string; message?: string }) })).filter((t) => t.app === app).slice(0, 3);
  const rest = (apps.data?.items ?? []).map((a) => a.metadata.name).filter((a) => !items.some((i) => i.application === a));
  return (
    <div className="stack">
      {items.length === 0 && <Empty icon="check" title="No application is on this device">Nothing selects it, so nothing is to be updated.</Empty>}
      {items.map((e) => (
        <Panel key={e.application} title={e.application || name} actions={<Badge tone={causeTone[e.cause] ?? "info"}>{e.cause}</Badge>}>
          <div className="stack tight">
            <p>{e.text}</p>
            {e.cause !== "UpToDate" && trapsOf(e.application).length > 0 && (
              <ul className="stack tight" aria-label={`Traps of ${e.application}`}>
                {trapsOf(e.application).map((t) => (
                  <li key={t.id} className="trap">
                    <Badge tone="bad">{t.reason ?? "Trap"}</Badge> <span className="mono">{[t.message, t.where && `in ${t.where}`].filter(Boolean).join(" ")}</span>{" "}
                    <span className="small muted">
                      {t.revision} · <Ago at={t.time} />
                    </span>
                  </li>
                ))}
              </ul>
            )}
            {e.mend && (
              <p>
                <b>Mend:</b> {/^`?wasmbed logs/.test(e.mend) ? <Link href={`/devices/${name}?tab=logs`}>look at its log</Link> : e.mend}
              </p>
            )}
            <p className="small muted">
              {e.wanted && <>wanted <span className="mono">{e.wanted}</span></>} {e.running && <> · runs <span className="mono">{e.running}</span></>} {e.reason && <> · reason {e.reason}</>}
            </p>
          </div>
        </Panel>
      ))}
      {rest.length > 0 && (
        <Panel title="About another application">
          <div className="row">
            <select className="auto" aria-label="Application" value={other} onChange={(e) => setOther(e.target.value)}>
              <option value="">Choose one</option>
              {rest.map((a) => (
                <option key={a}>{a}</option>
              ))}
            </select>
            {other && <span className="muted">{other} does not select this device: change its targets, or this device&apos;s labels.</span>}
          </div>
        </Panel>
      )}
    </div>
  );
}

/** The last few things that happened, for the first look. */
function Lately({ name }: { name: string }) {
  const ns = useNamespace();
  const t = useTimeline(ns, name);
  const items = (t.data?.items ?? []).filter((m) => !background.test(m.type)).slice(0, 6);
  if (!items.length) return null;
  return (
    <Panel title="Lately" actions={<Link href={`/devices/${name}?tab=timeline`}>All</Link>}>
      <ul className="timeline">
        {items.map((m) => (
          <li key={m.id + m.type} className={toneOf(m)}>
            <div className="row between">
              <span className="ellipsis">
                <b title={m.type}>{titleOf(m.type)}</b> <span className="muted">{says(m)}</span>
              </span>
              <span className="small muted nowrap">
                <Ago at={m.time} />
              </span>
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

const background = /telemetry|logs\.received|timer\.due|apiserver/;

function Timeline({ name }: { name: string }) {
  const ns = useNamespace();
  const t = useTimeline(ns, name);
  const [noise, setNoise] = useState(false);
  if (t.isPending) return <Loading lines={6} />;
  if (!t.data) return <ProblemBox error={t.error} retry={() => void t.refetch()} />;
  const items = t.data.items.filter((m) => noise || !background.test(m.type)).slice(0, 200);
  return (
    <Panel
      title="Everything that happened"
      actions={
        <label className="check small">
          <input type="checkbox" checked={noise} onChange={(e) => setNoise(e.target.checked)} />
          telemetry, logs and timers too
        </label>
      }
    >
      {items.length === 0 ? (
        <Empty icon="clock" title="Nothing is remembered">The broker keeps the recent events only.</Empty>
      ) : (
        <ul className="timeline">
          {items.map((m) => (
            <li key={m.id + m.type} className={toneOf(m)}>
              <div className="row between">
                <span>
                  <b>{titleOf(m.type)}</b> <span className="small muted mono">{shortType(m.type)}</span>
                </span>
                <span className="small muted nowrap" title={dateTime(m.time)}>
                  {timeOf(m.time)} · <Ago at={m.time} />
                </span>
              </div>
              <div>{says(m)}</div>
              {m.data !== undefined && (
                <details className="small">
                  <summary className="muted">Data</summary>
                  <pre className="pre">{JSON.stringify(m.data, null, 2)}</pre>
                </details>
              )}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Commands({ v }: { v: DeviceView }) {
  return (
    <div className="grid">
      <div className="c6">
        <Panel title="Speak to a module">{v.online ? <CommandForm v={v} /> : <Empty icon="bolt" title="It is not connected">Commands are for devices that are there. Try again when it is back.</Empty>}</Panel>
      </div>
      <div className="c6">
        <RecentCommands name={v.device.name} />
      </div>
    </div>
  );
}
