import { useQueryClient, type InfiniteData, type QueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore, type ReactNode } from "react";
import { at, get, Problem as Refusal } from "../api/client";
import type { AppView, CloudEvent, Device, DeviceView, FeedEntry, Page, WorkSet } from "../api/types";
import { Live, type LiveState, type Topic } from "./socket";
import type { Problem } from "./words";

const LiveContext = createContext<Live | null>(null);

export function useLive(): Live {
  const live = useContext(LiveContext);
  if (!live) throw new Error("no live connection around this component");
  return live;
}

export function useLiveState(): LiveState {
  const live = useLive();
  return useSyncExternalStore(live.watch, () => live.state);
}

/** Follows a topic while the component is there. null follows nothing. */
export function useTopic<T>(topic: Topic | null, items: (items: T[], lagged: boolean) => void): Problem | null {
  const live = useLive();
  const latest = useRef(items);
  latest.current = items;
  const [problem, setProblem] = useState<Problem | null>(null);
  const key = topic ? JSON.stringify(topic) : "";
  useEffect(() => {
    setProblem(null);
    if (!key) return;
    return live.subscribe(JSON.parse(key) as Topic, {
      items: (x, lagged) => latest.current(x as T[], lagged),
      error: setProblem,
    });
  }, [live, key]);
  return problem;
}

export type FeedListener = (entries: FeedEntry[], lagged: boolean) => void;

const FeedContext = createContext<{ listen: (f: FeedListener) => () => void } | null>(null);

/** Calls f with every move of a device of the namespace. */
export function useFeed(f: FeedListener) {
  const feed = useContext(FeedContext);
  const latest = useRef(f);
  latest.current = f;
  useEffect(() => feed?.listen((e, l) => latest.current(e, l)), [feed]);
}

type DevicePages = InfiniteData<Page<DeviceView>, string>;

/** Applies one move to what is known of a device. */
export function moved(v: DeviceView, e: FeedEntry): DeviceView {
  switch (e.kind) {
    case "connected":
      return { ...v, online: true, known: v.known, lastSeen: e.time, connectedAt: e.time };
    case "disconnected":
      return { ...v, online: false, lastSeen: e.time };
  }
  if (!e.app) return v;
  const change = (a: AppView): AppView => {
    if (e.kind === "set") return { ...a, set: (e.to || undefined) as WorkSet | undefined, reason: e.reason, message: e.message, since: e.time };
    if (e.kind === "state" && a.reported) return { ...a, reported: { ...a.reported, state: e.state ?? a.reported.state, reason: e.reason, message: e.message } };
    return a;
  };
  const apps = v.apps ?? [];
  if (!apps.some((a) => a.app === e.app)) {
    return e.kind === "set" ? { ...v, apps: [...apps, { app: e.app, set: e.to as WorkSet, since: e.time }] } : v;
  }
  return { ...v, apps: apps.map((a) => (a.app === e.app ? change(a) : a)) };
}

/** Applies moves to all lists of devices that are kept: only the pages that hold a moved device are made anew. */
export function patchDevices(client: QueryClient, ns: string, entries: FeedEntry[]) {
  const by = new Map<string, FeedEntry[]>();
  for (const e of entries) {
    const of = by.get(e.device.name);
    if (of) of.push(e);
    else by.set(e.device.name, [e]);
  }
  const apply = (v: DeviceView) => (by.get(v.device.name) ?? []).reduce(moved, v);
  client.setQueriesData<DevicePages>({ queryKey: ["devices", ns] }, (data) => {
    if (!data) return data;
    let changed = false;
    const pages = data.pages.map((p) => {
      if (!p.items.some((v) => by.has(v.device.name))) return p;
      changed = true;
      return { ...p, items: p.items.map((v) => (by.has(v.device.name) ? apply(v) : v)) };
    });
    return changed ? { ...data, pages } : data;
  });
  for (const name of by.keys()) {
    client.setQueryData<{ object: Device; view: DeviceView }>(["device", ns, name], (d) => (d ? { ...d, view: apply(d.view) } : d));
  }
}

const settle = 80; // ms after which what moved is read again
const pause = 2000; // the same, while more than most move
const most = 12; // devices that are read one by one; more and the lists are

