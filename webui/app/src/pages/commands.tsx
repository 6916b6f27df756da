import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { at, get } from "../api/client";
import { post, useAction } from "../api/hooks";
import type { CommandAnswer, DeviceView } from "../api/types";
import { useNamespace } from "../namespace";
import { duration } from "../ui/format";
import { Ago, Badge, Button, Empty, Facts, Field, Loading, Panel, ProblemBox } from "../ui/parts";

/** Calls a function of a module, or hands it a message, and shows what it says. */
export function CommandForm({ v }: { v: DeviceView }) {
  const ns = useNamespace();
  const name = v.device.name;
  const apps = (v.apps ?? []).filter((a) => a.reported?.running);
  const [kind, setKind] = useState<"invoke" | "message">("invoke");
  const [app, setApp] = useState("");
  const [target, setTarget] = useState("");
  const [as, setAs] = useState<"text" | "json" | "payload">("text");
  const [payload, setPayload] = useState("");
  const [timeout, setTimeout] = useState("10s");
  const application = app || apps[0]?.app || "";
  const tell = useAction(
    async () => {
      const body: Record<string, unknown> = { application, timeout, [kind === "invoke" ? "function" : "topic"]: target };
      if (payload || as === "text") body[as] = as === "json" ? (JSON.parse(payload || "null") as unknown) : payload;
      return (await post(at(ns, "devices", name, kind), body)) as CommandAnswer;
    },
    { refresh: [["commands", ns, name]] },
  );
  const answer = tell.data as CommandAnswer | undefined;
  if (!apps.length) return <Empty icon="app" title="No module runs here">Deploy one; then its functions can be called from here.</Empty>;
  return (
    <form className="stack" onSubmit={(e) => (e.preventDefault(), tell.mutate(undefined))}>
      <div className="form-grid">
        <Field label="What">
          {(id) => (
            <select id={id} value={kind} onChange={(e) => setKind(e.target.value as "invoke" | "message")}>
              <option value="invoke">Invoke a function</option>
              <option value="message">Send a message</option>
            </select>
          )}
        </Field>
        <Field label="Application">
          {(id) => (
            <select id={id} value={application} onChange={(e) => setApp(e.target.value)}>
              {apps.map((a) => (
                <option key={a.app}>{a.app}</option>
              ))}
            </select>
          )}
        </Field>
        <Field label={kind === "invoke" ? "Function" : "Topic"}>{(id) => <input id={id} className="input mono" required value={target} onChange={(e) => setTarget(e.target.value)} placeholder={kind === "invoke" ? "sum" : "config"} />}</Field>
      </div>
      <div className="form-grid">
        <Field label="Payload as">
          {(id) => (
            <select id={id} value={as} onChange={(e) => setAs(e.target.value as "text")}>
              <option value="text">Text</option>
              <option value="json">JSON</option>
              <option value="payload">base64</option>
            </select>
          )}
        </Field>
        <Field label="Time to answer">{(id) => <input id={id} className="input" value={timeout} onChange={(e) => setTimeout(e.target.value)} pattern="[0-9.]+(ms|s|m)" />}</Field>
      </div>
      <Field label="Payload">{(id) => <textarea id={id} rows={3} value={payload} onChange={(e) => setPayload(e.target.value)} />}</Field>
      <div className="row">
        <Button tone="primary" type="submit" icon="bolt" busy={tell.isPending} disabled={!target}>
          {kind === "invoke" ? "Call it" : "Send it"}
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

export function RecentCommands({ name }: { name: string }) {
  const ns = useNamespace();
  const q = useQuery({
    queryKey: ["commands", ns, name],
    queryFn: ({ signal }) => get<{ open: Command[]; results: { command: Command; status: string; reason?: string; message?: string; at: string }[] }>(at(ns, "devices", name, "commands"), signal),
    refetchInterval: 2000,
  });
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
