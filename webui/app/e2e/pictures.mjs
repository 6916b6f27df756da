// Takes the pictures of docs/screenshots: node e2e/pictures.mjs LINK, with the link that `make run` printed.
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { launch, page, root } from "./browser.mjs";

const link = process.argv[2];
if (!link) throw new Error("node e2e/pictures.mjs LINK");
const base = new URL(link).origin;
const out = path.join(root, "docs/screenshots");
await mkdir(out, { recursive: true });

const device = process.env.DEVICE ?? "mps2an385";
const pages = {
  overview: "",
  devices: "devices",
  "device-create": "devices?create=1",
  device: `devices/${device}`,
  "device-why": `devices/${device}?tab=why`,
  "device-telemetry": `devices/${device}?tab=telemetry`,
  "device-log": `devices/${device}?tab=logs`,
  "device-timeline": `devices/${device}?tab=timeline`,
  "device-console": `devices/${process.env.EMULATED ?? device}?tab=console`,
  applications: "applications",
  rollout: `applications/${process.env.APP ?? "hello"}`,
  revisions: "applications/hello?tab=revisions",
  edit: "applications/hello/edit",
  deploy: "deploy",
  enrollment: "enrollment",
  topology: "topology",
  gateways: "gateways",
  boards: "boards",
  events: "events",
  webhooks: "webhooks",
  monitoring: "monitoring",
  terminal: "terminal",
  setup: "setup",
};

const browser = await launch();
for (const colorScheme of ["light", "dark"]) {
  const { p } = await page(browser, { colorScheme, viewport: { width: 1280, height: 800 } });
  await p.goto(base);
  await p.getByLabel("Kubernetes token").waitFor();
  await p.screenshot({ path: path.join(out, `login-${colorScheme}.png`) });
  await p.goto(link);
  await p.getByRole("heading", { name: "Overview" }).waitFor();
  for (const [name, where] of Object.entries(pages)) {
    await p.goto(`${base}/n/default/${where}`);
    await p.waitForFunction(() => document.querySelector("h1") && !document.querySelector(".skeletons"), undefined, { timeout: 10_000 }).catch(() => undefined);
    if (name === "terminal") {
      for (const line of ["status", "get devices", `explain device ${device}`]) {
        await p.getByLabel("Command").fill(line);
        await p.keyboard.press("Enter");
        await p.waitForTimeout(500);
      }
    }
    await p.waitForTimeout(700);
    await p.screenshot({ path: path.join(out, `${name}-${colorScheme}.png`) });
  }
  // The guided deployment, a step further.
  await p.goto(`${base}/n/default/deploy`);
  const template = p.locator('[data-template="counter"]:not([disabled])');
  await template.waitFor({ timeout: 5000 }).catch(() => undefined);
  if (await template.count()) {
    await template.click();
    await p.getByRole("textbox", { name: /Source of/ }).waitFor();
    await p.waitForTimeout(600);
    await p.screenshot({ path: path.join(out, `deploy-write-${colorScheme}.png`) });
    await p.getByRole("button", { name: "Compile" }).click();
    await p.getByRole("heading", { name: "Does it fit?" }).waitFor({ timeout: 60_000 });
    await p.screenshot({ path: path.join(out, `deploy-fits-${colorScheme}.png`) });
  }
  await p.context().close();
}
await browser.close();
