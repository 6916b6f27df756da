import { Badge, type Tone } from "../ui/parts";

const phases: Record<string, { word: string; tone: Tone }> = {
  Ready: { word: "Ready", tone: "ok" },
  Progressing: { word: "Rolling out", tone: "info" },
  Paused: { word: "Paused", tone: "warn" },
  RolledBack: { word: "Rolled back", tone: "warn" },
  Failed: { word: "Not ready", tone: "bad" },
  Waiting: { word: "Waiting", tone: "idle" },
};

/** How an application is, in one word. */
export function Phase({ phase }: { phase: string }) {
  const p = phases[phase] ?? { word: phase, tone: "idle" as Tone };
  return <Badge tone={p.tone}>{p.word}</Badge>;
}
