// Realistic data for development and for the screen tests: one organisation, three projects.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
const start = Date.now();
export const ago = (ms) => new Date(start - ms).toISOString();
export const ahead = (ms) => new Date(start + ms).toISOString();

let counter = 0;
export const id = (kind = 0) => `0192f${kind.toString(16)}00-0000-7000-8000-${(++counter).toString(16).padStart(12, "0")}`;

export const maria = { id: id(1), email: "maria@acme.example", name: "Maria Keller" };
export const tom = { id: id(1), email: "tom@acme.example", name: "Tom Brandt" };
export const organisation = { id: id(2), name: "Acme", role: "admin" };

const budget = (hard, spent, simulated) => ({ hard_limit_micro_usd: hard, soft_limit_micro_usd: hard && Math.round(hard * 0.8), spent_micro_usd: spent, reserved_micro_usd: 120_000, simulated_micro_usd: simulated });

const project = (name, extra) => ({
  id: id(3), organisation_id: organisation.id, name, role: "admin", autonomy: "milestone", confidence_threshold: 0.85, default_branch: "main", test_command: "cargo test --workspace", gateway_cache_seconds: null,
  repository: { state: "ready", detail: "imported 412 commits", location: "/srv/git/" + name.toLowerCase().replaceAll(" ", "-") },
  created_at: ago(40 * DAY), budget: budget(50_000_000, 12_480_000, 3_215_000), spent_micro_usd: 12_480_000, simulated_micro_usd: 3_215_000,
  counts: { stories_open: 6, approvals_pending: 4, agents: 5 }, ...extra,
});
export const projects = [
  project("Ledger"),
  project("Mobile app", { autonomy: "full_control", budget: budget(20_000_000, 17_900_000, 0), spent_micro_usd: 17_900_000, simulated_micro_usd: 0, test_command: "npm test", counts: { stories_open: 3, approvals_pending: 1, agents: 2 } }),
  project("Data pipeline", { autonomy: "autonomous", budget: null, spent_micro_usd: 0, simulated_micro_usd: 840_000, role: "viewer", counts: { stories_open: 0, approvals_pending: 0, agents: 0 } }),
];
const [ledger, mobile] = projects;

export const agentTypes = [
  ["Analyst", "product_owner"], ["Architect", "architect"], ["Engineer", "engineer"], ["Reviewer", "reviewer"], ["Tester", "qa"],
].map(([name, role]) => ({
  id: id(4), name, role, version: 3, model_group: role === "engineer" ? "strong" : "balanced", expertise: ["rust", "postgresql", "http"].slice(0, 2), personality: { style: "precise", tone: "friendly" },
  system_prompt: `You are the ${name.toLowerCase()} of a software team.\nYou act only through your tools, and you say what you are not sure of.`,
  capabilities: role === "engineer" ? ["git.write", "files.write", "knowledge.search"] : ["git.read", "knowledge.search"],
  limits: { max_steps: 60, max_tokens: 400_000, max_cost_micro_usd: 2_000_000, max_seconds: 3_600 }, is_active: true,
}));

export const agents = [["Ada", 2, "active"], ["Linus", 2, "idle"], ["Grace", 3, "active"], ["Margaret", 0, "paused"], ["Edsger", 4, "idle"]].map(([name, type, status]) => ({
  id: id(5), name, type: { id: agentTypes[type].id, name: agentTypes[type].name, role: agentTypes[type].role, version: 3 }, project_id: ledger.id, status,
  current_run_id: null, current_task: status === "active" ? "#12 Round amounts half to even" : null, spent_micro_usd: 2_310_000 + type * 400_000, simulated_micro_usd: type * 210_000, runs: 14 - type, last_activity_at: ago(type * 7 * MINUTE + 20_000),
}));

export const sprint = { id: id(6), project_id: ledger.id, name: "Sprint 7", goal: "Invoices are correct to the cent in every currency", starts_on: ago(5 * DAY).slice(0, 10), ends_on: ahead(6 * DAY).slice(0, 10), state: "active", version: 4, points_total: 21, points_done: 8, stories: 7 };
export const nextSprint = { ...sprint, id: id(6), name: "Sprint 8", goal: "Exports", state: "planning", version: 1, points_total: 0, points_done: 0, stories: 0, starts_on: ahead(7 * DAY).slice(0, 10), ends_on: ahead(20 * DAY).slice(0, 10) };

