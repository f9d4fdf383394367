import type { components } from "./schema";

/**
 * The wire types of `/api/v1`: names for what `schema.ts` holds, which is generated from the API
 * document. Written here is only what the document does not say: the words that a plain string may
 * be, and what the event stream carries.
 *
 * Times are RFC 3339 UTC, money is integer micro-USD, ids are UUID strings. Simulated spend always
 * has its own field and is never added to real spend.
 */

type Schema = components["schemas"];

/** A type of the document with narrower members: they must be among its own, and fit them. */
type Narrow<T, N extends { [K in keyof N]: K extends keyof T ? T[K] : never }> = Omit<T, keyof N> & N;

export type Id = string;
export type Timestamp = string;
export type MicroUsd = number;
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export type User = Schema["UserView"];
export type Session = Schema["SessionView"];
export type Membership = Schema["MembershipView"];
export type Me = Schema["Me"];
export type SystemInfo = Schema["System"];

export type Autonomy = "full_control" | "milestone" | "autonomous";

/** Simulated spend counts against the limit, and is never shown as real money. */
export type Budget = Schema["Budget"];
export type BudgetNode = Schema["BudgetNode"];
export type PutBudget = Schema["PutBudget"];
export type BudgetChange = Schema["SetBudget"];

export type Repository = Narrow<Schema["RepositoryView"], { state: "importing" | "ready" | "failed" }>;
export type Project = Narrow<Schema["ProjectView"], { autonomy: Autonomy; repository: Repository }>;
export type NewProject = Schema["CreateProject"];
export type ProjectChange = Schema["ChangeProject"];

export type Member = Schema["MemberView"];

export type PolicyAnswer = Schema["AnswerView"];
export type PolicyRow = Schema["RowView"];
/** As it is read. It is written with the same rows. */
export interface Policy {
  rows: PolicyRow[];
  threshold: number;
}

export type SprintState = "planning" | "active" | "review" | "done" | "cancelled";
export type Sprint = Narrow<Schema["Sprint"], { state: SprintState }>;
export type NewSprint = Schema["CreateSprint"];

export type WorkPhase = "analysis" | "design" | "implementation" | "review" | "testing" | "done";
export type Phase = WorkPhase | "blocked" | "cancelled";

export type Owner = Narrow<Schema["Owner"], { kind: "agent" | "human" | "none" }>;
export type Story = Narrow<Schema["Story"], { phase: Phase; blocked_from?: WorkPhase | null; owner: Owner }>;
export type NewStory = Schema["CreateStory"];

export type Actor = Schema["Author"];
export type HistoryItem = Schema["HistoryItem"];

export type FileDiff = Narrow<Schema["DiffFile"], { status: "added" | "modified" | "deleted" | "renamed" }>;
export type Diff = Narrow<Schema["Diff"], { files: FileDiff[] }>;
export type TestRun = Schema["TestRun"];
export type PullRequest = Schema["PullRequest"];

export type AgentLimits = Schema["Limits"];
export type AgentType = Schema["AgentType"];
export type Agent = Narrow<Schema["Agent"], { status: "idle" | "active" | "paused" | "terminated" }>;
export type NewAgent = Schema["SpawnAgent"];

export type RunState = "started" | "thinking" | "acting" | "waiting" | "succeeded" | "failed" | "stalled" | "cancelled";
export type Run = Narrow<Schema["Run"], { state: RunState }>;
export type Step = Narrow<
  Schema["Step"],
  { kind: "model" | "tool"; status: "started" | "done" | "failed" | "unknown" | "interrupted"; input: Json; output?: Json }
>;
export type RunDetail = Run & { steps: Step[] };
export interface TimelineItem {
  run: Run;
  steps: Step[];
}

export type Message = Narrow<Schema["Message"], { content: Json }>;
export type NewMessage = Schema["PostMessage"];

export type Outcome = "approved" | "approved_with_changes" | "changes_requested" | "rejected";
export type ApprovalState = "pending" | Outcome | "expired" | "cancelled" | "superseded";
export type Lane = "critical" | "milestone" | "routine";
export type Category = Lane | "uncertainty" | "expertise";

