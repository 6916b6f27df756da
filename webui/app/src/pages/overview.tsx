import { Link } from "wouter";
import { useOverview, useSystem } from "../api/hooks";
import type { Attention, Overview as Data } from "../api/types";
import { Ring, SetBar, SetLegend } from "../charts/sets";
import { useNamespace } from "../namespace";
import { plural } from "../ui/format";
import { Icon } from "../ui/icon";
import { Ago, Badge, Dot, Empty, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";
import { Phase } from "./phase";

/** What is so, what moves, and what needs a person. */
export function Overview() {
  const ns = useNamespace();
  const o = useOverview(ns);
  const sys = useSystem();
  if (o.isPending) return <Loading lines={6} />;
  if (!o.data) return <ProblemBox error={o.error} retry={() => void o.refetch()} />;
  const d = o.data;
  const moving = d.applications.filter((a) => a.phase === "Progressing" || (a.counts?.inFlight ?? 0) > 0);
  return (
    <div className="page">
      <PageHead title="Overview" sub={<>{sys.data && <>Wasmbed {sys.data.version}, started <Ago at={sys.data.started} /></>}</>} actions={<Link className="button primary" href="/deploy"><Icon name="deploy" />Deploy a module</Link>} />
      {o.error && <ProblemBox error={o.error} title="What you see may be old" />}
      {d.devices.known === 0 && <FirstSteps />}
      <div className="grid">
        <Health d={d} />
        <Panel className="c7" title="Needs a person" flush actions={d.attention.length > 0 && <Badge tone="warn">{d.attention.length}</Badge>}>
          <AttentionList items={d.attention} />
        </Panel>
        <Panel className="c7" title="Applications" flush actions={<Link href="/applications">All</Link>}>
          {d.applications.length === 0 ? (
            <Empty icon="app" title="Nothing is deployed yet" action={<Link className="button primary" href="/deploy">Deploy a module</Link>}>
              An application makes one WebAssembly module run on the devices that it selects.
            </Empty>
          ) : (
            <ul>
              {[...moving, ...d.applications.filter((a) => !moving.includes(a))].slice(0, 12).map((a) => (
                <li key={a.name} className="attention">
                  <div className="grow stack tight">
                    <div className="row between">
                      <span className="row">
                        <Link href={`/applications/${a.name}`}>
                          <b>{a.name}</b>
                        </Link>
                        <span className="muted small">{a.revision}</span>
                      </span>
                      <Phase phase={a.phase} />
                    </div>
                    <SetBar counts={a.counts} />
                    <div className="small muted">{a.counts && a.counts.desired > 0 ? <SetLegend counts={a.counts} /> : "selects no device"}</div>
                  </div>
                </li>
              ))}
            </ul>
          )}
        </Panel>
        <div className="c5 stack">
          <Panel title="Gateways" flush actions={<Link href="/gateways">All</Link>}>
            {d.gateways.length === 0 ? (
              <Empty icon="gateway" title="No gateway is up">
                Devices cannot connect. Start one: <code>standalone part gateway</code>, or look at its log.
              </Empty>
            ) : (
              <table className="table">
                <tbody>
                  {d.gateways.map((g) => (
                    <tr key={g.id}>
                      <td>
                        <Dot tone={g.state === "Up" ? "ok" : "warn"} label={g.id} />
                        <div className="small muted mono">{g.address}</div>
                      </td>
                      <td className="right">
                        {plural(g.devices, "device")}
                        <div className="small muted">
                          up since <Ago at={g.started} />
                        </div>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            )}
          </Panel>
          <Panel title="Parts" actions={<Link href="/monitoring">Monitoring</Link>}>
            <div className="row wrap">
              {Object.entries(d.parts)
                .sort()
                .map(([n, w]) => (
                  <Badge key={n} tone={w === "ok" ? "ok" : "bad"} title={w}>
                    {n}
                  </Badge>
                ))}
            </div>
          </Panel>
        </div>
      </div>
    </div>
  );
}

function Health({ d }: { d: Data }) {
  const v = d.devices;
  const boards = Object.entries(v.boards).sort((a, b) => b[1] - a[1]);
  const most = boards[0]?.[1] ?? 1;
  return (
    <Panel className="c5" title="Fleet" actions={<Link href="/devices">{plural(v.known, "device")}</Link>}>
      <div className="health">
        <Ring
          parts={[
            { name: "online", n: v.online, color: "var(--set-done)" },
            { name: "offline", n: v.offline, color: "var(--set-away)" },
          ]}
          middle={v.online.toLocaleString()}
          sub={`of ${(v.online + v.offline).toLocaleString()} online`}
        />
        <div className="grow stack tight">
          <Link href="/devices?online=true" className="row between">
            <Dot tone="ok" label="Online" /> <b>{v.online.toLocaleString()}</b>
          </Link>
          <Link href="/devices?online=false" className="row between">
            <Dot tone="idle" label="Offline" /> <b>{v.offline.toLocaleString()}</b>
          </Link>
          <Link href="/enrollment" className="row between">
            <Dot tone="warn" label="Wait for approval" /> <b>{v.pending.toLocaleString()}</b>
          </Link>
          <span className="row between">
            <Dot tone="warn" label="Held" /> <b>{v.held.toLocaleString()}</b>
          </span>
        </div>
      </div>
      {boards.length > 0 && (
        <div className="stack tight" style={{ marginTop: 14 }}>
          <div className="small muted">Boards</div>
          {boards.slice(0, 6).map(([b, n]) => (
            <Link key={b} href={`/devices?board=${encodeURIComponent(b)}`} className="row small">
              <span className="ellipsis" style={{ width: 150 }}>
                {b || "unknown"}
              </span>
              <span className="grow bar" aria-hidden="true">
                <span className="set-inflight" style={{ flexGrow: n }} />
                {n < most && <span style={{ flexGrow: most - n }} />}
              </span>
              <b className="right" style={{ width: 44 }}>
                {n.toLocaleString()}
              </b>
            </Link>
          ))}
        </div>
      )}
      {v.partial && <p className="small muted">More devices are known than are counted here one by one.</p>}
    </Panel>
  );
}

export function AttentionList({ items }: { items: Attention[] }) {
  if (!items.length)
    return (
      <Empty icon="check" title="All is well">
        Nothing waits for you. What fails or asks for a decision shows up here by itself.
      </Empty>
    );
  return (
    <ul>
      {items.map((a) => (
        <li key={a.id} className={`attention ${a.severity}`}>
          <Icon name={a.severity === "critical" ? "bad" : a.severity === "warning" ? "warn" : "info"} size={18} />
          <div className="grow">
            <div className="row between">
              <b>{a.title}</b>
              {a.since && (
                <span className="small muted nowrap">
                  <Ago at={a.since} />
                </span>
              )}
            </div>
            {a.cause && <div>{a.cause}</div>}
            <div className="small muted">
              <Mend a={a} />
            </div>
          </div>
        </li>
      ))}
    </ul>
  );
}

function Mend({ a }: { a: Attention }) {
  switch (a.kind) {
    case "Device":
      return <Link href={`/devices/${a.name}?tab=why`}>Why? Look at {a.name}</Link>;
    case "Application":
      return <Link href={`/applications/${a.name}`}>Look at {a.name}, roll back or deploy a better revision</Link>;
    case "Enrollment":
      return <Link href="/enrollment">Approve or reject it</Link>;
    case "Certificate":
    case "Board":
      return a.name ? <Link href={`/devices/${a.name}`}>{a.mend ?? `Look at ${a.name}`}</Link> : <>{a.mend}</>;
  }
  return <>{a.mend}</>;
}

function FirstSteps() {
  return (
    <div className="problem info">
      <Icon name="setup" size={20} />
      <div>
        <strong>No device is known yet</strong>
        <div>
          <Link href="/devices?create=1">Create an emulated device</Link>, or <Link href="/enrollment">open the pairing window</Link> for real ones. <Link href="/setup">Initial setup</Link> leads through all of it.
        </div>
      </div>
    </div>
  );
}
