import type { ReactNode } from "react";
import { Link } from "wouter";
import { useApplications, useBoards, useGateways, useLanguages, useOverview } from "../api/hooks";
import { useNamespace } from "../namespace";
import { plural } from "../ui/format";
import { Icon } from "../ui/icon";
import { Loading, PageHead, Panel } from "../ui/parts";

/** From nothing to a module that runs, with what is done ticked off by what is so. */
export default function Setup() {
  const ns = useNamespace();
  const o = useOverview(ns);
  const gateways = useGateways(ns);
  const apps = useApplications(ns);
  const boards = useBoards();
  const languages = useLanguages();
  if (o.isPending || gateways.isPending || apps.isPending) return <Loading lines={8} />;
  const up = (o.data?.gateways ?? []).filter((g) => g.namespace === ns).length > 0;
  const open = gateways.data?.items.find((g) => g.spec.pairing?.until && Date.parse(g.spec.pairing.until) > Date.now());
  const known = o.data?.devices.known ?? 0;
  const online = o.data?.devices.online ?? 0;
  const running = (o.data?.applications ?? []).find((a) => (a.counts?.ready ?? 0) > 0);
  const there = (languages.data?.items ?? []).filter((l) => l.available);
  const steps: { title: string; done: boolean; body: ReactNode; action: ReactNode }[] = [
    {
      title: "A gateway is up",
      done: up,
      body: up ? `Devices of ${ns} connect at ${o.data?.gateways[0]?.address}.` : gateways.data?.items.length ? "There is a Gateway, but no process serves it: start one." : "Devices connect to a gateway. Make a Gateway, and start a process for it.",
      action: <Link className="button" href="/gateways">Gateways</Link>,
    },
    {
      title: "Devices may come in",
      done: known > 0 || !!open,
      body: open ? `The pairing window at ${open.metadata.name} is open.` : known > 0 ? "Somebody is in already. Open the pairing window when more shall come." : "Open the pairing window for real boards; emulated ones need none.",
      action: <Link className="button" href="/enrollment">Pairing</Link>,
    },
    {
      title: "A first device",
      done: known > 0,
      body: known > 0 ? `${plural(known, "device")}, ${online.toLocaleString()} online.` : `Make an emulated one (${plural((boards.data?.items ?? []).filter((b) => !b.refused).length, "board")} to choose from), or switch on a real one.`,
      action: <Link className="button" href="/devices?create=1">Create a device</Link>,
    },
    {
      title: "Everybody who asked is answered",
      done: known > 0 && (o.data?.devices.pending ?? 0) === 0,
      body: (o.data?.devices.pending ?? 0) > 0 ? `${plural(o.data?.devices.pending ?? 0, "device waits", "devices wait")} for approval.` : "Nobody waits for approval.",
      action: <Link className="button" href="/enrollment">Pending</Link>,
    },
    {
      title: "A compiler",
      done: there.length > 0,
      body: languages.isPending ? "Looking for compilers: the first time takes a moment…" : there.length > 0 ? `Here: ${there.map((l) => l.title).join(", ")}.` : languages.error ? "Nothing is compiled here; a module that is compiled elsewhere can be deployed." : "None works here; the list says what is missing for each language.",
      action: <Link className="button" href="/deploy">Templates</Link>,
    },
    {
      title: "A first application",
      done: (apps.data?.items.length ?? 0) > 0,
      body: (apps.data?.items.length ?? 0) > 0 ? `${plural(apps.data?.items.length ?? 0, "application")}.` : "Take a template, change it, compile it, choose devices.",
      action: <Link className="button" href="/deploy">Deploy a module</Link>,
    },
    {
      title: "It runs",
      done: !!running,
      body: running ? `${running.name} runs on ${plural(running.counts?.ready ?? 0, "device")}.` : "When a device has confirmed it, this is ticked off by itself.",
      action: running ? <Link className="button" href={`/applications/${running.name}`}>Watch it</Link> : <Link className="button" href="/applications">Applications</Link>,
    },
  ];
  const done = steps.filter((s) => s.done).length;
  const next = steps.findIndex((s) => !s.done);
  return (
    <div className="page">
      <PageHead title="Initial setup" sub={done === steps.length ? "All of it is done." : `${done} of ${steps.length} done; what is so ticks it off.`} />
      <Panel flush>
        <div className="panel-body">
          <div className="bar thick" role="progressbar" aria-valuenow={done} aria-valuemin={0} aria-valuemax={steps.length} aria-label="Setup">
            {done > 0 && <span className="set-done" style={{ flexGrow: done }} />}
            {done < steps.length && <span style={{ flexGrow: steps.length - done }} />}
          </div>
        </div>
        <ol className="setup">
          {steps.map((s, i) => (
            <li key={s.title} className={s.done ? "done" : ""} aria-current={i === next ? "step" : undefined}>
              <span className="mark" aria-hidden="true">
                {s.done ? <Icon name="check" /> : i + 1}
              </span>
              <div className="grow">
                <b>{s.title}</b>
                <span className="sr">{s.done ? " (done)" : " (to do)"}</span>
                <div className="muted">{s.body}</div>
              </div>
              {s.action}
            </li>
          ))}
        </ol>
      </Panel>
    </div>
  );
}
