import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import * as queries from "../api/queries";
import { t } from "../i18n/en";
import { Approvals } from "../inbox/Approvals";
import { inOrder, matching } from "../inbox/selection";
import { Watch } from "../inbox/Watch";
import { Loaded, SkeletonRows } from "../ui/feedback";

export function InboxPage() {
  const search = useSearch({ from: "/app/inbox" });
  const show = search.show === "decided" ? "decided" : "pending";
  const list = useQuery(queries.approvals(show));
  const projects = useQuery(queries.projects());
  return (
    <div className="mx-auto w-full max-w-[78rem] pb-24">
      <h1 className="sr-only">{t.inbox.title}</h1>
      <Loaded query={list} skeleton={<SkeletonRows rows={6} className="p-5" />}>
        {(page) => (
          <>
            <Approvals items={inOrder(matching(page.items, search))} total={page.items.length} unresolved={page.unresolved} projects={projects.data ?? []} />
            {page.next_cursor ? <p className="mt-2 px-4 text-soft md:px-6">{show === "pending" ? t.inbox.shownOf(page.items.length, page.unresolved) : t.inbox.newestOnly(page.items.length)}</p> : null}
          </>
        )}
      </Loaded>
      {projects.data ? <Watch projects={projects.data} /> : null}
    </div>
  );
}
