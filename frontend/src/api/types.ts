/**
 * The wire types of `/api/v1`, in one place.
 *
 * Times are RFC 3339 UTC, money is integer micro-USD, ids are UUID strings. Simulated spend always
 * has its own field and is never added to real spend.
 */

export type Id = string;
export type Timestamp = string;
export type MicroUsd = number;
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export interface User {
  id: Id;
  email: string;
  name: string;
}

export interface Session {
  access_token: string;
  token_type: string;
  expires_in: number;
  refresh_token?: string;
  user: User;
}

export interface Membership {
  id: Id;
  name: string;
  role: string;
}

export interface Me {
  user: User;
  organisations: Membership[];
  projects: Membership[];
}

export interface SystemInfo {
  version: string;
  instance: string;
  models: { group: string; deployments: { name: string; provider: string; model: string; simulated: boolean }[] }[];
  isolation: { level: string; detail: string };
  queues: { queue: string; depth: number; oldest_age_seconds: number | null; workers: number }[];
  database: "embedded" | "external";
  redis: boolean;
}

export type Autonomy = "full_control" | "milestone" | "autonomous";
export type Role = "admin" | "editor" | "approver" | "viewer";

/** Simulated spend counts against the limit, and is never shown as real money. */
export interface Budget {
  hard_limit_micro_usd: MicroUsd | null;
  soft_limit_micro_usd?: MicroUsd | null;
  spent_micro_usd: MicroUsd;
  reserved_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
}

export interface Project {
  id: Id;
  organisation_id: Id;
  name: string;
  role: string;
  autonomy: Autonomy;
  confidence_threshold: number;
  default_branch: string;
  test_command: string | null;
  repository: { state: "importing" | "ready" | "failed"; detail?: string | null; location?: string | null };
  created_at: Timestamp;
  budget: Budget | null;
  spent_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  counts: { stories_open: number; approvals_pending: number; agents: number };
}

export interface Member {
  user?: User;
  user_id?: Id;
  id?: Id;
  email?: string;
  name?: string;
  role: Role | string;
}

export type PolicyAnswer = "ask" | "auto";

export interface PolicyRow {
  action: string;
  title: string;
  category: string;
  full_control: PolicyAnswer;
  milestone: PolicyAnswer;
  autonomous: PolicyAnswer;
}

export interface Policy {
  rows: PolicyRow[];
  threshold: number;
}

export type SprintState = "planning" | "active" | "review" | "done" | "cancelled";

export interface Sprint {
  id: Id;
  project_id: Id;
  name: string;
  goal: string;
  starts_on: string | null;
  ends_on: string | null;
  state: SprintState;
  /** The open question about its start or completion. */
  approval_id?: Id | null;
  version: number;
  points_total: number;
  points_done: number;
  stories: number;
}

export type WorkPhase = "analysis" | "design" | "implementation" | "review" | "testing" | "done";
export type Phase = WorkPhase | "blocked" | "cancelled";

export interface Story {
  id: Id;
  project_id: Id;
  number: number;
  title: string;
  description: string;
  points: number | null;
  sprint_id: Id | null;
  acceptance_criteria: string[];
  /** What the design stage decided. */
  design?: string | null;
  phase: Phase;
  blocked_from?: WorkPhase | null;
  blocked_reason?: string | null;
  version: number;
  waiting_for: string;
  owner: { kind: "agent" | "human" | "none"; id?: Id | null; name?: string | null };
  run_id?: Id | null;
  pull_request_id?: Id | null;
  branch?: string | null;
  approval_id?: Id | null;
  round: number;
  deadline?: Timestamp | null;
  started: boolean;
  created_at: Timestamp;
  updated_at: Timestamp;
  cost_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  merge_commit?: string | null;
}

export interface Actor {
  type: "agent" | "user" | "system" | string;
  id?: Id | null;
  name?: string | null;
}

