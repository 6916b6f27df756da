import { useState } from "react";
import { Link } from "wouter";
import { useBoards, useOverview } from "../api/hooks";
import type { Board } from "../api/types";
import { useNamespace } from "../namespace";
import { bytes } from "../ui/format";
import { Badge, Dialog, Empty, Facts, Loading, PageHead, Panel, ProblemBox, type Tone } from "../ui/parts";

function tone(truth: string): Tone {
  if (/^run/.test(truth)) return "ok";
  if (/^boot/.test(truth)) return "info";
  if (/^build/.test(truth)) return "info";
  if (/^refused/.test(truth)) return "bad";
  return "idle";
}

/** The table of truth: which boards are known, and what was really run on each. */
export default function Boards() {
  const ns = useNamespace();
  const q = useBoards();
  const counts = useOverview(ns).data?.devices.boards ?? {};
  const [open, setOpen] = useState<Board | null>(null);
  if (q.isPending) return <Loading lines={8} />;
  if (!q.data) return <ProblemBox error={q.error} retry={() => void q.refetch()} />;
  return (
    <div className="page">
      <PageHead title="Boards" sub="What is known of each board, and what was really seen on it: nothing here is a promise." />
      <Panel flush>
        {q.data.items.length === 0 ? (
          <Empty icon="board" title="There is no table of boards here">This platform was started without it.</Empty>
        ) : (
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th>Board</th>
                  <th>Seen</th>
                  <th>CPU</th>
                  <th>RAM</th>
                  <th>Flash</th>
                  <th>A module gets</th>
                  <th>Reached by</th>
                  <th>Emulated by</th>
                  <th>Devices</th>
                </tr>
              </thead>
              <tbody>
                {q.data.items.map((b) => (
                  <tr key={b.name}>
                    <td>
                      <button type="button" className="link" onClick={() => setOpen(b)} aria-haspopup="dialog">
                        <b>{b.name}</b>
                      </button>
                    </td>
                    <td className="nowrap">
                      <Badge tone={tone(b.truth)} title={b.truth}>
                        {b.truth.split(/[,:]/)[0]}
                      </Badge>
                    </td>
                    <td className="nowrap">{b.cpu}</td>
                    <td className="nowrap">{bytes(b.ram)}</td>
                    <td className="nowrap">{bytes(b.flash)}</td>
                    <td className="nowrap">{b.moduleMemory ? `${bytes(b.moduleMemory)} RAM` : "–"}</td>
                    <td className="small">{b.transports.join(", ")}</td>
                    <td>{[b.qemu && "QEMU", b.renode && "Renode"].filter(Boolean).join(", ") || "–"}</td>
                    <td>{counts[b.name] ? <Link href={`/devices?board=${b.name}`}>{counts[b.name]}</Link> : <span className="muted">0</span>}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Panel>
      <Dialog open={!!open} onOpenChange={() => setOpen(null)} title={open?.name ?? ""} wide>
        {open && (
          <>
            <Facts
              items={[
                ["Seen", open.truth],
                ["CPU", open.cpu],
                ["Memory", `${bytes(open.ram)} RAM, ${bytes(open.flash)} flash`],
                ["A module gets", open.moduleMemory ? `${bytes(open.moduleMemory)} RAM, ${bytes(open.moduleSize)} in a slot` : "nothing"],
                ["Zephyr", open.zephyr ?? "–"],
                ["Renode", open.renode ?? "–"],
                ["QEMU", open.qemu ?? "–"],
                ...(open.refused ? ([["Refused", open.refused]] as [string, string][]) : []),
              ]}
            />
            <h3>What was seen</h3>
            {open.seen?.length ? (
              <table className="table">
                <tbody>
                  {open.seen.map((s, i) => (
                    <tr key={i}>
                      <td>
                        <Badge tone={tone(s.status)}>{s.status}</Badge>
                      </td>
                      <td>
                        {[s.transport, s.when, s.with, s.note].filter(Boolean).join(" · ")}
                        {s.test && <pre className="pre">{s.test}</pre>}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            ) : (
              <p className="muted">Nothing yet: its firmware was not built here.</p>
            )}
          </>
        )}
      </Dialog>
    </div>
  );
}
