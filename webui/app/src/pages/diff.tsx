import type { Revision } from "../api/types";
import { stringify } from "../api/yaml";

type Line = { kind: "same" | "add" | "del"; text: string };

/** The lines of two texts side by side: their longest common subsequence stays. */
export function diffLines(a: string[], b: string[]): Line[] {
  const n = a.length;
  const m = b.length;
  const len: Uint16Array[] = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  const at = (i: number, j: number) => len[i]?.[j] ?? 0;
  for (let i = n - 1; i >= 0; i--)
    for (let j = m - 1; j >= 0; j--) {
      const row = len[i];
      if (row) row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  const out: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < n || j < m) {
    if (i < n && j < m && a[i] === b[j]) {
      out.push({ kind: "same", text: a[i++] ?? "" });
      j++;
    } else if (i < n && (j >= m || at(i + 1, j) >= at(i, j + 1))) out.push({ kind: "del", text: a[i++] ?? "" });
    else out.push({ kind: "add", text: b[j++] ?? "" });
  }
  return out;
}

const around = 3; // lines that are shown beside a change

/** The lines that changed and those around them; what is left out is one line. */
function near(lines: Line[]): Line[] {
  const shown = lines.map((_, i) => lines.slice(Math.max(0, i - around), i + around + 1).some((l) => l.kind !== "same"));
  return lines.flatMap((l, i) => (shown[i] ? [l] : shown[i - 1] || i === 0 ? [{ kind: "same", text: "⋯" } as Line] : []));
}

/** What is in a revision, as lines. */
const textOf = (r: Revision) => stringify({ module: { digest: r.spec.module.digest, size: r.spec.module.size, ...(r.spec.module.oci && { oci: r.spec.module.oci }) }, manifest: r.spec.manifest }, { sortMapEntries: true }).trimEnd().split("\n");

export default function Diff({ from, to }: { from: Revision; to: Revision }) {
  const lines = diffLines(textOf(from), textOf(to));
  if (lines.every((l) => l.kind === "same")) return <p className="panel-body muted">They are the same.</p>;
  return (
    <div className="diff" tabIndex={0} role="region" aria-label={`Differences of ${from.metadata.name} and ${to.metadata.name}`}>
      {near(lines).map((l, i) => (
        <div key={i} className={l.kind}>
          {l.kind === "add" ? "+ " : l.kind === "del" ? "- " : "  "}
          {l.text}
        </div>
      ))}
    </div>
  );
}
