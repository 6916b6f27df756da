import { useState } from "react";
import { at, call } from "../api/client";
import { useAction, useBoards } from "../api/hooks";
import type { Gateway } from "../api/types";
import { useNamespace } from "../namespace";
import { tidy } from "../ui/format";
import { Button, Field, IconButton, ProblemBox } from "../ui/parts";

type Measurement = { board?: string; firmware?: string; digest: string };

const digestRule = "sha256:[0-9a-f]{64}";

/** A time as the browser's field wants it: of here, to the minute. */
function local(at?: string): string {
  const d = new Date(at ?? "");
  if (Number.isNaN(d.getTime())) return "";
  return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The terms of a gateway, all of them; null is one that is to be made. */
export function GatewayForm({ g, close }: { g: Gateway | null; close: () => void }) {
  const ns = useNamespace();
  const boards = useBoards();
  const [name, setName] = useState(g?.metadata.name ?? "");
  const [address, setAddress] = useState(g?.spec.address ?? "");
  const [heartbeat, setHeartbeat] = useState(tidy(g?.spec.heartbeat) ?? "10s");
  const [life, setLife] = useState(tidy(g?.spec.certificate?.life) ?? "168h");
  const [approval, setApproval] = useState(g?.spec.pairing?.approval ?? "Manual");
  const [until, setUntil] = useState(local(g?.spec.pairing?.until));
  const [most, setMost] = useState(String(g?.spec.limits?.maxDevices ?? 100000));
  const [frame, setFrame] = useState(String(g?.spec.limits?.maxFrame ?? 16384));
  const [preAuth, setPreAuth] = useState(String(g?.spec.limits?.preAuthPerAddress ?? 256));
  const [require, setRequire] = useState(g?.spec.attestation?.mode === "Require");
  const [trusted, setTrusted] = useState<Measurement[]>(g?.spec.attestation?.measurements ?? []);
  const put = (i: number, m: Partial<Measurement>) => setTrusted(trusted.map((x, n) => (n === i ? { ...x, ...m } : x)));
  const untouched = until === local(g?.spec.pairing?.until); // the field has minutes, the window seconds
  const save = useAction(
    () =>
      call("PUT", at(ns, "gateways", name), {
        apiVersion: "wasmbed.io/v1alpha1",
        kind: "Gateway",
        metadata: { name, namespace: ns },
        spec: {
          ...g?.spec,
          address,
          heartbeat,
          pairing: { approval, ...(until && { until: untouched ? g?.spec.pairing?.until : new Date(until).toISOString() }) },
          certificate: { ...g?.spec.certificate, life },
          limits: { maxDevices: Number(most), maxFrame: Number(frame), preAuthPerAddress: Number(preAuth) },
          attestation: { mode: require ? "Require" : "None", ...(trusted.length && { measurements: trusted.map((m) => ({ digest: m.digest, ...(m.board && { board: m.board }), ...(m.firmware && { firmware: m.firmware }) })) }) },
        },
      }),
    { done: `${name} is saved: its processes follow within seconds`, refresh: [["gateways", ns]] },
  );
  const nothing = require && trusted.length === 0;
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), save.mutate(undefined, { onSuccess: close }))}>
      <div className="form-grid">
        {!g && <Field label="Name">{(id) => <input id={id} className="input" required pattern="[a-z0-9]([a-z0-9\-]*[a-z0-9])?" value={name} onChange={(e) => setName(e.target.value)} placeholder="field" />}</Field>}
        <Field label="Address" help="host:port that devices dial">
          {(id) => <input id={id} className="input mono" required value={address} onChange={(e) => setAddress(e.target.value)} placeholder="gateway.example.net:8081" />}
        </Field>
        <Field label="Heartbeat" help="100ms to 1h; offline after three">
          {(id) => <input id={id} className="input" required value={heartbeat} onChange={(e) => setHeartbeat(e.target.value)} />}
        </Field>
        <Field label="Life of certificates" help="2m to 8760h; renewed at two thirds">
          {(id) => <input id={id} className="input" required value={life} onChange={(e) => setLife(e.target.value)} />}
        </Field>
      </div>
      <fieldset>
        <legend>Pairing</legend>
        <div className="form-grid">
          <Field label="A device that asks" help="inside the window">
            {(id) => (
              <select id={id} value={approval} onChange={(e) => setApproval(e.target.value)}>
                <option value="Manual">waits for a person</option>
                <option value="Automatic">is let in at once</option>
              </select>
            )}
          </Field>
          <Field label="Unknown devices may ask until" help="empty, or past: never">
            {(id) => <input id={id} className="input" type="datetime-local" value={until} onChange={(e) => setUntil(e.target.value)} />}
          </Field>
        </div>
      </fieldset>
      <fieldset>
        <legend>Limits of one process</legend>
        <div className="form-grid">
          <Field label="Devices at once">{(id) => <input id={id} className="input" type="number" min={1} max={1000000} required value={most} onChange={(e) => setMost(e.target.value)} />}</Field>
          <Field label="Largest frame" help="bytes, 2048 to 65536">
            {(id) => <input id={id} className="input" type="number" min={2048} max={65536} required value={frame} onChange={(e) => setFrame(e.target.value)} />}
          </Field>
          <Field label="Handshakes per address" help="not authenticated yet, at once">
            {(id) => <input id={id} className="input" type="number" min={1} max={100000} required value={preAuth} onChange={(e) => setPreAuth(e.target.value)} />}
          </Field>
        </div>
      </fieldset>
      <fieldset>
        <legend>Attestation</legend>
        <label className="check">
          <input type="checkbox" checked={require} onChange={(e) => setRequire(e.target.checked)} />
          A device enrolls only with evidence of trusted firmware, signed by its key
        </label>
        {trusted.map((m, i) => (
          <div key={i} className="row measurement">
            <input className="input mono grow" aria-label={`Digest of firmware ${i + 1}`} required pattern={digestRule} title="sha256: and 64 hexadecimal digits" placeholder="sha256:…" value={m.digest} onChange={(e) => put(i, { digest: e.target.value.trim() })} />
            <select aria-label={`Board of firmware ${i + 1}`} value={m.board ?? ""} onChange={(e) => put(i, { board: e.target.value })}>
              <option value="">any board</option>
              {[...new Set([...(boards.data?.items ?? []).map((b) => b.name), m.board ?? ""])].filter(Boolean).map((b) => (
                <option key={b}>{b}</option>
              ))}
            </select>
            <input className="input" aria-label={`Version of firmware ${i + 1}`} placeholder="any version" value={m.firmware ?? ""} onChange={(e) => put(i, { firmware: e.target.value.trim() })} />
            <IconButton label={`Trust firmware ${i + 1} no more`} icon="trash" onClick={() => setTrusted(trusted.filter((_, n) => n !== i))} />
          </div>
        ))}
        <div className="row">
          <Button small icon="plus" onClick={() => setTrusted([...trusted, { digest: "" }])}>
            Trusted firmware
          </Button>
          <span className={nothing ? "field-error" : "help"}>{nothing ? "Trust at least one firmware: without any, no device could enroll." : "The digest is in the image's .json beside it."}</span>
        </div>
      </fieldset>
      {save.error && <ProblemBox error={save.error} title="It was not saved" />}
      <div className="row end">
        <Button onClick={close}>Cancel</Button>
        <Button tone="primary" type="submit" busy={save.isPending} disabled={nothing}>
          Save
        </Button>
      </div>
    </form>
  );
}
