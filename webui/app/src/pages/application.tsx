import { useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { at, Problem, query } from "../api/client";
import { patch, post, postEmpty, remove, useAction, useAppDevices, useAppExplain, useApplication } from "../api/hooks";
import { useMay } from "../api/may";
import { phaseOf } from "../api/phase";
import type { Application, Counts, DeviceView, WorkSet } from "../api/types";
import { SetBar, SetLegend, setWords } from "../charts/sets";
import { moved, useFeed } from "../live/context";
import { useNamespace } from "../namespace";
import { plural, tidy } from "../ui/format";
import { Ago, Badge, Button, Confirm, Copyable, Empty, Facts, Hint, LinkButton, Loading, Menu, PageHead, Panel, ProblemBox, Tabs } from "../ui/parts";
import { targetText } from "./applications";
import { Phase } from "./phase";
import { TellMany } from "./tell";
import { RollbackDialog, Revisions } from "./revisions";

const ApplicationTrace = lazy(() => import("./trace").then((m) => ({ default: m.ApplicationTrace })));
const Yaml = lazy(() => import("./yaml"));

/** One application: its rollout as it moves, its revisions, and what is wrong where. */
export default function ApplicationPage({ name }: { name: string }) {
  const ns = useNamespace();
  const [, go] = useLocation();
  const tab = new URLSearchParams(useSearch()).get("tab") ?? "rollout";
  const q = useApplication(ns, name);
  if (q.isPending) return <Loading lines={8} />;
  if (!q.data) {
    if (q.error instanceof Problem && q.error.status === 404)
      return (
        <Empty icon="app" title={`There is no application ${name}`} action={<Link className="button" href="/applications">All applications</Link>}>
          It was deleted, or it was never made in this namespace.
        </Empty>
      );
    return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  }
  const app = q.data.object;
  const p = phaseOf(app);
  return (
    <div className="page">
      <PageHead
        crumbs={<Link href="/applications">Applications</Link>}
        title={name}
        sub={
          <>
            <Phase phase={p.phase} />
            {app.metadata.deletionTimestamp && <Badge tone="warn">being deleted</Badge>}
            {app.spec.state === "Stopped" && <Badge>stopped</Badge>}
            {p.phase !== "RolledBack" && <span>{p.message}</span>}
          </>
        }
        actions={<Actions app={app} />}
      />
      {q.error && <ProblemBox error={q.error} title="What you see may be old" />}
      <Tabs
        label="About this application"
        value={tab}
        onChange={(t) => go(`/applications/${name}` + query({ tab: t === "rollout" ? undefined : t }), { replace: true })}
        tabs={[
          { id: "rollout", title: "Rollout", body: <Rollout app={app} counts={q.data.counts} /> },
          { id: "behind", title: <>What is behind {(q.data.counts?.failed ?? 0) > 0 && <Badge tone="bad">{q.data.counts?.failed}</Badge>}</>, body: <Behind name={name} /> },
          { id: "revisions", title: "Revisions", body: <Revisions app={app} /> },
          { id: "commands", title: "Commands", body: <TellMany apps={[name]} /> },
          { id: "trace", title: "Trace", body: <Suspense fallback={<Loading />}><ApplicationTrace name={name} /></Suspense> },
          { id: "manifest", title: "What is wanted", body: <Suspense fallback={<Loading />}><Yaml app={app} /></Suspense> },
        ]}
      />
    </div>
  );
}

function Actions({ app }: { app: Application }) {
  const ns = useNamespace();
  const [, go] = useLocation();
  const name = app.metadata.name;
  const may = useMay();
  const update = may("update applications");
  const [ask, setAsk] = useState<"" | "rollback" | "delete">("");
  const refresh = [["application", ns, name], ["applications", ns], ["overview", ns]];
  const act = useAction((verb: string) => postEmpty(at(ns, "applications", name, verb)), { done: (v) => `${name}: ${v}d`, refresh });
  const run = useAction((state: string) => patch(at(ns, "applications", name), { spec: { state } }), { done: (s) => `${name} shall be ${s.toLowerCase()}`, refresh });
  const drop = useAction(() => remove(at(ns, "applications", name)), { done: `${name} is being deleted`, refresh });
  return (
    <>
      <LinkButton icon="edit" href={`/applications/${name}/edit`} why={update}>
        Edit
      </LinkButton>
      {app.spec.paused ? (
        <Button icon="play" tone="primary" why={update} busy={act.isPending} onClick={() => act.mutate("resume")}>
          Resume
        </Button>
      ) : (
        <Button icon="pause" why={update} busy={act.isPending} onClick={() => act.mutate("pause")}>
          Pause
        </Button>
      )}
      <Button icon="back" why={may("create applications/rollback")} onClick={() => setAsk("rollback")}>
        Roll back
      </Button>
      <Menu
        label="More actions"
        items={[
          app.spec.state === "Stopped" ? { label: "Start the module", icon: "play", forbidden: may("patch applications"), onSelect: () => run.mutate("Running") } : { label: "Stop the module", icon: "pause", forbidden: may("patch applications"), onSelect: () => run.mutate("Stopped") },
          null,
          { label: "Delete…", icon: "trash", danger: true, forbidden: may("delete applications"), onSelect: () => setAsk("delete") },
        ]}
      />
      <RollbackDialog app={app} open={ask === "rollback"} onOpenChange={() => setAsk("")} send={(body) => post(at(ns, "applications", name, "rollback"), body)} refresh={refresh} />
      <Confirm open={ask === "delete"} onOpenChange={() => setAsk("")} title={`Delete ${name}?`} word="Delete" danger busy={drop.isPending} onConfirm={() => drop.mutate(undefined, { onSuccess: () => go("/applications") })}>
        It is stopped and removed from every device that has it, and its revisions with it.
      </Confirm>
    </>
  );
}

function Rollout({ app, counts }: { app: Application; counts?: Counts }) {
  const ns = useNamespace();
  const name = app.metadata.name;
  const client = useQueryClient();
  const [set, setSet] = useState<WorkSet | undefined>();
  const devices = useAppDevices(ns, name);
  useFeed((entries) => {
    const mine = entries.filter((e) => !e.app || e.app === name);
    const names = new Set(mine.map((e) => e.device.name));
    if (!names.size) return;
    client.setQueryData<{ items: DeviceView[]; more: boolean }>(["application", ns, name, "devices"], (d) =>
      d ? { ...d, items: d.items.map((v) => (names.has(v.device.name) ? mine.filter((e) => e.device.name === v.device.name).reduce(moved, v) : v)) } : d,
    );
  });
  const r = app.status?.rollout;
  const policy = app.spec.rollout ?? {};
  const setOf = useMemo(() => (v: DeviceView) => v.apps?.find((a) => a.app === name)?.set, [name]);
  const shown = useMemo(() => (devices.data?.items ?? []).filter((v) => !set || setOf(v) === set), [devices.data, set, setOf]);
  const total = counts?.desired ?? 0;
  // A revision that was complete, and then failed: nothing goes back by itself any more.
  const back = app.status?.conditions?.find((c) => c.type === "RolledBack");
  const late = r?.state === "Complete" && r.to === app.status?.revision && (counts?.failed ?? 0) > 0;
  return (
    <div className="grid">
      {back?.status === "True" && (
        <div className="problem warn c12" role="status">
          <div>
            <strong>It was rolled back{r?.from && r.to ? <> from <span className="mono">{r.from}</span> to <span className="mono">{r.to}</span></> : null}</strong>
            <div>{r?.message ?? back.message}</div>
            <div className="row wrap">
              <Link href={`/applications/${name}?tab=behind`}>On which devices, and why</Link>
              <Link href={`/applications/${name}?tab=revisions`}>What differs</Link>
              <Link href={`/applications/${name}?tab=trace`}>How it went</Link>
            </div>
          </div>
        </div>
      )}
      {late && (
        <div className="problem warn c12" role="status">
          <div>
            <strong>It failed on {plural(counts?.failed ?? 0, "device")} after its rollout was complete</strong>
            <div>
              <span className="mono">{r.to}</span> had passed its health window of {tidy(app.spec.manifest?.health?.window) ?? "10s"} everywhere, so the application still wants it; those devices went back by themselves to what ran before.
            </div>
            <div className="mend">Roll back to {r.from ? <span className="mono">{r.from}</span> : "an older revision"}, or deploy one that is mended; a longer health window finds this before it is believed.</div>
          </div>
        </div>
      )}
      <div className="c8 stack">
        <Panel title="Where its devices stand" actions={<span className="muted small">{plural(total, "device")} selected</span>}>
          {total === 0 ? (
            <Empty icon="device" title="It selects no device">
              Its targets are: {targetText(app.spec.targets)}. <Link href={`/applications/${name}/edit`}>Change the targets</Link>, or label devices.
            </Empty>
          ) : (
            <div className="stack">
              <div className="row">
                <span className="countdown">{total ? Math.floor((100 * (counts?.updated ?? 0)) / total) : 0}%</span>
                <span className="muted">
                  {counts?.updated.toLocaleString()} of {total.toLocaleString()} have <span className="mono">{app.status?.revision}</span>
                </span>
              </div>
              <SetBar counts={counts} thick />
              <SetLegend counts={counts} chosen={set} onChoose={setSet} />
              {devices.isPending ? <Loading lines={2} /> : <Squares devices={shown} setOf={setOf} />}
              {devices.data?.more && <p className="small muted">The picture shows the first {devices.data.items.length.toLocaleString()} devices; the numbers are of all.</p>}
            </div>
          )}
        </Panel>
        {counts && counts.failed > 0 && <Failures counts={counts} name={name} />}
      </div>
      <div className="c4 stack">
        <Panel title="Rollout">
          {r ? (
            <Facts
              items={[
                ["State", <Badge key="s" tone={r.state === "Complete" ? "ok" : r.state === "Failed" ? "bad" : "info"}>{r.state}</Badge>],
                ["To", <span key="t" className="mono">{r.to}</span>],
                ["From", r.from ? <span key="f" className="mono">{r.from}</span> : "nothing: the first one"],
                ["Because", { SpecChanged: "the application was changed", RolloutFailed: "a revision failed: automatic rollback", Requested: "a rollback was asked for" }[r.reason ?? ""] ?? r.reason ?? "–"],
                ["Began", <Ago key="b" at={r.startedAt} />],
                ...(r.completedAt ? ([["Ended", <Ago key="e" at={r.completedAt} />]] as [string, React.ReactNode][]) : []),
                ...(r.message ? ([["Says", r.message]] as [string, string][]) : []),
              ]}
            />
          ) : (
            <span className="muted">Nothing was decided yet.</span>
          )}
        </Panel>
        <Panel title="Policy" actions={<Link href={`/applications/${name}/edit`}>Change</Link>}>
          <Facts
            items={[
              ["Targets", targetText(app.spec.targets)],
              ["At once", policy.maxUnavailable ?? "25%"],
              ["Waves of", policy.batchSize ?? "all"],
              ["Fails after", `${policy.failureThreshold ?? 1} failed`],
              ["Time per device", tidy(policy.progressDeadline) ?? "5m"],
              ["On failure", policy.automaticRollback === false ? "stop" : "roll back by itself"],
              ["Stable", app.status?.stableRevision ? <span key="r" className="mono">{app.status.stableRevision}</span> : "none yet"],
              ["Module", app.status?.digest ? <Copyable text={app.status.digest} short={22} /> : "–"],
            ]}
          />
        </Panel>
      </div>
    </div>
  );
}

/** A square per device, coloured by its work set; it opens the device. */
function Squares({ devices, setOf }: { devices: DeviceView[]; setOf: (v: DeviceView) => WorkSet | undefined }) {
  const [, go] = useLocation();
  const dense = devices.length > 400;
  if (!devices.length) return <span className="muted small">no device is there</span>;
  if (devices.length <= 24) {
    return (
      <ul className="tiles" aria-label="Devices">
        {devices.map((v) => {
          const s = setOf(v);
          return (
            <li key={v.device.name}>
              <Link href={`/devices/${v.device.name}${s === "failed" ? "?tab=why" : ""}`} className="tile" data-set={s} data-device={v.device.name} title={s ? setWords[s].about : undefined}>
                <span className={`square set-${s ?? "none"}`} aria-hidden="true" />
                <span className="ellipsis">
                  <b>{v.device.name}</b>
                  <span className="small muted block ellipsis">{s ? setWords[s].title : "not selected"}</span>
                </span>
              </Link>
            </li>
          );
        })}
      </ul>
    );
  }
  if (dense) {
    return (
      <div className="squares dense" role="img" aria-label={`${devices.length} devices, one square each`}>
        {devices.map((v) => (
          <span key={v.device.name} className={`square set-${setOf(v) ?? "none"}`} title={`${v.device.name}: ${setWords[setOf(v) ?? "pending"].title}`} onClick={() => go(`/devices/${v.device.name}`)} />
        ))}
      </div>
    );
  }
  return (
    <ul className="squares" aria-label="Devices">
      {devices.map((v) => {
        const s = setOf(v);
        const word = `${v.device.name}: ${s ? setWords[s].title : "not selected"}`;
        return (
          <li key={v.device.name}>
            <Hint text={word}>
              <Link href={`/devices/${v.device.name}`} className={`square set-${s ?? "none"}`} aria-label={word} data-set={s} data-device={v.device.name} />
            </Hint>
          </li>
        );
      })}
    </ul>
  );
}

function Failures({ counts, name }: { counts: Counts; name: string }) {
  const reasons = Object.entries(counts.reasons ?? {}).sort((a, b) => b[1] - a[1]);
  const most = reasons[0]?.[1] ?? 1;
  return (
    <Panel title="Failures by reason" actions={<Badge tone="bad">{counts.failed}</Badge>}>
      <div className="stack">
        {reasons.map(([r, n]) => (
          <div key={r} className="row">
            <b style={{ width: 150 }}>{r}</b>
            <span className="bar grow" aria-hidden="true">
              <span className="set-failed" style={{ flexGrow: n }} />
              {n < most && <span style={{ flexGrow: most - n }} />}
            </span>
            <span style={{ width: 60 }} className="right">
              {n.toLocaleString()}
            </span>
          </div>
        ))}
        <table className="table">
          <thead>
            <tr>
              <th>Device</th>
              <th>Revision</th>
              <th>Reason</th>
            </tr>
          </thead>
          <tbody>
            {(counts.failing ?? []).map((f) => (
              <tr key={f.device}>
                <td>
                  <Link href={`/devices/${f.device}?tab=why`}>{f.device}</Link>
                </td>
                <td className="mono">{f.revision}</td>
                <td>
                  {f.reason} <span className="muted">{f.message}</span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        <Link href={`/devices?app=${name}&set=failed`}>All devices on which it failed</Link>
      </div>
    </Panel>
  );
}

function Behind({ name }: { name: string }) {
  const ns = useNamespace();
  const q = useAppExplain(ns, name);
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  if (!q.data.items.length) return <Empty icon="check" title="Nothing is behind">Every device that it selects runs what is wanted.</Empty>;
  return (
    <Panel flush>
      <div className="scroll-x">
        <table className="table">
          <thead>
            <tr>
              <th>Device</th>
              <th>Cause</th>
              <th>Why</th>
              <th>Runs</th>
            </tr>
          </thead>
          <tbody>
            {q.data.items.map((e) => (
              <tr key={e.device}>
                <td className="nowrap">
                  <Link href={`/devices/${e.device}?tab=why`}>{e.device}</Link>
                </td>
                <td>
                  <Badge tone={e.cause === "UpToDate" ? "ok" : /Failed|Refused|Halted/.test(e.cause) ? "bad" : "warn"}>{e.cause}</Badge>
                </td>
                <td>
                  {e.text}
                  {e.mend && <div className="small muted">→ {e.mend}</div>}
                </td>
                <td className="mono nowrap">{e.running || "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
