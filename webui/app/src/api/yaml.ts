import { parse, stringify } from "yaml";
import type { Application } from "./types";

const kept = /^\(([0-9,]+) bytes, kept as they are\)$/;

/** What a person writes of an application: no status, no bookkeeping. Bytes are not shown. */
export function toYaml(app: Application): string {
  const { metadata: m, spec } = app;
  const s = structuredClone(spec);
  if (s.module.inline) s.module.inline = `(${Math.floor((s.module.inline.replace(/=+$/, "").length * 3) / 4)} bytes, kept as they are)`;
  return stringify(
    { apiVersion: "wasmbed.io/v1alpha1", kind: "Application", metadata: { name: m.name, ...(m.namespace && { namespace: m.namespace }), ...(m.labels && Object.keys(m.labels).length && { labels: m.labels }) }, spec: s },
    { lineWidth: 100 },
  );
}

/** Reads what toYaml wrote. Throws an Error that says what is wrong and where. */
export function fromYaml(text: string, before: Application): Application {
  const o = parse(text) as Partial<Application> | null;
  if (!o || typeof o !== "object") throw new Error("this is no object");
  if (o.kind && o.kind !== "Application") throw new Error(`kind is ${o.kind}, not Application`);
  if (!o.metadata?.name) throw new Error("metadata.name is missing");
  if (!o.spec || typeof o.spec !== "object") throw new Error("spec is missing");
  if (!o.spec.module || typeof o.spec.module !== "object") throw new Error("spec.module is missing");
  if (!o.spec.targets || typeof o.spec.targets !== "object") throw new Error("spec.targets is missing: names, selector or all: true");
  if (o.spec.module.inline && kept.test(o.spec.module.inline)) o.spec.module.inline = before.spec.module.inline;
  return { apiVersion: "wasmbed.io/v1alpha1", kind: "Application", metadata: { name: o.metadata.name, namespace: o.metadata.namespace, labels: o.metadata.labels }, spec: o.spec };
}

export { stringify };
