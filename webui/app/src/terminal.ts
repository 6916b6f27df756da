// The CLI's verbs, carried out over REST. There is no shell: a line is words, and the first says what to do.
import { at, call, get, Problem, query } from "./api/client";
import type { Application, CommandAnswer, Counts, Device, DeviceView, Explanation, Gateway, Operation, Overview, Page, Revision } from "./api/types";
import { phaseOf } from "./api/phase";
import { ago } from "./ui/format";

export interface Context {
  ns: string;
  print: (text: string, kind?: "error" | "dim") => void;
  signal: AbortSignal;
}

interface Verb {
  usage: string;
  about: string;
  /** What can stand at each place: device, app, gateway, or the words themselves. */
  args: (string | string[])[];
  flags?: string[];
  run: (c: Context, args: string[], flags: Record<string, string>) => Promise<void>;
}

class Usage extends Error {}

/** Splits a line into words; quotes keep words together. */
export function words(line: string): string[] {
  const out: string[] = [];
  let word = "";
  let has = false;
  let quote = "";
  for (const ch of line) {
    if (quote) {
      if (ch === quote) quote = "";
      else word += ch;
    } else if (ch === '"' || ch === "'") [quote, has] = [ch, true];
    else if (/\s/.test(ch)) {
      if (has) out.push(word);
      [word, has] = ["", false];
    } else [word, has] = [word + ch, true];
  }
  if (quote) throw new Usage(`a ${quote} is not closed`);
  if (has) out.push(word);
  return out;
}

/** Columns as wide as what is in them. */
function table(rows: (string | number | undefined)[][]): string {
  const cells = rows.map((r) => r.map((c) => String(c ?? "–")));
  const wide = (cells[0] ?? []).map((_, i) => Math.max(...cells.map((r) => (r[i] ?? "").length)));
  return cells.map((r) => r.map((c, i) => c.padEnd(wide[i] ?? 0)).join("  ").trimEnd()).join("\n");
}

const need = (v: string | undefined, what: string): string => {
  if (!v) throw new Usage(`which ${what}?`);
  return v;
};

const deviceVerb = (verb: string, about: string): Verb => ({
  usage: `${verb} DEVICE…`,
  about,
  args: ["device"],
  run: async (c, names) => {
    need(names[0], "device");
    for (const n of names) {
      await call("POST", at(c.ns, "devices", n, verb));
      c.print(`${n}: ${verb} asked for`);
    }
  },
});

async function devices(c: Context, q: string, flags: Record<string, string>): Promise<void> {
  const p = await get<Page<DeviceView>>(at(c.ns, "devices") + query({ q, limit: flags.limit ?? 50, board: flags.board, online: flags.online, labelSelector: flags.selector, app: flags.app, set: flags.set }), c.signal);
  if (!p.items.length) return c.print("no device is like that", "dim");
  c.print(table([["NAME", "STATE", "BOARD", "GATEWAY", "APPS", "LAST SEEN"], ...p.items.map((d) => [d.device.name, d.online ? "online" : "offline", d.board, d.gateway, (d.apps ?? []).filter((a) => a.set).map((a) => `${a.app}:${a.set}`).join(",") || "–", d.lastSeen ? ago(d.lastSeen) : "never"])]));
  if (p.next) c.print(`there are more behind ${p.next}; --limit shows up to 500`, "dim");
}

