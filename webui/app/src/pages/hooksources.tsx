import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { at, call, get } from "../api/client";
import { post, remove, useAction } from "../api/hooks";
import { useMay } from "../api/may";
import type { CloudEvent, Meta, Page } from "../api/types";
import { useNamespace } from "../namespace";
import { shortType } from "../ui/format";
import { Badge, Button, Confirm, Copyable, Dialog, Empty, Field, Loading, Menu, Panel, ProblemBox } from "../ui/parts";
import { newKey, SourceForm } from "./hooksourceform";

export interface Rule {
  type: string;
  when?: { path: string; in?: string[] }[];
  data?: Record<string, string>;
}

export interface Source {
  metadata: Meta;
  spec: { secretRef?: { name: string }; verify?: { scheme?: string; header?: string; tolerance?: string; timePath?: string }; rules: Rule[]; ratePerMinute?: number; paused?: boolean };
}

const schemes: Record<string, string> = { StandardWebhooks: "a signature (Standard Webhooks)", GitHub: "GitHub's signature", Token: "a token in a header" };

/** What comes in from outside systems, and what is made of it. */
export function Sources() {
  const ns = useNamespace();
  const may = useMay();
  const q = useQuery({ queryKey: ["webhooksources", ns], queryFn: ({ signal }) => get<Page<Source>>(at(ns, "webhooksources"), signal), refetchInterval: 5000 });
  const [edit, setEdit] = useState<Source | "new" | null>(null);
  const [trying, setTrying] = useState<Source | null>(null);
  const make = (
    <Button icon="plus" small why={may("create webhooksources")} onClick={() => setEdit("new")}>
      New door
    </Button>
  );
  return (
    <Panel title="From outside" flush actions={q.data && q.data.items.length > 0 && make}>
      {q.isPending ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : !q.data ? (
        <div className="panel-body">
          <ProblemBox error={q.error} retry={() => void q.refetch()} />
        </div>
      ) : q.data.items.length === 0 ? (
        <Empty icon="link" title="Nobody outside may post here yet" action={make}>
          A code forge, a CI job or a registry posts to <code>/hooks/{ns}/NAME</code> of the REST API, and so deploys, rolls back or calls a function. A door says how its requests are verified, and what is made of them.
        </Empty>
      ) : (
        <div className="scroll-x">
          <table className="table">
            <thead>
              <tr>
                <th>Posts to</th>
                <th>Verified by</th>
                <th>Makes</th>
                <th>At most</th>
                <th />
              </tr>
            </thead>
            <tbody>
              {q.data.items.map((x) => (
                <Row key={x.metadata.name} x={x} edit={() => setEdit(x)} tryIt={() => setTrying(x)} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Dialog open={edit !== null} onOpenChange={() => setEdit(null)} title={edit === "new" ? "A door for an outside system" : `Door ${edit?.metadata.name ?? ""}`} wide>
        {edit !== null && <SourceForm x={edit === "new" ? null : edit} close={() => setEdit(null)} />}
      </Dialog>
      <Dialog open={trying !== null} onOpenChange={() => setTrying(null)} title={`Try ${trying?.metadata.name ?? ""}`} sub="What would be made of a request. Nothing is posted." wide>
        {trying && <Try x={trying} />}
      </Dialog>
    </Panel>
  );
}

function Row({ x, edit, tryIt }: { x: Source; edit: () => void; tryIt: () => void }) {
  const ns = useNamespace();
  const may = useMay();
  const name = x.metadata.name;
  const refresh = [["webhooksources", ns]];
  const [ask, setAsk] = useState(false);
  const [fresh, setFresh] = useState("");
  const update = may("update webhooksources");
  const set = useAction((paused: boolean) => call("PUT", at(ns, "webhooksources", name), { metadata: { name, namespace: ns }, spec: { ...x.spec, paused } }), { done: (p) => `${name} is ${p ? "closed" : "open"}`, refresh });
  const rotate = useAction((secret: string) => post(at(ns, "webhooksources", name, "secret"), { secret }), { done: "the new key is in force, the one before too", refresh });
  const drop = useAction(() => remove(at(ns, "webhooksources", name)), { done: `${name} is removed`, refresh });
  return (
    <tr>
      <td>
        <span className="mono">
          /hooks/{ns}/{name}
        </span>{" "}
        {x.spec.paused && <Badge tone="warn">closed</Badge>}
      </td>
      <td>{schemes[x.spec.verify?.scheme ?? "StandardWebhooks"] ?? x.spec.verify?.scheme}</td>
      <td>{[...new Set(x.spec.rules.map((r) => shortType(r.type)))].join(", ")}</td>
      <td className="nowrap">{x.spec.ratePerMinute ?? 60} a minute</td>
      <td>
        <div className="row right">
          <Button small icon="bolt" why={update} onClick={tryIt}>
            Try
          </Button>
          <Button small icon="edit" why={update} onClick={edit}>
            Edit
          </Button>
          <Menu
            label={`More about ${name}`}
            items={[
              x.spec.paused ? { label: "Open it", icon: "play", forbidden: update, onSelect: () => set.mutate(false) } : { label: "Close it for now", icon: "pause", forbidden: update, onSelect: () => set.mutate(true) },
              { label: "New key…", icon: "lock", forbidden: update, onSelect: () => setFresh(newKey(x.spec.verify?.scheme ?? "")) },
              null,
              { label: "Remove…", icon: "trash", danger: true, forbidden: may("delete webhooksources"), onSelect: () => setAsk(true) },
            ]}
          />
        </div>
        <Confirm open={!!fresh} onOpenChange={() => setFresh("")} title={`A new key for ${name}`} word="Put it in force" busy={rotate.isPending} onConfirm={() => rotate.mutate(fresh, { onSuccess: () => setFresh("") })}>
          <p>Copy it now: it is not shown again. The one before holds too until it is dropped, so that the sender can change over.</p>
          <Copyable text={fresh} />
        </Confirm>
        <Confirm open={ask} onOpenChange={setAsk} title={`Remove ${name}?`} word="Remove" danger busy={drop.isPending} onConfirm={() => drop.mutate(undefined, { onSuccess: () => setAsk(false) })}>
          What posts to /hooks/{ns}/{name} is refused from then on.
        </Confirm>
      </td>
    </tr>
  );
}

/** A body that the first rule takes: every path that it reads has a value. */
function sample(rule?: Rule): string {
  const root: Record<string, unknown> = {};
  const put = (path: string, v: string) => {
    const steps = [...path.replace(/^\$/, "").matchAll(/\.([A-Za-z0-9_-]+)|\[(\d+)\]/g)].map((m) => m[1] ?? Number(m[2]));
    let here: Record<string | number, unknown> = root;
    steps.forEach((s, i) => {
      if (i === steps.length - 1) here[s] ??= v;
      else here = (here[s] ??= typeof steps[i + 1] === "number" ? [] : {}) as Record<string | number, unknown>;
    });
  };
  for (const w of rule?.when ?? []) if (w.path.startsWith("$")) put(w.path, (w.in?.[0] ?? "x").replace(/\*$/, "x"));
  for (const [k, v] of Object.entries(rule?.data ?? {})) for (const m of v.startsWith("$") ? [v] : [...v.matchAll(/\{(\$[^}]+)\}/g)].map((x) => x[1] ?? "")) put(m, k);
  return JSON.stringify(root, null, 2);
}

function Try({ x }: { x: Source }) {
  const ns = useNamespace();
  const name = x.metadata.name;
  const [body, setBody] = useState(() => sample(x.spec.rules[0]));
  const [headers, setHeaders] = useState(() =>
    (x.spec.rules[0]?.when ?? [])
      .filter((w) => w.path.startsWith("header."))
      .map((w) => `${w.path.slice(7)}: ${w.in?.[0] ?? "x"}`)
      .join("\n"),
  );
  let wrong: string | undefined;
  try {
    JSON.parse(body || "null");
  } catch (e) {
    wrong = e instanceof Error ? e.message : String(e);
  }
  const t = useAction(
    () =>
      post(at(ns, "webhooksources", name, "test"), {
        headers: Object.fromEntries(headers.split("\n").filter((l) => l.includes(":")).map((l) => [l.slice(0, l.indexOf(":")).trim(), l.slice(l.indexOf(":") + 1).trim()])),
        body: JSON.parse(body || "null") as unknown,
      }) as Promise<{ status: string; event?: CloudEvent }>,
  );
  const made = t.data as { status: string; event?: CloudEvent } | undefined;
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), t.mutate(undefined))}>
      <Field label="Body" error={wrong}>
        {(id) => <textarea id={id} rows={8} spellCheck={false} value={body} onChange={(e) => setBody(e.target.value)} />}
      </Field>
      <Field label="Headers" help="one a line, like X-GitHub-Event: push">
        {(id) => <textarea id={id} rows={2} spellCheck={false} value={headers} onChange={(e) => setHeaders(e.target.value)} />}
      </Field>
      <div className="row">
        <Button tone="primary" type="submit" icon="bolt" busy={t.isPending} disabled={!!wrong}>
          Try it
        </Button>
        <span className="help">
          The real thing is posted to <span className="mono">/hooks/{ns}/{name}</span> of the REST API, and proves itself by {schemes[x.spec.verify?.scheme ?? "StandardWebhooks"]}.
        </span>
      </div>
      {t.error && <ProblemBox error={t.error} title="It would be refused" />}
      {made && (
        <div role="status" className="stack tight">
          {made.event ? (
            <>
              <span>
                <Badge tone="ok">an event</Badge> <span className="mono">{made.event.type}</span>
              </span>
              <pre className="pre" tabIndex={0}>
                {JSON.stringify(made.event.data, null, 2)}
              </pre>
            </>
          ) : (
            <span>
              <Badge tone="warn">ignored</Badge> No rule fits: it would be taken, and nothing would happen.
            </span>
          )}
        </div>
      )}
    </form>
  );
}
