import { lazy, Suspense, useState } from "react";
import { useAction, useRevisions } from "../api/hooks";
import type { Application, Revision } from "../api/types";
import { useNamespace } from "../namespace";
import { bytes } from "../ui/format";
import { Ago, Badge, Button, Copyable, Dialog, Empty, Field, Loading, Panel, ProblemBox } from "../ui/parts";

const Diff = lazy(() => import("./diff"));

function useOwn(app: Application) {
  const ns = useNamespace();
  const q = useRevisions(ns);
  const own = (q.data?.items ?? []).filter((r) => r.spec.application === app.metadata.name).sort((a, b) => b.spec.number - a.spec.number);
  return { q, own };
}

/** The revisions that are kept, and how they differ. */
export function Revisions({ app }: { app: Application }) {
  const { q, own } = useOwn(app);
  const [pick, setPick] = useState<[string, string] | null>(null);
  if (q.isPending) return <Loading />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  if (!own.length) return <Empty icon="clock" title="No revision yet">The first one is made when the application&apos;s module is found to be right.</Empty>;
  const [from, to] = pick ?? [own[1]?.metadata.name ?? own[0]?.metadata.name ?? "", own[0]?.metadata.name ?? ""];
  const of = (n: string) => own.find((r) => r.metadata.name === n);
  const a = of(from);
  const b = of(to);
  return (
    <div className="stack">
      <Panel flush title="Kept revisions">
        <div className="scroll-x">
          <table className="table">
            <thead>
              <tr>
                <th>Revision</th>
                <th>Module</th>
                <th>Size</th>
                <th>Made</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {own.map((r) => (
                <tr key={r.metadata.name}>
                  <td>
                    <span className="mono">{r.metadata.name}</span> {r.metadata.name === app.status?.revision && <Badge tone="info">wanted</Badge>} {r.metadata.name === app.status?.stableRevision && <Badge tone="ok">stable</Badge>}
                  </td>
                  <td>
                    <Copyable text={r.spec.module.digest} short={26} />
                  </td>
                  <td className="nowrap">{bytes(r.spec.module.size)}</td>
                  <td className="nowrap muted">
                    <Ago at={r.metadata.creationTimestamp} />
                  </td>
                  <td className="right">
                    <Button small onClick={() => setPick([r.metadata.name, app.status?.revision ?? own[0]?.metadata.name ?? ""])}>
                      Compare
                    </Button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
      {a && b && own.length > 1 && (
        <Panel
          flush
          title="Differences"
          actions={
            <>
              <Pick label="From" own={own} value={from} onChange={(v) => setPick([v, to])} />
              <span aria-hidden="true">→</span>
              <Pick label="To" own={own} value={to} onChange={(v) => setPick([from, v])} />
            </>
          }
        >
          <Suspense fallback={<Loading />}>
            <Diff from={a} to={b} />
          </Suspense>
        </Panel>
      )}
    </div>
  );
}

function Pick({ label, own, value, onChange }: { label: string; own: Revision[]; value: string; onChange: (v: string) => void }) {
  return (
    <select className="auto" aria-label={label} value={value} onChange={(e) => onChange(e.target.value)}>
      {own.map((r) => (
        <option key={r.metadata.name}>{r.metadata.name}</option>
      ))}
    </select>
  );
}

/** Asks where to go back to, and why. */
export function RollbackDialog({ app, open, onOpenChange, send, refresh }: { app: Application; open: boolean; onOpenChange: (o: boolean) => void; send: (body: { to?: string; reason?: string }) => Promise<unknown>; refresh: unknown[][] }) {
  const { own } = useOwn(app);
  const [to, setTo] = useState("");
  const [reason, setReason] = useState("");
  const wanted = app.status?.revision;
  const stable = app.status?.stableRevision;
  const others = own.filter((r) => r.metadata.name !== wanted);
  const act = useAction(() => send({ ...(to && { to }), ...(reason && { reason }) }), { done: "the rollback is asked for: watch it here", refresh });
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title={`Roll ${app.metadata.name} back?`} sub="A new rollout brings the older revision to every device, by the same policy. The application's spec stays as it is.">
      {others.length === 0 ? (
        <>
          <p>There is no other revision to go back to: {wanted ? `only ${wanted} is kept.` : "none was made yet."}</p>
          <div className="row end">
            <Button onClick={() => onOpenChange(false)}>Close</Button>
          </div>
        </>
      ) : (
        <form className="stack" onSubmit={(e) => (e.preventDefault(), act.mutate(undefined, { onSuccess: () => onOpenChange(false) }))}>
          <Field label="To" help={!to && stable && stable !== wanted ? `that is ${stable}` : undefined}>
            {(id) => (
              <select id={id} value={to} onChange={(e) => setTo(e.target.value)}>
                <option value="">The last one that was complete</option>
                {others.map((r) => (
                  <option key={r.metadata.name}>{r.metadata.name}</option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Reason" help="For those who wonder later">
            {(id) => <input id={id} className="input" value={reason} onChange={(e) => setReason(e.target.value)} maxLength={200} />}
          </Field>
          <div className="row end">
            <Button onClick={() => onOpenChange(false)}>Cancel</Button>
            <Button tone="danger" type="submit" icon="back" busy={act.isPending}>
              Roll back
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
