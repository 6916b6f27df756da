import { useEffect, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();

function current(): "dark" | "light" {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

function apply(theme: string) {
  document.documentElement.dataset.theme = theme;
  for (const f of listeners) f();
}

/** The theme and what turns it over; until a person chooses, it follows the system's. */
export function useTheme(): ["dark" | "light", () => void] {
  const theme = useSyncExternalStore((f) => {
    listeners.add(f);
    return () => void listeners.delete(f);
  }, current);
  useEffect(() => {
    const m = matchMedia("(prefers-color-scheme: dark)");
    const f = () => !localStorage.getItem("wasmbed.theme") && apply(m.matches ? "dark" : "light");
    m.addEventListener("change", f);
    return () => m.removeEventListener("change", f);
  }, []);
  return [
    theme,
    () => {
      const next = current() === "dark" ? "light" : "dark";
      localStorage.setItem("wasmbed.theme", next);
      apply(next);
    },
  ];
}

/** The value of a CSS variable now. */
export function cssVar(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
