// The whole platform and a real browser: the ways that a person goes.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test, { after, before } from "node:test";
import { bin, folder, launch, page, root, serious, start } from "./browser.mjs";

const any = "127.0.0.1:0";
let dir, platform, browser, link, base, token, api;

before(async () => {
  dir = await folder();
  platform = await start(path.join(bin, "standalone"), [], { WASMBED_DIR: dir.dir, WASMBED_LISTEN_DASHBOARD: any, WASMBED_LISTEN_API: any, WASMBED_LISTEN_HTTP: any, WASMBED_LISTEN_TLS: any, EMULATION: "" }, /(http:\/\/\S+\/\?token=\S+)[\s\S]*Try:/);
  link = platform.found[1];
  base = new URL(link).origin;
  token = (await readFile(path.join(dir.dir, "token"), "utf8")).trim();
  api = "http://" + JSON.parse(await readFile(path.join(dir.dir, "endpoints.json"), "utf8")).api + "/api/v1";
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await platform?.stop();
  await dir?.drop();
});

async function rest(method, where, body) {
  const resp = await fetch(api + where, { method, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
  assert.ok(resp.ok, `${method} ${where}: ${resp.status} ${await resp.clone().text()}`);
  return resp.json();
}

/** A page that is logged in. */
async function inside(options) {
  const x = await page(browser, options);
  await x.p.goto(link);
  await x.p.getByRole("heading", { name: "Overview" }).waitFor();
  return x;
}

test("nobody gets in without a token, and a token gets in", async () => {
  const { p, wrong } = await page(browser);
  await p.goto(`${base}/n/default/devices`);
  await p.getByLabel("Kubernetes token").fill("not a token");
  await p.getByRole("button", { name: "Log in" }).click();
  await p.getByRole("alert").getByText("Kubernetes does not know this token").waitFor();
  assert.deepEqual(await serious(p), []);
  await p.getByLabel("Kubernetes token").fill(token);
  await p.keyboard.press("Enter");
  await p.getByRole("heading", { name: "Devices" }).waitFor();
  const cookies = await p.context().cookies();
  assert.ok(cookies.every((c) => c.httpOnly && c.sameSite === "Strict" && !c.value.includes(token)));
  assert.equal(await p.evaluate(() => document.cookie), "");
  await p.getByRole("button", { name: /Account of/ }).click();
  await p.getByRole("menuitem", { name: "Log out" }).click();
  await p.getByLabel("Kubernetes token").waitFor();
  assert.deepEqual(wrong, []);
});

test("the printed link logs in and does not stay in the address", async () => {
  const { p } = await inside();
  assert.ok(!p.url().includes("token"));
});

test("the list of devices shows a change within a second", async (t) => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/devices`);
  const row = p.getByRole("row", { name: /frdmk64f/ });
  await row.getByText("Online").waitFor();
  await p.getByText("Live", { exact: true }).waitFor();
  for (const [verb, word] of [
    ["hold", "Held"],
    ["release", "Online"],
  ]) {
    const began = Date.now();
    await rest("POST", `/namespaces/default/devices/frdmk64f/${verb}`);
    await row.getByText(word, { exact: true }).waitFor({ timeout: 5000 });
    const took = Date.now() - began;
    t.diagnostic(`${verb}: shown ${took} ms after the request was sent`);
    assert.ok(took < 1000, `${verb} was shown after ${took} ms`);
  }
  assert.deepEqual(wrong, []);
});

test("an emulated device is made, approved and seen", async () => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/devices`);
  await p.getByRole("button", { name: "Create device" }).click();
  const dialog = p.getByRole("dialog", { name: "Create a device" });
  await dialog.getByLabel("Name", { exact: true }).fill("lab-1");
  await dialog.getByLabel(/^Host process/).check();
  await dialog.getByLabel("Labels").fill("site=lab");
  await dialog.getByLabel("Approve it now").uncheck();
  assert.deepEqual(await serious(p), []);
  await dialog.getByRole("button", { name: "Create" }).click();
  await p.waitForURL("**/devices/lab-1");
  await p.getByText("This device is pending").waitFor();
  await p.getByRole("button", { name: "Approve" }).click();
  await p.locator(".page-sub").getByText("Online").waitFor({ timeout: 30_000 });
  assert.deepEqual(wrong, []);
});