export const verbs: Record<string, Verb> = {
  help: {
    usage: "help [VERB]",
    about: "what there is",
    args: ["verb"],
    run: async (c, [v]) => {
      const one = v ? verbs[v] : undefined;
      if (one) return c.print(`${one.usage}\n  ${one.about}${one.flags ? "\n  flags: " + one.flags.map((f) => `--${f}`).join(" ") : ""}`);
      c.print(table(Object.values(verbs).map((x) => [x.usage, x.about])));
      c.print("Tab completes, arrow up and down go through what was typed, Ctrl-C ends what runs, Ctrl-L clears.", "dim");
    },
  },
  status: {
    usage: "status",
    about: "whether the platform is well",
    args: [],
    run: async (c) => {
      const o = await get<Overview>(at(c.ns, "overview"), c.signal);
      c.print(table([["PART", "STATE"], ...Object.entries(o.parts).sort()]));
      c.print(`${o.devices.online} of ${o.devices.known} devices online, ${o.devices.pending} wait for approval, ${o.devices.held} held`);
      for (const a of o.attention) c.print(`! ${a.title}${a.cause ? ": " + a.cause : ""}${a.mend ? "\n  → " + a.mend : ""}`);
    },
  },
  get: {
    usage: "get devices|apps|gateways|revisions [NAME]",
    about: "list, or show one",
    args: [["devices", "apps", "gateways", "revisions"], "any"],
    flags: ["selector", "board", "online", "app", "set", "limit"],
    run: async (c, [what, name], flags) => {
      switch (what) {
        case "devices":
        case "device":
          return name ? c.print(JSON.stringify((await get<{ view: DeviceView }>(at(c.ns, "devices", name), c.signal)).view, null, 2)) : devices(c, "", flags);
        case "apps":
        case "app":
        case "applications": {
          if (name) {
            const a = await get<{ object: Application; counts?: Counts }>(at(c.ns, "applications", name), c.signal);
            return c.print(JSON.stringify({ spec: { ...a.object.spec, module: a.object.spec.module.inline ? { inline: "…" } : a.object.spec.module }, status: a.object.status, counts: a.counts }, null, 2));
          }
          const p = await get<Page<Application>>(at(c.ns, "applications"), c.signal);
          return c.print(p.items.length ? table([["NAME", "REVISION", "READY", "CONDITION"], ...p.items.map((a) => [a.metadata.name, a.status?.revision, a.status?.readyDesired, phaseOf(a).phase])]) : "there is no application");
        }
        case "gateways":
        case "gateway": {
          const p = await get<Page<Gateway>>(at(c.ns, "gateways"), c.signal);
          return c.print(table([["NAME", "ADDRESS", "DEVICES", "PAIRING UNTIL"], ...p.items.map((g) => [g.metadata.name, g.spec.address, g.status?.devices, g.spec.pairing?.until])]));
        }
        case "revisions": {
          const p = await get<Page<Revision>>(at(c.ns, "revisions"), c.signal);
          return c.print(table([["NAME", "APPLICATION", "NUMBER", "SIZE", "MODULE"], ...p.items.filter((r) => !name || r.spec.application === name).map((r) => [r.metadata.name, r.spec.application, r.spec.number, r.spec.module.size, r.spec.module.digest.slice(0, 19)])]));
        }
      }
      throw new Usage("get what? devices, apps, gateways or revisions");
    },
  },
  devices: { usage: "devices [TEXT]", about: "devices whose name or board has the text", args: [], flags: ["selector", "board", "online", "app", "set", "limit"], run: (c, [q], f) => devices(c, q ?? "", f) },
  explain: {
    usage: "explain device|app NAME",
    about: "why it is not up to date",
    args: [["device", "app"], "any"],
    run: async (c, [what, name]) => {
      if (what !== "device" && what !== "app") throw new Usage("explain device NAME, or explain app NAME");
      const r = await get<{ items: Explanation[] }>(at(c.ns, what === "app" ? "applications" : "devices", need(name, what), "explain"), c.signal);
      if (!r.items.length) c.print(what === "app" ? "every device runs what is wanted" : "no application is on it");
      for (const e of r.items) c.print(`${what === "app" ? e.device : e.application}: ${e.cause}\n  ${e.text}${e.mend ? "\n  → " + e.mend : ""}`);
    },
  },
  invoke: {
    usage: "invoke DEVICE APP FUNCTION [PAYLOAD]",
    about: "call a function of a module and print its answer",
    args: ["device", "app"],
    flags: ["timeout", "selector", "all"],
    run: async (c, args, flags) => tell(c, "invoke", "function", args, flags),
  },
  message: {
    usage: "message DEVICE APP TOPIC [PAYLOAD]",
    about: "hand a message to a module",
    args: ["device", "app"],
    flags: ["timeout", "selector", "all"],
    run: async (c, args, flags) => tell(c, "message", "topic", args, flags),
  },
  rollback: {
    usage: "rollback APP [--to REVISION] [--reason TEXT]",
    about: "go back to the last revision that was complete, or to a given one",
    args: ["app"],
    flags: ["to", "reason"],
    run: async (c, [app], f) => {
      await call("POST", at(c.ns, "applications", need(app, "application"), "rollback"), { ...(f.to && { to: f.to }), ...(f.reason && { reason: f.reason }) });
      c.print(`the rollback of ${app} is asked for`);
    },
  },
  ...Object.fromEntries(
    (
      [
        ["pause", "stop the rollout where it is"],
        ["resume", "let it go on"],
      ] as const
    ).map(([v, about]) => [
      v,
      {
        usage: `${v} APP`,
        about,
        args: ["app"],
        run: async (c: Context, [app]: string[]) => {
          await call("POST", at(c.ns, "applications", need(app, "application"), v));
          c.print(`${app} is ${v}d`);
        },
      },
    ]),
  ),
  approve: deviceVerb("approve", "let devices in"),
  reject: deviceVerb("reject", "refuse devices that asked"),
  revoke: deviceVerb("revoke", "void devices' certificates"),
  hold: deviceVerb("hold", "send nothing new to devices"),
  release: deviceVerb("release", "end a hold"),
  reboot: deviceVerb("reboot", "restart devices"),
  reset: deviceVerb("reset", "press an emulated board's reset"),
  "power-cut": deviceVerb("power-cut", "cut an emulated board's power"),
  start: deviceVerb("start", "switch an emulated board on"),
  stop: deviceVerb("stop", "switch an emulated board off"),
  delete: {
    usage: "delete device|app NAME --yes",
    about: "remove a device or an application",
    args: [["device", "app"], "any"],
    flags: ["yes"],
    run: async (c, [what, name], f) => {
      if (what !== "device" && what !== "app") throw new Usage("delete device NAME, or delete app NAME");
      need(name, what);
      if (f.yes === undefined) throw new Usage(`that cannot be taken back: delete ${what} ${name} --yes`);
      await call("DELETE", at(c.ns, what === "app" ? "applications" : "devices", name ?? ""));
      c.print(`${name} is being deleted`);
    },
  },
  pair: {
    usage: "pair GATEWAY [DURATION|close]",
    about: "open the pairing window (10m), or close it",
    args: ["gateway", ["5m", "10m", "1h", "close"]],
    flags: ["automatic"],
    run: async (c, [gw, how = "10m"], f) => {
      const path = at(c.ns, "gateways", need(gw, "gateway"), "pairing");
      if (how === "close") await call("DELETE", path);
      else await call("POST", path, { for: how, approval: f.automatic !== undefined ? "Automatic" : "Manual" });
      c.print(how === "close" ? "the window is closed" : `the window is open for ${how}`);
    },
  },
  pending: {
    usage: "pending",
    about: "devices that wait for approval",
    args: [],
    run: async (c) => {
      const p = await get<Page<Device>>(at(c.ns, "enrollments"), c.signal);
      c.print(p.items.length ? table([["NAME", "BOARD", "ASKED"], ...p.items.map((d) => [d.metadata.name, d.spec.board, d.metadata.creationTimestamp ? ago(d.metadata.creationTimestamp) : ""])]) : "nobody waits");
    },
  },
  logs: {
    usage: "logs DEVICE",
    about: "the last lines of a device's log",
    args: ["device"],
    flags: ["limit"],
    run: async (c, [d], f) => {
      let all: { time: string; app?: string; text: string }[] = [];
      for (let after = "", i = 0; i < 40; i++) {
        const p = await get<Page<{ time: string; app?: string; text: string }>>(at(c.ns, "devices", need(d, "device"), "logs") + query({ limit: 500, after }), c.signal);
        all = [...all, ...p.items].slice(-Number(f.limit ?? 40));
        if (!p.next || p.next === after) break;
        after = p.next;
      }
      c.print(all.length ? all.map((l) => `${new Date(l.time).toLocaleTimeString()} ${l.app || "firmware"}: ${l.text}`).join("\n") : "nothing was logged");
    },
  },
  boards: {
    usage: "boards",
    about: "the boards that are known",
    args: [],
    run: async (c) => {
      const p = await get<Page<{ name: string; cpu: string; ram: number; truth: string }>>("/boards", c.signal);
      c.print(table([["BOARD", "CPU", "RAM", "SEEN"], ...p.items.map((b) => [b.name, b.cpu, b.ram, b.truth])]));
    },
  },
  whoami: {
    usage: "whoami",
    about: "who you are, and where you may look",
    args: [],
    run: async (c) => c.print(JSON.stringify(await get("/whoami", c.signal), null, 2)),
  },
  clear: { usage: "clear", about: "empty this screen", args: [], run: async () => undefined },
};

