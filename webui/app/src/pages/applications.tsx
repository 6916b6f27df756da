import { Link } from "wouter";
import { useApplications, useOverview } from "../api/hooks";
import { useMay } from "../api/may";
import { phaseOf } from "../api/phase";
import type { Counts } from "../api/types";
import { SetBar, SetLegend } from "../charts/sets";
import { useNamespace } from "../namespace";
import { selectorText } from "../ui/format";
import { Ago, Empty, LinkButton, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";
import { Phase } from "./phase";
import type { Targets } from "../api/types";

export function targetText(t: Targets): string {
  if (t.all) return "every device";
  if (t.names) return t.names.length > 3 ? `${t.names.slice(0, 3).join(", ")} and ${t.names.length - 3} more` : t.names.join(", ");
  return selectorText(t.selector) || "nothing";
}

/** All applications, each with its rollout as a bar. */
export default function Applications() {
  const ns = useNamespace();
  const why = useMay()("update applications");
  const apps = useApplications(ns);
  const overview = useOverview(ns); // its counts are of this moment
  if (apps.isPending) return <Loading lines={6} />;
  if (!apps.data) return <ProblemBox error={apps.error} retry={() => void apps.refetch()} />;
  return (
    <div className="page">
      <PageHead
        title="Applications"
        sub="Each makes one WebAssembly module run on the devices that it selects."
        actions={
          <>
            <LinkButton icon="plus" href="/applications/new" why={why}>
              New from a module
            </LinkButton>
            <LinkButton tone="primary" icon="deploy" href="/deploy" why={why}>
              Deploy from source
            </LinkButton>
          </>
        }
      />
      <Panel flush>
        {apps.data.items.length === 0 ? (
          <Empty icon="app" title="Nothing is deployed yet" action={<Link className="button primary" href="/deploy">Deploy a module</Link>}>
            Take a template, change it, compile it, and see it run on your devices.
          </Empty>
        ) : (
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th>Application</th>
                  <th style={{ width: "26%" }}>Condition</th>
                  <th style={{ width: "34%" }}>Devices</th>
                  <th>Targets</th>
                  <th>Revision</th>
                  <th>Age</th>
                </tr>
              </thead>
              <tbody>
                {apps.data.items.map((a) => {
                  const p = phaseOf(a);
                  const counts = overview.data?.applications.find((x) => x.name === a.metadata.name)?.counts ?? (a.status as Counts | undefined);
                  return (
                    <tr key={a.metadata.name}>
                      <td>
                        <Link href={`/applications/${a.metadata.name}`}>
                          <b>{a.metadata.name}</b>
                        </Link>
                        {a.metadata.deletionTimestamp && <div className="small muted">being deleted</div>}
                      </td>
                      <td>
                        <Phase phase={p.phase} />
                        <div className="small muted clamp" title={p.message}>{p.message}</div>
                      </td>
                      <td>
                        <div className="stack tight">
                          <SetBar counts={counts} />
                          <SetLegend counts={counts} />
                        </div>
                      </td>
                      <td className="small">{targetText(a.spec.targets)}</td>
                      <td className="mono nowrap">{a.status?.revision ?? "–"}</td>
                      <td className="nowrap muted">
                        <Ago at={a.metadata.creationTimestamp} />
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
    </div>
  );
}