const story = (number, title, phase, extra = {}) => ({
  id: id(7), project_id: ledger.id, number, title, description: `As a bookkeeper I want this: ${title.toLowerCase()}.\n\nIt must hold for invoices, credit notes and reminders alike.`, points: 3, sprint_id: sprint.id,
  acceptance_criteria: ["Amounts are never floats", "Rounding is half to even at the last step only", "The old API keeps its answers"], phase, version: 6, waiting_for: "", owner: { kind: "none" }, run_id: null, round: 1,
  deadline: ahead(2 * DAY), started: true, created_at: ago(3 * DAY), updated_at: ago(14 * MINUTE), cost_micro_usd: 812_000, simulated_micro_usd: 96_000, branch: `story/${number}`, ...extra,
});
export const stories = [
  story(12, "Round amounts half to even", "review", { waiting_for: "Waiting for Maria's approval of PR 4 since 14:02.", owner: { kind: "agent", id: agents[2].id, name: "Grace" } }),
  story(13, "Show the tax rate on every line", "implementation", { waiting_for: "Ada is writing the change (step 9).", owner: { kind: "agent", id: agents[0].id, name: "Ada" }, points: 5, round: 2 }),
  story(14, "Import bank statements (CAMT.053)", "analysis", { waiting_for: "Waiting for Maria's approval of the requirements since 13:10.", owner: { kind: "agent", id: agents[3].id, name: "Margaret" }, points: 8, cost_micro_usd: 143_000, simulated_micro_usd: 0 }),
  story(15, "Ledger entries are append-only", "design", { waiting_for: "Margaret compares two designs (step 4).", owner: { kind: "agent", id: agents[3].id, name: "Margaret" } }),
  story(9, "Credit notes refer to their invoice", "done", { waiting_for: "", points: 5, merge_commit: "4be9c1f7aa0912", updated_at: ago(DAY), cost_micro_usd: 2_450_000 }),
  story(10, "Currency of a customer is fixed", "testing", { waiting_for: "Tests are running: cargo test --workspace.", owner: { kind: "agent", id: agents[4].id, name: "Edsger" } }),
  story(11, "Send reminders by e-mail", "blocked", { blocked_from: "implementation", blocked_reason: "The SMTP account is not there yet.", waiting_for: "Blocked by Tom since yesterday.", updated_at: ago(2 * DAY), deadline: ago(3 * HOUR) }),
  story(16, "Export to DATEV", "analysis", { started: false, waiting_for: "Not started.", run_id: null, deadline: null, branch: null, cost_micro_usd: 0, simulated_micro_usd: 0 }),
];

const PATCH_MONEY = `diff --git a/src/money.rs b/src/money.rs
index 3f2a1bc..9d0e4f1 100644
--- a/src/money.rs
+++ b/src/money.rs
@@ -1,16 +1,22 @@
 //! Amounts in integer minor units.
 
 use crate::currency::Currency;
 
 #[derive(Debug, Clone, Copy, PartialEq, Eq)]
 pub struct Money {
     pub minor: i64,
     pub currency: Currency,
 }
 
 impl Money {
-    /// Rounds half up.
-    pub fn scale(self, numerator: i64, denominator: i64) -> Self {
-        let minor = (self.minor * numerator + denominator / 2) / denominator;
-        Self { minor, ..self }
+    /// Scales by a fraction and rounds half to even, once, at the end.
+    pub fn scale(self, numerator: i64, denominator: i64) -> Option<Self> {
+        let product = i128::from(self.minor) * i128::from(numerator);
+        let quotient = product.div_euclid(i128::from(denominator));
+        let twice = product.rem_euclid(i128::from(denominator)) * 2;
+        let up = match twice.cmp(&i128::from(denominator)) {
+            Ordering::Greater => true,
+            Ordering::Equal => quotient % 2 != 0,
+            Ordering::Less => false,
+        };
+        let minor = i64::try_from(quotient + i128::from(up)).ok()?;
+        Some(Self { minor, ..self })
     }
 }
`;
const PATCH_TEST = `@@ -0,0 +1,14 @@
+//! Amounts round like a bank does.
+
+use ledger::money::{Currency, Money};
+
+#[test]
+fn a_half_cent_goes_to_the_even_neighbour() {
+    let half = Money { minor: 5, currency: Currency::Eur };
+    assert_eq!(half.scale(1, 2).unwrap().minor, 2);
+}
+
+#[test]
+fn an_overflow_is_an_answer_not_a_panic() {
+    assert!(Money { minor: i64::MAX, currency: Currency::Eur }.scale(3, 1).is_none());
+}
`;
const PATCH_INVOICE = `--- a/src/invoice/total.rs
+++ b/src/invoice/total.rs
@@ -31,8 +31,10 @@ impl Invoice {
     /// The total including tax.
     pub fn total(&self) -> Result<Money, TotalError> {
         let net = self.lines.iter().try_fold(Money::zero(self.currency), |sum, line| sum.add(line.net()))?;
-        let tax = net.scale(self.tax.numerator, self.tax.denominator);
-        net.add(tax)
+        let tax = net
+            .scale(self.tax.numerator, self.tax.denominator)
+            .ok_or(TotalError::Overflow)?;
+        net.add(tax).map_err(TotalError::from)
     }
 }
 
`;
export const diff = {
  base: "1f0c2d9a", head: "9d0e4f1b22", base_branch: "main", head_branch: "story/12-round-half-even", additions: 30, deletions: 7,
  files: [
    { path: "src/money.rs", old_path: null, status: "modified", additions: 12, deletions: 5, binary: false, patch: PATCH_MONEY, truncated: false },
    { path: "src/invoice/total.rs", old_path: null, status: "modified", additions: 4, deletions: 2, binary: false, patch: PATCH_INVOICE, truncated: false },
    { path: "tests/rounding.rs", old_path: null, status: "added", additions: 14, deletions: 0, binary: false, patch: PATCH_TEST, truncated: false },
  ],
};