export interface HistoryItem {
  version: number;
  type: string;
  at: Timestamp;
  actor: Actor;
  data: Json;
  phase?: Phase | null;
}

export interface FileDiff {
  path: string;
  old_path?: string | null;
  status: "added" | "modified" | "deleted" | "renamed";
  additions: number;
  deletions: number;
  binary: boolean;
  patch: string;
  truncated: boolean;
}

export interface Diff {
  base: string;
  head: string;
  base_branch: string;
  head_branch: string;
  files: FileDiff[];
  additions: number;
  deletions: number;
  /** The change has more files than are shown. */
  truncated?: boolean;
}

export interface TestRun {
  id: Id;
  run_id?: Id | null;
  commit: string;
  command: string;
  passed: boolean;
  exit_code: number | null;
  duration_ms: number;
  output: string;
  isolation: string;
  at: Timestamp;
}

export interface Comment {
  author: Actor;
  body: string;
  path?: string | null;
  line?: number | null;
  side?: "old" | "new" | null;
  at: Timestamp;
}

export interface PullRequest {
  id: Id;
  number: number;
  project_id: Id;
  story_id?: Id | null;
  title: string;
  body: string;
  state: "submitted" | "reviewing" | "approved" | "changes_requested" | "merged" | "closed";
  head_branch: string;
  base_branch: string;
  head_commit: string;
  approved_commit?: string | null;
  merge_commit?: string | null;
  version: number;
  comments: Comment[];
  created_at: Timestamp;
}

export interface AgentLimits {
  max_steps?: number | null;
  max_tokens?: number | null;
  max_cost_micro_usd?: MicroUsd | null;
  max_seconds?: number | null;
}

export interface AgentType {
  id: Id;
  name: string;
  role: string;
  version: number;
  model_group: string;
  expertise: string[];
  personality: { style?: string; tone?: string };
  system_prompt: string;
  capabilities: string[];
  limits: AgentLimits;
  is_active: boolean;
}

export interface Agent {
  id: Id;
  name: string;
  type: { id: Id; name: string; role: string; version: number };
  project_id: Id;
  status: "idle" | "active" | "paused" | "terminated";
  current_run_id?: Id | null;
  current_task?: string | null;
  spent_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  runs: number;
  last_activity_at?: Timestamp | null;
}

export type RunState =
  | "started"
  | "thinking"
  | "acting"
  | "waiting"
  | "succeeded"
  | "failed"
  | "stalled"
  | "cancelled";

export interface Run {
  id: Id;
  story_id?: Id | null;
  agent: { id: Id; name: string; role: string };
  stage: WorkPhase | string;
  state: RunState;
  waiting?: { on: string; detail?: string; approval_id?: Id | null } | null;
  reason?: string | null;
  summary?: string | null;
  confidence?: number | null;
  started_at: Timestamp;
  ended_at?: Timestamp | null;
  steps_count: number;
  tokens_in: number;
  tokens_out: number;
  cost_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  limits?: AgentLimits | null;
  version: number;
}

export interface Step {
  id: Id;
  number: number;
  kind: "model" | "tool";
  name: string;
  server?: string | null;
  status: "started" | "done" | "failed" | "unknown" | "interrupted";
  started_at: Timestamp;
  ended_at?: Timestamp | null;
  duration_ms?: number | null;
  attempt: number;
  cost_micro_usd: MicroUsd;
  simulated: boolean;
  tokens_in?: number | null;
  tokens_out?: number | null;
  input?: Json;
  output?: Json;
  error?: string | null;
  target?: string | null;
  additions?: number | null;
  deletions?: number | null;
}

export type RunDetail = Run & { steps: Step[] };

export interface TimelineItem {
  run: Run;
  steps: Step[];
}

export interface Message {
  id: Id;
  type: string;
  from: Actor;
  to?: Actor | string | null;
  routing: string;
  action: string;
  priority: string;
  conversation_id?: Id | null;
  correlation_id?: Id | null;
  content: Json;
  at: Timestamp;
  delivered_at?: Timestamp | null;
}

