import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import * as queries from "../api/queries";
import { t } from "../i18n/en";
import { DeadLetters } from "../jobs/DeadLetters";
import { Queues, Running, Workers } from "../jobs/tables";
import { unpolled } from "../jobs/unpolled";
import { Loaded, Notice } from "../ui/feedback";
import { PageFrame } from "../ui/page";
import { Tabs } from "../ui/tabs";

const TABS = ["queues", "running", "dead"] as const;

export function JobsPage() {
  const search = useSearch({ from: "/app/jobs" });
  const navigate = useNavigate({ from: "/jobs" });
  const now = useQuery(queries.jobs("running"));
  const dead = useQuery(queries.jobs("dead"));
  const projects = useQuery(queries.projects());
  const tab = TABS.find((key) => key === search.tab) ?? "queues";
  const alone = unpolled(now.data?.queues ?? []);
  return (
    <PageFrame title={t.jobs.title}>
      {alone.length > 0 ? (
        <div className="mb-3" data-unpolled={alone.map((queue) => queue.queue).join(" ")}>
          <Notice tone="warn"><p className="font-medium">{t.jobs.unpolled(alone.map((queue) => queue.queue))}</p><p>{t.jobs.unpolledDetail(alone.reduce((sum, queue) => sum + queue.depth, 0))}</p></Notice>
        </div>
      ) : null}
      <Tabs
        label={t.jobs.title}
        value={tab}
        onChange={(key) => void navigate({ search: key === "queues" ? {} : { tab: key }, replace: true })}
        tabs={[
          {
            key: "queues",
            label: t.jobs.tabs.queues,
            content: () => (
              <Loaded query={now}>
                {({ queues, workers }) => (
                  <div className="flex flex-col gap-4 pt-4">
                    <section aria-label={t.jobs.queues}><h2 className="mb-2 text-md font-semibold">{t.jobs.queues}</h2><Queues queues={queues} /><p className="mt-1.5 text-xs text-soft">{t.jobs.scope}</p></section>
                    <section aria-label={t.jobs.workers}><h2 className="mb-2 text-md font-semibold">{t.jobs.workers}</h2><Workers workers={workers} /></section>
                  </div>
                )}
              </Loaded>
            ),
          },
          { key: "running", label: t.jobs.tabs.running, count: now.data?.items.length, content: () => <div className="pt-4"><Loaded query={now}>{({ items, workers }) => <Running jobs={items} workers={workers} projects={projects.data ?? []} />}</Loaded></div> },
          { key: "dead", label: t.jobs.tabs.dead, count: dead.data?.items.length, content: () => <div className="pt-4"><Loaded query={dead}>{({ items }) => <DeadLetters letters={items} projects={projects.data ?? []} />}</Loaded></div> },
        ]}
      />
    </PageFrame>
  );
}
