import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import * as queries from "../api/queries";
import type { AgentType } from "../api/types";
import { titleCase } from "../format";
import { t } from "../i18n/en";
import { Disclosure } from "../ui/disclosure";
import { Loaded, SkeletonRows } from "../ui/feedback";
import { changesBetween } from "./changes";

/** The versions of a type, newest first, each with what it changed. Fetched when it is opened. */
export function Versions({ type }: { type: AgentType }) {
  const [open, setOpen] = useState(false);
  const versions = useQuery({ ...queries.agentTypeVersions(type.id), enabled: open });
  return (
    <Disclosure className="mt-1.5" summary={t.agents.versions} onOpen={() => setOpen(true)}>
      <Loaded query={versions} skeleton={<SkeletonRows rows={2} className="p-2" />}>{(items) => <List items={items.toSorted((a, b) => b.version - a.version)} />}</Loaded>
    </Disclosure>
  );
}

function List({ items }: { items: AgentType[] }) {
  return (
    <ol className="mt-1.5 flex flex-col gap-2">
      {items.map((item, index) => {
        const previous = items[index + 1];
        const changes = previous ? changesBetween(previous, item) : [];
        return (
          <li key={item.version} className="rounded-md border border-line p-2.5">
            <p className="font-medium">{t.common.version(item.version)}</p>
            {changes.length === 0 ? <p className="text-soft">{previous ? t.agents.sameAsBefore : t.agents.firstVersion}</p> : (
              <dl className="mt-1 flex flex-col gap-1.5">
                {changes.map((change) => (
                  <div key={change.field}>
                    <dt className="text-soft">{titleCase(change.field)}</dt>
                    <dd className="whitespace-pre-wrap"><del className="bg-bad-wash text-bad">{change.before}</del> <ins className="bg-ok-wash text-ok no-underline">{change.after}</ins></dd>
                  </div>
                ))}
              </dl>
            )}
          </li>
        );
      })}
    </ol>
  );
}
