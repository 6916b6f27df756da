import { useEffect, useState } from "react";
import { at, get, query } from "../api/client";
import type { Page } from "../api/types";
import type { Problem } from "./words";
import { useTopic } from "./context";

const pageSize = 500;
const maxPages = 40; // of history that is read before it is followed

/** A device's telemetry or log: what is kept, and then what comes. At most keep records, oldest first. */
export function useSeries<T>(ns: string, name: string, kind: "telemetry" | "logs", keep: number): { items: T[]; loading: boolean; problem: unknown } {
  const [items, setItems] = useState<T[]>([]);
  const [after, setAfter] = useState<string | null>(null);
  const [failed, setFailed] = useState<unknown>(null);
  useEffect(() => {
    const stop = new AbortController();
    setItems([]);
    setAfter(null);
    setFailed(null);
    void (async () => {
      let cursor = "";
      let all: T[] = [];
      try {
        for (let i = 0; i < maxPages; i++) {
          const p: Page<T> = await get(at(ns, "devices", name, kind) + query({ limit: pageSize, after: cursor }), stop.signal);
          all = [...all, ...p.items].slice(-keep);
          if (!p.next || p.next === cursor) break;
          cursor = p.next;
          if (p.items.length < pageSize) break;
        }
        if (stop.signal.aborted) return;
        setItems(all);
        setAfter(cursor);
      } catch (e) {
        if (!stop.signal.aborted) setFailed(e);
      }
    })();
    return () => stop.abort();
  }, [ns, name, kind, keep]);
  const problem: Problem | null = useTopic<T>(after === null ? null : { topic: kind, namespace: ns, name, ...(after && { after }) }, (more) => setItems((old) => [...old, ...more].slice(-keep)));
  return { items, loading: after === null && !failed, problem: failed ?? problem };
}
