import { DropdownMenu } from "radix-ui";
import { clsx } from "clsx";
import { Check, ChevronsUpDown } from "lucide-react";
import { usePortalHost } from "./portal";

export interface Option {
  value: string;
  label: string;
}

/**
 * One of several values, chosen from a menu. A menu of radio items, because Radix' own Select
 * injects a style element, which the content policy of the page forbids.
 */
export function Select({ label, value, onChange, options, className }: { label: string; value: string; onChange: (value: string) => void; options: Option[]; className?: string }) {
  const host = usePortalHost();
  const current = options.find((option) => option.value === value) ?? options[0];
  const shown = current?.label ?? "";
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>
        <button
          type="button"
          aria-label={shown.startsWith(label) ? shown : `${label}: ${shown}`}
          className={clsx("flex min-w-0 items-center gap-1.5 rounded-md border border-line-strong bg-panel px-2 text-xs hover:bg-hover", className)}
        >
          <span className="min-w-0 flex-1 truncate text-left">{shown}</span>
          <ChevronsUpDown size={12} aria-hidden="true" className="shrink-0 text-faint" />
        </button>
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal container={host}>
        <DropdownMenu.Content aria-label={label} align="start" sideOffset={4} collisionPadding={8} className="z-40 max-h-[min(24rem,var(--radix-dropdown-menu-content-available-height))] max-w-80 min-w-[max(11rem,var(--radix-dropdown-menu-trigger-width))] overflow-y-auto rounded-lg border border-line-strong bg-panel p-1 shadow-xl">
          <DropdownMenu.RadioGroup value={value} onValueChange={onChange}>
            {options.map((option) => (
              <DropdownMenu.RadioItem key={option.value} value={option.value} className="flex cursor-pointer items-center gap-2 rounded px-2 py-1.5 outline-none data-[highlighted]:bg-hover">
                <span className="min-w-0 flex-1 truncate">{option.label}</span>
                <DropdownMenu.ItemIndicator><Check size={14} aria-hidden="true" className="text-accent" /></DropdownMenu.ItemIndicator>
              </DropdownMenu.RadioItem>
            ))}
          </DropdownMenu.RadioGroup>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
