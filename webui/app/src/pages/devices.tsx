import { useVirtualizer } from "@tanstack/react-virtual";
import { lazy, memo, Suspense, useCallback, useEffect, useMemo, useRef, useState, type KeyboardEvent, type MouseEvent } from "react";
import { Link, useLocation, useSearch } from "wouter";
import { at, query } from "../api/client";
import { post, useAction, useApplications, useDevices, useOverview, type DeviceFilter } from "../api/hooks";
import { useMay } from "../api/may";
import { ownLabel, SETS, type DeviceView } from "../api/types";
import { setWords } from "../charts/sets";
import { useNamespace } from "../namespace";
import { ago, plural } from "../ui/format";
import { Icon } from "../ui/icon";
import { Badge, Button, Confirm, Dialog, Dot, Empty, Field, Loading, Menu, PageHead, ProblemBox } from "../ui/parts";
import { CreateDevice } from "./createdevice";

const TellMany = lazy(() => import("./tell").then((m) => ({ default: m.TellMany })));
const viewsKey = "wasmbed.views";
const rowHeight = 44;
const slots = 128; // more than are ever drawn

interface SavedView {
  name: string;
  filter: DeviceFilter;
}

function readViews(): SavedView[] {
  try {
    return JSON.parse(localStorage.getItem(viewsKey) ?? "[]") as SavedView[];
  } catch {
    return [];
  }
}

/** The table of devices: found on the server, shown a screenful at a time, up to date by itself. */
export function Devices() {
  const ns = useNamespace();
  const search = useSearch();
  const [, go] = useLocation();
  const params = new URLSearchParams(search);
  const filter: DeviceFilter = {};
  for (const k of ["q", "online", "board", "app", "set", "pending", "labelSelector"] as const) {
    const v = params.get(k);
    if (v) filter[k] = v;
  }
  const setFilter = (f: DeviceFilter) => go("/devices" + query({ ...f }), { replace: true });
  const may = useMay();
  const overview = useOverview(ns);
  const list = useDevices(ns, filter);
  const items = useMemo(() => list.data?.pages.flatMap((p) => p.items) ?? [], [list.data]);
  const [chosen, setChosen] = useState<Set<string>>(new Set());
  const filtered = Object.keys(filter).length > 0;
  const creating = params.get("create") === "1";
  return (
    <div className="page full">
      <PageHead
        title="Devices"
        sub={overview.data && <>{plural(overview.data.devices.known, "device")} · {overview.data.devices.online.toLocaleString()} online</>}
        actions={
          <>
            <Link className="button" href="/enrollment">
              <Icon name="enroll" />
              Enroll
            </Link>
            <Button tone="primary" icon="plus" why={may("create devices")} onClick={() => go("/devices" + query({ ...filter, create: 1 }))}>
              Create device
            </Button>
          </>
        }
      />
      <section className="panel fill" aria-label="Devices">
        <Filters filter={filter} setFilter={setFilter} boards={Object.keys(overview.data?.devices.boards ?? {})} />
        {chosen.size > 0 && <Bulk names={[...chosen]} clear={() => setChosen(new Set())} />}
        {list.isPending ? (
          <div className="panel-body">
            <Loading lines={8} />
          </div>
        ) : list.error && !items.length ? (
          <div className="panel-body">
            <ProblemBox error={list.error} retry={() => void list.refetch()} />
          </div>
        ) : items.length === 0 && !list.hasNextPage ? (
          filtered ? (
            <Empty icon="search" title="No device is like that" action={<Button onClick={() => setFilter({})}>Clear the filters</Button>}>
              The filters are applied on the server to all devices of the namespace.
            </Empty>
          ) : (
            <Empty
              icon="device"
              title="No devices yet"
              action={
                <>
                  <Button tone="primary" icon="plus" why={may("create devices")} onClick={() => go("/devices?create=1")}>
                    Create an emulated device
                  </Button>
                  <Link className="button" href="/enrollment">
                    Open the pairing window
                  </Link>
                </>
              }
            >
              A device appears when it enrolls: inside a gateway&apos;s pairing window, with a claim, or made here and emulated.
            </Empty>
          )
        ) : (
          <Table items={items} chosen={chosen} setChosen={setChosen} more={list.hasNextPage} loadMore={() => !list.isFetchingNextPage && void list.fetchNextPage()} loading={list.isFetchingNextPage} />
        )}
      </section>
      <CreateDevice open={creating} onOpenChange={(o) => !o && setFilter(filter)} />
    </div>
  );
}

