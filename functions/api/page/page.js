// Shows the contract (openapi.json) and lets it be tried. No library, no markup from data: every word of the server is put
// in as text.
"use strict";

const MAX_SHOWN = 200000; // characters of an answer
const KEY = "wasmbed-api-token"; // in this tab's sessionStorage
const state = { doc: null, token: sessionStorage.getItem(KEY) || "", csrf: "" };
const $ = (id) => document.getElementById(id);

function el(tag, props, ...children) {
  const n = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (k === "class") n.className = v;
    else if (k.startsWith("on")) n.addEventListener(k.slice(2), v);
    else if (v === true) n.setAttribute(k, "");
    else if (v !== false && v != null) n.setAttribute(k, v);
  }
  n.append(...children.filter((c) => c != null));
  return n;
}

// The page's own address tells where the API is: beside it.
const base = location.pathname.replace(/\/api\/v1\/docs\/?$/, "");

function headers(method) {
  const h = {};
  if (state.token) h.Authorization = "Bearer " + state.token;
  else if (state.csrf && method !== "GET") h["X-Wasmbed-CSRF"] = state.csrf;
  return h;
}

async function begin() {
  $("user").textContent = "";
  if (!state.token) {
    // Behind the dashboard the session's cookie is enough; its second secret goes with what changes something.
    try {
      const r = await fetch(base + "/session", { headers: { Accept: "application/json" } });
      if (r.ok && (r.headers.get("Content-Type") || "").includes("json")) state.csrf = (await r.json()).csrf || "";
    } catch { /* there is no dashboard before us */ }
  }
  let r;
  try {
    r = await fetch(base + "/api/v1/openapi.json", { headers: headers("GET") });
  } catch (e) {
    return say("the API does not answer: " + e.message, true);
  }
  if (!r.ok) return say(state.token ? await problem(r) : "give a token to see the operations", Boolean(state.token));
  state.doc = await r.json();
  $("version").textContent = "version " + state.doc.info.version;
  $("forget").hidden = !state.token;
  const who = await fetch(base + "/api/v1/whoami", { headers: headers("GET") });
  if (who.ok) say("you are " + (await who.json()).name);
  $("find").hidden = false;
  draw();
}

function say(text, bad) {
  $("user").textContent = text;
  $("user").className = bad ? "bad" : "";
}

async function problem(r) {
  try {
    const p = await r.json();
    return p.detail + (p.mend ? " (" + p.mend + ")" : "");
  } catch {
    return r.status + " " + r.statusText;
  }
}

function draw() {
  const groups = new Map();
  for (const [path, methods] of Object.entries(state.doc.paths).sort()) {
    for (const [method, op] of Object.entries(methods)) {
      const tag = (op.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ path, method: method.toUpperCase(), op });
    }
  }
  const list = $("list");
  list.replaceChildren();
  for (const tag of [...groups.keys()].sort()) {
    const section = el("section", { "aria-labelledby": "tag-" + tag }, el("h2", { id: "tag-" + tag }, tag));
    for (const o of groups.get(tag)) section.append(operation(o));
    list.append(section);
  }
  filter();
  openNamed();
}

function operation(o) {
  const inside = el("div", { class: "inside" });
  const d = el("details", { class: "op", id: o.op.operationId, "data-text": [o.method, o.path, o.op.summary].join(" ").toLowerCase() },
    el("summary", {}, el("span", { class: "verb " + o.method }, o.method), el("span", { class: "path" }, o.path), el("span", { class: "what" }, o.op.summary || "")), inside);
  d.addEventListener("toggle", () => {
    if (d.open && !inside.hasChildNodes()) fill(inside, o);
  });
  return d;
}