export type ApprovalState =
  | "pending"
  | "approved"
  | "approved_with_changes"
  | "changes_requested"
  | "rejected"
  | "expired"
  | "cancelled"
  | "superseded";

export type Lane = "critical" | "milestone" | "routine";
export type Outcome = "approved" | "approved_with_changes" | "changes_requested" | "rejected";

export interface LineComment {
  path: string;
  line: number;
  side: "old" | "new";
  body: string;
}

export interface Approval {
  id: Id;
  project_id: Id;
  project_name: string;
  category: "critical" | "milestone" | "routine" | "uncertainty" | "expertise";
  lane: Lane;
  action: string;
  title: string;
  summary: string;
  requested_by: Actor;
  story_id?: Id | null;
  pull_request_id?: Id | null;
  run_id?: Id | null;
  state: ApprovalState;
  digest: string;
  arguments: Json;
  arguments_editable: boolean;
  policy: { autonomy: Autonomy; rule: string };
  consequences: { approve: string; request_changes: string; reject: string };
  confidence?: number | null;
  alternatives: string[];
  cost_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  budget?: Budget | null;
  requested_at: Timestamp;
  remind_at?: Timestamp | null;
  expires_at?: Timestamp | null;
  decided?: { by: { id: Id; name: string }; at: Timestamp; outcome: string; note?: string | null } | null;
  comments: LineComment[];
}

export interface ApprovalDetail extends Approval {
  payload?: Json;
  diff?: Diff | null;
  run?: (Run & { steps?: Step[] }) | null;
  story?: Story | null;
  timeline?: { at: Timestamp; type: string; actor?: Actor | null; text?: string | null }[] | null;
}

export interface DecisionBody {
  outcome: Outcome;
  digest: string;
  note?: string;
  comments?: LineComment[];
  arguments?: Json;
}

export interface EventEnvelope {
  id?: string;
  type: string;
  time: Timestamp;
  project_id: Id;
  actor_id?: Id | null;
  actor_type?: "agent" | "user" | "system";
  subject?: string | null;
  seq?: number | null;
  data: Record<string, Json>;
}

export interface UsageRow {
  key: string;
  label: string;
  cost_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  tokens_in: number;
  tokens_out: number;
  calls: number;
}

export interface Usage {
  total_micro_usd: MicroUsd;
  simulated_micro_usd: MicroUsd;
  tokens_in: number;
  tokens_out: number;
  rows: UsageRow[];
  budget?: Budget | null;
}

export interface UsageCall {
  id: Id;
  at: Timestamp;
  run_id?: Id | null;
  step_id?: Id | null;
  agent_name?: string | null;
  model: string;
  provider: string;
  attempt: number;
  tokens_in: number;
  tokens_out: number;
  cost_micro_usd: MicroUsd;
  latency_ms: number;
  estimated: boolean;
  simulated: boolean;
  outcome: string;
}

export interface AuditEntry {
  id: Id;
  position: number | null;
  time: Timestamp;
  type: string;
  category: string;
  severity: string;
  actor: Actor;
  action: string;
  data: Json;
  hash: string | null;
  previous_hash: string | null;
}

export interface AuditPage extends Page<AuditEntry> {
  chain: { position: number; hash: string; verified_at: Timestamp | null; sealed: number | boolean };
}

export interface AuditVerdict {
  ok: boolean;
  entries: number;
  first_bad?: { position: number; reason: string } | null;
}

export interface Job {
  id: Id;
  queue: string;
  state: string;
  kind?: string;
  project_id?: Id | null;
  error?: string | null;
  last_error?: string | null;
  attempts?: number;
}

export interface ProblemBody {
  type?: string;
  title?: string;
  status: number;
  code?: string;
  detail?: string;
  request_id?: string;
  errors?: { field: string; message: string }[];
  [extra: string]: unknown;
}