function Filters({ filter, setFilter, boards }: { filter: DeviceFilter; setFilter: (f: DeviceFilter) => void; boards: string[] }) {
  const ns = useNamespace();
  const apps = useApplications(ns);
  const [views, setViews] = useState(readViews);
  const [saving, setSaving] = useState(false);
  const [name, setName] = useState("");
  const change = (k: keyof DeviceFilter, v: string) => {
    const f = { ...filter, [k]: v || undefined };
    if (k === "app" && !v) delete f.set;
    setFilter(f);
  };
  const keep = (v: SavedView[]) => {
    setViews(v);
    localStorage.setItem(viewsKey, JSON.stringify(v));
  };
  const active = Object.values(filter).some(Boolean);
  return (
    <div className="filters" role="search">
      <Typed className="search" icon label="Search devices by name or board" placeholder="Search name or board" value={filter.q ?? ""} onChange={(v) => change("q", v)} />
      <Typed label="Label selector" placeholder="Labels, like site=lab" value={filter.labelSelector ?? ""} onChange={(v) => change("labelSelector", v)} />
      <select aria-label="State" value={filter.pending ? "pending" : (filter.online ?? "")} onChange={(e) => setFilter({ ...filter, online: e.target.value === "pending" ? undefined : e.target.value || undefined, pending: e.target.value === "pending" ? "true" : undefined })}>
        <option value="">Any state</option>
        <option value="true">Online</option>
        <option value="false">Offline</option>
        <option value="pending">Wait for approval</option>
      </select>
      <select aria-label="Board" value={filter.board ?? ""} onChange={(e) => change("board", e.target.value)}>
        <option value="">Any board</option>
        {[...new Set([...boards, filter.board ?? ""])].filter(Boolean).sort().map((b) => (
          <option key={b}>{b}</option>
        ))}
      </select>
      <select aria-label="Application" value={filter.app ?? ""} onChange={(e) => change("app", e.target.value)}>
        <option value="">Any application</option>
        {[...new Set([...(apps.data?.items.map((a) => a.metadata.name) ?? []), filter.app ?? ""])].filter(Boolean).map((a) => (
          <option key={a}>{a}</option>
        ))}
      </select>
      {filter.app && (
        <select aria-label="Work set" value={filter.set ?? ""} onChange={(e) => change("set", e.target.value)}>
          <option value="">Any work set</option>
          {SETS.map((s) => (
            <option key={s} value={s}>
              {setWords[s].title}
            </option>
          ))}
        </select>
      )}
      {active && (
        <Button tone="plain" icon="x" onClick={() => setFilter({})}>
          Clear
        </Button>
      )}
      <Menu
        label="Saved views"
        icon="save"
        items={[
          ...views.map((v) => ({ label: v.name, icon: "search" as const, onSelect: () => setFilter(v.filter) })),
          views.length ? null : null,
          { label: "Save this view…", icon: "plus" as const, disabled: !active, why: "Set a filter first", onSelect: () => setSaving(true) },
          ...views.filter((v) => JSON.stringify(v.filter) === JSON.stringify(filter)).map((v) => ({ label: `Forget “${v.name}”`, icon: "trash" as const, danger: true, onSelect: () => keep(views.filter((x) => x !== v)) })),
        ].filter((x, i, all) => x || (i > 0 && i < all.length - 1))}
      />
      <Dialog open={saving} onOpenChange={setSaving} title="Save this view" sub="Views are kept in this browser.">
        <form
          className="stack"
          onSubmit={(e) => {
            e.preventDefault();
            keep([...views.filter((v) => v.name !== name.trim()), { name: name.trim(), filter }]);
            setSaving(false);
            setName("");
          }}
        >
          <Field label="Name">{(id) => <input id={id} className="input" required value={name} onChange={(e) => setName(e.target.value)} />}</Field>
          <div className="row end">
            <Button tone="primary" type="submit" disabled={!name.trim()}>
              Save
            </Button>
          </div>
        </form>
      </Dialog>
    </div>
  );
}

