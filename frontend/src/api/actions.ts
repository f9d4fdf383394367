import { useMutation, useQueryClient, type QueryClient } from "@tanstack/react-query";
import { dateTime } from "../format";
import { t } from "../i18n/en";
import { useStableKey } from "../stableKey";
import { labelOf } from "../ui/status";
import { toast, toastError } from "../ui/toast";
import { ApiError, api, request } from "./client";
import { keys } from "./keys";
import type { ApprovalPage } from "./queries";
import { acceptSession, announceSignOut, sessionState } from "./session";
import type * as T from "./types";

/** Everything the UI changes; the only place that knows a writing path. */

export async function signIn(username: string, password: string): Promise<void> {
  acceptSession(await api<T.Session>("/auth/login", { method: "POST", form: { username, password } }));
}

export async function register(body: { email: string; name: string; password: string; organisation?: string }): Promise<void> {
  acceptSession(await api<T.Session>("/auth/register", { method: "POST", json: body }));
}

export async function signOut(client: QueryClient): Promise<void> {
  try {
    await api("/auth/logout", { method: "POST", json: {} });
  } finally {
    announceSignOut();
    client.clear();
  }
}

/** The server has said no: what is sent next is another request. Without a word from it, the first may have been done. */
export function isAnswer(error: unknown): boolean {
  return error instanceof ApiError && error.status >= 400 && error.status < 500 && error.code !== "in_progress";
}

/**
 * A command, the toast for a refusal, and what to refetch. Its idempotency key is that of its content until the
 * server has answered: trying again after a lost answer does nothing twice.
 */
export function useCommand<V, R = unknown>(options: {
  send: (input: V, key: string) => Promise<R>;
  refresh: (input: V, result: R) => readonly (readonly unknown[])[];
  done?: string | ((input: V, result: R) => string | undefined);
  failed?: string;
  quietFields?: boolean;
  onSuccess?: (result: R, input: V) => void;
}) {
  const client = useQueryClient();
  const key = useStableKey();
  return useMutation<R, unknown, V>({
    mutationFn: (input) => options.send(input, key.for(input ?? null)),
    onSuccess: (result, input) => {
      key.done();
      for (const queryKey of options.refresh(input, result)) void client.invalidateQueries({ queryKey });
      const text = typeof options.done === "function" ? options.done(input, result) : options.done;
      if (text) toast(text);
      options.onSuccess?.(result, input);
    },
    onError: (error, input) => {
      if (isAnswer(error)) key.done();
      if (options.quietFields && error instanceof ApiError && error.body.errors?.length) return;
      toastError(error, options.failed);
      if (error instanceof ApiError && error.status === 409) {
        for (const queryKey of options.refresh(input, undefined as R)) void client.invalidateQueries({ queryKey });
      }
    },
  });
}

export interface DecisionInput {
  approval: Pick<T.Approval, "id" | "project_id" | "digest" | "title">;
  outcome: T.Outcome;
  note?: string | undefined;
  comments?: T.LineComment[];
  arguments?: T.Json;
}

export function sendDecision(input: DecisionInput, key: string): Promise<T.Approval> {
  const body: T.DecisionBody = { outcome: input.outcome, digest: input.approval.digest };
  if (input.note?.trim()) body.note = input.note.trim();
  if (input.comments?.length) body.comments = input.comments;
  if (input.arguments !== undefined) body.arguments = input.arguments;
  return api<T.Approval>(`/projects/${input.approval.project_id}/approvals/${input.approval.id}/decision`, {
    method: "POST",
    json: body,
    idempotencyKey: key,
  });
}

/** One sentence for a refused decision: who was first, that it was oneself, or that the question itself moved. */
export function decisionRefusal(error: unknown, me?: string): string | null {
  if (!(error instanceof ApiError) || error.status !== 409) return null;
  if (error.code === "approval_changed") return t.errors.approvalChanged;
  if (error.code !== "approval_already_decided") return null;
  const { decided_by: by, decided_at: at, outcome } = error.body;
  const person = typeof by === "string" ? { name: by } : (by as { id?: string; name?: string } | null | undefined);
  const what = labelOf(String(outcome ?? "decided"));
  const when = typeof at === "string" ? dateTime(at) : "";
  if (me !== undefined && person?.id === me) return t.errors.decidedByMe(what, when);
  // Nobody decided what expired or was withdrawn.
  return person ? t.errors.alreadyDecided(what, person.name ?? t.actor.someone, when) : t.errors.overAlready(what);
}

/** Removes an item from the pending list. */
export function withoutApproval(page: ApprovalPage, id: string): ApprovalPage {
  const items = page.items.filter((item) => item.id !== id);
  return { ...page, items, unresolved: Math.max(0, page.unresolved - (page.items.length - items.length)) };
}

