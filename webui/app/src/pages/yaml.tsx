import { Link } from "wouter";
import type { Application } from "../api/types";
import { toYaml } from "../api/yaml";
import { Panel } from "../ui/parts";

/** What is wanted, as kubectl would take it. */
export default function Yaml({ app }: { app: Application }) {
  return (
    <Panel title="Application" actions={<Link href={`/applications/${app.metadata.name}/edit`}>Edit</Link>}>
      <pre className="pre" tabIndex={0}>
        {toYaml(app)}
      </pre>
    </Panel>
  );
}
