import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { ApiError, api, apiOrNull } from "./client";
import { keys } from "./keys";
import type * as T from "./types";

/** Everything the UI reads, as query options; the only place that knows a GET path. */

/** The stream invalidates what changes; polling is the net below it. */
const SAFETY_POLL_MS = 60_000;
const LIST_LIMIT = 100;
/** The most that the server gives at once. */
const LIST_MAX = 200;
const PAGE_LIMIT = 50;
/** Lists are read to their end, or to this many; a page that shows less than there is says so. */
export const LIST_CAP = 1_000;
/** What is decided is looked up, not worked off: its newest are enough. */
const HISTORY_CAP = 200;

/** Follows `next_cursor`. A list that moves while it is read may show an item on two pages; it is one. */
export async function allOf<P extends T.Page<{ id: string }>>(path: string, signal: AbortSignal, query: Record<string, string | undefined> = {}, cap = LIST_CAP): Promise<P> {
  let page = await api<P>(path, { signal, query: { ...query, limit: Math.min(cap, LIST_MAX) } });
  const items = new Map(page.items.map((item) => [item.id, item]));
  while (page.next_cursor && items.size < cap) {
    page = await api<P>(path, { signal, query: { ...query, limit: LIST_MAX, cursor: page.next_cursor } });
    for (const item of page.items) items.set(item.id, item);
  }
  return { ...page, items: [...items.values()] };
}

export const me = () =>
  queryOptions({ queryKey: keys.me(), queryFn: ({ signal }) => api<T.Me>("/me", { signal }) });

export const system = () =>
  queryOptions({
    queryKey: keys.system(),
    queryFn: ({ signal }) => api<T.SystemInfo>("/system", { signal }),
    refetchInterval: SAFETY_POLL_MS,
  });

export const projects = () =>
  queryOptions({
    queryKey: keys.projects(),
    queryFn: async ({ signal }) => (await allOf<T.Page<T.Project>>("/projects", signal)).items,
  });

export const project = (p: string) =>
  queryOptions({
    queryKey: keys.project(p),
    queryFn: ({ signal }) => api<T.Project>(`/projects/${p}`, { signal }),
    refetchInterval: (query) => (query.state.data?.repository.state === "importing" ? 2_000 : false),
  });

export const members = (p: string) =>
  queryOptions({
    queryKey: keys.members(p),
    queryFn: async ({ signal }) => (await api<T.Page<T.Member>>(`/projects/${p}/members`, { signal })).items,
  });

export const policy = (p: string) =>
  queryOptions({
    queryKey: keys.policy(p),
    queryFn: ({ signal }) => api<T.Policy>(`/projects/${p}/policy`, { signal }),
  });

/** The budgets of a project and of what is in it, and those above it. */
export const budgets = (p: string) =>
  queryOptions({
    queryKey: keys.budgets(p),
    queryFn: ({ signal }) => api<T.Page<T.BudgetNode>>(`/projects/${p}/budgets`, { signal, query: { limit: LIST_MAX } }),
    refetchInterval: SAFETY_POLL_MS,
  });

/** The budgets of an organisation and of its projects, for who manages it. */
export const organisationBudgets = (o: string) =>
  queryOptions({
    queryKey: keys.organisationBudgets(o),
    queryFn: ({ signal }) => api<T.Page<T.BudgetNode>>(`/organisations/${o}/budgets`, { signal, query: { limit: LIST_MAX } }),
    refetchInterval: SAFETY_POLL_MS,
  });

/** What all projects of an organisation have spent, for who manages it. */
export const organisationUsage = (o: string) =>
  queryOptions({
    queryKey: keys.organisationUsage(o),
    queryFn: ({ signal }) => api<T.OrganisationUsage>(`/organisations/${o}/usage`, { signal }),
    refetchInterval: SAFETY_POLL_MS,
  });

export const budget = (p: string) =>
  queryOptions({
    queryKey: keys.budget(p),
    queryFn: ({ signal }) => apiOrNull<T.Budget>(`/projects/${p}/budget`, { signal }),
  });

