//! A story with an agent at work on it, brought to where a test begins by the same commands that the engine gives;
//! only the model's answers are made up.

use crate::support::TestApp;
use serde_json::{Value, json};
use std::{path::Path, process::Command as Process};
use syndarix::{
    db::{Author, Uow},
    features::{
        approvals::{self, Question},
        workflow::{self, CreateStory},
    },
};
use syndarix_domain::{
    actor::Actor,
    approval::Subject,
    ids::{AgentId, ApprovalId, ProjectId, PullRequestId, RunId, StoryId},
    policy::{Action, Category},
    pull_request::{self, PullRequest},
    run::{self, Call, CallStatus, Outcome, Run, RunResult},
    stage::StageName,
    story::{self, Change, Stage, StageOutput, Story},
};
use syndarix_forge::{BranchName, WorktreeTarget};
use uuid::Uuid;

/// What a run of these tests may use up.
pub const LIMITS: syndarix::features::agents::Limits = syndarix::features::agents::Limits {
    max_steps: 200,
    max_tokens: 2_000_000,
    max_cost_micro_usd: 5_000_000,
    max_seconds: 3_600,
};

/// A story, who works on it, and the run.
pub struct Scene<'t> {
    pub test: &'t TestApp,
    pub token: String,
    pub project: ProjectId,
    pub agent: AgentId,
    pub story: StoryId,
    pub run: RunId,
}

/// A question that a run waits for.
pub struct Asked {
    pub id: ApprovalId,
    pub path: String,
    pub digest: String,
}

impl<'t> Scene<'t> {
    /// Maria's project with a story that an analyst begins to work on.
    pub async fn analysis(test: &'t TestApp) -> Self {
        let token = test.user("maria").await;
        let project = ProjectId(test.project(&token).await.parse().unwrap());
        Self::in_project(test, token, project).await
    }

    /// The same in a project that is there already.
    pub async fn in_project(test: &'t TestApp, token: String, project: ProjectId) -> Self {
        let app = &test.app;
        let wish = CreateStory {
            title: "Export as CSV".into(),
            description: "One button.".into(),
            points: None,
            sprint_id: None,
        };
        let story = workflow::write(app, Author::system(), project, &wish).await.unwrap();
        workflow::command(app, Author::system(), project, story.0, &story::Command::Start).await.unwrap();
        // The scene starts the runs itself.
        sqlx::query("delete from job where kind = 'stage.work'").execute(app.pool()).await.unwrap();
        let agent = AgentId(hire(test, project, "analyst").await);
        let mut scene = Self { test, token, project, agent, story, run: RunId(Uuid::nil()) };
        scene.begin_run(StageName::Analysis).await;
        scene
    }

    pub fn uow(&self) -> Uow {
        self.test.app.store.begin(Author::of(Actor::Agent(self.agent)))
    }

    /// An agent begins to work on the stage that the story is in.
    pub async fn begin_run(&mut self, stage: StageName) {
        let mut uow = self.uow();
        self.run = RunId(uow.new_id());
        let limits = LIMITS.for_run();
        let new = run::New {
            id: self.run,
            project: self.project,
            agent: self.agent,
            story: self.story,
            stage,
            limits,
        };
        uow.create::<Run>(self.project, self.run, &run::Command::Start(new)).await.unwrap();
        let begin = story::Command::BeginRun { run: self.run, stage };
        uow.execute::<Story>(self.project, self.story, &begin).await.unwrap();
        sqlx::query(
            "update agent set status = 'active', current_run_id = $2, current_task = 'work' where id = $1",
        )
        .bind(self.agent.0)
        .bind(self.run.0)
        .execute(uow.conn().await.unwrap())
        .await
        .unwrap();
        uow.commit().await.unwrap();
        self.forget_jobs().await;
    }

    /// Nobody works on the run but the test.
    pub async fn forget_jobs(&self) {
        sqlx::query("delete from job where concurrency_key = $1")
            .bind(format!("run:{}", self.run))
            .execute(self.test.app.pool())
            .await
            .unwrap();
    }

