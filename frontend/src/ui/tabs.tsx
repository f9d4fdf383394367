import { clsx } from "clsx";
import { Tabs as Radix } from "radix-ui";
import type { ReactNode } from "react";

export interface Tab<K extends string> {
  key: K;
  label: string;
  count?: number | undefined;
  content: () => ReactNode;
}

/** Tabs whose selection lives in the URL; only the open panel is rendered. */
export function Tabs<K extends string>({ tabs, value, onChange, label, padded }: { tabs: Tab<K>[]; value: K; onChange: (key: K) => void; label: string; padded?: boolean }) {
  return (
    <Radix.Root value={value} onValueChange={(next) => onChange(next as K)} activationMode="manual">
      <Radix.List aria-label={label} className={clsx("flex gap-1 overflow-x-auto border-b border-line", padded && "gutter")}>
        {tabs.map((tab) => (
          <Radix.Trigger
            key={tab.key}
            value={tab.key}
            className={clsx("-mb-px inline-flex items-center gap-1.5 whitespace-nowrap border-b-2 px-2.5 py-2 font-medium -outline-offset-2", tab.key === value ? "border-accent text-ink" : "border-transparent text-soft hover:text-ink")}
          >
            {tab.label}
            {tab.count ? <span className="rounded bg-raised px-1 text-2xs text-soft tabular">{tab.count}</span> : null}
          </Radix.Trigger>
        ))}
      </Radix.List>
      {tabs.map((tab) => (
        <Radix.Content key={tab.key} value={tab.key} className="rounded-sm focus-visible:outline-offset-[-2px]">
          {tab.key === value ? tab.content() : null}
        </Radix.Content>
      ))}
    </Radix.Root>
  );
}
