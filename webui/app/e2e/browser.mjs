// A real Chromium, and what every test wants of it.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
export const bin = process.env.WASMBED_TEST_BIN ?? path.join(root, "bin");

/** The browser's path: CHROMIUM's, or the first on PATH. */
function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const found = (process.env.PATH ?? "").split(path.delimiter).flatMap((d) => ["chromium", "chromium-browser"].map((n) => path.join(d, n))).find((f) => existsSync(f));
  if (!found) throw new Error("no Chromium on PATH: CHROMIUM says where it is");
  return found;
}

export async function launch() {
  return chromium.launch({
    executablePath: executable(),
    args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])],
  });
}

/** How long anything is waited for, ms: a machine of a test bench may be slow, and busy with other things. */
export const patience = 180_000;

/** A page that gathers what went wrong in it. */
export async function page(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1366, height: 850 }, ...options });
  context.setDefaultTimeout(patience);
  const p = await context.newPage();
  const wrong = [];
  p.on("pageerror", (e) => wrong.push(String(e)));
  p.on("console", (m) => {
    if (m.type() === "error" && !/Failed to load resource/.test(m.text())) wrong.push(m.text());
  });
  return { p, context, wrong };
}

/** Gives a page's context the session of a token, as the login form does. */
export async function enter(p, base, token) {
  const resp = await p.context().request.post(`${base}/login`, { data: { token }, headers: { Origin: base }, timeout: patience });
  if (!resp.ok()) throw new Error(`login: ${resp.status()} ${await resp.text()}`);
}

/** Waits until the page stands: its heading is there, nothing is being loaded, nothing moves. */
export async function settled(p) {
  await p.waitForFunction(() => document.querySelector("h1, h3") && !document.querySelector(".skeletons"));
  await p.evaluate(() => document.fonts.ready.then(() => new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(ok)))));
}

/**
 * Runs f, which changes something and returns when that was so (ms since 1970), and waits until the page shows the text
 * in the selector's first element. took is the time in between, by the page's clock; lag is how late that page's own timers
 * ran meanwhile, which is the machine's share.
 */
export async function shown(p, selector, text, f) {
  await p.evaluate(() => {
    globalThis.lag = { most: 0, last: performance.now() };
    globalThis.lag.timer = setInterval(() => {
      const now = performance.now();
      globalThis.lag.most = Math.max(globalThis.lag.most, now - globalThis.lag.last - 20);
      globalThis.lag.last = now;
    }, 20);
  });
  const seen = p.waitForFunction(([s, t]) => document.querySelector(s)?.textContent.includes(t) && performance.timeOrigin + performance.now(), [selector, text], { polling: "raf" });
  const changed = await f();
  const at = await (await seen).jsonValue();
  const lag = await p.evaluate(() => (clearInterval(globalThis.lag.timer), globalThis.lag.most));
  return { took: Math.round(at - changed), lag: Math.round(lag) };
}

/**
 * Tries something timed until it is within the limit beside the machine's share, at most so many times. Returns all tries;
 * the last one is the one that was within, if any was.
 */
export async function within(limit, tries, f) {
  const all = [];
  for (let i = 0; i < tries; i++) {
    all.push(await f(i));
    const { took, lag } = all.at(-1);
    if (took - lag <= limit) return { ok: true, all };
  }
  return { ok: false, all };
}

const axeSource = readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The serious findings of axe-core on the page as it is. */
export async function serious(p) {
  const axe = await axeSource;
  // Evaluated by the debugger and not by the page, so that the page's policy stays as strict as it is.
  await p.evaluate(axe);
  const found = await p.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")}`);
}

export async function freePort() {
  return new Promise((done, fail) => {
    const s = net.createServer();
    s.on("error", fail);
    s.listen(0, "127.0.0.1", () => {
      const { port } = s.address();
      s.close(() => done(port));
    });
  });
}

/** Starts a program and waits until what it prints holds the pattern; returns it and the match. */
export async function start(command, args, env, pattern, within = patience) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const found = await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`${command} did not say ${pattern} in time:\n${said.slice(-3000)}`)), within);
    const hear = (b) => {
      said = (said + b).slice(-20_000);
      const m = pattern.exec(said);
      if (m) {
        clearTimeout(timer);
        done(m);
      }
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", (code) => {
      clearTimeout(timer);
      fail(new Error(`${command} ended with ${code}:\n${said.slice(-3000)}`));
    });
  }).catch((e) => {
    child.kill();
    throw e;
  });
  let stopping = false;
  const ended = new Promise((done) =>
    child.on("exit", (code, signal) => {
      if (!stopping) console.log(`${path.basename(command)} ended by itself (${code ?? signal}); it said last:\n${said.slice(-4000)}`);
      done();
    }),
  );
  return {
    found,
    async stop() {
      stopping = true;
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 15_000);
      await ended;
      clearTimeout(late);
    },
  };
}

export async function folder() {
  const dir = await mkdtemp(path.join(os.tmpdir(), "wasmbed-ui-"));
  return { dir, drop: () => rm(dir, { recursive: true, force: true }) };
}

/**
 * How much slower than the machine that the limits were written on this one is, at least 1: by the processor's time that a
 * fixed piece of work takes in the page, the best of several.
 */
export async function slowness(browser, p) {
  const best = [];
  for (let i = 0; i < 3; i++) {
    const seen = await tasks(browser, p, () =>
      p.evaluate(() => new Promise((ok) => setTimeout(() => {
        let x = 0;
        for (let i = 0; i < 20_000_000; i++) x = (x * 31 + i) | 0;
        globalThis.fixedWork = x;
        ok();
      }))),
    );
    best.push(seen.processor);
  }
  return Math.max(1, Math.min(...best) / 40);
}

/**
 * Records what the page's main thread does while f runs. Returns its longest tasks in ms: by the clock, and by the
 * processor's time, which is what they take on a machine that does nothing else.
 */
export async function tasks(browser, p, f) {
  const cdp = await browser.newBrowserCDPSession();
  const events = [];
  cdp.on("Tracing.dataCollected", (d) => events.push(...d.value));
  await cdp.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["disabled-by-default-devtools.timeline", "devtools.timeline", "toplevel", "__metadata"] } });
  await p.evaluate(() => console.timeStamp("the page of this test"));
  await f();
  const done = new Promise((ok) => cdp.once("Tracing.tracingComplete", ok));
  await cdp.send("Tracing.end");
  await done;
  await cdp.detach();
  const mark = events.find((e) => e.name === "TimeStamp" && e.args?.data?.message === "the page of this test");
  const own = events.filter((e) => e.ph === "X" && e.pid === mark?.pid && e.tid === mark?.tid && /RunTask$/.test(e.name));
  if (!own.length) throw new Error("the browser traced no task");
  const longest = (k) => Math.max(...own.map((e) => (e[k] ?? 0) / 1000));
  return { count: own.length, clock: longest("dur"), processor: longest("tdur") };
}