    /// The run's next step is due.
    pub async fn due(&self) {
        let payload = json!({ "run": self.run });
        let job = syndarix_jobs::NewJob::new("agent", "run.advance", payload)
            .for_project(self.project.0)
            .one_at_a_time(format!("run:{}", self.run));
        let mut conn = self.test.app.pool().acquire().await.unwrap();
        syndarix_jobs::enqueue(&mut conn, &job).await.unwrap();
    }

    /// The model asked for this tool; the call's intent is recorded.
    pub async fn call(&self, tool: &str) {
        let mut uow = self.uow();
        let state: Run = uow.load(self.project, self.run).await.unwrap();
        let step = state.steps + 1;
        uow.execute::<Run>(self.project, self.run, &run::Command::BeginModelCall).await.unwrap();
        let call = Call {
            id: format!("call-{step}"),
            tool: tool.into(),
            digest: format!("{tool} {step}"),
            step: None,
            status: CallStatus::Pending,
        };
        let id = call.id.clone();
        let finish = run::Command::FinishModelCall { step, calls: vec![call], usage: run::Usage::default() };
        uow.execute::<Run>(self.project, self.run, &finish).await.unwrap();
        let begin = run::Command::BeginToolCall { call: id.clone() };
        uow.execute::<Run>(self.project, self.run, &begin).await.unwrap();
        let rows = [(step, "model", "default", None, "done"), (step + 1, "tool", tool, Some(id), "started")];
        for (number, kind, name, call, status) in rows {
            sqlx::query(
                "insert into step (id, project_id, run_id, number, kind, name, call_id, status, fence, request, request_hash, result, started_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, 0, '{}', '', case when $8 = 'done' then '{}'::jsonb end, $9)",
            )
            .bind(Uuid::now_v7())
            .bind(self.project.0)
            .bind(self.run.0)
            .bind(i32::try_from(number).unwrap())
            .bind(kind)
            .bind(name)
            .bind(call)
            .bind(status)
            .bind(self.test.clock.now())
            .execute(uow.conn().await.unwrap())
            .await
            .unwrap();
        }
        uow.commit().await.unwrap();
        self.forget_jobs().await;
    }

    /// The run offers a result, and a human is asked about it.
    pub async fn offer(&self, action: Action, outcome: Outcome, arguments: Value) -> Asked {
        self.call("complete_task").await;
        let mut uow = self.uow();
        let state: Run = uow.load(self.project, self.run).await.unwrap();
        let story: Story = uow.load(self.project, self.story).await.unwrap();
        let id = ApprovalId(uow.new_id());
        let question = Question {
            subject: Subject::Run { run: self.run },
            action,
            category: Category::Critical,
            rule: format!("{}: a person decides at autonomy level milestone", action.title()),
            title: format!("Agree to {}", action.title()),
            summary: "It is done.".into(),
            story: Some(self.story),
            pull_request: story.change.map(|change| change.pull_request),
            arguments,
            editable: matches!(action, Action::StoryRequirements | Action::ArchitectureDecision),
            confidence: Some(91),
            alternatives: Vec::new(),
        };
        let asked = approvals::ask(&mut uow, self.project, id, question).await.unwrap();
        let result = RunResult { summary: "It is done.".into(), confidence: 91, outcome };
        let call = format!("call-{}", state.steps - 1);
        let complete = run::Command::Complete { call, result, gate: Some(id) };
        uow.execute::<Run>(self.project, self.run, &complete).await.unwrap();
        uow.commit().await.unwrap();
        let path = format!("/api/v1/projects/{}/approvals/{id}", self.project);
        Asked { id, path, digest: asked.request.digest }
    }

    /// The analyst offers one acceptance criterion.
    pub async fn offer_requirements(&self) -> Asked {
        let acceptance = vec!["A button downloads a CSV file".to_owned()];
        let arguments = json!({ "acceptance_criteria": acceptance });
        self.offer(Action::StoryRequirements, Outcome::Requirements { acceptance }, arguments).await
    }