let stepNumber = 0;
const step = (name, kind, extra = {}) => {
  stepNumber += 1;
  const at = 24 * MINUTE - stepNumber * 50_000;
  return { id: id(9), number: stepNumber, kind, name, server: kind === "tool" ? "git" : null, status: "done", started_at: ago(at), ended_at: ago(at - 22_000), duration_ms: kind === "model" ? 18_400 : 240, attempt: 1, cost_micro_usd: kind === "model" ? 41_200 : 0, simulated: false, tokens_in: kind === "model" ? 11_800 : null, tokens_out: kind === "model" ? 920 : null, input: { path: "src/money.rs" }, output: { ok: true }, ...extra };
};
export const engineerSteps = [
  step("balanced/large-2", "model", { target: "Plan: where is rounding done today?", input: { messages: 3 }, output: "I will search for every use of `scale` first." }),
  step("knowledge.search", "tool", { server: "knowledge", target: "“scale(” in src/", duration_ms: 84 }),
  step("files.read", "tool", { target: "src/money.rs", duration_ms: 6 }),
  step("balanced/large-2", "model", { target: "Write the change", output: "The rounding must happen once, at the end." }),
  step("files.write", "tool", { target: "src/money.rs", additions: 12, deletions: 5 }),
  step("files.write", "tool", { target: "tests/rounding.rs", additions: 14, deletions: 0 }),
  step("run.tests", "tool", { target: "cargo test -p ledger rounding", status: "failed", attempt: 1, duration_ms: 21_300, error: "error[E0433]: failed to resolve: use of undeclared type `Ordering`", output: "error[E0433]: failed to resolve: use of undeclared type `Ordering`\n  --> src/money.rs:18:13" }),
  step("balanced/large-2", "model", { target: "Fix the missing import", simulated: true }),
  step("files.write", "tool", { target: "src/money.rs", additions: 1, deletions: 0 }),
  step("run.tests", "tool", { target: "cargo test -p ledger rounding", attempt: 2, duration_ms: 19_900, output: "test result: ok. 2 passed" }),
  step("git.commit", "tool", { target: "Round half to even, once" }),
];
const run = (stage, agent, state, extra = {}) => ({
  id: id(8), story_id: stories[0].id, agent: { id: agents[agent].id, name: agents[agent].name, role: agents[agent].type.role }, stage, state, started_at: ago(24 * MINUTE), ended_at: state === "succeeded" ? ago(12 * MINUTE) : null, steps_count: 11, tokens_in: 48_200, tokens_out: 3_910,
  cost_micro_usd: 164_800, simulated_micro_usd: 41_200, confidence: 0.91, summary: null, reason: null, waiting: null, limits: agentTypes[2].limits, version: 14, ...extra,
});
export const runs = [
  run("analysis", 3, "succeeded", { started_at: ago(50 * MINUTE), ended_at: ago(46 * MINUTE), steps_count: 2, summary: "Three acceptance criteria; approved by Maria." }),
  run("implementation", 0, "succeeded", { summary: "Rounds once, at the end, half to even. Overflow is an answer, not a panic." }),
  run("review", 2, "waiting", { started_at: ago(11 * MINUTE), steps_count: 2, waiting: { on: "approval", detail: "a human's decision", owner: "approver", owner_name: null, since: ago(11 * MINUTE), deadline: ahead(2 * DAY), job: null }, confidence: 0.78 }),
  run("implementation", 1, "stalled", { story_id: stories[1].id, started_at: ago(2 * HOUR), ended_at: ago(90 * MINUTE), reason: "The same tool was called with the same arguments 5 times: files.read src/tax.rs" }),
];
stories[0].run_id = runs[2].id;
/** A run whose job is in back-off. */
runs.push(run("analysis", 3, "thinking", { story_id: stories[2].id, started_at: ago(4 * MINUTE), ended_at: null, steps_count: 1, waiting: { on: "retry", detail: "the connection to the provider was reset", approval_id: null, owner: "syndarix", owner_name: null, since: null, deadline: ahead(40_000), job: { id: "907", queue: "agent", polled: true, attempts: 3, attempts_left: 9, next_retry_at: ahead(40_000), last_error: "the connection to the provider was reset" } } }));
agents[0].current_run_id = runs[1].id;
export const stepsOf = new Map([
  [runs[0].id, [step("balanced/large-2", "model", { target: "Read the story" }), step("story.write_criteria", "tool", { target: "3 criteria" })]],
  [runs[1].id, engineerSteps],
  [runs[2].id, [step("git.diff", "tool", { target: "main...story/12" }), step("balanced/large-2", "model", { target: "Review the diff", output: "Correct. One doubt: `rem_euclid` for negative denominators." })]],
  [runs[3].id, [1, 2, 3].map(() => step("files.read", "tool", { target: "src/tax.rs" }))],
]);

