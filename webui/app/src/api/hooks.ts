import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { at, call, get, Problem, query } from "./client";
import type * as T from "./types";
import { useToast } from "../ui/toast";

const second = 1000;

export const useWhoAmI = (ns?: string) => useQuery({ queryKey: ["whoami", ns ?? ""], queryFn: ({ signal }) => get<T.WhoAmI>("/whoami" + query({ namespace: ns }), signal), staleTime: 60 * second });
export const useSystem = () =>
  useQuery({ queryKey: ["system"], queryFn: ({ signal }) => get<{ version: string; started: string; time: string; parts: Record<string, string> }>("/system", signal), refetchInterval: 5 * second });
export const useOverview = (ns: string) => useQuery({ queryKey: ["overview", ns], queryFn: ({ signal }) => get<T.Overview>(at(ns, "overview"), signal), refetchInterval: 3 * second });
export const useBoards = () => useQuery({ queryKey: ["boards"], queryFn: ({ signal }) => get<T.Page<T.Board>>("/boards", signal), staleTime: 300 * second });
export const useGateways = (ns: string) => useQuery({ queryKey: ["gateways", ns], queryFn: ({ signal }) => get<T.Page<T.Gateway>>(at(ns, "gateways"), signal), refetchInterval: 2 * second });
export const useEnrollments = (ns: string) =>
  useQuery({ queryKey: ["enrollments", ns], queryFn: ({ signal }) => get<T.Page<T.Device>>(at(ns, "enrollments") + "?limit=200", signal), refetchInterval: 2 * second });
export const useApplications = (ns: string) =>
  useQuery({ queryKey: ["applications", ns], queryFn: ({ signal }) => get<T.Page<T.Application>>(at(ns, "applications") + "?limit=500", signal), refetchInterval: 2 * second });
export const useApplication = (ns: string, name: string) =>
  useQuery({
    queryKey: ["application", ns, name],
    queryFn: ({ signal }) => get<{ object: T.Application; counts?: T.Counts }>(at(ns, "applications", name), signal),
    refetchInterval: second,
    retry: (n, e) => !(e instanceof Problem && e.status === 404) && n < 2,
  });
export const useAppExplain = (ns: string, name: string) =>
  useQuery({ queryKey: ["application", ns, name, "explain"], queryFn: ({ signal }) => get<{ items: T.Explanation[]; counts: T.Counts }>(at(ns, "applications", name, "explain"), signal), refetchInterval: 5 * second });
export const useRevisions = (ns: string) =>
  useQuery({ queryKey: ["application", ns, "", "revisions"], queryFn: ({ signal }) => get<T.Page<T.Revision>>(at(ns, "revisions") + "?limit=500", signal), refetchInterval: 5 * second });
export const useDevice = (ns: string, name: string) =>
  useQuery({
    queryKey: ["device", ns, name],
    queryFn: ({ signal }) => get<{ object: T.Device; view: T.DeviceView }>(at(ns, "devices", name), signal),
    refetchInterval: 3 * second,
    retry: (n, e) => !(e instanceof Problem && e.status === 404) && n < 2,
  });
export const useExplain = (ns: string, name: string) =>
  useQuery({ queryKey: ["device", ns, name, "explain"], queryFn: ({ signal }) => get<{ items: T.Explanation[] }>(at(ns, "devices", name, "explain"), signal), refetchInterval: 5 * second });
export const useTimeline = (ns: string, name: string) =>
  useQuery({ queryKey: ["device", ns, name, "timeline"], queryFn: ({ signal }) => get<T.Page<T.Moment>>(at(ns, "devices", name, "timeline"), signal), refetchInterval: 5 * second });
export const useLanguages = () => useQuery({ queryKey: ["languages"], queryFn: ({ signal }) => get<T.Page<T.Language>>("/languages", signal), staleTime: 60 * second });
export const useTemplates = () => useQuery({ queryKey: ["templates"], queryFn: ({ signal }) => get<T.Page<T.Template>>("/templates", signal), staleTime: 300 * second });
export const useQueues = () => useQuery({ queryKey: ["queues"], queryFn: ({ signal }) => get<T.Page<T.Queue>>("/queues", signal), refetchInterval: 2 * second });

export interface DeviceFilter {
  q?: string;
  online?: string;
  board?: string;
  app?: string;
  set?: string;
  pending?: string;
  labelSelector?: string;
}

/** The devices of a namespace, page by page as the reader scrolls. */
export function useDevices(ns: string, filter: DeviceFilter, limit = 200) {
  return useInfiniteQuery({
    queryKey: ["devices", ns, filter],
    queryFn: ({ pageParam, signal }) => get<T.Page<T.DeviceView>>(at(ns, "devices") + query({ ...filter, limit, after: pageParam }), signal),
    initialPageParam: "",
    getNextPageParam: (last) => last.next || undefined,
    structuralSharing: false, // ten thousand of them are not compared one by one
    refetchOnWindowFocus: (q) => (q.state.data?.pages.length ?? 0) <= 3,
    refetchOnReconnect: (q) => (q.state.data?.pages.length ?? 0) <= 3,
    placeholderData: keepPreviousData,
    staleTime: 10 * second,
  });
}

/** Every device of a namespace, for pictures. */
export function useFleet(ns: string) {
  return useQuery({
    queryKey: ["fleet", ns],
    queryFn: async ({ signal }) => {
      const all: T.DeviceView[] = [];
      for (let after = ""; ; ) {
        const p: T.Page<T.DeviceView> = await get(at(ns, "devices") + query({ limit: 500, after }), signal);
        all.push(...p.items);
        if (!p.next || all.length >= 20000) return all;
        after = p.next;
      }
    },
    structuralSharing: false,
    refetchInterval: 15 * second,
  });
}

/** The devices of an application, for the picture of its rollout. */
export function useAppDevices(ns: string, app: string, most = 2000) {
  return useQuery({
    queryKey: ["application", ns, app, "devices"],
    queryFn: async ({ signal }) => {
      const out: T.DeviceView[] = [];
      let next = "";
      do {
        const p: T.Page<T.DeviceView> = await get(at(ns, "devices") + query({ app, limit: 500, after: next }), signal);
        out.push(...p.items);
        next = p.next ?? "";
      } while (next && out.length < most);
      return { items: out, more: next !== "" };
    },
    structuralSharing: false,
    refetchInterval: 5 * second,
  });
}

/** An action that says what became of it. */
export function useAction<V>(f: (v: V) => Promise<unknown>, o: { done?: string | ((v: V) => string); refresh?: unknown[][] } = {}) {
  const client = useQueryClient();
  const toast = useToast();
  return useMutation({
    mutationFn: f,
    onSuccess: (_, v) => {
      for (const key of o.refresh ?? []) void client.invalidateQueries({ queryKey: key });
      if (o.done) toast({ tone: "ok", title: typeof o.done === "string" ? o.done : o.done(v) });
    },
    onError: (e) => {
      const p = e instanceof Problem ? e : undefined;
      toast({ tone: "bad", title: p?.detail ?? String(e), detail: p?.mend });
    },
  });
}

export const post = (path: string, body?: unknown) => call<unknown>("POST", path, body ?? {});
export const postEmpty = (path: string) => call<unknown>("POST", path);
export const remove = (path: string) => call<unknown>("DELETE", path);
export const patch = (path: string, body: unknown) => call<unknown>("PATCH", path, body);
