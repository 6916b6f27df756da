// Takes the pictures of docs/screenshots from a platform that was started for that: node e2e/pictures.mjs STATE [OUT]
// STATE is its folder (WASMBED_DIR). The fleet that is shown is made here. Pictures are made light and dark, and some
// on a narrow screen. ONLY=name,name makes some of them.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { enter, launch, page, root, settled } from "./browser.mjs";
import { palette } from "./png.mjs";

const state = process.argv[2];
if (!state) throw new Error("node e2e/pictures.mjs STATE [OUT]");
const out = process.argv[3] ?? path.join(root, "docs/screenshots");
const only = process.env.ONLY?.split(",");
const ends = JSON.parse(await readFile(path.join(state, "endpoints.json"), "utf8"));
const token = (await readFile(path.join(state, "token"), "utf8")).trim();
const base = `http://${ends.dashboard}`;
const ns = "/namespaces/default";

async function rest(method, where, body) {
  const resp = await fetch(`http://${ends.api}/api/v1${where}`, { method, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: body && JSON.stringify(body) });
  const said = await resp.json().catch(() => ({}));
  if (!resp.ok && ![404, 409].includes(resp.status)) throw new Error(`${method} ${where}: ${resp.status} ${JSON.stringify(said)}`);
  return said;
}

const sleep = (ms) => new Promise((ok) => setTimeout(ok, ms));

async function until(what, f) {
  for (let i = 0; i < 240; i++) {
    if (await f()) return;
    await sleep(500);
  }
  throw new Error(`${what} did not come`);
}

/** Compiles a template, after a change of its source, and wants it on the bench. */
async function deploy(name, template, change, health = "4s") {
  const t = (await rest("GET", "/templates")).items.find((x) => x.name === template);
  const files = Object.fromEntries(Object.entries(t.files).map(([n, text]) => [n, change ? change(text) : text]));
  const made = await rest("POST", `${ns}/compile`, { language: t.language, files });
  if (!made.module) throw new Error(`${template} does not compile: ${JSON.stringify(made.diagnostics)}`);
  await rest("PUT", `${ns}/applications/${name}`, {
    metadata: { name },
    spec: { module: { inline: made.module }, manifest: { permissions: t.permissions, timers: (t.timers ?? []).map((x) => ({ ...x, period: "1s" })), config: t.config, health: { window: health } }, targets: { selector: { matchLabels: { site: "bench" } } } },
  });
}

const phase = async (name, type) => (await rest("GET", `${ns}/applications/${name}`)).object?.status?.conditions?.some((c) => c.type === type && c.status === "True");

/** The fleet that the pictures show. Made again it stays as it is. */
async function fleet() {
  const boards = ["Stm32F746gDisco", "FrdmK64f", "Nrf52840DK", "Mps2An385"];
  const device = (name, board, labels, approval = "Approved") => rest("POST", `${ns}/devices`, { metadata: { name, labels }, spec: { board, approval, emulation: { backend: "host" } } });
  for (let i = 1; i <= 8; i++) await device(`hall-${String(i).padStart(2, "0")}`, boards[i % 4], { site: "hall", ring: i < 3 ? "canary" : "wide" });
  for (let i = 1; i <= 4; i++) await device(`bench-${i}`, boards[i % 2], { site: "bench", ring: "canary" });
  await device("visitor", "Nrf52840DK", { site: "hall" }, "Pending");
  await until("the fleet", async () => (await rest("GET", `${ns}/overview`)).devices.online >= 15);
  await rest("POST", `${ns}/devices/hall-08/hold`);
  await rest("POST", `${ns}/gateways/default/pairing`, { for: "30m", approval: "Manual" });
  const receiver = http.createServer((q, r) => (q.resume(), r.writeHead(204).end()));
  await new Promise((ok) => receiver.listen(0, "127.0.0.1", ok));
  receiver.unref();
  if (!(await rest("GET", `${ns}/webhooks`)).items.length) {
    await rest("POST", `${ns}/webhooks`, { metadata: { name: "operations" }, secret: "whsec_" + Buffer.alloc(32, 7).toString("base64"), spec: { url: `http://127.0.0.1:${receiver.address().port}/wasmbed`, types: ["io.wasmbed.rollout.*", "io.wasmbed.device.trapped.v1"], allowPrivate: true } });
    await rest("POST", `${ns}/webhooksources`, { metadata: { name: "ci" }, secret: "whsec_" + Buffer.alloc(32, 9).toString("base64"), spec: { rules: [{ type: "io.wasmbed.deploy.requested.v1", data: { application: "$.application", module: "$.module", reason: "a CI job" } }] } });
  }
  if (await phase("adder", "Ready")) return;
  await deploy("counter", "counter");
  await deploy("adder", "invoke");
  await until("the applications", async () => (await phase("counter", "Ready")) && (await phase("adder", "Ready")));
  await sleep(8000); // telemetry to look at
  await deploy("counter", "counter", (text) => text.replace("(void)id;", "(void)id;\n\t__builtin_trap();"));
  await until("the rollback", () => phase("counter", "RolledBack"));
}

