import { createContext, useCallback, useContext, useState, type ReactNode } from "react";
import { Icon } from "./icon";

export interface Toast {
  tone: "ok" | "bad" | "info";
  title: string;
  detail?: string;
}

const Context = createContext<(t: Toast) => void>(() => undefined);

/** Says something for a while, to readers of the screen and to screen readers alike. */
export const useToast = () => useContext(Context);

let seq = 0;

export function Toasts({ children }: { children: ReactNode }) {
  const [list, setList] = useState<(Toast & { id: number })[]>([]);
  const drop = useCallback((id: number) => setList((l) => l.filter((t) => t.id !== id)), []);
  const say = useCallback(
    (t: Toast) => {
      const id = ++seq;
      setList((l) => [...l.slice(-3), { ...t, id }]);
      setTimeout(() => drop(id), t.tone === "bad" ? 12000 : 5000);
    },
    [drop],
  );
  return (
    <Context.Provider value={say}>
      {children}
      <div className="toasts" role="region" aria-label="Messages" aria-live="polite">
        {list.map((t) => (
          <div key={t.id} className={`toast ${t.tone}`} role={t.tone === "bad" ? "alert" : "status"}>
            <Icon name={t.tone === "ok" ? "check" : t.tone === "bad" ? "bad" : "info"} />
            <div>
              <div>{t.title}</div>
              {t.detail && <div className="muted small">{t.detail}</div>}
            </div>
            <button className="icon-button" aria-label="Dismiss" onClick={() => drop(t.id)}>
              <Icon name="x" size={14} />
            </button>
          </div>
        ))}
      </div>
    </Context.Provider>
  );
}
