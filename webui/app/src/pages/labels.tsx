import { useState } from "react";
import { at } from "../api/client";
import { patch, useAction } from "../api/hooks";
import { ownLabel, type Device } from "../api/types";
import { useNamespace } from "../namespace";
import { Button, IconButton } from "../ui/parts";

export function EditLabels({ device, close }: { device: Device; close: () => void }) {
  const ns = useNamespace();
  const name = device.metadata.name;
  const before = Object.entries(device.metadata.labels ?? {}).filter(([k]) => !ownLabel(k));
  const [rows, setRows] = useState<[string, string][]>([...before, ["", ""]]);
  const save = useAction(
    () => {
      const labels: Record<string, string | null> = {};
      for (const [k] of before) labels[k] = null;
      for (const [k, v] of rows) if (k.trim()) labels[k.trim()] = v.trim();
      return patch(at(ns, "devices", name), { metadata: { labels } });
    },
    { done: "the labels are set", refresh: [["device", ns, name], ["devices", ns]] },
  );
  const set = (i: number, j: 0 | 1, v: string) => setRows(rows.map((r, n) => (n === i ? (j === 0 ? [v, r[1]] : [r[0], v]) : r)));
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), save.mutate(undefined, { onSuccess: close }))}>
      {rows.map(([k, v], i) => (
        <div key={i} className="row">
          <input className="input mono" aria-label={`Name of label ${i + 1}`} placeholder="site" value={k} onChange={(e) => set(i, 0, e.target.value)} />
          <input className="input mono" aria-label={`Value of label ${i + 1}`} placeholder="lab" value={v} onChange={(e) => set(i, 1, e.target.value)} />
          <IconButton label={`Remove label ${i + 1}`} icon="trash" onClick={() => setRows(rows.filter((_, n) => n !== i))} />
        </div>
      ))}
      <div className="row">
        <Button small icon="plus" onClick={() => setRows([...rows, ["", ""]])}>
          Another
        </Button>
      </div>
      <div className="row end">
        <Button onClick={close}>Cancel</Button>
        <Button tone="primary" type="submit" busy={save.isPending}>
          Save
        </Button>
      </div>
    </form>
  );
}