/** What is shown: a name, where, and what is done there first. */
const scenes = [
  ["overview", ""],
  ["setup", "setup"],
  ["devices", "devices"],
  ["device-create", "devices?create=1"],
  ["device", "devices/bench-1"],
  ["device-why", () => `devices/${failed}?tab=why`],
  ["device-telemetry", "devices/bench-1?tab=telemetry"],
  ["device-log", "devices/bench-1?tab=logs"],
  ["device-timeline", () => `devices/${failed}?tab=timeline`],
  ["enrollment", "enrollment"],
  ["applications", "applications"],
  ["rollback", "applications/counter"],
  ["revisions", "applications/counter?tab=revisions"],
  ["trace", "applications/counter?tab=trace", (p) => p.getByRole("list", { name: /^Hops/ }).waitFor()],
  [
    "commands",
    "applications/adder?tab=commands",
    async (p) => {
      await p.getByLabel("Function", { exact: true }).fill("sum");
      await p.getByLabel("Payload", { exact: true }).fill("*");
      await p.getByRole("button", { name: "Call it" }).click();
      await p.getByText("all answered").waitFor();
    },
  ],
  ["edit", "applications/hello/edit", (p) => p.locator(".cm-content").waitFor()],
  ["deploy", "deploy", (p) => p.locator('[data-template="counter"]').waitFor()],
  [
    "deploy-write",
    null,
    async (p) => {
      await p.locator('[data-template="counter"]').click();
      await p.locator(".cm-content").waitFor();
    },
  ],
  [
    "deploy-fits",
    null,
    async (p) => {
      await p.getByRole("button", { name: "Compile" }).click();
      await p.getByRole("heading", { name: "Does it fit?" }).waitFor();
    },
  ],
  [
    "deploy-targets",
    null,
    async (p) => {
      await p.getByRole("button", { name: "Choose targets" }).click();
      await p.getByLabel("By label").check();
      await p.getByLabel("Label selector").fill("site=bench");
      await p.getByText(/devices now/).waitFor();
    },
  ],
  ["topology", "topology"],
  ["gateways", "gateways"],
  ["gateway-terms", null, (p) => p.getByRole("button", { name: "Terms" }).click()],
  ["boards", "boards"],
  ["events", "events", (p) => p.locator(".event-row").first().waitFor()],
  ["webhooks", "webhooks"],
  ["webhook-door", null, (p) => p.getByRole("button", { name: "Try", exact: true }).click().then(() => p.getByRole("button", { name: "Try it" }).click()).then(() => p.getByText("an event").waitFor())],
  ["monitoring", "monitoring", (p) => p.getByRole("img", { name: /^Events per second/ }).waitFor()],
  [
    "terminal",
    "terminal",
    async (p) => {
      for (const line of ["status", "get devices --selector site=bench", "explain app counter"]) {
        await p.getByLabel("Command").fill(line);
        await p.keyboard.press("Enter");
        await sleep(600);
      }
    },
  ],
];
const narrow = ["overview", "devices", "device", "rollback"];

const browser = await launch();
const reader = await (await browser.newContext()).newPage();

async function keep(p, name) {
  const shot = (await p.screenshot()).toString("base64");
  const { width, height, pixels } = await reader.evaluate(async (b64) => {
    const img = await createImageBitmap(await (await fetch(`data:image/png;base64,${b64}`)).blob());
    const c = new OffscreenCanvas(img.width, img.height).getContext("2d");
    c.drawImage(img, 0, 0);
    const bytes = c.getImageData(0, 0, img.width, img.height).data;
    let s = "";
    for (let i = 0; i < bytes.length; i += 0x8000) s += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    return { width: img.width, height: img.height, pixels: btoa(s) };
  }, shot);
  const png = palette(width, height, Buffer.from(pixels, "base64"));
  await writeFile(path.join(out, `${name}.png`), png);
  console.log(`${name}.png ${(png.length / 1024).toFixed(0)} KiB`);
}

async function show(p, where) {
  await p.goto(`${base}/n/default/${where}`);
  await settled(p);
}

await mkdir(out, { recursive: true });
await fleet();
const failed = (await rest("GET", `${ns}/applications/counter/explain`)).items[0]?.device ?? "bench-1"; // the one that went back
for (const colorScheme of ["light", "dark"]) {
  const { p } = await page(browser, { colorScheme, viewport: { width: 1280, height: 800 } });
  if (!only) {
    await p.goto(base);
    await p.getByLabel("Kubernetes token").waitFor();
    await keep(p, `login-${colorScheme}`);
  }
  await enter(p, base, token);
  for (const [name, where, before] of scenes) {
    if (only && !only.includes(name)) continue;
    if (where !== null) await show(p, typeof where === "function" ? where() : where);
    await before?.(p);
    await sleep(900);
    await keep(p, `${name}-${colorScheme}`);
  }
  await p.context().close();
  if (colorScheme === "dark") continue;
  const phone = await page(browser, { colorScheme, viewport: { width: 390, height: 844 } });
  await enter(phone.p, base, token);
  for (const [name, where] of scenes) {
    if (!narrow.includes(name) || (only && !only.includes(`${name}-narrow`))) continue;
    await show(phone.p, where);
    await sleep(900);
    await keep(phone.p, `${name}-narrow`);
  }
}
await browser.close();