/** What the server answered is what every page shows from now on: nobody can press a second time. */
export function acceptDecision(client: QueryClient, approval: T.Approval): void {
  const { id, project_id: p } = approval;
  client.setQueryData<T.ApprovalDetail>(keys.approval(p, id), (known) => known && { ...known, ...approval });
  client.setQueryData<ApprovalPage>([...keys.approvals(), "pending"], (known) => known && withoutApproval(known, id));
}

/** Nothing is shown as decided before the server says so: what was written for it stays on screen until then. */
export function useDecision(onDone?: (approval: T.Approval, input: DecisionInput) => void) {
  const client = useQueryClient();
  const key = useStableKey();
  return useMutation<T.Approval, unknown, DecisionInput>({
    mutationFn: (input) => sendDecision(input, key.for(input)),
    onSuccess: async (approval, input) => {
      key.done();
      // An older list or page on its way must not bring the question back.
      await client.cancelQueries({ queryKey: keys.approvals() });
      await client.cancelQueries({ queryKey: keys.approval(approval.project_id, approval.id) });
      acceptDecision(client, approval);
      toast(t.approval.decidedToast(labelOf(input.outcome), input.approval.title));
      onDone?.(approval, input);
    },
    onError: (error) => {
      if (isAnswer(error)) key.done();
      const session = sessionState();
      const refusal = decisionRefusal(error, session.status === "signed_in" ? session.user.id : undefined);
      if (refusal) toast(t.approval.notDecided, { tone: "bad", detail: refusal });
      else toastError(error, t.approval.notDecided);
    },
    onSettled: (_result, _error, input) => {
      const p = input.approval.project_id;
      for (const queryKey of [keys.approvals(), keys.approval(p, input.approval.id), keys.stories(p), keys.storyAll(p), keys.runs(p), keys.project(p), keys.projects()]) {
        void client.invalidateQueries({ queryKey });
      }
    },
  });
}

export const createProject = (body: {
  organisation_id: string;
  name: string;
  repository: { source: "empty" | "path" | "url"; location?: string };
  test_command?: string;
  autonomy?: T.Autonomy;
}, key: string) => api<T.Project>("/projects", { method: "POST", json: body, idempotencyKey: key });

/** Imports the repository once more, from where it was, or from another place. */
export const retryRepository = (p: string, location: string | null, key: string) =>
  api<T.Project>(`/projects/${p}/repository/retry`, { method: "POST", json: location === null ? {} : { repository: { source: location.startsWith("/") ? "path" : "url", location } }, idempotencyKey: key });

export const createOrganisation = (name: string, key: string) =>
  api<T.Membership>("/organisations", { method: "POST", json: { name }, idempotencyKey: key });

export const createStory = (p: string, body: { title: string; description: string; points?: number; sprint_id?: string }, key: string) =>
  api<T.Story>(`/projects/${p}/stories`, { method: "POST", json: body, idempotencyKey: key });

export type StoryCommand =
  | { name: "start" | "unblock" }
  | { name: "block" | "cancel"; reason: string }
  | { name: "move"; sprint_id: string | null };

export function commandStory(p: string, s: string, command: StoryCommand, key: string): Promise<T.Story> {
  const { name, ...body } = command;
  return api<T.Story>(`/projects/${p}/stories/${s}/${name}`, { method: "POST", json: body, idempotencyKey: key });
}

export const createSprint = (p: string, body: { name: string; goal: string; starts_on: string; ends_on: string }, key: string) =>
  api<T.Sprint>(`/projects/${p}/sprints`, { method: "POST", json: body, idempotencyKey: key });

export type SprintCommand = { name: "start" | "request-review" } | { name: "complete"; carry_over_to?: string } | { name: "cancel"; reason: string };

export function commandSprint(p: string, id: string, command: SprintCommand, key: string): Promise<T.Sprint> {
  const { name, ...body } = command;
  return api<T.Sprint>(`/projects/${p}/sprints/${id}/${name}`, { method: "POST", json: body, idempotencyKey: key });
}

export const commandAgent = (p: string, id: string, name: "pause" | "resume" | "terminate", key: string) =>
  api<T.Agent>(`/projects/${p}/agents/${id}/${name}`, { method: "POST", json: {}, idempotencyKey: key });

export const spawnAgent = (p: string, body: { agent_type_id: string; name?: string }, key: string) =>
  api<T.Agent>(`/projects/${p}/agents`, { method: "POST", json: body, idempotencyKey: key });

export const importAgentType = (body: { organisation_id: string; toml: string }, key: string) =>
  api<T.AgentType>("/agent-types", { method: "POST", json: body, idempotencyKey: key });

export const cancelRun = (p: string, r: string, reason: string, key: string) =>
  api<T.Run>(`/projects/${p}/runs/${r}/cancel`, { method: "POST", json: { reason }, idempotencyKey: key });

export const retryRun = (p: string, r: string, fromStep: number | undefined, key: string) =>
  api<T.Run>(`/projects/${p}/runs/${r}/retry`, { method: "POST", json: fromStep === undefined ? {} : { from_step: fromStep }, idempotencyKey: key });

