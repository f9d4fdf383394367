import { DropdownMenu } from "radix-ui";
import { clsx } from "clsx";
import type { ReactNode } from "react";
import { usePortalHost } from "./portal";

export interface MenuItem {
  label: string;
  onSelect: () => void;
  hint?: string;
  danger?: boolean;
  disabled?: boolean;
}

export function Menu({ trigger, items, label }: { trigger: ReactNode; items: (MenuItem | "separator")[]; label: string }) {
  const host = usePortalHost();
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal container={host}>
        <DropdownMenu.Content aria-label={label} align="end" sideOffset={4} collisionPadding={8} className="z-40 min-w-44 rounded-lg border border-line-strong bg-panel p-1 shadow-xl">
          {items.map((item, index) =>
            item === "separator" ? (
              <DropdownMenu.Separator key={`separator-${index}`} className="my-1 h-px bg-line" />
            ) : (
              <DropdownMenu.Item
                key={item.label}
                disabled={item.disabled ?? false}
                onSelect={item.onSelect}
                className={clsx("flex cursor-pointer items-center justify-between gap-4 rounded px-2 py-1.5 outline-none data-[disabled]:opacity-50 data-[highlighted]:bg-hover", item.danger && "text-bad")}
              >
                {item.label}
                {item.hint ? <span className="text-2xs text-faint">{item.hint}</span> : null}
              </DropdownMenu.Item>
            ),
          )}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
