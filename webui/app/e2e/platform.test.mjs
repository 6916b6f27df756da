// The whole platform and a real browser: the ways that a person goes.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import test, { after, before } from "node:test";
import { bin, enter, folder, launch, page, root, serious, settled, shown, start, within } from "./browser.mjs";

const any = "127.0.0.1:0";
let dir, platform, browser, link, base, token, api;

before(async () => {
  dir = await folder();
  platform = await start(path.join(bin, "standalone"), [], { WASMBED_DIR: dir.dir, WASMBED_LISTEN_DASHBOARD: any, WASMBED_LISTEN_API: any, WASMBED_LISTEN_HTTP: any, WASMBED_LISTEN_TLS: any, EMULATION: "" }, /(http:\/\/\S+\/#code=\S+)[\s\S]*Try:/);
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
  await enter(x.p, base, token);
  await x.p.goto(base);
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

test("the printed link logs in once, and stays in no address", async () => {
  const { p, wrong } = await page(browser);
  await p.goto(link);
  await p.getByRole("heading", { name: "Overview" }).waitFor();
  assert.ok(!p.url().includes("code") && !p.url().includes("#"), p.url());
  assert.deepEqual(wrong, []);
  const second = await page(browser);
  await second.p.goto(link);
  await second.p.getByText("this link was used already").waitFor();
  assert.deepEqual(await serious(second.p), []);
  assert.deepEqual(await second.context.cookies(), []);
  // Another one is printed on request, and logs in on the very page that shows the refusal.
  const { stdout } = await promisify(execFile)(path.join(bin, "standalone"), ["link"], { env: { ...process.env, WASMBED_DIR: dir.dir } });
  await second.p.goto(stdout.trim());
  await second.p.getByRole("heading", { name: "Overview" }).waitFor();
  // The long-lived token is in no address, and would not log in from one.
  const third = await page(browser);
  await third.p.goto(`${base}/?token=${token}`);
  await third.p.getByLabel("Kubernetes token").waitFor();
});

test("the list of devices shows a change within a second", async (t) => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/devices?q=frdmk64f`);
  await p.getByRole("row", { name: /frdmk64f/ }).getByText("Online").waitFor();
  await p.getByText("Live", { exact: true }).waitFor();
  const live = await within(1000, 10, (i) => {
    const [verb, word] = i % 2 ? ["release", "Online"] : ["hold", "Held"];
    return shown(p, ".vrow", word, async () => {
      await rest("POST", `/namespaces/default/devices/frdmk64f/${verb}`);
      return Date.now(); // the change is answered for: it is so
    });
  });
  await rest("POST", "/namespaces/default/devices/frdmk64f/release");
  t.diagnostic(`shown ${live.all.map((x) => `${x.took} ms (the machine's share up to ${x.lag} ms)`).join(", ")} after the API's answer`);
  assert.ok(live.ok, "no change was shown within a second");
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
  await p.locator(".page-sub").getByText("Online").waitFor();
  assert.deepEqual(wrong, []);
});

test("guided deployment: a template is changed, does not compile, compiles, fits, and runs", async (t) => {
  const languages = (await rest("GET", "/languages")).items.filter((l) => l.available).map((l) => l.name);
  const [template, breaks] = languages.includes("c") ? ["counter", true] : languages.includes("wat") ? ["hello-wat", false] : [];
  if (!template) return t.skip("not run: no compiler is here");
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/deploy`);
  await p.locator(`[data-template="${template}"]`).click();
  const editor = p.getByRole("textbox", { name: /Source of main/ });
  await editor.waitFor();
  if (breaks) {
    await editor.click();
    await p.keyboard.press("Control+End");
    await p.keyboard.type("int broken 1");
    await p.getByRole("button", { name: "Compile" }).click();
    await p.getByText("It does not compile").waitFor();
    await p.locator(".cm-lint-marker-error").first().waitFor();
    await editor.click();
    await p.keyboard.press("Control+End");
    await p.keyboard.press("Shift+Home");
    await p.keyboard.press("Delete");
  }
  await p.getByRole("button", { name: "Compile" }).click();
  await p.getByRole("heading", { name: "Does it fit?" }).waitFor();
  assert.deepEqual(await serious(p), []);
  await p.getByRole("button", { name: "Choose targets" }).click();
  await p.getByLabel("Name of the application").fill("mine");
  await p.getByLabel("By name").check();
  await p.getByRole("button", { name: "mps2an385", exact: true }).click();
  await p.getByLabel("Health window").fill("1s");
  await p.getByRole("button", { name: "Deploy", exact: true }).click();
  await p.getByText("Ready", { exact: true }).waitFor();
  assert.deepEqual(wrong, []);
});

test("a rollout that goes wrong is seen moving, rolled back, and explained", async () => {
  const sample = await readFile(path.join(root, "config/samples/hello-bad.yaml"), "utf8");
  const inline = /inline: "([^"]+)"/.exec(sample)[1];
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/applications/hello`);
  await p.locator('[data-device="frdmk64f"][data-set="done"]').waitFor();
  await rest("PATCH", "/namespaces/default/applications/hello", { spec: { module: { inline }, manifest: { timers: [{ id: 1, period: "200ms" }], health: { window: "2s", maxTraps: 1 } } } });
  await p.locator('[data-set="inflight"], [data-set="failed"]').first().waitFor();
  await p.locator(".page-sub").getByText("Rolled back").waitFor();
  await p.getByRole("tab", { name: /What is behind/ }).click();
  await p.getByText("RolledBack").first().waitFor();
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

test("a door for an outside system is made, tried, changed and removed", async () => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/webhooks`);
  await p.getByRole("button", { name: "New door" }).click();
  const dialog = p.getByRole("dialog", { name: "A door for an outside system" });
  await dialog.getByRole("button", { name: /A CI job deploys/ }).click();
  await dialog.getByLabel("Name", { exact: true }).fill("ci");
  assert.deepEqual(await serious(p), []);
  await dialog.getByRole("button", { name: "Open the door" }).click();
  await p.getByText("/hooks/default/ci", { exact: true }).waitFor();
  await p.getByRole("button", { name: "Try", exact: true }).click();
  const tried = p.getByRole("dialog", { name: "Try ci" });
  await tried.getByLabel("Body").fill('{"application":"hello","module":"m-1"}');
  await tried.getByRole("button", { name: "Try it" }).click();
  await tried.getByText("io.wasmbed.deploy.requested.v1").waitFor();
  await tried.getByText('"module": "m-1"').waitFor();
  assert.deepEqual(await serious(p), []);
  await p.keyboard.press("Escape");
  await p.getByRole("button", { name: "Edit", exact: true }).click();
  const edit = p.getByRole("dialog", { name: "Door ci" });
  await edit.getByRole("button", { name: "Condition" }).click();
  await edit.getByLabel("Path of condition 1 of rule 1").fill("$.branch");
  await edit.getByLabel("Values of condition 1 of rule 1").fill("main");
  await edit.getByLabel("At most a minute").fill("7");
  await edit.getByRole("button", { name: "Save" }).click();
  await p.getByText("7 a minute").waitFor();
  const spec = (await rest("GET", "/namespaces/default/webhooksources/ci")).spec;
  assert.deepEqual(spec.rules[0].when, [{ path: "$.branch", in: ["main"] }]);
  await p.getByRole("button", { name: "Try", exact: true }).click();
  await tried.getByLabel("Body").fill('{"application":"hello","module":"m-1","branch":"other"}');
  await tried.getByRole("button", { name: "Try it" }).click();
  await tried.getByText("No rule fits").waitFor();
  await p.keyboard.press("Escape");
  await p.getByRole("button", { name: "More about ci" }).click();
  await p.getByRole("menuitem", { name: "Remove…" }).click();
  await p.getByRole("dialog", { name: "Remove ci?" }).getByRole("button", { name: "Remove" }).click();
  await p.getByText("Nobody outside may post here yet").waitFor();
  assert.deepEqual(wrong, []);
});

test("a gateway's terms are changed: limits, pairing, attestation", async () => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/gateways`);
  await p.getByRole("button", { name: "Terms" }).click();
  const dialog = p.getByRole("dialog", { name: "Terms of default" });
  await dialog.getByLabel("Handshakes per address").fill("99");
  await dialog.getByLabel("A device that asks").selectOption("Manual");
  await dialog.getByLabel(/A device enrolls only with evidence/).check();
  assert.ok(await dialog.getByRole("button", { name: "Save" }).isDisabled(), "without a measurement no device could enroll");
  await dialog.getByRole("button", { name: "Trusted firmware" }).click();
  const digest = "sha256:" + "ab".repeat(32);
  await dialog.getByLabel("Digest of firmware 1").fill(digest);
  assert.deepEqual(await serious(p), []);
  await dialog.getByRole("button", { name: "Save" }).click();
  await p.getByText("required: 1 measurement").waitFor();
  const spec = (await rest("GET", "/namespaces/default/gateways/default")).spec;
  assert.equal(spec.limits.preAuthPerAddress, 99);
  assert.equal(spec.pairing.approval, "Manual");
  assert.deepEqual(spec.attestation, { mode: "Require", measurements: [{ digest }] });
  await p.getByRole("button", { name: "Terms" }).click();
  await dialog.getByLabel(/A device enrolls only with evidence/).uncheck();
  await dialog.getByRole("button", { name: "Trust firmware 1 no more" }).click();
  await dialog.getByRole("button", { name: "Save" }).click();
  await p.getByText("none", { exact: true }).first().waitFor();
  assert.deepEqual(wrong, []);
});

test("a function is called on one device and on many, and each one's answer is shown", async () => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/devices/mps2an385?tab=commands`);
  await p.getByLabel("Function", { exact: true }).fill("nothing-of-that-name");
  await p.getByRole("button", { name: "Call it" }).click();
  await p.getByRole("status").getByText(/Refused|Failed|Done/).first().waitFor();
  await p.goto(`${base}/n/default/applications/hello?tab=commands`);
  await p.getByLabel("Function", { exact: true }).fill("sum");
  await p.getByRole("button", { name: "Call it" }).click();
  await p.getByText("all answered").waitFor();
  const table = p.getByRole("table");
  await table.getByRole("link", { name: "frdmk64f" }).waitFor();
  assert.deepEqual(await serious(p), []);
  // By label: nobody has it, and that is said.
  await p.getByLabel("By label").check();
  await p.getByLabel("Label selector").fill("site=nowhere");
  await p.getByText("0 devices with hello").waitFor();
  // And to those that were ticked.
  await p.goto(`${base}/n/default/devices`);
  await p.getByLabel("Select frdmk64f").check();
  await p.getByLabel("Select mps2an385").check();
  await p.getByRole("button", { name: "Command…" }).click();
  const dialog = p.getByRole("dialog", { name: "Speak to 2 devices" });
  await dialog.getByLabel("What").selectOption("message");
  await dialog.getByLabel("Topic").fill("config");
  await dialog.getByRole("button", { name: "Send it" }).click();
  await dialog.getByText("all answered").waitFor();
  assert.deepEqual(wrong, []);
});

test("what may not be done is shown as such, with the reason", async (t) => {
  const made = await fetch(`${api}/namespaces/default/tokens`, { method: "POST", headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: JSON.stringify({ name: "onlooker", role: "viewer", for: "1h" }) });
  if (!made.ok) return t.skip(`not run: no service token is to be had (${made.status})`);
  const viewer = (await made.json()).token;
  const { p, wrong } = await page(browser);
  await enter(p, base, viewer);
  await p.goto(`${base}/n/default/devices`);
  await p.getByRole("link", { name: "frdmk64f" }).waitFor();
  const create = p.getByRole("button", { name: "Create device" });
  await p.locator('button[aria-disabled="true"]', { hasText: "Create device" }).waitFor();
  assert.match(await create.getAttribute("title"), /may not create devices/);
  await create.click({ force: true });
  assert.equal(await p.getByRole("dialog").count(), 0);
  await p.goto(`${base}/n/default/applications/hello`);
  await p.locator('button[aria-disabled="true"]', { hasText: "Roll back" }).waitFor();
  assert.deepEqual(await serious(p), []);
  assert.deepEqual(wrong, []);
});

test("the way of a change is drawn, from the object to the devices and back", async () => {
  const { p, wrong } = await inside();
  await rest("PATCH", "/namespaces/default/applications/hello", { spec: { manifest: { config: { traced: String(Date.now()) } } } });
  await p.goto(`${base}/n/default/applications/hello?tab=trace`);
  const hops = p.getByRole("list", { name: "Hops, in the order in which they began" });
  await hops.waitFor();
  for (const what of [/kubernetes/, /deploy/, /ledger/, /gateway/, /device/, /report/]) await hops.getByRole("button", { name: what }).first().waitFor();
  await hops.getByRole("button").first().click();
  await p.getByText("Took", { exact: true }).waitFor();
  assert.deepEqual(await serious(p), []);
  assert.deepEqual(wrong, []);
});

test("the platform's own figures are charted", async () => {
  const { p, wrong } = await inside();
  await p.goto(`${base}/n/default/monitoring`);
  await p.getByRole("img", { name: /^Events per second: accepted/ }).waitFor();
  await p.getByRole("heading", { name: "Functions", exact: true }).waitFor();
  assert.deepEqual(await serious(p), []);
  assert.deepEqual(wrong, []);
});

const pages = ["", "devices", "devices/mps2an385", "devices/mps2an385?tab=why", "devices/mps2an385?tab=telemetry", "devices/mps2an385?tab=logs", "devices/mps2an385?tab=timeline", "devices/mps2an385?tab=commands", "applications", "applications/hello", "applications/hello?tab=commands", "applications/hello?tab=trace", "applications/hello/edit", "applications/new", "deploy", "enrollment", "topology", "gateways", "boards", "events", "events?tab=functions", "events?tab=dead", "webhooks", "monitoring", "terminal", "setup", "nowhere"];

for (const colorScheme of ["light", "dark"]) {
  test(`no page has a serious finding of axe-core (${colorScheme})`, async () => {
    const { p, wrong } = await inside({ colorScheme, reducedMotion: "reduce" });
    for (const x of pages) {
      await p.goto(`${base}/n/default/${x}`);
      await settled(p);
      assert.deepEqual(await serious(p), [], `/${x}`);
    }
    assert.deepEqual(wrong, []);
  });
}