const consequences = {
  approve: "PR 4 is merged into main by the merge queue, then the tests run.",
  request_changes: "Your comments go to Ada, who changes the branch and asks again.",
  reject: "The pull request is closed and the story is blocked until someone decides.",
};
const approval = (extra) => ({
  id: id(10), project_id: ledger.id, project_name: ledger.name, category: "milestone", lane: "milestone", action: "pull_request_merge", title: "Merge PR 4: Round amounts half to even",
  summary: "Amounts are now rounded once, at the end, half to even. Overflow returns None instead of wrapping. Two tests were added; the reviewer agent found no fault and one doubt (negative denominators).",
  requested_by: { type: "agent", id: agents[2].id, name: "Grace" }, story_id: stories[0].id, pull_request_id: id(11), run_id: runs[2].id, state: "pending", digest: "sha256:7c1e5b90aa41", arguments: { pull_request: 4, strategy: "merge" }, arguments_editable: false,
  policy: { autonomy: "milestone", rule: "“Pull request merge” asks a person at the autonomy level Milestone." }, consequences, confidence: 0.91, alternatives: ["Keep rounding half up and document it", "Round per line, as the old system did"],
  cost_micro_usd: 812_000, simulated_micro_usd: 96_000, budget: ledger.budget, requested_at: ago(24 * MINUTE), remind_at: ahead(2 * HOUR), expires_at: ahead(2 * DAY), decided: null, comments: [], ...extra,
});
export const approvals = [
  approval({}),
  approval({ category: "critical", lane: "critical", action: "story_requirements", title: "Requirements: Import bank statements (CAMT.053)", summary: "Statements are read from uploaded files only; no bank connection. Duplicates are recognised by account, date and reference.", story_id: stories[2].id, pull_request_id: null, run_id: null, requested_by: { type: "agent", id: agents[3].id, name: "Margaret" }, confidence: 0.88, digest: "sha256:19ab", requested_at: ago(75 * MINUTE), expires_at: ahead(5 * HOUR), cost_micro_usd: 143_000, simulated_micro_usd: 0, arguments: {}, consequences: { approve: "The design starts with these criteria.", request_changes: "Margaret rewrites the requirements with your note.", reject: "The story is blocked." }, policy: { autonomy: "milestone", rule: "“Requirements of a story” asks a person at every autonomy level." }, payload: { acceptance_criteria: ["A CAMT.053 file of 10 MB is read in under 5 s", "A file that was imported before changes nothing", "Unknown currencies are refused with the line number"], out_of_scope: "Bank connections (EBICS)" } }),
  approval({ category: "uncertainty", lane: "routine", action: "tool_write", title: "Run a command outside the worktree", summary: "Ada wants to read the schema of the staging database.", story_id: stories[1].id, pull_request_id: null, requested_by: { type: "agent", id: agents[0].id, name: "Ada" }, confidence: 0.62, digest: "sha256:5551", requested_at: ago(9 * MINUTE), expires_at: ahead(3 * HOUR), arguments: { command: "pg_dump --schema-only staging", timeout_seconds: 60 }, arguments_editable: true, payload: { command: "pg_dump --schema-only staging", reads: "staging", writes: null }, consequences: { approve: "The command runs once, with these arguments.", request_changes: "Ada looks for another way.", reject: "The step fails and Ada is told why." }, policy: { autonomy: "milestone", rule: "The agent's confidence (62 %) is below this project's threshold (85 %)." }, run_id: runs[1].id }),
  approval({ category: "routine", lane: "routine", action: "agent_spawn", title: "Spawn a second engineer", summary: "Two stories wait for an engineer.", story_id: null, pull_request_id: null, run_id: null, requested_by: { type: "system", name: "Orchestrator" }, confidence: null, digest: "sha256:77", requested_at: ago(3 * MINUTE), expires_at: null, arguments: { agent_type: "Engineer" }, cost_micro_usd: 0, simulated_micro_usd: 0, alternatives: [], consequences: { approve: "An agent of type Engineer v3 is spawned.", request_changes: "The orchestrator asks again with your note.", reject: "The stories wait for the first engineer." }, policy: { autonomy: "full_control", rule: "“Agent spawn” asks a person at the autonomy level Full control." }, project_id: mobile.id, project_name: mobile.name, budget: mobile.budget }),
  approval({ category: "routine", lane: "routine", action: "tool_write", title: "Write a comment on issue 31", summary: "“Fixed by PR 3; will be in the next release.”", story_id: stories[4].id, pull_request_id: null, run_id: null, requested_by: { type: "agent", id: agents[2].id, name: "Grace" }, confidence: 0.97, digest: "sha256:78", requested_at: ago(2 * MINUTE), expires_at: null, arguments: { issue: 31, body: "Fixed by PR 3; will be in the next release." }, arguments_editable: true, alternatives: [] }),
  approval({ category: "expertise", lane: "milestone", action: "human_input", title: "Which rounding does the tax office expect?", summary: "Which rounding does the tax office expect for reverse-charge invoices? The law names none, and the repository has both.", story_id: stories[1].id, pull_request_id: null, run_id: runs[1].id, requested_by: { type: "agent", id: agents[0].id, name: "Ada" }, confidence: null, digest: "sha256:79", requested_at: ago(MINUTE), expires_at: ahead(DAY), arguments: { question: "Which rounding does the tax office expect for reverse-charge invoices?" }, alternatives: [], policy: { autonomy: "milestone", rule: "an agent asks for what it cannot find out" }, consequences: { approve: "Ada goes on with your note as the answer.", request_changes: "Ada gets your note as the answer and goes on with it.", reject: "Ada is told that you will not answer, and goes on without it." } }),
];
stories[0].approval_id = approvals[0].id;
stories[0].pull_request_id = approvals[0].pull_request_id;
stories[2].approval_id = approvals[1].id;
runs[2].waiting.approval_id = approvals[0].id;

