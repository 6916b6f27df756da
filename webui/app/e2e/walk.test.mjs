// What somebody does who has never seen it: from nothing to a module that runs, then one that is broken, and why.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";
import test, { after, before } from "node:test";
import { bin, enter, folder, launch, page, serious, start } from "./browser.mjs";

const any = "127.0.0.1:0";
let dir, platform, browser, base, token, api;

before(async () => {
  dir = await folder();
  platform = await start(path.join(bin, "standalone"), [], { WASMBED_DIR: dir.dir, WASMBED_LISTEN_DASHBOARD: any, WASMBED_LISTEN_API: any, WASMBED_LISTEN_HTTP: any, WASMBED_LISTEN_TLS: any, EMULATION: "", WASMBED_EMULATION: "" }, /(http:\/\/\S+)\/#code=\S+[\s\S]*Try:/);
  base = platform.found[1];
  token = (await readFile(path.join(dir.dir, "token"), "utf8")).trim();
  api = "http://" + JSON.parse(await readFile(path.join(dir.dir, "endpoints.json"), "utf8")).api + "/api/v1";
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await platform?.stop();
  await dir?.drop();
});

async function read(where) {
  const resp = await fetch(api + where, { headers: { Authorization: `Bearer ${token}` } });
  assert.ok(resp.ok, `${where}: ${resp.status}`);
  return resp.json();
}

test("from the initial setup to a rollback that explains itself, by clicks alone", async (t) => {
  const languages = (await read("/languages")).items.filter((l) => l.available).map((l) => l.name);
  if (!languages.includes("c")) return t.skip("not run: no C compiler for WebAssembly is here");
  const source = (await read("/templates")).items.find((x) => x.name === "counter").files["main.c"];
  const { p, wrong } = await page(browser);
  await enter(p, base, token);
  await p.goto(base);
  const main = p.getByRole("navigation", { name: "Main" });

  // The setup leads to a first device, which waits for approval.
  await main.getByRole("link", { name: "Initial setup" }).click();
  await p.getByRole("link", { name: "Create a device" }).click();
  for (const name of ["bench-1", "bench-2"]) {
    const dialog = p.getByRole("dialog", { name: "Create a device" });
    await dialog.getByLabel("Name", { exact: true }).fill(name);
    await dialog.getByLabel("Labels").fill("site=bench");
    await dialog.getByLabel(/Approve it now/).uncheck();
    await dialog.getByRole("button", { name: "Create" }).click();
    await p.waitForURL(`**/devices/${name}`);
    await main.getByRole("link", { name: /Devices/ }).click();
    if (name === "bench-1") await p.getByRole("button", { name: "Create device" }).click();
  }
  await main.getByRole("link", { name: /Enrollment/ }).click();
  for (const name of ["bench-1", "bench-2"]) {
    const asks = p.locator("li", { has: p.getByRole("link", { name }) });
    await asks.getByRole("button", { name: "Approve" }).click();
    await asks.waitFor({ state: "detached" });
  }
  await p.getByText("Nobody waits", { exact: true }).waitFor();
  await main.getByRole("link", { name: /Devices/ }).click();
  for (const name of ["bench-1", "bench-2"]) await p.getByRole("row", { name: new RegExp(name) }).getByText("Online").waitFor();

  // The counter counts by two.
  await main.getByRole("link", { name: "Deploy a module" }).click();
  await p.locator('[data-template="counter"]').click();
  const editor = p.getByRole("textbox", { name: /Source of main/ });
  const line = source.split("\n").findIndex((l) => l.includes("(void)id;"));
  assert.ok(line > 0, "the template is another one");
  /** Types behind what stands in the timer's first line. */
  const type = async (text) => {
    await editor.click();
    await p.keyboard.press("Control+Home");
    for (let i = 0; i < line; i++) await p.keyboard.press("ArrowDown");
    await p.keyboard.press("End");
    await p.keyboard.type(text);
  };
  const compile = async () => {
    await p.getByRole("button", { name: "Compile" }).click();
    await p.getByRole("heading", { name: "Does it fit?" }).waitFor();
    await p.getByRole("button", { name: "Choose targets" }).click();
  };
  await type(" ++count;");
  await compile();
  await p.getByLabel("By label").check();
  await p.getByLabel("Label selector").fill("site=bench");
  await p.getByText("2 devices now: bench-1, bench-2").waitFor();
  assert.equal(await p.getByText("would be believed before").count(), 0, "the health window of the template is too short for its timer");
  await p.getByLabel("Health window").fill("1s");
  await p.getByText("the module would be believed before that has run once").waitFor();
  await p.getByLabel("Period of timer 1").fill("300ms");
  await p.getByLabel("Health window").fill("2s");
  await p.getByRole("button", { name: "Deploy", exact: true }).click();
  await p.getByText("Ready", { exact: true }).waitFor();
  await p.getByRole("log", { name: /Log of counter/ }).getByText("counting").first().waitFor();
  await p.getByText(/^count \d*[02468]$/).waitFor();
  assert.deepEqual(await serious(p), []);

  // Broken, it is rolled back, and says why.
  await p.getByRole("button", { name: /Write/ }).click();
  await editor.waitFor();
  await type(" __builtin_trap();");
  await compile();
  await p.getByRole("button", { name: "Deploy", exact: true }).click();
  await p.getByText("Rolled back", { exact: true }).waitFor();
  await p.getByRole("link", { name: "Why?" }).click();
  await p.getByRole("cell", { name: "RolledBack" }).first().waitFor();
  await p.getByRole("cell", { name: /bench-/ }).getByRole("link").first().click();
  await p.getByRole("list", { name: "Traps of counter" }).getByText(/unreachable/).first().waitFor();
  assert.deepEqual(await serious(p), []);

  // The application says it too, and the module from before runs on everywhere.
  await p.getByRole("link", { name: "Devices" }).first().waitFor();
  await main.getByRole("link", { name: "Applications" }).click();
  await p.getByRole("link", { name: "counter", exact: true }).click();
  await p.getByText("It was rolled back").waitFor();
  for (const name of ["bench-1", "bench-2"]) await p.locator(`[data-device="${name}"][data-set="done"]`).waitFor();
  assert.deepEqual(wrong, []);
});
