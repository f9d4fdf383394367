/**
 * After an upgrade the parts of an open page have other names: a lazy one cannot be loaded any more, and
 * trying again does not help. The page is loaded anew, once: if that does not help either, the error is shown.
 */

const KEY = "syndarix-reloaded";
/** A second failure within this time is no upgrade. */
const AGAIN_MS = 60_000;

export function mayReload(last: string | null, now: number): boolean {
  return last === null || !(now - Number(last) < AGAIN_MS);
}

export function reloadWhenReplaced(reload: () => void = () => location.reload()): void {
  window.addEventListener("vite:preloadError", (event) => {
    try {
      if (!mayReload(sessionStorage.getItem(KEY), Date.now())) return;
      sessionStorage.setItem(KEY, String(Date.now()));
    } catch {
      // Without storage nobody would know that it was done: a loop is worse than an error.
      return;
    }
    event.preventDefault();
    reload();
  });
}