export const pullRequest = { id: approvals[0].pull_request_id, number: 4, project_id: ledger.id, story_id: stories[0].id, title: "Round amounts half to even", body: "See #12.", state: "reviewing", head_branch: diff.head_branch, base_branch: "main", head_commit: diff.head, version: 3, comments: [{ author: { type: "agent", name: "Grace" }, body: "Is the denominator ever negative here?", path: "src/money.rs", line: 15, side: "new", at: ago(13 * MINUTE) }], created_at: ago(20 * MINUTE) };

export const policy = {
  threshold: 0.85,
  rows: [
    ["story.requirements", "Requirements of a story", "critical", "ask", "ask", "ask"], ["architecture.decision", "Architecture decision", "critical", "ask", "ask", "ask"],
    ["sprint.boundary", "Sprint start and completion", "milestone", "ask", "ask", "auto"], ["story.stage", "Story stage work, agent spawn", "routine", "ask", "auto", "auto"],
    ["tool.outside_write", "Tool call that writes outside the worktree", "routine", "ask", "auto", "auto"], ["pull_request.merge", "Pull request merge", "milestone", "ask", "ask", "auto"],
    ["deployment", "Deployment, deleting data, raising a budget, new outside host", "critical", "ask", "ask", "ask"],
  ].map(([action, title, category, full_control, milestone, autonomous]) => ({ action, title, category, full_control, milestone, autonomous })),
};

