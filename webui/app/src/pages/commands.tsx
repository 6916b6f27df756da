import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { at, get } from "../api/client";
import { Link } from "wouter";
import { post, useAction } from "../api/hooks";
import { useMay } from "../api/may";
import type { CommandAnswer, DeviceView } from "../api/types";
import { useNamespace } from "../namespace";
import { duration } from "../ui/format";
import { Ago, Badge, Button, Empty, Facts, Field, Loading, Panel, ProblemBox } from "../ui/parts";
import { useWords, WordFields } from "./tell";

/** Calls a function of a module, or hands it a message, and shows what it says. */
export function CommandForm({ v }: { v: DeviceView }) {
  const ns = useNamespace();
  const name = v.device.name;
  const apps = (v.apps ?? []).filter((a) => a.reported?.running);
  const x = useWords();
  const may = useMay();
  const [app, setApp] = useState("");
  const application = app || apps[0]?.app || "";
  const lately = useCommands(name);
  const known = [...(lately.data?.results.map((r) => r.command) ?? []), ...(lately.data?.open ?? [])].filter((c) => c.app === application).flatMap((c) => ((c.function ?? c.topic) ? [{ kind: c.kind, name: c.function ?? c.topic ?? "" }] : []));
  const tell = useAction(async () => (await post(at(ns, "devices", name, x.w.kind), { application, ...x.body() })) as CommandAnswer, { refresh: [["commands", ns, name]] });
  const answer = tell.data as CommandAnswer | undefined;
  if (!apps.length)
    return (
      <Empty icon="app" title="No module runs here" action={<Link className="button" href="/deploy">Deploy a module</Link>}>
        When one runs, its functions can be called from here.
      </Empty>
    );
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), tell.mutate(undefined))}>
      <Field label="Application">
        {(id) => (
          <select id={id} value={application} onChange={(e) => setApp(e.target.value)}>
            {apps.map((a) => (
              <option key={a.app}>{a.app}</option>
            ))}
          </select>
        )}
      </Field>
      <WordFields x={x} known={known} />
      <div className="row">
        <Button tone="primary" type="submit" icon="bolt" why={may(`create devices/${x.w.kind}`)} busy={tell.isPending} disabled={!x.w.target || !!x.wrong}>
          {x.w.kind === "invoke" ? "Call it" : "Send it"}
        </Button>
      </div>
      {tell.error && <ProblemBox error={tell.error} />}
      {answer && (
        <div role="status" className="stack tight">
          <Facts
            items={[
              ["Answer", <Badge key="s" tone={answer.status === "Done" ? "ok" : "bad"}>{answer.status}</Badge>],
              ...(answer.reason ? ([["Reason", `${answer.reason} ${answer.message ?? ""}`]] as [string, string][]) : []),
              ...(answer.duration ? ([["Took", duration(answer.duration)]] as [string, string][]) : []),
            ]}
          />
          {(answer.text ?? answer.payload) && <pre className="pre">{answer.text ?? answer.payload}</pre>}
        </div>
      )}
    </form>
  );
}

interface Command {
  id: string;
  kind: string;
  app?: string;
  function?: string;
  topic?: string;
  by?: string;
}

interface Lately {
  open: Command[];
  results: { command: Command; status: string; reason?: string; message?: string; at: string }[];
}

function useCommands(name: string) {
  const ns = useNamespace();
  return useQuery({ queryKey: ["commands", ns, name], queryFn: ({ signal }) => get<Lately>(at(ns, "devices", name, "commands"), signal), refetchInterval: 2000 });
}

export function RecentCommands({ name }: { name: string }) {
  const q = useCommands(name);
  const word = (c: Command) => [c.kind, c.app, c.function ?? c.topic].filter(Boolean).join(" ");
  return (
    <Panel title="Commands lately" flush>
      {q.isPending ? (
        <div className="panel-body">
          <Loading />
        </div>
      ) : !q.data ? (
        <div className="panel-body">
          <ProblemBox error={q.error} retry={() => void q.refetch()} />
        </div>
      ) : q.data.open.length + q.data.results.length === 0 ? (
        <Empty icon="bolt" title="None yet" />
      ) : (
        <table className="table">
          <thead>
            <tr>
              <th>Command</th>
              <th>Outcome</th>
              <th>When</th>
            </tr>
          </thead>
          <tbody>
            {q.data.open.map((c) => (
              <tr key={c.id}>
                <td>{word(c)}</td>
                <td>
                  <Badge tone="info">asked</Badge>
                </td>
                <td>now</td>
              </tr>
            ))}
            {q.data.results.map((r) => (
              <tr key={r.command.id}>
                <td>
                  {word(r.command)}
                  <div className="small muted">{r.command.by}</div>
                </td>
                <td>
                  <Badge tone={r.status === "Done" ? "ok" : "bad"}>{r.status}</Badge>
                  <div className="small muted">
                    {r.reason} {r.message}
                  </div>
                </td>
                <td className="nowrap muted">
                  <Ago at={r.at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}
