const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;

/** How long ago a time was, or how far ahead it is. */
export function ago(at: string, now = Date.now()): string {
  const s = (now - Date.parse(at)) / 1000;
  if (Number.isNaN(s)) return "–";
  if (s < 0) return "in " + duration(-s);
  if (s < 3) return "now";
  return duration(s) + " ago";
}

/** Seconds as people say them. */
export function duration(s: number): string {
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 2 * minute) return Math.round(s) + " s";
  if (s < 2 * hour) return Math.floor(s / minute) + " min";
  if (s < 2 * day) return Math.floor(s / hour) + " h";
  return Math.floor(s / day) + " days";
}

/** A duration as it is written (1m30s, 500ms), in seconds. */
export function seconds(d?: string): number | undefined {
  const parts = [...(d ?? "").matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (!parts.length || parts.map((p) => p[0]).join("") !== d) return undefined;
  return parts.reduce((a, p) => a + Number(p[1]) * { ms: 0.001, s: 1, m: 60, h: 3600 }[p[2] as "s"], 0);
}

/** Seconds to the precision that matters when times are compared. */
export function span(s: number): string {
  if (s < 0.001) return Math.round(s * 1e6) + " µs";
  if (s < 0.01) return (s * 1000).toFixed(1) + " ms";
  if (s < 1) return Math.round(s * 1000) + " ms";
  if (s < 10) return s.toFixed(2) + " s";
  return duration(s);
}

/** mm:ss or h:mm:ss of what is left. */
export function clock(s: number): string {
  const n = Math.max(0, Math.floor(s));
  const two = (x: number) => String(x).padStart(2, "0");
  const h = Math.floor(n / hour);
  return (h ? h + ":" + two(Math.floor((n % hour) / minute)) : String(Math.floor(n / minute))) + ":" + two(n % minute);
}

export function dateTime(at: string): string {
  const d = new Date(at);
  return Number.isNaN(d.getTime()) ? at : d.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function timeOf(at: string): string {
  const d = new Date(at);
  if (Number.isNaN(d.getTime()) || d.getUTCFullYear() < 1971) return "–";
  return d.toLocaleTimeString(undefined, { hour12: false }) + "." + String(d.getMilliseconds()).padStart(3, "0");
}

/** Bytes for people. */
export function bytes(n?: number): string {
  if (n === undefined) return "–";
  if (n < 10 * 1024) return `${n} B`;
  if (n < 4 * 1024 * 1024) return `${Math.round(n / 1024)} KiB`;
  return `${Math.round(n / 1024 / 1024)} MiB`;
}

export function plural(n: number, one: string, many = one + "s"): string {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}

/** An event type without what all of ours share. */
export function shortType(t: string): string {
  return t.replace(/^io\.wasmbed\./, "").replace(/^dev\.knative\.apiserver\./, "k8s.").replace(/\.v1$/, "");
}

/** A duration as Go prints it, without its zeroes: 168h0m0s is 168h. */
export function tidy(d?: string): string | undefined {
  return d?.replace(/^(.*?[hm])(0m)?0s$/, "$1").replace(/^(\d+h)0m$/, "$1");
}

/** A label selector as text. */
export function selectorText(s?: { matchLabels?: Record<string, string>; matchExpressions?: { key: string; operator: string; values?: string[] }[] }): string {
  if (!s) return "";
  const parts = Object.entries(s.matchLabels ?? {}).map(([k, v]) => `${k}=${v}`);
  for (const e of s.matchExpressions ?? []) {
    if (e.operator === "Exists") parts.push(e.key);
    else if (e.operator === "DoesNotExist") parts.push("!" + e.key);
    else parts.push(`${e.key} ${e.operator === "In" ? "in" : "notin"} (${(e.values ?? []).join(",")})`);
  }
  return parts.join(", ");
}

/** base64 of bytes, without a call stack of their number. */
export function base64(b: Uint8Array): string {
  let s = "";
  for (let i = 0; i < b.length; i += 0x8000) s += String.fromCharCode(...b.subarray(i, i + 0x8000));
  return btoa(s);
}