export const members = [{ user_id: maria.id, email: maria.email, name: maria.name, role: "admin" }, { user_id: tom.id, email: tom.email, name: tom.name, role: "approver" }];

export const messages = [
  { id: id(12), type: "request", from: { type: "agent", id: agents[2].id, name: "Grace" }, to: { type: "agent", name: "Ada" }, routing: "direct", action: "review.question", priority: "normal", conversation_id: stories[0].id, content: "Is the denominator ever negative here?", at: ago(13 * MINUTE) },
  { id: id(12), type: "response", from: { type: "agent", id: agents[0].id, name: "Ada" }, to: { type: "agent", name: "Grace" }, routing: "direct", action: "review.answer", priority: "normal", conversation_id: stories[0].id, content: { text: "No: tax rates are built by `Rate::new`, which refuses it. I added a debug assertion." }, at: ago(12 * MINUTE) },
];

export const testRuns = [{ id: id(13), run_id: runs[1].id, commit: diff.head, command: "cargo test --workspace", passed: true, exit_code: 0, duration_ms: 48_200, isolation: "process", at: ago(12 * MINUTE), output: "running 128 tests\n...\ntest rounding::a_half_cent_goes_to_the_even_neighbour ... ok\ntest rounding::an_overflow_is_an_answer_not_a_panic ... ok\n\ntest result: ok. 128 passed; 0 failed" }];

export const workers = [
  { id: id(20), name: "syndarix-4711", started_at: ago(3 * HOUR), silent_seconds: 0.8, alive: true, running: 2, queues: ["agent", "git", "cicd", "index", "default"] },
  { id: id(20), name: "syndarix-4702", started_at: ago(2 * DAY), silent_seconds: 1_260, alive: false, running: 0, queues: null },
];
export const queues = [["agent", 1, 2, 3.2], ["cicd", 0, 0, null], ["default", 0, 0, null], ["git", 0, 0, null], ["index", 0, 0, null], ["sync", 3, 0, 754]].map(([queue, depth, running, oldest]) => ({
  queue, depth, oldest_age_seconds: oldest, running, scheduled: queue === "agent" ? 1 : 0, dead: queue === "sync" ? 3 : 0, workers: queue === "sync" ? 0 : 1,
}));
const job = (number, state, extra) => ({ id: String(number), queue: "agent", kind: "run.advance", state, project_id: ledger.id, attempts: 1, max_attempts: 12, run_at: ago(MINUTE), last_error: null, created_at: ago(MINUTE), died_at: null, worker_id: null, run_id: null, errors: [], may_settle: false, ...extra });
const dead = (number, kind, error, extra = {}) => job(number, "dead", { queue: "sync", kind, attempts: 8, max_attempts: 8, run_at: null, last_error: error, created_at: ago(3 * HOUR), died_at: ago(number % 50 * MINUTE), may_settle: true, errors: [6, 7, 8].map((attempt) => ({ attempt, at: ago((9 - attempt) * 12 * MINUTE), error: `${error} (attempt ${attempt})` })), ...extra });
export const jobs = [
  job(906, "running", { worker_id: workers[0].id, run_id: runs[1].id }),
  job(905, "running", { worker_id: workers[0].id, kind: "run.advance", attempts: 3, run_id: runs[2].id, created_at: ago(4 * MINUTE) }),
  dead(812, "issue.push", "connection refused by https://issues.example.com"),
  dead(807, "issue.push", "connection refused by https://issues.example.com"),
  dead(799, "issue.pull", "the answer is not JSON: unexpected end of input at line 1", { project_id: mobile.id, may_settle: false }),
];