/** A remark on a line. Those of this browser always name a line and its side. */
export type LineComment = Narrow<Schema["LineRemark"], { line: number; side: "old" | "new" }>;
export type LineRemark = Narrow<Schema["LineRemark"], { side?: "old" | "new" }>;
export type Rule = Narrow<Schema["PolicyView"], { autonomy: Autonomy }>;

interface ApprovalWords {
  state: ApprovalState;
  lane: Lane;
  category: Category;
  policy: Rule;
  arguments: Json;
  comments: LineRemark[];
}
export type Approval = Narrow<Schema["Approval"], ApprovalWords>;
export type ApprovalDetail = Narrow<
  Schema["ApprovalDetail"],
  ApprovalWords & { payload: Json; diff?: Diff | null; run?: RunDetail | null; story?: Story | null }
>;
export type DecisionBody = Narrow<Schema["Decision"], { outcome: Outcome; comments?: LineComment[]; arguments?: Json }>;

/** An event of the stream: stored ones have an id and a number, ephemeral ones (`run.delta`) have neither. */
export interface EventEnvelope extends Partial<Pick<Schema["Event"], "id" | "subject" | "actor_id">>, Pick<Schema["Event"], "type" | "time" | "project_id"> {
  actor_type?: "agent" | "user" | "system";
  seq?: number | null;
  data: Record<string, Json>;
}

export type UsageRow = Schema["UsageRow"];
export type Usage = Schema["UsageSummary"];
export type MonthOutlook = Schema["MonthOutlook"];
export type OrganisationUsage = Schema["OrganisationUsage"];
export type UsageCall = Schema["UsageCall"];
export type CallWay = Schema["CallWay"];

export type GatewayHealth = Narrow<Schema["GatewayHealth"], { deployments: GatewayDeployment[] }>;
export type GatewayGroup = Schema["GatewayGroup"];
export type GatewayBreaker = Narrow<Schema["GatewayBreaker"], { state: "closed" | "open" | "half_open" }>;
export type GatewayDeployment = Narrow<Schema["GatewayDeployment"], { breaker: GatewayBreaker }>;
export type ModelProvider = Schema["ModelProvider"];
export type ModelProviderSettings = Schema["ModelProviderSettings"];
export type ModelDeployment = Schema["OrganisationDeployment"];
export type ModelGroup = Schema["OrganisationModelGroup"];
export type ModelGroupSettings = Schema["GroupSettings"];

export type GatewayKey = Schema["GatewayKey"];
export type GatewayKeySettings = Schema["KeySettings"];
export type MadeKey = Schema["MadeKey"];
export type RotateGatewayKey = Schema["RotateGatewayKey"];
export type Question = Schema["PlaygroundQuestion"];
export type AnswerEnd = Schema["PlaygroundEnd"];
export type AnswerAttempt = Schema["PlaygroundAttempt"];
/** The first event of an answer. */
export interface AnswerHead {
  call_id: Id;
  deployment: string;
  model: string;
  attempt: number;
  simulated: boolean;
  dropped: string[];
}

export type AuditEntry = Narrow<Schema["AuditEntry"], { data: Json }>;
export type AuditPage = Narrow<Schema["AuditPage"], { items: AuditEntry[] }>;
export type AuditVerdict = Schema["Verdict"];

export type Queue = Schema["Queue"];
export type Worker = Schema["Worker"];
export type Job = Narrow<Schema["Job"], { state: "ready" | "running" | "scheduled" | "dead" }>;
export type CancelledJob = Schema["CancelledJob"];
/** A page of jobs, with the queues and the workers of that moment. */
export type Jobs = Narrow<Schema["Jobs"], { items: Job[] }>;

export interface ProblemBody {
  type?: string;
  title?: string;
  status: number;
  code?: string;
  detail?: string;
  request_id?: string;
  errors?: { field: string; message: string; line?: number | null }[];
  [extra: string]: unknown;
}