export const patchProject = (p: string, body: Partial<Pick<T.Project, "name" | "autonomy" | "confidence_threshold" | "test_command">>, key: string) =>
  api<T.Project>(`/projects/${p}`, { method: "PATCH", json: body, idempotencyKey: key });

export const putPolicy = (p: string, body: T.Policy, key: string) =>
  api<T.Policy>(`/projects/${p}/policy`, { method: "PUT", json: body, idempotencyKey: key });

export const putBudget = (p: string, body: { hard_limit_micro_usd: number | null; soft_limit_micro_usd?: number | null }, key: string) =>
  api<T.Budget>(`/projects/${p}/budget`, { method: "PUT", json: body, idempotencyKey: key });

/** A node of the tree of budgets, and its period. */
export type BudgetPath = { organisation: string; period: string } | { project: string; scope: string; scopeId: string; period: string };

const budgetPath = (path: BudgetPath) =>
  "organisation" in path ? `/organisations/${path.organisation}/budgets/${path.period}` : `/projects/${path.project}/budgets/${path.scope}/${path.scopeId}/${path.period}`;

export const putBudgetOn = (path: BudgetPath, body: T.PutBudget, key: string) => api<void>(budgetPath(path), { method: "PUT", json: body, idempotencyKey: key });

export const deleteBudget = (path: BudgetPath, key: string) => api<void>(budgetPath(path), { method: "DELETE", idempotencyKey: key });

export const addMember = (p: string, body: { email: string; role: string }, key: string) =>
  api<T.Member>(`/projects/${p}/members`, { method: "POST", json: body, idempotencyKey: key });

export const removeMember = (p: string, userId: string, key: string) =>
  api<void>(`/projects/${p}/members/${userId}`, { method: "DELETE", idempotencyKey: key });

export const sendMessage = (p: string, body: { content: T.Json; conversation_id: string }, key: string) =>
  api<T.Message>(`/projects/${p}/messages`, { method: "POST", json: body, idempotencyKey: key });

export const createGatewayKey = (p: string, body: T.GatewayKeySettings) =>
  api<T.MadeKey>(`/projects/${p}/gateway-keys`, { method: "POST", json: body });

export const replaceGatewayKey = (p: string, id: string, body: T.GatewayKeySettings) =>
  api<T.GatewayKey>(`/projects/${p}/gateway-keys/${id}`, { method: "PUT", json: body });

export const rotateGatewayKey = (p: string, id: string, body: T.RotateGatewayKey) =>
  api<T.MadeKey>(`/projects/${p}/gateway-keys/${id}/rotate`, { method: "POST", json: body });

export const revokeGatewayKey = (p: string, id: string) =>
  api<void>(`/projects/${p}/gateway-keys/${id}`, { method: "DELETE" });

/** These hold a key, so that no idempotency key goes with them: a digest of it would be kept. */
export const createModelProvider = (o: string, body: T.ModelProviderSettings) =>
  api<T.ModelProvider>(`/organisations/${o}/model-providers`, { method: "POST", json: body });

export const replaceModelProvider = (o: string, id: string, body: T.ModelProviderSettings) =>
  api<T.ModelProvider>(`/organisations/${o}/model-providers/${id}`, { method: "PUT", json: body });

export const replaceModelProviderKey = (o: string, id: string, key: string) =>
  api<T.ModelProvider>(`/organisations/${o}/model-providers/${id}/key`, { method: "PUT", json: { key } });

export const deleteModelProvider = (o: string, id: string) => api<void>(`/organisations/${o}/model-providers/${id}`, { method: "DELETE" });

export const putModelGroup = (o: string, name: string, body: T.ModelGroupSettings) =>
  api<T.ModelGroup>(`/organisations/${o}/model-groups/${encodeURIComponent(name)}`, { method: "PUT", json: body });

export const removeModelGroup = (o: string, name: string) => api<void>(`/organisations/${o}/model-groups/${encodeURIComponent(name)}`, { method: "DELETE" });

/** The answer is a stream of events; closing it stops the model. */
export const askPlayground = (p: string, body: T.Question, signal: AbortSignal) =>
  request(`/projects/${p}/gateway/playground`, { method: "POST", json: body, signal, stream: true, headers: { Accept: "text/event-stream" } });

export const redriveJob = (id: string, reason: string, key: string) =>
  api<void>(`/jobs/${id}/redrive`, { method: "POST", json: reason === "" ? {} : { reason }, idempotencyKey: key });

export const purgeJob = (id: string, reason: string, key: string) => api<void>(`/jobs/${id}/purge`, { method: "POST", json: { reason }, idempotencyKey: key });

export const cancelJob = (id: string, reason: string, key: string) =>
  api<T.CancelledJob>(`/jobs/${id}/cancel`, { method: "POST", json: { reason }, idempotencyKey: key });