/** A text filter that waits until the reader pauses. */
function Typed({ label, placeholder, value, onChange, className = "", icon }: { label: string; placeholder: string; value: string; onChange: (v: string) => void; className?: string; icon?: boolean }) {
  const [text, setText] = useState(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const latest = useRef(onChange);
  latest.current = onChange;
  useEffect(() => setText(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <div className={className}>
      {icon && <Icon name="search" />}
      <input
        className="input"
        type="search"
        aria-label={label}
        placeholder={placeholder}
        value={text}
        onChange={(e) => {
          setText(e.target.value);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => latest.current(e.target.value.trim()), 250);
        }}
      />
    </div>
  );
}

const columns = ["", "Name", "State", "Board", "Applications", "Labels", "Firmware", "Last seen"];

function Table({ items, chosen, setChosen, more, loadMore, loading }: { items: DeviceView[]; chosen: Set<string>; setChosen: (s: Set<string>) => void; more: boolean; loadMore: () => void; loading: boolean }) {
  const scroll = useRef<HTMLDivElement>(null);
  const [active, setActive] = useState(-1);
  const [, go] = useLocation();
  const ns = useNamespace();
  const v = useVirtualizer({ count: items.length, getScrollElement: () => scroll.current, estimateSize: () => rowHeight, overscan: 6 });
  const rows = v.getVirtualItems();
  const last = rows.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= items.length - 60) loadMore();
  }, [more, last, items.length, loadMore]);
  const latest = useRef({ chosen, setChosen });
  latest.current = { chosen, setChosen };
  const toggle = useCallback((name: string) => {
    const s = new Set(latest.current.chosen);
    if (!s.delete(name)) s.add(name);
    latest.current.setChosen(s);
  }, []);
  const keys = (e: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[e.key];
    const at = items[active];
    if (by !== undefined) {
      e.preventDefault();
      const n = Math.max(0, Math.min(items.length - 1, active + by));
      setActive(n);
      v.scrollToIndex(n);
    } else if (e.key === "Enter" && at && e.target === scroll.current) go(`/devices/${at.device.name}`);
    else if (e.key === " " && at && e.target === scroll.current) {
      e.preventDefault();
      toggle(at.device.name);
    }
  };
  // One listener for all rows' links: a link with one of its own in each row costs too much while scrolling.
  const open = (e: MouseEvent) => {
    const name = (e.target as HTMLElement).closest<HTMLElement>("a[data-device]")?.dataset.device;
    if (!name || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey || e.button !== 0) return;
    e.preventDefault();
    go(`/devices/${name}`);
  };
  const all = items.length > 0 && items.every((i) => chosen.has(i.device.name));
  return (
    <>
    <div className="vtable" role="table" aria-label="Devices" aria-rowcount={more ? -1 : items.length + 1}>
      <div role="rowgroup">
        <div className="vhead devices-cols" role="row">
          {columns.map((c, i) => (
            <div key={i} role="columnheader" className={[5, 6].includes(i) ? "opt" : [3, 4].includes(i) ? (i === 3 ? "opt opt2" : "opt2") : i === 7 ? "opt2" : ""}>
              {i === 0 ? <input type="checkbox" aria-label={`Select the ${items.length} devices that are loaded`} checked={all} onChange={() => setChosen(all ? new Set() : new Set(items.map((d) => d.device.name)))} /> : c}
            </div>
          ))}
        </div>
      </div>
      <div className="vscroll" ref={scroll} role="rowgroup" tabIndex={0} aria-label="Rows: arrow keys move, Enter opens, Space selects" onKeyDown={keys} onClick={open} data-testid="devices-scroll">
        <div style={{ height: v.getTotalSize() }} role="presentation">
          {rows.map((r) => {
            const d = items[r.index];
            // Rows are used again for others as they scroll out: text changes, elements stay.
            return d ? <Row key={r.index % slots} ns={ns} d={d} top={r.start} index={r.index} active={r.index === active} chosen={chosen.has(d.device.name)} toggle={toggle} /> : null;
          })}
        </div>
      </div>
    </div>
      <div className="small muted row between table-foot" role="status">
        <span>
          {plural(items.length, "device")} {more ? "loaded, more as you scroll" : ""} {loading && "…"}
        </span>
        <span>by name</span>
      </div>
    </>
  );
}

