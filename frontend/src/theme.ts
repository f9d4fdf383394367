import { useSyncExternalStore } from "react";

/** Theme choice: follow the system, or a fixed one. Kept on this device only. */

export type Theme = "system" | "light" | "dark";

const KEY = "syndarix-theme";
const listeners = new Set<() => void>();

function read(): Theme {
  try {
    const stored = localStorage.getItem(KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}

let current: Theme = read();

export function applyTheme(): void {
  if (current === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", current);
}

export function setTheme(theme: Theme): void {
  current = theme;
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Storage can be switched off; the choice then lasts for this page.
  }
  applyTheme();
  for (const listener of listeners) listener();
}

export function nextTheme(theme: Theme): Theme {
  return theme === "system" ? "dark" : theme === "dark" ? "light" : "system";
}

export function useTheme(): Theme {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}
