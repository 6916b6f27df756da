// A REST API with as many devices as wanted: what the dashboard asks, and moves over a WebSocket.
import { createHash } from "node:crypto";
import http from "node:http";

const boards = ["Mps2An385", "Stm32F746gDisco", "FrdmK64f", "Nrf52840DK"];
const sets = ["done", "done", "done", "done", "inflight", "pending", "failed"];

function device(i) {
  const name = `device-${String(i).padStart(5, "0")}`;
  const online = i % 11 !== 0;
  return {
    device: { namespace: "default", name },
    online,
    known: true,
    approved: i % 97 !== 0,
    board: boards[i % boards.length],
    firmware: "1.4.2",
    gateway: "default",
    instance: `gateway-${i % 3}`,
    lastSeen: new Date(Date.UTC(2026, 0, 1, 0, 0, i % 60)).toISOString(),
    labels: { site: `hall-${i % 7}`, ring: i % 10 ? "wide" : "canary" },
    capabilities: { moduleMemory: 81920, moduleSize: 131072, apps: 4, abi: 1 },
    apps: [
      { app: "hello", set: online ? sets[i % sets.length] : "away", since: "2026-01-01T00:00:00Z", reported: { state: "Running", revision: "hello-1", running: "hello-1", confirmed: true } },
      { app: "sensor", set: online ? "done" : "away", since: "2026-01-01T00:00:00Z", reported: { state: "Running", revision: "sensor-3", running: "sensor-3", confirmed: true } },
    ],
  };
}

/** A text frame of a WebSocket's server. */
function frame(text) {
  const b = Buffer.from(text);
  const head = b.length < 126 ? Buffer.from([0x81, b.length]) : Buffer.from([0x81, 126, b.length >> 8, b.length & 255]);
  return Buffer.concat([head, b]);
}

/** The text frames in what a client sent (masked, and small). */
function* texts(b) {
  for (let at = 0; at + 6 <= b.length; ) {
    let n = b[at + 1] & 127;
    let from = at + 2;
    if (n === 126) {
      n = b.readUInt16BE(from);
      from += 2;
    }
    const mask = b.subarray(from, from + 4);
    const body = Buffer.from(b.subarray(from + 4, from + 4 + n));
    for (let i = 0; i < body.length; i++) body[i] ^= mask[i & 3];
    if ((b[at] & 15) === 1) yield body.toString();
    at = from + 4 + n;
  }
}

export async function stub(count) {
  const devices = Array.from({ length: count }, (_, i) => device(i));
  const followers = [];
  const asked = [];
  const server = http.createServer((req, res) => {
    const url = new URL(req.url, "http://stub");
    const path = url.pathname.replace(/^\/api\/v1/, "");
    asked.push(path + url.search);
    const json = (v, status = 200) => {
      res.writeHead(status, { "Content-Type": status < 400 ? "application/json" : "application/problem+json" });
      res.end(JSON.stringify(v));
    };
    if (req.headers.authorization !== "Bearer stub") return json({ code: "unauthenticated", detail: "no", status: 401 }, 401);
    if (path === "/whoami") return json({ name: "tester", groups: [], namespaces: ["default"], may: {} });
    if (path === "/system") return json({ version: "test", started: new Date().toISOString(), time: new Date().toISOString(), parts: { redis: "ok", gateway: "ok" } });
    if (path === "/namespaces/default/overview") {
      const online = devices.filter((d) => d.online).length;
      return json({ time: new Date().toISOString(), devices: { known: count, online, offline: count - online, pending: 0, held: 0, boards: Object.fromEntries(boards.map((b) => [b, count / boards.length])) }, applications: [], gateways: [0, 1, 2].map((i) => ({ id: `gateway-${i}`, namespace: "default", gateway: "default", address: "gw:8081", devices: Math.floor(online / 3), state: "Up", started: new Date().toISOString() })), attention: [], parts: { redis: "ok" } });
    }
    if (path === "/namespaces/default/devices") {
      const limit = Number(url.searchParams.get("limit") ?? 100);
      const after = url.searchParams.get("after") ?? "";
      const q = url.searchParams.get("q") ?? "";
      const from = devices.filter((d) => d.device.name > after && (!q || d.device.name.includes(q)));
      const items = from.slice(0, limit);
      return json({ items, ...(from.length > limit && { next: items.at(-1).device.name }) });
    }
    const one = /^\/namespaces\/default\/devices\/([^/]+)$/.exec(path);
    if (one) {
      const d = devices.find((x) => x.device.name === one[1]);
      return d ? json({ object: { metadata: { name: one[1] }, spec: { board: d.board, approval: "Approved" } }, view: d }) : json({ code: "not-found", detail: "there is no such device", status: 404 }, 404);
    }
    return json({ items: [] });
  });
  server.on("upgrade", (req, socket) => {
    const key = createHash("sha1").update(req.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`);
    socket.on("error", () => undefined);
    socket.on("data", (b) => {
      for (const t of texts(b)) {
        if (!t.startsWith("{")) continue;
        for (const s of JSON.parse(t).subscribe ?? []) if (s.topic === "devices") followers.push({ socket, id: s.id });
      }
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    devices,
    asked,
    /** Tells who follows that devices moved. */
    move(entries) {
      for (const f of followers) f.socket.write(frame(JSON.stringify({ id: f.id, topic: "devices", cursor: "c", items: entries })));
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
