import { useState } from "react";
import { Link } from "wouter";
import { at, call, Problem } from "../api/client";
import { post, useAction, useAppDevices, useApplication, useLanguages, useTemplates } from "../api/hooks";
import { phaseOf } from "../api/phase";
import type { Application, CompileResult, Inspection, Language, Manifest, Targets, Template } from "../api/types";
import { SetBar, SetLegend, setWords } from "../charts/sets";
import { Code } from "../editor/lazy";
import { useNamespace } from "../namespace";
import { bytes, duration } from "../ui/format";
import { Icon } from "../ui/icon";
import { Badge, Button, Empty, Facts, Field, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";
import { Phase } from "./phase";
import { ManifestForm, PolicyForm, TargetsForm } from "./specform";

const steps = ["Start", "Write", "Fits?", "Targets", "Watch"] as const;
const nameRule = /^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$/;
const draftKey = "wasmbed.draft";

interface Draft {
  language: string;
  files: Record<string, string>;
  manifest: Manifest;
  name: string;
}

function kept(): Draft | null {
  try {
    return JSON.parse(localStorage.getItem(draftKey) ?? "null") as Draft | null;
  } catch {
    return null;
  }
}

/** From a template, or from one's own source, to a module that runs, step by step. */
export default function Guided() {
  const ns = useNamespace();
  const [step, setStep] = useState(0);
  const [draft, setDraft] = useState<Draft | null>(kept);
  const [result, setResult] = useState<CompileResult | null>(null);
  const [stale, setStale] = useState(true); // the source was changed since it was compiled
  const [targets, setTargets] = useState<Targets>({ all: true });
  const [policy, setPolicy] = useState<NonNullable<Application["spec"]["rollout"]>>({ maxUnavailable: "25%" });
  const change = (d: Draft) => {
    setDraft(d);
    localStorage.setItem(draftKey, JSON.stringify(d));
  };
  const compile = useAction(async () => {
    const r = (await post(at(ns, "compile"), { language: draft?.language, files: draft?.files })) as CompileResult;
    setResult(r);
    setStale(false);
    if (r.inspection && draft) {
      const need = r.inspection.permissions.filter((p) => !(draft.manifest.permissions ?? []).includes(p));
      if (need.length) change({ ...draft, manifest: { ...draft.manifest, permissions: [...(draft.manifest.permissions ?? []), ...need] } });
    }
    return r;
  });
  const name = draft?.name ?? "";
  const deploy = useAction(
    () =>
      call("PUT", at(ns, "applications", name), {
        apiVersion: "wasmbed.io/v1alpha1",
        kind: "Application",
        metadata: { name, namespace: ns },
        spec: { module: { inline: result?.module }, manifest: draft?.manifest, targets, rollout: policy },
      }),
    { done: `${name} is on its way`, refresh: [["applications", ns], ["application", ns, name], ["overview", ns]] },
  );
  const compiled = !!result?.module && !stale;
  const reach = [true, !!draft, compiled, compiled, deploy.isSuccess];
  return (
    <div className="page">
      <PageHead title="Deploy a module" sub="Take a template or your own source, compile it, see where it fits, and watch it run." />
      <nav className="steps" aria-label="Steps">
        {steps.map((s, i) => (
          <button key={s} type="button" className={`step ${i < step ? "past" : ""}`} aria-current={i === step ? "step" : undefined} disabled={!reach[i]} onClick={() => setStep(i)}>
            <b aria-hidden="true">{i < step ? "✓" : i + 1}</b>
            {s}
          </button>
        ))}
      </nav>
      {step === 0 && (
        <Start
          draft={draft}
          onPick={(d) => {
            change(d);
            setResult(null);
            setStale(true);
            setStep(1);
          }}
          onResume={() => setStep(1)}
        />
      )}
      {step === 1 && draft && (
        <Write
          draft={draft}
          onChange={(d) => {
            change(d);
            setStale(true);
          }}
          result={stale ? null : result}
          error={compile.error}
          busy={compile.isPending}
          compile={() => compile.mutate(undefined, { onSuccess: (r) => (r as CompileResult).module && setStep(2) })}
          next={compiled ? () => setStep(2) : undefined}
        />
      )}
      {step === 2 && result?.inspection && <Fits inspection={result.inspection} result={result} back={() => setStep(1)} next={() => setStep(3)} />}
      {step === 3 && draft && result && (
        <div className="stack">
          <div className="split">
            <div className="stack">
              <Field label="Name of the application" error={name && !nameRule.test(name) ? "small letters, digits and dashes, at most 52" : undefined} help="An application of that name gets this as its new revision.">
                {(id) => <input id={id} className="input" value={name} onChange={(e) => change({ ...draft, name: e.target.value.trim() })} />}
              </Field>
              <TargetsForm value={targets} onChange={setTargets} />
              <PolicyForm value={policy} onChange={setPolicy} />
            </div>
            <div className="stack">
              <ManifestForm value={draft.manifest} needed={result.inspection?.permissions} onChange={(manifest) => change({ ...draft, manifest })} />
            </div>
          </div>
          {deploy.error && <ProblemBox error={deploy.error} title="It was not deployed" />}
          <div className="row end">
            <Button onClick={() => setStep(2)}>Back</Button>
            <Button tone="primary" icon="deploy" busy={deploy.isPending} disabled={!nameRule.test(name) || (!!targets.names && targets.names.length === 0)} onClick={() => deploy.mutate(undefined, { onSuccess: () => setStep(4) })}>
              Deploy
            </Button>
          </div>
        </div>
      )}
      {step === 4 && <Watch name={name} again={() => setStep(1)} />}
    </div>
  );
}

const skeletons: Record<string, string> = {
  c: '#include "wasmbed.h"\n\nWASMBED_EXPORT int wasmbed_start(void)\n{\n\treturn 0;\n}\n',
};

function Start({ draft, onPick, onResume }: { draft: Draft | null; onPick: (d: Draft) => void; onResume: () => void }) {
  const templates = useTemplates();
  const languages = useLanguages();
  if (templates.isPending || languages.isPending) return <Loading lines={6} />;
  if (templates.error || languages.error || !templates.data || !languages.data) {
    const e = templates.error ?? languages.error;
    return e instanceof Problem && e.status === 501 ? (
      <div className="stack">
        <ProblemBox error={e} />
        <p>
          A module that is compiled already can be deployed: <Link href="/applications/new">New from a module</Link>.
        </p>
      </div>
    ) : (
      <ProblemBox error={e} retry={() => (void templates.refetch(), void languages.refetch())} />
    );
  }
  const of = (name: string): Language | undefined => languages.data.items.find((l) => l.name === name);
  const pick = (t: Template) => onPick({ language: t.language, files: t.files, name: t.name, manifest: { permissions: t.permissions, ...(t.timers && { timers: t.timers }), ...(t.config && { config: t.config }), health: { window: "3s" } } });
  return (
    <div className="stack">
      {draft && (
        <div className="problem info">
          <Icon name="edit" size={20} />
          <div className="grow">
            <strong>You were writing “{draft.name || "something"}”</strong>
            <div>It is kept in this browser.</div>
          </div>
          <Button onClick={onResume}>Go on with it</Button>
        </div>
      )}
      <h2>Templates</h2>
      <div className="cards">
        {templates.data.items.map((t) => {
          const l = of(t.language);
          return (
            <button key={t.name} type="button" className="card" disabled={!l?.available} onClick={() => pick(t)} data-template={t.name}>
              <span className="row between wrap">
                <b>{t.title}</b>
                <Badge tone={l?.available ? "info" : "idle"}>{l?.title ?? t.language}</Badge>
              </span>
              <span className="small muted">{t.description}</span>
              {!l?.available && <span className="small muted">{l?.why}</span>}
            </button>
          );
        })}
      </div>
      <h2>Your own source</h2>
      <div className="cards">
        {languages.data.items.map((l) => (
          <button key={l.name} type="button" className="card" disabled={!l.available} onClick={() => onPick({ language: l.name, files: { [l.main]: templates.data.items.find((t) => t.language === l.name)?.files[l.main] ?? skeletons[l.name] ?? "" }, name: "", manifest: { permissions: ["log", "clock", "telemetry"], health: { window: "3s" } } })}>
            <b>{l.title}</b>
            <span className="small muted">{l.available ? l.version : l.why}</span>
          </button>
        ))}
        <Link className="card" href="/applications/new">
          <b>A compiled module</b>
          <span className="small muted">You have a .wasm file, a Module object, or one in a registry</span>
        </Link>
      </div>
    </div>
  );
}

function Write({ draft, onChange, result, error, busy, compile, next }: { draft: Draft; onChange: (d: Draft) => void; result: CompileResult | null; error: unknown; busy: boolean; compile: () => void; next?: () => void }) {
  const languages = useLanguages();
  const main = languages.data?.items.find((l) => l.name === draft.language)?.main ?? Object.keys(draft.files)[0] ?? "";
  const names = Object.keys(draft.files).sort((a, b) => (a === main ? -1 : b === main ? 1 : a < b ? -1 : 1));
  const [open, setOpen] = useState(main);
  const file = names.includes(open) ? open : (names[0] ?? "");
  const found = result?.diagnostics ?? [];
  const failed = result && !result.module;
  return (
    <div className="stack">
      <Panel
        title={
          <span className="row">
            {names.map((n) => (
              <button key={n} type="button" className="tab" data-state={n === file ? "active" : ""} aria-pressed={n === file} onClick={() => setOpen(n)}>
                {n}
              </button>
            ))}
          </span>
        }
        actions={
          <>
            {next && (
              <Button onClick={next} icon="right">
                Where it fits
              </Button>
            )}
            <Button tone="primary" icon="play" busy={busy} onClick={compile}>
              Compile
            </Button>
          </>
        }
      >
        <Code size="tall" file={file} label={`Source of ${file}`} text={draft.files[file] ?? ""} diagnostics={found} onChange={(t) => t !== draft.files[file] && onChange({ ...draft, files: { ...draft.files, [file]: t } })} />
      </Panel>
      {error ? <ProblemBox error={error} title="It could not be compiled" retry={compile} /> : null}
      {result && (
        <Panel title={failed ? "It does not compile" : "It compiled"} actions={<span className="small muted">{result.compiler} · {duration(result.seconds)}{result.cached ? " · cached" : ""}</span>}>
          {found.length === 0 && !failed && <span className="muted">{bytes(result.size)}, without a complaint.</span>}
          <ul className="stack tight" role={failed ? "alert" : undefined}>
            {found.map((d, i) => (
              <li key={i} className="row">
                <Badge tone={d.severity === "error" ? "bad" : d.severity === "warning" ? "warn" : "info"}>{d.severity}</Badge>
                {d.line ? (
                  <button type="button" className="copyable mono" onClick={() => d.file && setOpen(d.file)}>
                    {d.file}:{d.line}:{d.column}
                  </button>
                ) : null}
                <span>{d.message}</span>
              </li>
            ))}
          </ul>
          {result.log && (
            <details className="small">
              <summary>What the compiler printed</summary>
              <pre className="pre">{result.log}</pre>
            </details>
          )}
        </Panel>
      )}
    </div>
  );
}

function Fits({ inspection: i, result, back, next }: { inspection: Inspection; result: CompileResult; back: () => void; next: () => void }) {
  const fitting = i.fits.filter((f) => f.fits).length;
  return (
    <div className="stack">
      {i.problem && <ProblemBox error={{ detail: i.problem, mend: "change the source, or the manifest" }} title="It cannot run on any device as it is" />}
      <div className="grid">
        <Panel className="c5" title="The module">
          <Facts
            items={[
              ["Size", bytes(i.size)],
              ["RAM", `about ${bytes(i.memory)} per instance`],
              ["Memory", `${i.memoryPages} × 64 KiB linear memory`],
              ["Imports", i.imports.length ? i.imports.join(", ") : "nothing"],
              ["Exports", i.exports.join(", ")],
              ["Needs", i.permissions.join(", ") || "no permission"],
              ["Digest", <span key="d" className="mono">{i.digest.slice(0, 30)}…</span>],
              ["Compiler", result.compiler],
            ]}
          />
        </Panel>
        <Panel className="c7" title="Does it fit?" actions={<Badge tone={fitting ? "ok" : "bad"}>{fitting} of {i.fits.length} boards</Badge>} flush>
          {i.fits.length === 0 ? (
            <Empty title="There is no table of boards here" />
          ) : (
            <table className="table">
              <tbody>
                {i.fits.map((f) => (
                  <tr key={f.board}>
                    <td>{f.board}</td>
                    <td>
                      <Badge tone={f.fits ? "ok" : "bad"}>{f.fits ? "fits" : "does not"}</Badge>
                    </td>
                    <td className="small muted">{f.reason}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </Panel>
      </div>
      <div className="row end">
        <Button onClick={back}>Back to the source</Button>
        <Button tone="primary" onClick={next} disabled={!!i.problem}>
          Choose targets
        </Button>
      </div>
    </div>
  );
}

/** The rollout while it happens, and what to do when it goes wrong. */
function Watch({ name, again }: { name: string; again: () => void }) {
  const ns = useNamespace();
  const q = useApplication(ns, name);
  const devices = useAppDevices(ns, name, 500);
  if (!q.data) return q.error ? <ProblemBox error={q.error} retry={() => void q.refetch()} /> : <Loading />;
  const p = phaseOf(q.data.object);
  const c = q.data.counts;
  return (
    <Panel
      title={
        <span className="row">
          {name} <Phase phase={p.phase} />
        </span>
      }
      actions={
        <Link className="button" href={`/applications/${name}`}>
          Its page
        </Link>
      }
    >
      <div className="stack" role="status">
        <p>{p.message ?? "The platform is looking at it…"}</p>
        <SetBar counts={c} thick />
        <SetLegend counts={c} />
        {(p.phase === "RolledBack" || (c?.failed ?? 0) > 0) && (
          <div className="problem warn">
            <div>
              <strong>It went wrong on some devices</strong>
              <div>{Object.entries(c?.reasons ?? {}).map(([r, n]) => `${r} on ${n}`).join(", ") || p.message}</div>
              <Link href={`/applications/${name}?tab=behind`}>Why?</Link>
              <div>
                <Button small icon="edit" onClick={again}>
                  Mend the source
                </Button>
              </div>
            </div>
          </div>
        )}
        <table className="table">
          <thead>
            <tr>
              <th>Device</th>
              <th>Stands</th>
              <th>Reports</th>
            </tr>
          </thead>
          <tbody>
            {(devices.data?.items ?? []).slice(0, 50).map((v) => {
              const a = v.apps?.find((x) => x.app === name);
              return (
                <tr key={v.device.name}>
                  <td>
                    <Link href={`/devices/${v.device.name}`}>{v.device.name}</Link>
                  </td>
                  <td>{a?.set && <Badge tone={setWords[a.set].tone}>{setWords[a.set].title}</Badge>}</td>
                  <td>
                    {a?.reported?.state ?? "–"} <span className="muted">{a?.reason ?? a?.reported?.reason}</span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