    /// The run asks what it cannot find out.
    pub async fn ask_for_knowledge(&self, question: &str) -> Asked {
        let mut uow = self.uow();
        uow.execute::<Run>(self.project, self.run, &run::Command::BeginModelCall).await.unwrap();
        let call = Call {
            id: "ask".into(),
            tool: "request_input".into(),
            digest: "ask".into(),
            step: None,
            status: CallStatus::Pending,
        };
        let finish =
            run::Command::FinishModelCall { step: 1, calls: vec![call], usage: run::Usage::default() };
        uow.execute::<Run>(self.project, self.run, &finish).await.unwrap();
        let id = ApprovalId(uow.new_id());
        let question = Question {
            subject: Subject::Run { run: self.run },
            action: Action::HumanInput,
            category: Category::Expertise,
            rule: "an agent asks for what it cannot find out".into(),
            title: question.into(),
            summary: question.into(),
            story: Some(self.story),
            pull_request: None,
            arguments: json!({ "question": question }),
            editable: false,
            confidence: None,
            alternatives: Vec::new(),
        };
        let asked = approvals::ask(&mut uow, self.project, id, question).await.unwrap();
        let ask = run::Command::AskHuman { call: "ask".into(), approval: id, expertise: true };
        uow.execute::<Run>(self.project, self.run, &ask).await.unwrap();
        uow.commit().await.unwrap();
        let path = format!("/api/v1/projects/{}/approvals/{id}", self.project);
        Asked { id, path, digest: asked.request.digest }
    }

    /// Analysis and design went by, and the engineer's pull request with one real commit is under review.
    pub async fn reach_review(&mut self) -> PullRequestId {
        self.finish(StageOutput::Analysis { acceptance: vec!["It exports".into()] }).await;
        self.begin_run(StageName::Design).await;
        self.finish(StageOutput::Design { decision: "One module".into() }).await;
        self.begin_run(StageName::Implementation).await;
        let head = commit(self.test, self.project, "feature", "export.csv", "a;b\n").await;
        let mut uow = self.uow();
        let id = PullRequestId(uow.new_id());
        let new = pull_request::New {
            id,
            project: self.project,
            story: Some(self.story),
            number: 1,
            title: "Export as CSV".into(),
            body: String::new(),
            head_branch: "feature".into(),
            base_branch: "main".into(),
            head,
        };
        uow.create::<PullRequest>(self.project, id, &pull_request::Command::Submit(new)).await.unwrap();
        let change = Change { pull_request: id, branch: "feature".into() };
        let open = story::Command::OpenPullRequest(change);
        uow.execute::<Story>(self.project, self.story, &open).await.unwrap();
        uow.commit().await.unwrap();
        self.finish(StageOutput::Implementation).await;
        self.begin_run(StageName::Review).await;
        id
    }

    /// The reviewer approves, and a human is asked about the merge.
    pub async fn offer_merge(&self, pr: PullRequestId) -> Asked {
        let pr = self.test.app.store.read::<PullRequest>(self.project, pr).await.unwrap().state;
        let arguments = json!({ "head": pr.head, "branch": pr.head_branch });
        self.offer(Action::PullRequestMerge, Outcome::Approved { head: pr.head }, arguments).await
    }

    async fn finish(&self, output: StageOutput) {
        let mut uow = self.uow();
        let finish = story::Command::FinishStage { run: self.run, output };
        uow.execute::<Story>(self.project, self.story, &finish).await.unwrap();
        uow.commit().await.unwrap();
        sqlx::query("delete from job where kind = 'stage.work'").execute(self.test.app.pool()).await.unwrap();
    }

    pub async fn run_state(&self) -> Run {
        self.test.app.store.read::<Run>(self.project, self.run).await.unwrap().state
    }

    pub async fn story_state(&self) -> Story {
        self.test.app.store.read::<Story>(self.project, self.story).await.unwrap().state
    }