const Row = memo(function Row({ ns, d, top, index, active, chosen, toggle }: { ns: string; d: DeviceView; top: number; index: number; active: boolean; chosen: boolean; toggle: (n: string) => void }) {
  const name = d.device.name;
  const labels = Object.entries(d.labels ?? {}).filter(([k]) => !ownLabel(k));
  return (
    <div className={`vrow devices-cols ${active ? "active" : ""} ${chosen ? "chosen" : ""}`} role="row" aria-rowindex={index + 2} style={{ transform: `translateY(${top}px)` }}>
      <div role="cell">
        <input type="checkbox" aria-label={`Select ${name}`} checked={chosen} onChange={() => toggle(name)} />
      </div>
      <div role="cell" className="ellipsis">
        <a href={`/n/${encodeURIComponent(ns)}/devices/${name}`} data-device={name}>
          <b>{name}</b>
        </a>
      </div>
      <div role="cell">
        <DeviceState d={d} />
      </div>
      <div role="cell" className="ellipsis opt opt2">
        {d.board ?? "–"}
      </div>
      <div role="cell" className="ellipsis opt2">
        <AppChips d={d} />
      </div>
      <div role="cell" className="ellipsis opt">
        {labels.length ? labels.slice(0, 3).map(([k, v]) => <span key={k} className="chip">{`${k}=${v}`}</span>) : <span className="muted">–</span>}
      </div>
      <div role="cell" className="ellipsis opt muted">
        {d.firmware ?? "–"}
      </div>
      <div role="cell" className="muted nowrap opt2">
        {d.online ? "now" : d.lastSeen ? <span title={d.lastSeen}>{ago(d.lastSeen)}</span> : "never"}
      </div>
    </div>
  );
});

export function DeviceState({ d }: { d: DeviceView }) {
  if (d.known && !d.approved) return <Dot tone="warn" label="Unapproved" />;
  if (d.online) return <Dot tone={d.hold ? "warn" : "ok"} label={d.hold ? "Held" : "Online"} />;
  return <Dot tone="idle" label="Offline" />;
}

function AppChips({ d }: { d: DeviceView }) {
  const apps = (d.apps ?? []).filter((a) => a.set);
  if (!apps.length) return <span className="muted">none</span>;
  return (
    <>
      {apps.slice(0, 4).map((a) => (
        <span key={a.app} className="chip set" title={a.set ? `${a.app}: ${setWords[a.set].title}, ${setWords[a.set].about}` : a.app}>
          <span className={`dot set-${a.set}`} aria-hidden="true" />
          {a.app}
          <span className="sr">{a.set && setWords[a.set].title}</span>
        </span>
      ))}
      {apps.length > 4 && <Badge>+{apps.length - 4}</Badge>}
    </>
  );
}

type BulkAction = "approve" | "reject" | "revoke" | "hold" | "release" | "delete" | "label";

