import { useEffect, useRef } from "react";

/**
 * One keyboard for the application: a single listener, scopes stacked by what is mounted, and
 * two-key chords. A chord's second key never reaches a single-key command, so that "G A" (agents)
 * can never be read as "A" (approve).
 */

export interface Shortcut {
  /** "j", "?", "mod+k", "shift+a", or a chord "g i". */
  keys: string;
  label: string;
  group: string;
  run: (event: KeyboardEvent) => void;
  /** Shown in the help but not bound here (a control handles the key itself). */
  passive?: boolean;
}

/** A first chord key waits this long for its second. */
export const CHORD_MS = 1_000;

export interface KeyPress {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
}

/** The canonical name of a key press, in the notation of `Shortcut.keys`. */
export function nameOf(event: KeyPress): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key.toLowerCase().replace(/^arrow/, "");
  const letter = /^[a-z0-9]$/.test(key) || key.length > 1;
  const parts: string[] = [];
  if (event.ctrlKey || event.metaKey) parts.push("mod");
  if (event.altKey) parts.push("alt");
  // "?" already implies shift on most layouts; only letters and named keys carry it.
  if (event.shiftKey && letter) parts.push("shift");
  parts.push(key === " " ? "space" : key);
  return parts.join("+");
}

export type Match = { kind: "run"; keys: string } | { kind: "wait"; first: string } | { kind: "none" };

/** Decides what a key press means, given the chord's first key (if one is waiting). */
export function matchKey(pressed: string, waiting: string | null, bound: ReadonlySet<string>): Match {
  if (waiting !== null) {
    const chord = `${waiting} ${pressed}`;
    return bound.has(chord) ? { kind: "run", keys: chord } : { kind: "none" };
  }
  for (const keys of bound) if (keys.startsWith(`${pressed} `)) return { kind: "wait", first: pressed };
  return bound.has(pressed) ? { kind: "run", keys: pressed } : { kind: "none" };
}

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable) return true;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "submit"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

/** Enter and Space belong to the control that has the focus. */
export function activates(pressed: string, target: EventTarget | null): boolean {
  if (pressed !== "enter" && pressed !== "space") return false;
  return target instanceof HTMLElement && target.closest("a,button,summary,input,[role=menuitem],[role=tab]") !== null;
}

const scopes: { current: Shortcut[] }[] = [];
let waiting: { first: string; until: number } | null = null;

export function activeShortcuts(): Shortcut[] {
  const seen = new Set<string>();
  const all: Shortcut[] = [];
  for (const scope of scopes.toReversed()) {
    for (const shortcut of scope.current) {
      if (seen.has(shortcut.keys)) continue;
      seen.add(shortcut.keys);
      all.push(shortcut);
    }
  }
  return all;
}

function onKeyDown(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  if (["Shift", "Control", "Meta", "Alt"].includes(event.key)) return;
  const pressed = nameOf(event);
  const modal = document.querySelector("dialog[open],[role=menu]") !== null;
  // While someone types, or a dialog or a menu is open, only the palette's key is ours.
  if ((isTyping(event.target) || modal) && !pressed.startsWith("mod+")) return;
  if (activates(pressed, event.target)) return;
  const first = waiting !== null && waiting.until > event.timeStamp ? waiting.first : null;
  waiting = null;
  const shortcuts = activeShortcuts().filter((shortcut) => !shortcut.passive);
  const match = matchKey(pressed, first, new Set(shortcuts.map((shortcut) => shortcut.keys)));
  if (match.kind === "none") return;
  if (match.kind === "wait") {
    waiting = { first: match.first, until: event.timeStamp + CHORD_MS };
    return;
  }
  event.preventDefault();
  shortcuts.find((shortcut) => shortcut.keys === match.keys)?.run(event);
}

/** Binds shortcuts while the component is mounted; later mounts win over earlier ones. */
export function useShortcuts(shortcuts: Shortcut[]): void {
  const scope = useRef(shortcuts);
  useEffect(() => {
    scope.current = shortcuts;
  });
  useEffect(() => {
    if (scopes.length === 0) document.addEventListener("keydown", onKeyDown);
    scopes.push(scope);
    return () => {
      scopes.splice(scopes.indexOf(scope), 1);
      if (scopes.length === 0) document.removeEventListener("keydown", onKeyDown);
    };
  }, []);
}