    pub async fn in_stage(&self) -> Option<StageName> {
        match self.story_state().await.phase {
            story::Phase::Working { stage, .. } => Some(Stage::name(&stage)),
            _ => None,
        }
    }

    /// A model call of the run cost this.
    pub async fn spend(&self, cost: i64, simulated: bool) {
        sqlx::query(
            "insert into usage (id, project_id, story_id, run_id, agent_id, attempt, deployment, provider, model, state,
                                reserved_micro_usd, cost_micro_usd, tokens_in, tokens_out, simulated, fence, at)
             values ($1, $2, $3, $4, $5, 1, 'd', 'p', 'm', 'settled', $6, $6, 100, 10, $7, 0, $8)",
        )
        .bind(Uuid::now_v7())
        .bind(self.project.0)
        .bind(self.story.0)
        .bind(self.run.0)
        .bind(self.agent.0)
        .bind(cost)
        .bind(simulated)
        .bind(self.test.clock.now())
        .execute(self.test.app.pool())
        .await
        .unwrap();
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}{rest}", self.project)
    }

    /// Somebody with this role in the project.
    pub async fn member(&self, name: &str, role: &str) -> String {
        let token = self.test.user(name).await;
        let body = json!({ "email": format!("{name}@example.org"), "role": role });
        let (status, answer) = self.test.post(&self.path("/members"), &self.token, body).await;
        assert!(status.is_success(), "{status} {answer}");
        token
    }
}

/// An agent of this role; its type is made on the way.
pub async fn hire(test: &TestApp, project: ProjectId, role: &str) -> Uuid {
    let (kind, agent, now) = (Uuid::now_v7(), Uuid::now_v7(), test.clock.now());
    let definition = json!({
        "name": format!("The {role}"), "role": role, "model_group": "default", "system_prompt": "Work.", "capabilities": [],
    });
    sqlx::query(
        "insert into agent_type (id, organisation_id, name, role, version, updated_at)
         select $1, organisation_id, $3, $4, 1, $5 from project where id = $2",
    )
    .bind(kind)
    .bind(project.0)
    .bind(format!("The {role} {kind}"))
    .bind(role)
    .bind(now)
    .execute(test.app.pool())
    .await
    .unwrap();
    sqlx::query("insert into agent_type_version (agent_type_id, version, definition, created_at) values ($1, 1, $2, $3)")
        .bind(kind)
        .bind(definition)
        .bind(now)
        .execute(test.app.pool())
        .await
        .unwrap();
    sqlx::query(
        "insert into agent (id, project_id, agent_type_id, type_version, role, name, status, last_activity_at, created_at)
         values ($1, $2, $3, 1, $4, $5, 'idle', $6, $6)",
    )
    .bind(agent)
    .bind(project.0)
    .bind(kind)
    .bind(role)
    .bind(format!("Ada {agent}"))
    .bind(now)
    .execute(test.app.pool())
    .await
    .unwrap();
    agent
}

/// A commit on a branch off main, made with real git; its id.
pub async fn commit(test: &TestApp, project: ProjectId, branch: &str, file: &str, content: &str) -> String {
    let forge = &test.app.forge;
    let name = BranchName::new(branch).unwrap();
    if forge.head(project.0, &name).await.unwrap().is_none() {
        let base = forge.info(project.0).await.unwrap().head;
        forge.create_branch(project.0, &name, &base).await.unwrap();
    }
    let run = Uuid::now_v7();
    let target = WorktreeTarget::Branch(name.clone());
    let worktree = forge.add_worktree(project.0, run, &target).await.unwrap();
    std::fs::write(worktree.path.join(file), content).unwrap();
    git(&worktree.path, &["add", "-A"]);
    git(
        &worktree.path,
        &["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-q", "-m", "Change it"],
    );
    forge.remove_worktree(project.0, run).await.unwrap();
    forge.head(project.0, &name).await.unwrap().unwrap().to_string()
}

fn git(dir: &Path, args: &[&str]) {
    let done = Process::new("git").current_dir(dir).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