/** Follows the namespace's feed once for the whole page, and keeps what is shown up to date. */
export function FeedProvider({ ns, children }: { ns: string; children: ReactNode }) {
  const client = useQueryClient();
  const listeners = useRef(new Set<FeedListener>());
  const due = useRef<{ names: Set<string>; apps: Set<string>; all: boolean; many: boolean; timer?: ReturnType<typeof setTimeout>; last: number }>({ names: new Set(), apps: new Set(), all: false, many: false, last: 0 });

  const flush = () => {
    const d = due.current;
    d.timer = undefined;
    d.last = Date.now();
    const names = [...d.names];
    const apps = [...d.apps];
    const all = d.all || names.length > most;
    due.current = { names: new Set(), apps: new Set(), all: false, many: all, last: d.last };
    void client.invalidateQueries({ queryKey: ["overview", ns] });
    void client.invalidateQueries({ queryKey: ["enrollments", ns] });
    if (apps.length || all) void client.invalidateQueries({ queryKey: ["applications", ns] });
    for (const a of apps) void client.invalidateQueries({ queryKey: ["application", ns, a] });
    if (all) {
      void client.invalidateQueries({ queryKey: ["device", ns] });
      again(client, ns, d.all);
      return;
    }
    for (const n of names) void client.invalidateQueries({ queryKey: ["device", ns, n] });
    void refresh(client, ns, names);
  };

  useTopic<FeedEntry>({ topic: "devices", namespace: ns }, (entries, lagged) => {
    if (entries.length) patchDevices(client, ns, entries);
    for (const f of listeners.current) f(entries, lagged);
    const d = due.current;
    for (const e of entries) {
      d.names.add(e.device.name);
      if (e.app) d.apps.add(e.app);
    }
    d.all ||= lagged;
    // A move is looked at soon; in a herd it is once in two seconds.
    d.timer ??= setTimeout(flush, d.many && Date.now() - d.last < pause ? pause : settle);
  });
  useEffect(() => () => clearTimeout(due.current.timer), []);

  const value = useMemo(
    () => ({
      listen: (f: FeedListener) => {
        listeners.current.add(f);
        return () => void listeners.current.delete(f);
      },
    }),
    [],
  );
  return <FeedContext.Provider value={value}>{children}</FeedContext.Provider>;
}

const few = 3; // pages that are read again as a whole without a thought
const herd = 20_000; // ms between two readings of a long list

let readAgain = 0;

/** Reads the lists again after a herd moved. A long list has its moves from the feed; it is read again only when some were not told. */
function again(client: QueryClient, ns: string, lagged: boolean) {
  const due = lagged && Date.now() - readAgain > herd;
  if (due) readAgain = Date.now();
  void client.invalidateQueries({ queryKey: ["devices", ns], predicate: (q) => due || ((q.state.data as DevicePages | undefined)?.pages.length ?? 0) <= few });
}

/** Reads some devices anew and puts them into the lists; one that is new is put where its name stands. */
async function refresh(client: QueryClient, ns: string, names: string[]) {
  if (!client.getQueriesData<DevicePages>({ queryKey: ["devices", ns] }).some(([, d]) => d)) return;
  const fresh = new Map<string, DeviceView | null>();
  await Promise.all(
    names.map(async (n) => {
      try {
        const { view } = await get<{ view: DeviceView }>(at(ns, "devices", n));
        if (view.device?.name) fresh.set(n, view);
      } catch (e) {
        if (e instanceof Refusal && e.status === 404) fresh.set(n, null); // it is gone
      }
    }),
  );
  for (const [key, data] of client.getQueriesData<DevicePages>({ queryKey: ["devices", ns] })) {
    if (!data) continue;
    const held = new Set(data.pages.flatMap((p) => p.items.filter((v) => fresh.has(v.device.name)).map((v) => v.device.name)));
    const filtered = JSON.stringify(key[2] ?? {}) !== "{}";
    if (filtered && held.size < fresh.size) void client.invalidateQueries({ queryKey: key, exact: true }); // it may be in the list now
    client.setQueryData<DevicePages>(key, (d) => {
      if (!d) return d;
      const pages = d.pages.map((p) => (p.items.some((v) => fresh.has(v.device.name)) ? { ...p, items: p.items.map((v) => (fresh.has(v.device.name) ? fresh.get(v.device.name) : v)).filter((v): v is DeviceView => !!v) } : p));
      if (!filtered) {
        for (const [name, view] of fresh) {
          if (!view || held.has(name)) continue;
          const i = pages.findIndex((p) => !p.next || (p.items.at(-1)?.device.name ?? "") > name);
          const p = pages[i];
          if (p) pages[i] = { ...p, items: [...p.items, view].sort((a, b) => (a.device.name < b.device.name ? -1 : 1)) };
        }
      }
      return { ...d, pages };
    });
  }
}

export function LiveProvider({ children }: { children: ReactNode }) {
  const [live, setLive] = useState<Live | null>(null);
  useEffect(() => {
    const l = new Live();
    setLive(l);
    return () => l.close();
  }, []);
  return live ? <LiveContext.Provider value={live}>{children}</LiveContext.Provider> : null;
}

/** The newest events of a stream, at most keep of them, newest first. */
export function useEvents(ns: string, keep: number, paused: boolean) {
  const [events, setEvents] = useState<CloudEvent[]>([]);
  const problem = useTopic<CloudEvent>(paused ? null : { topic: "events", namespace: ns }, (items) => setEvents((old) => [...items.slice().reverse(), ...old].slice(0, keep)));
  return { events, problem, clear: () => setEvents([]) };
}