function Bulk({ names, clear }: { names: string[]; clear: () => void }) {
  const ns = useNamespace();
  const may = useMay();
  const patch = may("patch devices");
  const approval = patch ?? may("update devices/approval");
  const [ask, setAsk] = useState<BulkAction | null>(null);
  const [telling, setTelling] = useState(false);
  const apps = useApplications(ns);
  const [labels, setLabels] = useState("");
  const act = useAction(
    async ({ action, labels }: { action: BulkAction; labels?: Record<string, string | null> }) => {
      const failed: { name: string; error: string }[] = [];
      for (let i = 0; i < names.length; i += 500) {
        const r = (await post(at(ns, "bulk", "devices"), { action, names: names.slice(i, i + 500), labels })) as { failed: { name: string; error: string }[] };
        failed.push(...r.failed);
      }
      if (failed.length) throw new Error(`${failed.length} of ${names.length} failed: ${failed[0]?.name}: ${failed[0]?.error}`);
    },
    { done: ({ action }) => `${action}: ${plural(names.length, "device")} done`, refresh: [["devices", ns], ["overview", ns], ["enrollments", ns]] },
  );
  const run = (action: BulkAction, l?: Record<string, string | null>) =>
    act.mutate(
      { action, labels: l },
      {
        onSuccess: () => {
          setAsk(null);
          if (action === "delete") clear();
        },
      },
    );
  const change: Record<string, string | null> = {};
  for (const part of labels.split(/[\s,]+/).filter(Boolean)) {
    if (part.endsWith("-") && !part.includes("=")) change[part.slice(0, -1)] = null;
    else if (part.includes("=")) change[part.slice(0, part.indexOf("="))] = part.slice(part.indexOf("=") + 1);
  }
  return (
    <div className="bulk" role="toolbar" aria-label="Actions on the selected devices">
      <b>{plural(names.length, "device")} selected</b>
      <Button small icon="check" why={approval} onClick={() => run("approve")} busy={act.isPending}>
        Approve
      </Button>
      <Button small icon="pause" why={patch} onClick={() => run("hold")} disabled={act.isPending}>
        Hold
      </Button>
      <Button small icon="play" why={patch} onClick={() => run("release")} disabled={act.isPending}>
        Release
      </Button>
      <Button small icon="edit" why={patch} onClick={() => setAsk("label")}>
        Label…
      </Button>
      <Button small icon="bolt" why={may("create devices/invoke") && may("create devices/message")} onClick={() => setTelling(true)}>
        Command…
      </Button>
      <Button small tone="danger" why={approval} onClick={() => setAsk("revoke")}>
        Revoke…
      </Button>
      <Button small tone="danger" icon="trash" why={patch ?? may("delete devices")} onClick={() => setAsk("delete")}>
        Delete…
      </Button>
      <span className="grow" />
      <Button small tone="plain" icon="x" onClick={clear}>
        Clear
      </Button>
      <Dialog open={telling} onOpenChange={setTelling} title={`Speak to ${plural(names.length, "device")}`} wide>
        {telling && <Suspense fallback={<Loading />}>{apps.data?.items.length ? <TellMany apps={apps.data.items.map((a) => a.metadata.name)} devices={names} /> : <Empty icon="app" title="No application is there">Commands go to a module that runs.</Empty>}</Suspense>}
      </Dialog>
      <Confirm open={ask === "delete"} onOpenChange={() => setAsk(null)} title={`Delete ${plural(names.length, "device")}?`} word="Delete" danger busy={act.isPending} onConfirm={() => run("delete")}>
        Their sessions end and their keys are denied. Emulated boards are removed with their storage. A real one must enroll anew.
      </Confirm>
      <Confirm open={ask === "revoke"} onOpenChange={() => setAsk(null)} title={`Revoke ${plural(names.length, "device")}?`} word="Revoke" danger busy={act.isPending} onConfirm={() => run("revoke")}>
        Their certificates are void at once and their sessions end. The devices stay listed, and can be approved again.
      </Confirm>
      <Confirm open={ask === "label"} onOpenChange={() => setAsk(null)} title={`Label ${plural(names.length, "device")}`} word="Apply" busy={act.isPending} onConfirm={() => Object.keys(change).length && run("label", change)}>
        <Field label="Labels" help="site=lab sets one, site- removes it; several with spaces">
          {(id) => <input id={id} className="input mono" value={labels} onChange={(e) => setLabels(e.target.value)} placeholder="site=lab ring=canary" />}
        </Field>
      </Confirm>
    </div>
  );
}
