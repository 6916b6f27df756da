import type { Counts, WorkSet } from "../api/types";
import type { Tone } from "../ui/parts";

export const setWords: Record<WorkSet, { title: string; about: string; tone: Tone }> = {
  done: { title: "Done", about: "runs what is wanted, confirmed", tone: "ok" },
  inflight: { title: "In flight", about: "is changing now", tone: "info" },
  pending: { title: "Waiting", about: "online, waits for its turn", tone: "idle" },
  away: { title: "Away", about: "not connected, not updated yet", tone: "idle" },
  lost: { title: "Done, now offline", about: "had what is wanted when last seen", tone: "idle" },
  held: { title: "Held", about: "on hold: nothing new is sent", tone: "warn" },
  failed: { title: "Failed", about: "gave the wanted revision up, or was refused", tone: "bad" },
};

export function countsBySet(c?: Counts): [WorkSet, number][] {
  if (!c) return [];
  return [
    ["done", c.ready],
    ["inflight", c.inFlight],
    ["pending", c.pending],
    ["away", c.away],
    ["lost", c.lost],
    ["held", c.held],
    ["failed", c.failed],
  ];
}

/** How the devices of an application are shared out over the work sets, as one bar. */
export function SetBar({ counts, thick }: { counts?: Counts; thick?: boolean }) {
  const parts = countsBySet(counts).filter(([, n]) => n > 0);
  const words = parts.map(([s, n]) => `${n} ${setWords[s].title.toLowerCase()}`).join(", ") || "no device";
  return (
    <div className={`bar ${thick ? "thick" : ""}`} role="img" aria-label={words} title={words}>
      {parts.map(([s, n]) => (
        <span key={s} className={`set-${s}`} style={{ flexGrow: n }} />
      ))}
    </div>
  );
}

export function SetLegend({ counts, chosen, onChoose }: { counts?: Counts; chosen?: WorkSet; onChoose?: (s?: WorkSet) => void }) {
  const all = countsBySet(counts).filter(([s, n]) => n > 0 || s === "done");
  return (
    <div className="legend-row">
      {all.map(([s, n]) => {
        const word = (
          <>
            <span className={`swatch set-${s}`} />
            {setWords[s].title} <b>{n.toLocaleString()}</b>
          </>
        );
        return onChoose ? (
          <button key={s} type="button" title={setWords[s].about} aria-pressed={chosen === s} onClick={() => onChoose(chosen === s ? undefined : s)}>
            {word}
          </button>
        ) : (
          <span key={s} title={setWords[s].about}>
            {word}
          </span>
        );
      })}
    </div>
  );
}

/** Shares of a whole as a ring, with a number in its middle. */
export function Ring({ parts, middle, sub, size = 132 }: { parts: { name: string; n: number; color: string }[]; middle: string; sub: string; size?: number }) {
  const total = parts.reduce((a, p) => a + p.n, 0);
  const r = 52;
  const around = 2 * Math.PI * r;
  let from = 0;
  const label = parts.map((p) => `${p.n} ${p.name}`).join(", ");
  return (
    <svg width={size} height={size} viewBox="0 0 132 132" role="img" aria-label={label}>
      <circle cx="66" cy="66" r={r} fill="none" stroke="var(--sunken)" strokeWidth="14" />
      {parts
        .filter((p) => p.n > 0)
        .map((p) => {
          const share = p.n / total;
          const at = from;
          from += share;
          return (
            <circle key={p.name} cx="66" cy="66" r={r} fill="none" stroke={p.color} strokeWidth="14" strokeDasharray={`${Math.max(share * around - (share < 1 ? 2 : 0), 1)} ${around}`} transform={`rotate(${at * 360 - 90} 66 66)`} />
          );
        })}
      <text x="66" y="68" textAnchor="middle" fontSize="25" fontWeight="650" fill="var(--text)">
        {middle}
      </text>
      <text x="66" y="86" textAnchor="middle" fontSize="11.5" fill="var(--muted)">
        {sub}
      </text>
    </svg>
  );
}
