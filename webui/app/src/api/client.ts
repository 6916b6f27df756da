// Requests to the REST API through the dashboard's server: the cookie says who, the CSRF header that it is this page.

/** An error as the API words it: what went wrong and what the reader can do. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly mend?: string,
  ) {
    super(detail);
  }
}

export interface Session {
  user: string;
  csrf: string;
}

let csrf = "";
const lost = new Set<() => void>();

/** Calls f when the session is over; returns what stops that. */
export function onSessionLost(f: () => void): () => void {
  lost.add(f);
  return () => lost.delete(f);
}

async function problemOf(resp: Response): Promise<Problem> {
  try {
    const p = (await resp.json()) as { code?: string; detail?: string; mend?: string; title?: string };
    return new Problem(resp.status, p.code ?? "unknown", p.detail ?? p.title ?? resp.statusText, p.mend);
  } catch {
    return new Problem(resp.status, "unknown", `the server answered ${resp.status} ${resp.statusText}`);
  }
}

async function send(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, { credentials: "same-origin", ...init });
  } catch (e) {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new Problem(0, "unreachable", "the dashboard's server does not answer", "is the platform running? This page tries again by itself");
  }
}

/** The session of the cookie. Throws Problem 401 when there is none. */
export async function session(): Promise<Session> {
  const resp = await send("/session", {});
  if (!resp.ok) throw await problemOf(resp);
  const s = (await resp.json()) as Session;
  csrf = s.csrf;
  return s;
}

/**
 * Takes the one-time code of a link off the address, so that it stays in no history; "" when there is none. It stands
 * behind the #, which browsers send to nobody.
 */
export function takeCode(): string {
  const code = new URLSearchParams(location.hash.slice(1)).get("code") ?? "";
  if (code) history.replaceState(null, "", location.pathname + location.search);
  return code;
}

/** Exchanges a Kubernetes token, or a link's code, for a session. */
export async function login(proof: { token: string } | { code: string }): Promise<Session> {
  const resp = await send("/login", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(proof) });
  if (!resp.ok) throw await problemOf(resp);
  const s = (await resp.json()) as Session;
  csrf = s.csrf;
  return s;
}

export async function logout(): Promise<void> {
  await send("/logout", { method: "POST", headers: { "X-Wasmbed-CSRF": csrf } });
  csrf = "";
}

export interface CallOptions {
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** One request that is answered by the raw response. Throws Problem for anything but 2xx. */
export async function raw(method: string, path: string, body?: unknown, o: CallOptions = {}): Promise<Response> {
  const headers: Record<string, string> = { ...o.headers };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-Wasmbed-CSRF"] = csrf;
  const resp = await send("/api/v1" + path, { method, headers, signal: o.signal, body: body === undefined ? undefined : JSON.stringify(body) });
  if (resp.ok) return resp;
  const p = await problemOf(resp);
  if (p.status === 401) for (const f of lost) f();
  throw p;
}

/** One request that is answered by JSON. */
export async function call<T>(method: string, path: string, body?: unknown, o?: CallOptions): Promise<T> {
  const resp = await raw(method, path, body, o);
  if (resp.status === 204) return undefined as T;
  return (await resp.json()) as T;
}

export const get = <T>(path: string, signal?: AbortSignal) => call<T>("GET", path, undefined, { signal });

/** The path of something in a namespace. */
export function at(ns: string, ...parts: string[]): string {
  return "/namespaces/" + [ns, ...parts].map(encodeURIComponent).join("/");
}

/** A query string of what is set. */
export function query(q: Record<string, string | number | boolean | undefined>): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(q)) if (v !== undefined && v !== "") p.set(k, String(v));
  const s = p.toString();
  return s ? "?" + s : "";
}