async function tell(c: Context, kind: "invoke" | "message", what: "function" | "topic", args: string[], flags: Record<string, string>): Promise<void> {
  const many = flags.selector !== undefined || flags.all !== undefined;
  const [device, app, name, payload] = many ? [undefined, ...args] : args;
  if (!many) need(device, "device");
  need(app, "application");
  need(name, what);
  const body = { application: app, [what]: name, ...(payload !== undefined && { text: payload }), ...(flags.timeout && { timeout: flags.timeout }) };
  if (!many) {
    const r = await call<CommandAnswer>("POST", at(c.ns, "devices", device ?? "", kind), body, { signal: c.signal });
    c.print(r.status === "Done" ? (r.text ?? r.payload ?? "done") : `${r.status}: ${r.reason ?? ""} ${r.message ?? ""}`, r.status === "Done" ? undefined : "error");
    return;
  }
  const { operation } = await call<{ operation: string }>("POST", at(c.ns, kind), { ...body, ...(flags.all !== undefined ? { all: true } : { selector: flags.selector }) }, { signal: c.signal });
  for (;;) {
    await new Promise((r) => setTimeout(r, 400));
    if (c.signal.aborted) return;
    const o = await get<Operation>(at(c.ns, "operations", operation), c.signal).catch((e: unknown) => {
      if (e instanceof Problem && e.status === 404) return null; // nobody has taken it up yet
      throw e;
    });
    if (!o?.finished) continue;
    return c.print(`${o.total} devices: ${Object.entries(o.counts).filter(([, n]) => n).map(([k, n]) => `${n} ${k}`).join(", ")}`);
  }
}