function fill(inside, o) {
  const { op } = o;
  const id = (s) => op.operationId + "-" + s;
  if (op.description) inside.append(el("p", {}, op.description));
  const fields = [];
  const params = op.parameters || [];
  if (params.length) {
    inside.append(el("h3", {}, "Parameters"));
    const grid = el("div", { class: "params" });
    for (const p of params) {
      const input = el("input", { id: id(p.in + p.name), spellcheck: "false", required: Boolean(p.required), autocomplete: "off" });
      if (p.name === "namespace" && p.in === "path") input.value = "default";
      input.addEventListener("input", refresh);
      fields.push({ p, input });
      grid.append(el("label", { for: input.id }, p.name + (p.required ? " *" : ""), el("small", {}, p.in)), el("div", {}, input, p.description ? el("small", {}, p.description) : null));
    }
    inside.append(grid);
  }
  let body = null;
  const content = op.requestBody && op.requestBody.content && op.requestBody.content["application/json"];
  if (content) {
    body = el("textarea", { id: id("body"), spellcheck: "false" });
    body.value = JSON.stringify(content.example || example(content.schema, 0), null, 2);
    body.addEventListener("input", refresh);
    inside.append(el("h3", {}, el("label", { for: body.id }, "Body" + (op.requestBody.required ? "" : " (may be empty)"))), body);
  }
  const curl = el("pre", { tabindex: "0", "aria-label": "as a curl command" });
  const answer = el("div", { "aria-live": "polite" });
  const send = el("button", { type: "button", class: "send" }, "Send");
  const stop = el("button", { type: "button", hidden: true }, "Stop");
  const copy = el("button", { type: "button", onclick: () => navigator.clipboard && navigator.clipboard.writeText(curl.textContent) }, "Copy");
  const request = () => {
    let path = o.path;
    const query = new URLSearchParams();
    const head = {};
    for (const { p, input } of fields) {
      const v = input.value;
      if (p.in === "path") path = path.replace("{" + p.name + "}", v === "" ? "{" + p.name + "}" : encodeURIComponent(v));
      else if (v !== "" && p.in === "query") query.append(p.name, v);
      else if (v !== "" && p.in === "header") head[p.name] = v;
    }
    const q = query.toString();
    const text = body ? body.value.trim() : "";
    return { url: base + path + (q ? "?" + q : ""), head, text };
  };
  function refresh() {
    const r = request();
    const quote = (s) => "'" + s.replaceAll("'", "'\\''") + "'";
    const parts = ["curl" + (o.method === "GET" ? "" : " -X " + o.method), quote(location.origin + r.url)];
    if (!op.security || op.security.length) parts.push('-H "Authorization: Bearer $TOKEN"');
    for (const [k, v] of Object.entries(r.head)) parts.push("-H " + quote(k + ": " + v));
    if (r.text) parts.push("-H 'Content-Type: application/json'", "--data " + quote(r.text));
    curl.textContent = parts.join(" \\\n  ");
  }
  let abort = null;
  stop.addEventListener("click", () => abort && abort.abort());
  send.addEventListener("click", async () => {
    const missing = fields.find(({ p, input }) => p.required && input.value === "");
    if (missing) {
      missing.input.focus();
      return answer.replaceChildren(el("p", { class: "error" }, missing.p.name + " is needed"));
    }
    const r = request();
    abort = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    const began = performance.now();
    try {
      const init = { method: o.method, headers: { ...headers(o.method), ...r.head }, signal: abort.signal };
      if (r.text) {
        init.body = r.text;
        init.headers["Content-Type"] = "application/json";
      }
      await show(answer, await fetch(r.url, init), began);
    } catch (e) {
      if (e.name !== "AbortError") answer.replaceChildren(el("p", { class: "error" }, "no answer: " + e.message));
    } finally {
      send.disabled = false;
      stop.hidden = true;
    }
  });
  const socket = o.path.endsWith("/ws");
  send.disabled = socket;
  inside.append(el("div", { class: "row" }, send, stop, socket ? el("span", {}, "a WebSocket: speak to it with a WebSocket client") : null), answer,
    el("h3", {}, "The same with curl"), el("div", { class: "row" }, copy), curl);
  refresh();
  if (content) inside.append(el("h3", {}, "What the body is"), el("div", { class: "schema" }, schema(content.schema, 0)));
  for (const [status, resp] of Object.entries(op.responses || {})) {
    for (const [kind, c] of Object.entries(resp.content || {})) {
      inside.append(el("h3", {}, (status === "default" ? "Refusals" : "Answer " + status) + " (" + kind + ")"), el("div", { class: "schema" }, schema(c.schema, 0)));
    }
  }
}

