import { useMemo, useState } from "react";
import { useLocation } from "wouter";
import { at } from "../api/client";
import { post, useAction, useBoards } from "../api/hooks";
import type { Board } from "../api/types";
import { useNamespace } from "../namespace";
import { bytes } from "../ui/format";
import { useMay } from "../api/may";
import { Button, Dialog, Field, Loading, ProblemBox } from "../ui/parts";

const nameRule = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

const backends = [
  { id: "host", title: "Host process", about: "the firmware's core without a board: starts at once" },
  { id: "qemu", title: "QEMU", about: "the real firmware image on an emulated machine" },
  { id: "renode", title: "Renode", about: "the same, with the board's peripherals" },
  { id: "", title: "None: a real board", about: "announced here, it enrolls in the pairing window" },
];

function works(b: Board, backend: string): string | null {
  if (b.refused) return b.refused;
  if (backend === "qemu" && !b.qemu) return "QEMU does not know this board";
  if (backend === "renode" && !b.renode) return "Renode does not know this board";
  return null;
}

/** Makes a device, and with a backend its emulated board. */
export function CreateDevice({ open, onOpenChange }: { open: boolean; onOpenChange: (o: boolean) => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Create a device" sub="With emulation, the platform makes the board, follows it and shows its console.">
      {open && <Form close={() => onOpenChange(false)} />}
    </Dialog>
  );
}

function Form({ close }: { close: () => void }) {
  const ns = useNamespace();
  const [, go] = useLocation();
  const boards = useBoards();
  const [backend, setBackend] = useState("host");
  const [board, setBoard] = useState("");
  const [name, setName] = useState("");
  const [transport, setTransport] = useState("");
  const [approve, setApprove] = useState(true);
  const [labels, setLabels] = useState("");
  const fitting = useMemo(() => (boards.data?.items ?? []).filter((b) => !works(b, backend)), [boards.data, backend]);
  const picked = fitting.find((b) => b.name === board) ?? fitting[0];
  const approvalWhy = useMay()("update devices/approval");
  const create = useAction(
    () =>
      post(at(ns, "devices"), {
        apiVersion: "wasmbed.io/v1alpha1",
        kind: "Device",
        metadata: { name, namespace: ns, labels: Object.fromEntries(labels.split(/[\s,]+/).filter((l) => l.includes("=")).map((l) => [l.slice(0, l.indexOf("=")), l.slice(l.indexOf("=") + 1)])) },
        spec: { board: picked?.name, approval: approve && !approvalWhy ? "Approved" : "Pending", ...(backend && { emulation: { backend, ...(transport && backend !== "host" && { transport }) } }) },
      }),
    { done: `${name} is made`, refresh: [["devices", ns], ["overview", ns], ["enrollments", ns]] },
  );
  if (boards.isPending) return <Loading />;
  if (boards.error) return <ProblemBox error={boards.error} retry={() => void boards.refetch()} />;
  const wrong = name && !nameRule.test(name) ? "small letters, digits and dashes, at most 63" : undefined;
  return (
    <form
      className="stack"
      onSubmit={(e) => {
        e.preventDefault();
        create.mutate(undefined, { onSuccess: () => (close(), go(`/devices/${name}`)) });
      }}
    >
      <Field label="Name" error={wrong} help="Part of the device's identity: it cannot be changed.">
        {(id) => <input id={id} className="input" value={name} onChange={(e) => setName(e.target.value.trim())} autoFocus required autoComplete="off" placeholder="lab-1" />}
      </Field>
      <fieldset>
        <legend>Emulation</legend>
        {backends.map((b) => (
          <label key={b.id} className="check">
            <input type="radio" name="backend" checked={backend === b.id} onChange={() => setBackend(b.id)} />
            <span>
              {b.title} <span className="muted small">{b.about}</span>
            </span>
          </label>
        ))}
      </fieldset>
      <Field label="Board" help={picked ? `${picked.cpu} · ${bytes(picked.ram)} RAM · ${bytes(picked.flash)} flash · ${picked.truth}` : "No board works with that"}>
        {(id) => (
          <select id={id} value={picked?.name ?? ""} onChange={(e) => setBoard(e.target.value)}>
            {fitting.map((b) => (
              <option key={b.name}>{b.name}</option>
            ))}
          </select>
        )}
      </Field>
      {backend && backend !== "host" && picked && (
        <Field label="Transport">
          {(id) => (
            <select id={id} value={transport} onChange={(e) => setTransport(e.target.value)}>
              <option value="">As the table of boards says ({picked.transports[0]})</option>
              {picked.transports.map((t) => (
                <option key={t}>{t}</option>
              ))}
            </select>
          )}
        </Field>
      )}
      <Field label="Labels" help="Applications select devices by them; several with spaces">
        {(id) => <input id={id} className="input mono" value={labels} onChange={(e) => setLabels(e.target.value)} placeholder="site=lab" />}
      </Field>
      <label className="check">
        <input type="checkbox" checked={approve && !approvalWhy} disabled={!!approvalWhy} title={approvalWhy} onChange={(e) => setApprove(e.target.checked)} />
        Approve it now
        <span className="muted small">else it waits under Enrollment</span>
      </label>
      <div className="row end">
        <Button onClick={close}>Cancel</Button>
        <Button tone="primary" type="submit" busy={create.isPending} disabled={!name || !!wrong || !picked}>
          Create
        </Button>
      </div>
    </form>
  );
}
