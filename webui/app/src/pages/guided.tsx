import { useState } from "react";
import { Link } from "wouter";
import { at, call, Problem } from "../api/client";
import { post, useAction, useAppDevices, useApplication, useBoards, useLanguages, useOverview, useTemplates } from "../api/hooks";
import { useMay } from "../api/may";
import { phaseOf } from "../api/phase";
import type { Application, CompileResult, Inspection, Language, LogLine, Manifest, Sample, Targets, Template } from "../api/types";
import { SetBar, SetLegend, setWords } from "../charts/sets";
import { Code } from "../editor/lazy";
import { useSeries } from "../live/series";
import { useNamespace } from "../namespace";
import { bytes, duration, plural, seconds, timeOf } from "../ui/format";
import { Icon } from "../ui/icon";
import { Badge, Button, Copyable, Empty, Facts, Field, Loading, PageHead, Panel, ProblemBox } from "../ui/parts";
import { Phase } from "./phase";
import { ManifestForm, PolicyForm, TargetsForm } from "./specform";

const steps = ["Start", "Write", "Fits?", "Targets", "Watch"] as const;
const nameRule = /^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$/;
const draftKey = "wasmbed.draft";

/** A health window in which each timer runs at least twice: a module is not believed before it did its work. */
function healthFor(timers?: { period: string }[]): { window: string } {
  const longest = Math.max(0, ...(timers ?? []).map((t) => seconds(t.period) ?? 0));
  return { window: `${Math.max(10, Math.ceil(2 * longest) + 2)}s` };
}

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
  const may = useMay();
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
            <Button tone="primary" icon="deploy" why={may("update applications")} busy={deploy.isPending} disabled={!nameRule.test(name) || (!!targets.names && targets.names.length === 0)} onClick={() => deploy.mutate(undefined, { onSuccess: () => setStep(4) })}>
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
  const pick = (t: Template) => onPick({ language: t.language, files: t.files, name: t.name, manifest: { permissions: t.permissions, ...(t.timers && { timers: t.timers }), ...(t.config && { config: t.config }), health: healthFor(t.timers) } });
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
          <button key={l.name} type="button" className="card" disabled={!l.available} onClick={() => onPick({ language: l.name, files: { [l.main]: templates.data.items.find((t) => t.language === l.name)?.files[l.main] ?? skeletons[l.name] ?? "" }, name: "", manifest: { permissions: ["log", "clock", "telemetry"], health: healthFor() } })}>
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

/** How much of what a board has a module takes, as a bar. */
function Share({ takes, of, label }: { takes: number; of: number; label: string }) {
  const share = of > 0 ? takes / of : 1;
  return (
    <div className="share" title={`${label}: ${bytes(takes)} of ${bytes(of)}`}>
      <span className="bar" role="img" aria-label={`${label}: ${bytes(takes)} of ${bytes(of)}`}>
        <span className={share > 1 ? "set-failed" : share > 0.8 ? "set-held" : "set-inflight"} style={{ flexGrow: Math.min(share, 1) }} />
        {share < 1 && <span style={{ flexGrow: 1 - share }} />}
      </span>
      <span className="small muted nowrap">
        {label} {share < 0.01 ? "<1" : Math.round(share * 100)} %
      </span>
    </div>
  );
}

function Fits({ inspection: i, result, back, next }: { inspection: Inspection; result: CompileResult; back: () => void; next: () => void }) {
  const ns = useNamespace();
  const boards = useBoards();
  const mine = useOverview(ns).data?.devices.boards ?? {};
  const fitting = i.fits.filter((f) => f.fits).length;
  const of = (name: string) => boards.data?.items.find((b) => b.name === name);
  // The fleet's own boards come first, then what fits.
  const order = [...i.fits].sort((a, b) => (mine[b.board] ?? 0) - (mine[a.board] ?? 0) || Number(b.fits) - Number(a.fits));
  return (
    <div className="stack">
      {i.problem && <ProblemBox error={{ detail: i.problem, mend: "change the source, or the manifest" }} title="It cannot run on any device as it is" />}
      <div className="row between wrap">
        <span>
          {i.problem ? "" : `It compiled to ${bytes(i.size)} and fits ${fitting} of ${i.fits.length} boards.`}
        </span>
        <span className="row">
          <Button onClick={back}>Back to the source</Button>
          <Button tone="primary" onClick={next} disabled={!!i.problem}>
            Choose targets
          </Button>
        </span>
      </div>
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
              ["Digest", <Copyable key="d" text={i.digest} short={30} />],
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
                {order.map((f) => {
                  const b = of(f.board);
                  return (
                    <tr key={f.board}>
                      <td>
                        {f.board}
                        {(mine[f.board] ?? 0) > 0 && <div className="small muted">{plural(mine[f.board] ?? 0, "device")} of yours</div>}
                      </td>
                      <td>
                        <Badge tone={f.fits ? "ok" : "bad"}>{f.fits ? "fits" : "does not"}</Badge>
                      </td>
                      <td style={{ width: "46%" }}>
                        {f.reason ? <span className="small muted">{f.reason}</span> : b?.moduleMemory ? <Share label="RAM for modules" takes={i.memory} of={b.moduleMemory} /> : null}
                      </td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          )}
        </Panel>
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
  const first = devices.data?.items.find((v) => v.online)?.device.name;
  return (
    <div className="stack">
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
    {first && <Said key={first} app={name} device={first} others={(devices.data?.items ?? []).map((v) => v.device.name)} />}
    </div>
  );
}

/** What the module logs and measures on one device, as it comes. */
function Said({ app, device, others }: { app: string; device: string; others: string[] }) {
  const ns = useNamespace();
  const [on, setOn] = useState(device);
  const log = useSeries<LogLine>(ns, on, "logs", 400);
  const measured = useSeries<Sample>(ns, on, "telemetry", 400);
  const lines = log.items.filter((l) => l.app === app).slice(-30);
  const newest = new Map(measured.items.filter((m) => m.app === app).map((m) => [m.name, m.value]));
  return (
    <Panel
      flush
      title="What it says"
      actions={
        <>
          {[...newest].map(([k, v]) => (
            <Badge key={k} tone="info">
              {k} {Number.isInteger(v) ? v.toLocaleString() : v.toPrecision(4)}
            </Badge>
          ))}
          <select className="auto" aria-label="Device that is listened to" value={on} onChange={(e) => setOn(e.target.value)}>
            {[...new Set([on, ...others])].map((n) => (
              <option key={n}>{n}</option>
            ))}
          </select>
        </>
      }
    >
      <div className="screen short" tabIndex={0} role="log" aria-label={`Log of ${app} on ${on}`}>
        {lines.length === 0 && <span className="t">Nothing yet: what {app} logs on {on} is shown at once.</span>}
        {lines.map((l, i) => (
          <div key={i} className={`l${l.level}`}>
            <span className="t">{timeOf(l.time)} </span>
            {l.text}
          </div>
        ))}
      </div>
    </Panel>
  );
}