test("guided deployment: a template is changed, does not compile, compiles, fits, and runs", async (t) => {
  const languages = (await rest("GET", "/languages")).items.filter((l) => l.available).map((l) => l.name);
  const [template, breaks, bad] = languages.includes("c") ? ["counter", "}", "}\nint broken( {"] : languages.includes("wat") ? ["hello-wat", "", ""] : [];
  if (!template) return t.skip("not run: no compiler is here");
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/deploy`);
  await p.locator(`[data-template="${template}"]`).click();
  const editor = p.getByRole("textbox", { name: /Source of main/ });
  await editor.waitFor();
  if (breaks) {
    await editor.click();
    await p.keyboard.press("Control+End");
    await p.keyboard.type("\nint broken( {");
    await p.getByRole("button", { name: "Compile" }).click();
    await p.getByText("It does not compile").waitFor({ timeout: 60_000 });
    await p.locator(".cm-lint-marker-error").first().waitFor();
    await editor.click();
    for (let i = 0; i < bad.length + 2 && (await editor.textContent()).includes("broken"); i++) await p.keyboard.press("Control+z");
  }
  await p.getByRole("button", { name: "Compile" }).click();
  await p.getByRole("heading", { name: "Does it fit?" }).waitFor({ timeout: 60_000 });
  assert.deepEqual(await serious(p), []);
  await p.getByRole("button", { name: "Choose targets" }).click();
  await p.getByLabel("Name of the application").fill("mine");
  await p.getByLabel("By name").check();
  await p.getByRole("button", { name: "mps2an385", exact: true }).click();
  await p.getByLabel("Health window").fill("1s");
  await p.getByRole("button", { name: "Deploy", exact: true }).click();
  await p.getByText("Ready", { exact: true }).waitFor({ timeout: 60_000 });
  assert.deepEqual(wrong, []);
});

test("a rollout that goes wrong is seen moving, rolled back, and explained", async () => {
  const sample = await readFile(path.join(root, "config/samples/hello-bad.yaml"), "utf8");
  const inline = /inline: "([^"]+)"/.exec(sample)[1];
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/applications/hello`);
  await p.locator('[data-device="frdmk64f"][data-set="done"]').waitFor();
  await rest("PATCH", "/namespaces/default/applications/hello", { spec: { module: { inline }, manifest: { timers: [{ id: 1, period: "200ms" }], health: { window: "2s", maxTraps: 1 } } } });
  await p.locator('[data-set="inflight"], [data-set="failed"]').first().waitFor({ timeout: 10_000 });
  await p.locator(".page-sub").getByText("Rolled back").waitFor({ timeout: 60_000 });
  await p.getByRole("tab", { name: /What is behind/ }).click();
  await p.getByText("RolledBack").first().waitFor({ timeout: 20_000 });
  await p.getByRole("tab", { name: "Revisions" }).click();
  await p.getByRole("heading", { name: "Differences" }).waitFor();
  await p.locator(".diff .add").first().waitFor();
  assert.deepEqual(await serious(p), []);
  await p.getByRole("button", { name: "Roll back" }).click();
  await p.getByRole("dialog", { name: /Roll hello back/ }).waitFor();
  await p.keyboard.press("Escape");
  assert.deepEqual(wrong, []);
});

test("the terminal speaks the CLI's verbs, completes, and is no shell", async () => {
  const { p } = await inside();
  await p.goto(`${base}/n/default/terminal`);
  const line = p.getByLabel("Command");
  await line.fill("explain device mps");
  await p.keyboard.press("Tab");
  await p.waitForFunction(() => document.querySelector(".term-in input").value === "explain device mps2an385 ");
  await p.keyboard.press("Enter");
  const out = p.getByRole("log", { name: "Output" });
  await out.getByText(/hello: /).waitFor();
  await line.fill("cat /etc/passwd; ls");
  await p.keyboard.press("Enter");
  await out.getByText("there is no verb cat").waitFor();
});

const pages = ["", "devices", "devices/mps2an385", "devices/mps2an385?tab=why", "devices/mps2an385?tab=telemetry", "devices/mps2an385?tab=logs", "devices/mps2an385?tab=timeline", "devices/mps2an385?tab=commands", "applications", "applications/hello", "applications/hello/edit", "applications/new", "deploy", "enrollment", "topology", "gateways", "boards", "events", "events?tab=functions", "events?tab=dead", "webhooks", "monitoring", "terminal", "setup", "nowhere"];

for (const colorScheme of ["light", "dark"]) {
  test(`no page has a serious finding of axe-core (${colorScheme})`, async () => {
    const { p, wrong } = await inside({ colorScheme, reducedMotion: "reduce" });
    for (const x of pages) {
      await p.goto(`${base}/n/default/${x}`);
      await p.waitForFunction(() => document.querySelector("h1, h3") && !document.querySelector(".skeletons"), undefined, { timeout: 15_000 }).catch(() => undefined);
      await p.waitForTimeout(200);
      assert.deepEqual(await serious(p), [], `/${x}`);
    }
    assert.deepEqual(wrong, []);
  });
}
