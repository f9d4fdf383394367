import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import * as queries from "../api/queries";
import { Calls } from "../costs/Calls";
import { Keys } from "../gateway/Keys";
import { Models } from "../gateway/Models";
import { Playground } from "../gateway/Playground";
import { t } from "../i18n/en";
import { Loaded } from "../ui/feedback";
import { PageFrame } from "../ui/page";
import { Tabs } from "../ui/tabs";

const TABS = ["models", "keys", "playground", "calls"] as const;

export function GatewayPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/gateway" });
  const search = useSearch({ from: "/app/projects/$projectId/gateway" });
  const navigate = useNavigate({ from: "/projects/$projectId/gateway" });
  const project = useQuery(queries.project(projectId));
  const tab = TABS.find((key) => key === search.tab) ?? "models";
  const go = (next: { tab?: string; model?: string; new?: string }) => void navigate({ search: next, replace: true });
  return (
    <PageFrame title={t.gateway.title}>
      <Loaded query={project}>
        {(data) => (
          <Tabs label={t.gateway.title} value={tab} onChange={(key) => go(key === "models" ? {} : { tab: key })} tabs={[
            { key: "models", label: t.gateway.tabs.models, content: () => <Models project={data} /> },
            { key: "keys", label: t.gateway.tabs.keys, content: () => <Keys project={data} writing={search.new === "key"} onWriting={(writing) => go({ tab: "keys", ...(writing ? { new: "key" } : {}) })} /> },
            { key: "playground", label: t.gateway.tabs.playground, content: () => <Playground key={data.id} project={data} model={search.model} onModel={(model) => go({ tab: "playground", model })} /> },
            { key: "calls", label: t.gateway.tabs.calls, content: () => <Calls projectId={data.id} /> },
          ]} />
        )}
      </Loaded>
    </PageFrame>
  );
}
