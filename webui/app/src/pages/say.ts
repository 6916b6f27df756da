/** How an event is meant: well, badly, or neither. */
export function toneOf(m: { type: string }): string {
  if (/failed|rejected|trapped|revoked|lost/.test(m.type)) return "bad";
  if (/enrolled|connected\.v1$|completed|answered/.test(m.type) && !/disconnected/.test(m.type)) return "ok";
  if (/disconnected|pended/.test(m.type)) return "warn";
  if (/state|rollout|command/.test(m.type)) return "info";
  return "";
}

const titles: [RegExp, string][] = [
  [/device\.enrollment\.pended|enrollment\.pended/, "Asks to be let in"],
  [/enrolled/, "Enrolled"],
  [/rejected/, "Rejected"],
  [/revoked/, "Revoked"],
  [/device\.connected/, "Connected"],
  [/device\.disconnected/, "Disconnected"],
  [/device\.trapped/, "Trapped"],
  [/device\.reported/, "Reported"],
  [/device\.state\.changed/, "Moved"],
  [/command\.completed|command\.answered/, "Command answered"],
  [/command\.requested/, "Command asked for"],
  [/certificate\.(renewed|issued)/, "Certificate renewed"],
  [/board\.changed/, "Board"],
  [/heartbeat\.missed|lost/, "Lost"],
];

/** An event of a device in a person's words. */
export function titleOf(type: string): string {
  return titles.find(([r]) => r.test(type))?.[1] ?? type.replace(/^io\.wasmbed\.(device\.)?/, "").replace(/\.v1$/, "").replaceAll(".", " ");
}

/** What an event says beside its type, in a few words. */
export function says(m: { type: string; data?: unknown }): string {
  const d = (m.data ?? {}) as Record<string, unknown>;
  const changes = d.changes as { app: string; from?: string; to?: string; state?: string; reason?: string }[] | undefined;
  if (changes) return changes.map((c) => `${c.app}: ${c.from || "new"} → ${c.to || "gone"}${c.state ? ` (${c.state}${c.reason ? ", " + c.reason : ""})` : ""}`).join("; ");
  if (m.type.includes("board.changed")) return [d.phase, d.backend && `on ${String(d.backend)}`, d.reason, d.message].filter((x) => typeof x === "string" && x).join(" · ");
  if (m.type.includes("trapped")) return `${String(d.app ?? "")}: ${[d.message ?? d.reason, d.where && `in ${String(d.where)}`].filter(Boolean).join(" ")}`;
  if (m.type.includes("connected")) return [d.gateway, d.board, d.firmware, d.reason].filter((x) => typeof x === "string" && x).join(" · ");
  if (/command/.test(m.type)) return [d.kind, d.app, d.function, d.status, d.reason].filter((x) => typeof x === "string" && x).join(" · ");
  const apps = d.apps as Record<string, { state?: string; reason?: string }> | undefined;
  if (apps) return Object.entries(apps).map(([a, s]) => `${a}: ${s.state ?? ""} ${s.reason ?? ""}`).join("; ");
  return "";
}
