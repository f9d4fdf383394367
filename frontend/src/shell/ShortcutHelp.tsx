import { t } from "../i18n/en";
import { activeShortcuts } from "../keyboard";
import { Dialog } from "../ui/dialog";

/** What the keyboard can do on this page: read from what is bound, so that it is never out of date. */
export function ShortcutHelp({ open, onClose }: { open: boolean; onClose: () => void }) {
  return (
    <Dialog open={open} onClose={onClose} title={t.nav.shortcuts} wide>
      <Groups />
    </Dialog>
  );
}

const NAMES: Record<string, string> = { mod: "Ctrl", shift: "Shift", left: "←", right: "→", up: "↑", down: "↓", enter: "Enter", escape: "Esc" };

export function keyCaps(keys: string): string[][] {
  return keys.split(" ").map((press) => press.split("+").map((part) => NAMES[part] ?? part.toUpperCase()));
}

function Groups() {
  const groups = new Map<string, ReturnType<typeof activeShortcuts>>();
  for (const shortcut of activeShortcuts()) groups.set(shortcut.group, [...(groups.get(shortcut.group) ?? []), shortcut]);
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls on a small screen, and has no control of its own
    <div tabIndex={0} data-autofocus className="grid gap-x-8 gap-y-5 outline-none sm:grid-cols-2">
      {[...groups].map(([group, shortcuts]) => (
        <section key={group}>
          <h3 className="mb-1.5 text-2xs font-medium text-faint">{group}</h3>
          <dl className="flex flex-col gap-1">
            {shortcuts.map((shortcut) => (
              <div key={shortcut.keys} className="flex items-center justify-between gap-3">
                <dt>{shortcut.label}</dt>
                <dd className="flex items-center gap-1">
                  {keyCaps(shortcut.keys).map((press, index) => (
                    <kbd key={index} className="rounded border border-line-strong bg-raised px-1.5 font-sans text-2xs leading-5 text-soft">{press.join(" ")}</kbd>
                  ))}
                </dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </div>
  );
}