export const sprints = (p: string) =>
  queryOptions({
    queryKey: keys.sprints(p),
    queryFn: async ({ signal }) =>
      (await api<T.Page<T.Sprint>>(`/projects/${p}/sprints`, { signal, query: { limit: LIST_LIMIT } })).items,
  });

export const stories = (p: string) =>
  queryOptions({
    queryKey: keys.stories(p),
    queryFn: async ({ signal }) =>
      (await allOf<T.Page<T.Story>>(`/projects/${p}/stories`, signal)).items,
    refetchInterval: SAFETY_POLL_MS,
  });

export const story = (p: string, s: string) =>
  queryOptions({
    queryKey: [...keys.story(p, s), "self"],
    queryFn: ({ signal }) => api<T.Story>(`/projects/${p}/stories/${s}`, { signal }),
    refetchInterval: SAFETY_POLL_MS,
  });

export const storyAt = (p: string, s: string, version: number) =>
  queryOptions({
    queryKey: [...keys.story(p, s), "at", version],
    queryFn: ({ signal }) => api<T.Story>(`/projects/${p}/stories/${s}`, { signal, query: { version } }),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const storyHistory = (p: string, s: string) =>
  queryOptions({
    queryKey: [...keys.story(p, s), "history"],
    queryFn: async ({ signal }) => (await api<T.Page<T.HistoryItem>>(`/projects/${p}/stories/${s}/history`, { signal })).items,
  });

export const storyTimeline = (p: string, s: string) =>
  queryOptions({
    queryKey: [...keys.story(p, s), "timeline"],
    queryFn: async ({ signal }) => (await api<T.Page<T.TimelineItem>>(`/projects/${p}/stories/${s}/timeline`, { signal })).items,
  });

export const storyChanges = (p: string, s: string) =>
  queryOptions({
    queryKey: [...keys.story(p, s), "changes"],
    queryFn: ({ signal }) => apiOrNull<T.Diff>(`/projects/${p}/stories/${s}/changes`, { signal }),
  });

export const storyTests = (p: string, s: string) =>
  queryOptions({
    queryKey: [...keys.story(p, s), "tests"],
    queryFn: async ({ signal }) => (await api<T.Page<T.TestRun>>(`/projects/${p}/stories/${s}/tests`, { signal })).items,
  });

export const pullRequest = (p: string, id: string) =>
  queryOptions({
    queryKey: keys.pullRequest(p, id),
    queryFn: ({ signal }) => api<T.PullRequest>(`/projects/${p}/pull-requests/${id}`, { signal }),
  });

export const runsIn = (p: string, state?: string) =>
  queryOptions({
    queryKey: [...keys.runs(p), state ?? "all"],
    queryFn: async ({ signal }) =>
      (await api<T.Page<T.Run>>(`/projects/${p}/runs`, { signal, query: { state, limit: LIST_LIMIT } })).items,
  });

/** The states of a run that is not over. */
const AT_WORK = ["started", "thinking", "acting", "waiting"] satisfies T.RunState[];

/** Runs that are at work or wait, the newest first. */
export const runsAtWork = (p: string) =>
  queryOptions({
    queryKey: [...keys.runs(p), "at-work"],
    queryFn: async ({ signal }) => {
      const lists = await Promise.all(AT_WORK.map((state) => allOf<T.Page<T.Run>>(`/projects/${p}/runs`, signal, { state })));
      // One that moves on while they are read may be in two of them.
      const runs = new Map(lists.flatMap(({ items }) => items).map((one) => [one.id, one]));
      return [...runs.values()].toSorted((a, b) => b.started_at.localeCompare(a.started_at));
    },
  });

export const run = (p: string, r: string) =>
  queryOptions({
    queryKey: keys.run(p, r),
    queryFn: ({ signal }) => api<T.RunDetail>(`/projects/${p}/runs/${r}`, { signal }),
  });

export const runAt = (p: string, r: string, version: number) =>
  queryOptions({
    queryKey: [...keys.run(p, r), "at", version],
    queryFn: ({ signal }) => api<T.RunDetail>(`/projects/${p}/runs/${r}`, { signal, query: { version } }),
    staleTime: Number.POSITIVE_INFINITY,
  });

export const runHistory = (p: string, r: string) =>
  queryOptions({
    queryKey: [...keys.run(p, r), "history"],
    queryFn: async ({ signal }) => (await api<T.Page<T.HistoryItem>>(`/projects/${p}/runs/${r}/history`, { signal })).items,
  });

export const agents = (p: string) =>
  queryOptions({
    queryKey: keys.agents(p),
    queryFn: async ({ signal }) => (await allOf<T.Page<T.Agent>>(`/projects/${p}/agents`, signal)).items,
  });

export const agentTypes = (p?: string) =>
  queryOptions({
    queryKey: keys.agentTypes(p),
    queryFn: async ({ signal }) => (await api<T.Page<T.AgentType>>("/agent-types", { signal, query: { project_id: p } })).items,
  });

export const agentTypeVersions = (id: string) =>
  queryOptions({
    queryKey: [...keys.agentType(id), "versions"],
    queryFn: async ({ signal }) => (await api<T.Page<T.AgentType>>(`/agent-types/${id}/versions`, { signal })).items,
  });

/** Of one conversation, oldest first. */
export const messages = (p: string, conversation: string) =>
  queryOptions({
    queryKey: [...keys.messages(p), conversation],
    queryFn: async ({ signal }) =>
      (await api<T.Page<T.Message>>(`/projects/${p}/messages`, { signal, query: { conversation_id: conversation, limit: LIST_MAX } })).items,
  });

export interface ApprovalPage extends T.Page<T.Approval> {
  unresolved: number;
}

export const approvals = (state: "pending" | "decided" | "all" = "pending") =>
  queryOptions({
    queryKey: [...keys.approvals(), state],
    queryFn: ({ signal }) => allOf<ApprovalPage>("/approvals", signal, { state }, state === "pending" ? LIST_CAP : HISTORY_CAP),
    refetchInterval: SAFETY_POLL_MS,
    // A tab in the background has no stream: its title still counts.
    refetchIntervalInBackground: state === "pending",
  });

/** Where an approval is whose project nobody named: newest first, to the end of the list. */
export const approvalPlace = (id: string) =>
  queryOptions({
    queryKey: [...keys.approvals(), "place", id],
    queryFn: async ({ signal }) => {
      let cursor: string | null | undefined;
      do {
        const page: ApprovalPage = await api("/approvals", { signal, query: { state: "all", limit: LIST_MAX, cursor } });
        const found = page.items.find((item) => item.id === id);
        if (found) return found.project_id;
        cursor = page.next_cursor;
      } while (cursor);
      return null;
    },
    staleTime: Number.POSITIVE_INFINITY,
  });

export const approval = (p: string, id: string) =>
  queryOptions({
    queryKey: keys.approval(p, id),
    queryFn: ({ signal }) => api<T.ApprovalDetail>(`/projects/${p}/approvals/${id}`, { signal }),
  });

export interface EventPage {
  items: T.EventEnvelope[];
  head?: number;
}

/** Oldest first on the wire (`after` is exclusive); the newest page is asked for by its head. */
export const events = (p: string) =>
  infiniteQueryOptions({
    queryKey: keys.events(p),
    initialPageParam: null as number | null,
    queryFn: async ({ signal, pageParam }) => {
      const head = pageParam ?? (await api<EventPage>(`/projects/${p}/events`, { signal, query: { limit: 1 } })).head ?? 0;
      const after = Math.max(0, head - PAGE_LIMIT);
      const page = await api<EventPage>(`/projects/${p}/events`, { signal, query: { after, limit: head - after || 1 } });
      return { items: page.items.toReversed(), after };
    },
    getNextPageParam: (last) => (last.after > 0 ? last.after : undefined),
    staleTime: Number.POSITIVE_INFINITY,
  });

export type UsageGroup = "agent" | "model" | "day" | "story" | "key";

export const usage = (p: string, groupBy: UsageGroup) =>
  queryOptions({
    queryKey: [...keys.usage(p), groupBy],
    queryFn: ({ signal }) => api<T.Usage>(`/projects/${p}/usage`, { signal, query: { group_by: groupBy } }),
  });

/** The latest attempts, or those of one call. */
export const usageCalls = (p: string, callId?: string) =>
  queryOptions({
    queryKey: [...keys.usage(p), "calls", callId ?? ""],
    queryFn: async ({ signal }) => (await api<T.Page<T.UsageCall>>(`/projects/${p}/usage/calls`, { signal, query: { limit: PAGE_LIMIT, call_id: callId } })).items,
  });

/** The way that one call took; null when nothing is recorded of it. */
export const usageCall = (p: string, callId: string) =>
  queryOptions({
    queryKey: [...keys.usage(p), "call", callId],
    queryFn: ({ signal }) => apiOrNull<T.CallWay>(`/projects/${p}/usage/calls/${callId}`, { signal }),
  });

/** Calls tell over the stream; that a deployment is asked again, nothing tells. What keys have spent is too much to add up at every call. */
const HEALTH_POLL_MS = 10_000;

export const gatewayHealth = (p: string) =>
  queryOptions({
    queryKey: keys.gateway(p),
    queryFn: ({ signal }) => api<T.GatewayHealth>(`/projects/${p}/gateway/deployments`, { signal }),
    refetchInterval: HEALTH_POLL_MS,
  });

export const gatewayKeys = (p: string) =>
  queryOptions({
    queryKey: keys.gatewayKeys(p),
    queryFn: async ({ signal }) => (await allOf<T.Page<T.GatewayKey>>(`/projects/${p}/gateway-keys`, signal)).items,
    refetchInterval: HEALTH_POLL_MS,
  });

/** An organisation's own providers; what they say of their keys is all that is ever shown of them. */
export const modelProviders = (o: string) =>
  queryOptions({
    queryKey: keys.modelProviders(o),
    queryFn: async ({ signal }) => (await api<T.Page<T.ModelProvider>>(`/organisations/${o}/model-providers`, { signal })).items,
    refetchInterval: SAFETY_POLL_MS,
  });

export const modelGroups = (o: string) =>
  queryOptions({
    queryKey: keys.modelGroups(o),
    queryFn: async ({ signal }) => (await api<T.Page<T.ModelGroup>>(`/organisations/${o}/model-groups`, { signal })).items,
    refetchInterval: SAFETY_POLL_MS,
  });

/** What an organisation's groups may name. */
export const modelDeployments = (o: string) =>
  queryOptions({
    queryKey: keys.modelDeployments(o),
    queryFn: async ({ signal }) => (await api<T.Page<T.ModelDeployment>>(`/organisations/${o}/model-deployments`, { signal })).items,
    refetchInterval: SAFETY_POLL_MS,
  });

export interface AuditFilter {
  type?: string;
  actor?: string;
  q?: string;
}

export const audit = (p: string, filter: AuditFilter) =>
  infiniteQueryOptions({
    queryKey: [...keys.audit(p), filter],
    initialPageParam: null as string | null,
    queryFn: ({ signal, pageParam }) =>
      api<T.AuditPage>(`/projects/${p}/audit`, { signal, query: { ...filter, cursor: pageParam, limit: PAGE_LIMIT } }),
    getNextPageParam: (last) => last.next_cursor ?? undefined,
  });

/** Queues and workers move all the time, and no event tells of it. */
const JOBS_POLL_MS = 5_000;

/** Jobs in this state, with the queues and the workers as they are. */
export const jobs = (state: "running" | "dead") =>
  queryOptions({
    queryKey: [...keys.jobs(), "page", state],
    queryFn: ({ signal }) => allOf<T.Jobs>("/jobs", signal, { state }),
    refetchInterval: JOBS_POLL_MS,
  });

/** Jobs that gave up. Not everybody may see them: who may not has none. */
export const deadJobs = () =>
  queryOptions({
    queryKey: [...keys.jobs(), "dead"],
    queryFn: async ({ signal }) => {
      try {
        return (await api<T.Page<T.Job>>("/jobs", { signal, query: { state: "dead" } })).items;
      } catch (error) {
        if (error instanceof ApiError && (error.status === 403 || error.status === 404)) return [];
        throw error;
      }
    },
    refetchInterval: SAFETY_POLL_MS,
  });
