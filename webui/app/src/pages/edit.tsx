import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link, useLocation } from "wouter";
import { at, call, get } from "../api/client";
import { useAction, useApplication } from "../api/hooks";
import { useMay } from "../api/may";
import type { Application, Page } from "../api/types";
import { fromYaml, toYaml } from "../api/yaml";
import { Code } from "../editor/lazy";
import { useNamespace } from "../namespace";
import { base64, bytes } from "../ui/format";
import { Button, Field, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";
import { ManifestForm, PolicyForm, TargetsForm } from "./specform";

const nameRule = /^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$/;
const maxInline = 512 * 1024;

/** A new application, or one that there is: the form and the YAML are two views of the same thing. */
export default function EditApplication({ name }: { name?: string }) {
  return name ? <Existing name={name} /> : <Editing start={{ metadata: { name: "" }, spec: { module: { inline: "" }, manifest: { permissions: ["log", "clock", "telemetry"] }, targets: { all: true }, rollout: { maxUnavailable: "25%" } } }} fresh />;
}

function Existing({ name }: { name: string }) {
  const ns = useNamespace();
  const q = useApplication(ns, name);
  const first = useRef<Application | null>(null); // what others change meanwhile does not take the reader's words away
  if (q.data && !first.current) first.current = q.data.object;
  if (!first.current) return q.error ? <ProblemBox error={q.error} retry={() => void q.refetch()} /> : <Loading lines={8} />;
  const changed = q.data && q.data.object.metadata.generation !== first.current.metadata.generation;
  return (
    <>
      {changed && (
        <div className="problem warn" role="status">
          <div>
            <strong>Somebody changed it meanwhile</strong>
            <div>What you save replaces what they wanted. Reload the page to begin with theirs.</div>
          </div>
        </div>
      )}
      <Editing start={first.current} />
    </>
  );
}

function Editing({ start, fresh }: { start: Application; fresh?: boolean }) {
  const ns = useNamespace();
  const [, go] = useLocation();
  const [app, setApp] = useState<Application>({ metadata: { name: start.metadata.name, namespace: ns, labels: start.metadata.labels }, spec: start.spec });
  const [text, setText] = useState(() => toYaml({ metadata: { ...start.metadata, namespace: ns }, spec: start.spec }));
  const [wrong, setWrong] = useState<string>();
  const [form, setForm] = useState(0); // the form keeps text of its own: a change of the YAML makes it anew
  const change = (a: Application) => {
    setApp(a);
    setText(toYaml(a));
    setWrong(undefined);
  };
  const typed = (t: string) => {
    if (t === text) return;
    setText(t);
    try {
      const a = fromYaml(t, app);
      if (!fresh && a.metadata.name !== start.metadata.name) throw new Error("the name cannot be changed: make a new application");
      setApp({ ...a, metadata: { ...a.metadata, namespace: ns } });
      setWrong(undefined);
      setForm((n) => n + 1);
    } catch (e) {
      setWrong(e instanceof Error ? e.message : String(e));
    }
  };
  const why = useMay()("update applications");
  const name = app.metadata.name;
  const save = useAction(() => call("PUT", at(ns, "applications", name) + (fresh ? "?ifAbsent=true" : ""), { apiVersion: "wasmbed.io/v1alpha1", kind: "Application", ...app }), {
    done: `${name} is saved`,
    refresh: [["application", ns, name], ["applications", ns], ["overview", ns]],
  });
  const badName = fresh && name && !nameRule.test(name) ? "small letters, digits and dashes, at most 52" : undefined;
  const noModule = !app.spec.module.inline && !app.spec.module.name && !app.spec.module.oci;
  return (
    <div className="page">
      <PageHead
        crumbs={<Link href="/applications">Applications</Link>}
        title={fresh ? "New application" : `Edit ${start.metadata.name}`}
        sub={fresh ? "From a module that you have. From source code it goes by “Deploy a module”." : "A change of module or manifest makes a new revision, which crosses the fleet by the rollout policy."}
        actions={
          <>
            <Link className="button" href={fresh ? "/applications" : `/applications/${start.metadata.name}`}>
              Cancel
            </Link>
            <Button tone="primary" icon="save" why={why} busy={save.isPending} disabled={!name || !!badName || !!wrong || noModule} onClick={() => save.mutate(undefined, { onSuccess: () => go(`/applications/${name}`) })}>
              {fresh ? "Create" : "Save"}
            </Button>
          </>
        }
      />
      {save.error && <ProblemBox error={save.error} title="It was not saved" />}
      <div className="split">
        <div className="stack">
          {fresh && (
            <Field label="Name" error={badName}>
              {(id) => <input id={id} className="input" defaultValue={name} onChange={(e) => change({ ...app, metadata: { ...app.metadata, name: e.target.value.trim() } })} autoComplete="off" placeholder="hello" />}
            </Field>
          )}
          <ModuleForm app={app} onChange={change} />
          <TargetsForm key={`t${form}`} value={app.spec.targets} onChange={(targets) => change({ ...app, spec: { ...app.spec, targets } })} />
          <PolicyForm value={app.spec.rollout ?? {}} onChange={(rollout) => change({ ...app, spec: { ...app.spec, rollout } })} />
          <ManifestForm key={`m${form}`} value={app.spec.manifest ?? {}} onChange={(manifest) => change({ ...app, spec: { ...app.spec, manifest } })} />
        </div>
        <Panel title="YAML" className="yaml">
          <div className="stack tight">
            {wrong && (
              <div className="field-error" role="alert">
                {wrong}
              </div>
            )}
            <Code size="tall" file="application.yaml" label="The application as YAML" text={text} onChange={typed} />
          </div>
        </Panel>
      </div>
    </div>
  );
}

function ModuleForm({ app, onChange }: { app: Application; onChange: (a: Application) => void }) {
  const ns = useNamespace();
  const m = app.spec.module;
  const kind = m.oci !== undefined ? "oci" : m.name !== undefined ? "name" : "inline";
  const [error, setError] = useState<string>();
  const modules = useQuery({ queryKey: ["modules", ns], queryFn: ({ signal }) => get<Page<{ metadata: { name: string }; status?: { size?: number } }>>(at(ns, "modules") + "?limit=500", signal), enabled: kind === "name" });
  const set = (module: Application["spec"]["module"]) => onChange({ ...app, spec: { ...app.spec, module } });
  useEffect(() => setError(undefined), [kind]);
  const take = async (f?: File) => {
    if (!f) return;
    const b = new Uint8Array(await f.arrayBuffer());
    if (b[0] !== 0 || b[1] !== 0x61 || b[2] !== 0x73 || b[3] !== 0x6d) return setError(`${f.name} is not a WebAssembly module`);
    if (b.length > maxInline) return setError(`${f.name} has ${bytes(b.length)}; inline is at most ${bytes(maxInline)}: put it into a registry`);
    setError(undefined);
    set({ inline: base64(b) });
  };
  return (
    <fieldset>
      <legend>Module</legend>
      <div className="row wrap">
        {(
          [
            ["inline", "A file"],
            ["name", "A Module object"],
            ["oci", "An OCI registry"],
          ] as const
        ).map(([k, t]) => (
          <label key={k} className="check">
            <input type="radio" name="module" checked={kind === k} onChange={() => set({ [k]: "" })} />
            {t}
          </label>
        ))}
      </div>
      {kind === "inline" && (
        <Field label="WebAssembly file" error={error} help={m.inline ? `${bytes(Math.floor((m.inline.length * 3) / 4))} are there; another file replaces them` : "a .wasm for the wasmbed ABI, at most 512 KiB"}>
          {(id) => <input id={id} className="input" type="file" accept=".wasm,application/wasm" onChange={(e) => void take(e.target.files?.[0])} />}
        </Field>
      )}
      {kind === "name" && (
        <Field label="Module">
          {(id) => (
            <select id={id} value={m.name} onChange={(e) => set({ name: e.target.value })}>
              <option value="">Choose one</option>
              {(modules.data?.items ?? []).map((x) => (
                <option key={x.metadata.name} value={x.metadata.name}>
                  {x.metadata.name} ({bytes(x.status?.size)})
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
      {kind === "oci" && (
        <Field label="Reference" help="A tag is resolved to a digest once per revision.">
          {(id) => <input id={id} className="input mono" value={m.oci ?? ""} onChange={(e) => set({ oci: e.target.value.trim() })} placeholder="registry.example.net/modules/hello:v2" />}
        </Field>
      )}
    </fieldset>
  );
}
