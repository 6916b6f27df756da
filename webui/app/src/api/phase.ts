import type { Application } from "./types";

/** How an application is, in the words of the overview. */
export function phaseOf(app: Application): { phase: string; message?: string } {
  const of = (t: string) => app.status?.conditions?.find((c) => c.type === t);
  const ready = of("Ready");
  const progressing = of("Progressing");
  const back = of("RolledBack");
  if (back?.status === "True") return { phase: "RolledBack", message: back.message };
  if (app.spec.paused) return { phase: "Paused", message: "nothing new is sent until it is resumed" };
  if (ready?.status === "True") return { phase: "Ready", message: ready.message };
  if (progressing?.status === "True") return { phase: "Progressing", message: progressing.message };
  const s = app.status;
  if (ready?.status === "False" && (s?.desired ?? 0) > 0 && (s?.failed ?? 0) === 0) return { phase: "Waiting", message: ready.message };
  if (ready?.status === "False") return { phase: "Failed", message: ready.message };
  return { phase: "Waiting" };
}
