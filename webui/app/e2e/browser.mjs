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

/** A page that gathers what went wrong in it. */
export async function page(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1366, height: 850 }, ...options });
  const p = await context.newPage();
  const wrong = [];
  p.on("pageerror", (e) => wrong.push(String(e)));
  p.on("console", (m) => {
    if (m.type() === "error" && !/Failed to load resource/.test(m.text())) wrong.push(m.text());
  });
  return { p, context, wrong };
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
export async function start(command, args, env, pattern, patience = 120_000) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  const found = await new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`${command} did not say ${pattern} in time:\n${said.slice(-3000)}`)), patience);
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