// show reads an answer as it comes, so that streams are seen.
async function show(into, resp, began) {
  const kind = resp.headers.get("Content-Type") || "";
  const pre = el("pre", { tabindex: "0", "aria-label": "the answer" });
  const took = Math.round(performance.now() - began);
  const tags = ["ETag", "Retry-After", "Idempotency-Replayed"].map((h) => resp.headers.get(h) && h + ": " + resp.headers.get(h)).filter(Boolean).join(" · ");
  into.replaceChildren(el("p", {}, el("strong", { class: resp.ok ? "good" : "bad" }, resp.status + " " + resp.statusText), " in " + took + " ms" + (tags ? " · " + tags : "")), pre);
  if (!resp.body) return;
  const reader = resp.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
    if (!kind.includes("json")) pre.textContent = text.slice(-MAX_SHOWN);
    if (text.length > 20 * MAX_SHOWN) {
      await reader.cancel();
      break;
    }
  }
  if (kind.includes("json")) {
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch { /* shown as it is */ }
    pre.textContent = text.length > MAX_SHOWN ? text.slice(0, MAX_SHOWN) + "\n… " + (text.length - MAX_SHOWN) + " characters more" : text;
  }
}

function resolve(s) {
  for (let i = 0; s && s.$ref && i < 8; i++) s = state.doc.components.schemas[s.$ref.replace("#/components/schemas/", "")];
  return s || {};
}

function nameOf(s) {
  return s && s.$ref ? s.$ref.replace("#/components/schemas/", "") : "";
}

function typeOf(s) {
  const r = resolve(s);
  if (s === true || Object.keys(r).length === 0) return "anything";
  if (r.oneOf) return r.oneOf.map(typeOf).join(" or ");
  if (r.type === "array") return "list of " + typeOf(r.items);
  return nameOf(s) || r.type || "object";
}

// schema draws a type; what is inside it is made when it is opened.
function schema(s, depth) {
  const r = resolve(s);
  const inner = r.type === "array" ? resolve(r.items) : r;
  const props = Object.entries(inner.properties || {});
  if (!props.length) return el("span", {}, el("span", { class: "type" }, typeOf(s)), r.enum ? " " + r.enum.join(" | ") : "", r.description ? " — " + r.description : "");
  const list = el("ul", {});
  const d = el("details", {}, el("summary", {}, typeOf(s)), list);
  const open = () => {
    if (d.open && !list.hasChildNodes()) {
      for (const [k, v] of props) list.append(el("li", {}, el("strong", {}, k), ": ", schema(v, depth + 1)));
    }
  };
  d.addEventListener("toggle", open);
  if (depth === 0) {
    d.open = true;
    open();
  }
  return d;
}

// example makes a body to begin with: the fields that a writer gives, not what the server fills in.
function example(s, depth) {
  const r = resolve(s);
  if (r.example !== undefined) return r.example;
  if (r.default !== undefined) return r.default;
  if (r.enum) return r.enum[0];
  if (r.oneOf) return example(r.oneOf[0], depth + 1);
  if (r.type === "array") return depth > 3 ? [] : [example(r.items, depth + 1)].filter((x) => x !== undefined);
  if (r.properties) {
    const out = {};
    if (depth > 4) return out;
    for (const [k, v] of Object.entries(r.properties)) {
      if (k === "status" || k === "managedFields" || k === "ownerReferences" || k === "finalizers") continue;
      if (k === "metadata") out[k] = { name: "example" };
      else if (k === "apiVersion" || k === "kind") continue;
      else out[k] = example(v, depth + 1);
    }
    return out;
  }
  switch (r.type) {
    case "integer":
    case "number":
      return 0;
    case "boolean":
      return false;
    case "string":
      return r.format === "date-time" ? new Date().toISOString() : "";
    case "object":
      return {};
  }
  return null;
}

function filter() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const section of $("list").children) {
    let any = false;
    for (const d of section.querySelectorAll("details.op")) {
      const hit = words.every((w) => d.dataset.text.includes(w));
      d.hidden = !hit;
      if (hit) {
        any = true;
        n++;
      }
    }
    section.hidden = !any;
  }
  $("found").textContent = n + (n === 1 ? " operation" : " operations");
}

// openNamed opens the operation that the address names.
function openNamed() {
  const d = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (d && d.matches("details.op")) {
    d.open = true;
    d.scrollIntoView();
  }
}

$("who").addEventListener("submit", (e) => {
  e.preventDefault();
  state.token = $("token").value.trim();
  $("token").value = "";
  if (state.token) sessionStorage.setItem(KEY, state.token);
  begin();
});
$("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  state.token = "";
  $("forget").hidden = true;
  $("list").replaceChildren();
  $("find").hidden = true;
  begin();
});
$("filter").addEventListener("input", filter);
window.addEventListener("hashchange", openNamed);
begin();