/** Carries out one line. */
export async function run(c: Context, line: string): Promise<void> {
  try {
    let all = words(line);
    if (all[0] === "wasmbed" || all[0] === "kubectl-wasmbed") all = all.slice(1);
    const name = all[0];
    if (!name) return;
    const verb = verbs[name];
    if (!verb) throw new Usage(`there is no verb ${name}: help lists them. This is no shell.`);
    const args: string[] = [];
    const flags: Record<string, string> = {};
    for (let i = 1; i < all.length; i++) {
      const w = all[i] ?? "";
      if (!w.startsWith("--")) {
        args.push(w);
        continue;
      }
      const eq = w.indexOf("=");
      const key = w.slice(2, eq < 0 ? undefined : eq);
      if (!verb.flags?.includes(key)) throw new Usage(`${name} has no --${key}`);
      if (eq >= 0) flags[key] = w.slice(eq + 1);
      else flags[key] = ["yes", "all", "automatic"].includes(key) ? "" : (all[++i] ?? "");
    }
    await verb.run(c, args, flags);
  } catch (e) {
    if (c.signal.aborted) return c.print("^C", "dim");
    if (e instanceof Problem) c.print(e.detail + (e.mend ? `\n  → ${e.mend}` : ""), "error");
    else c.print(e instanceof Error ? e.message : String(e), "error");
  }
}

/** What the line's last word may become. */
export async function complete(c: Pick<Context, "ns">, line: string): Promise<string[]> {
  const parts = line.replace(/^wasmbed\s+/, "").split(/\s+/);
  const last = parts.at(-1) ?? "";
  const fits = (all: string[]) => all.filter((w) => w.startsWith(last)).slice(0, 60);
  if (parts.length <= 1) return fits(Object.keys(verbs));
  const verb = verbs[parts[0] ?? ""];
  if (!verb) return [];
  if (last.startsWith("--")) return fits((verb.flags ?? []).map((f) => `--${f}`));
  const place = parts.length - 2;
  let kind = verb.args[Math.min(place, verb.args.length - 1)];
  if (!kind || (place >= verb.args.length && !verb.usage.includes("…"))) return [];
  if (Array.isArray(kind)) return fits(kind);
  if (kind === "any") kind = parts[1]?.replace(/s$/, "") ?? "";
  if (kind === "verb") return fits(Object.keys(verbs));
  if (kind === "device") return (await get<Page<DeviceView>>(at(c.ns, "devices") + query({ q: last, limit: 60 }))).items.map((d) => d.device.name).filter((n) => n.startsWith(last));
  if (kind === "app" || kind === "application" || kind === "revision") return fits((await get<Page<Application>>(at(c.ns, "applications"))).items.map((a) => a.metadata.name));
  if (kind === "gateway") return fits((await get<Page<Gateway>>(at(c.ns, "gateways"))).items.map((g) => g.metadata.name));
  return [];
}
