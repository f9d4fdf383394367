//! Follows a story: a line for each step, until it is over.

use super::{Error, client::Client, setup::text};
use crate::{db, state::App};
use serde_json::json;
use sqlx::FromRow;
use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use syndarix_domain::{
    ids::{ApprovalId, ProjectId, StoryId},
    run::{self, Run, Wait},
    story::{Phase, Story, Work},
};
use syndarix_forge::LogQuery;
use uuid::Uuid;

/// Between two looks: a person sees no delay, the database does not notice.
const POLL: Duration = Duration::from_millis(200);
/// A database that is down longer than this ends the following, not the work.
const OUTAGE_LIMIT: Duration = Duration::from_secs(120);
/// Steps that are told in one look.
const STEPS: i64 = 50;
/// How far back the merge is looked for on the default branch, in commits.
const LOOK_BACK: u32 = 200;

/// Who answers approvals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// A human, in the UI or over the API.
    Human,
    /// The demonstration itself, as its user.
    Yes,
}

/// What to follow.
#[derive(Debug)]
pub struct Follow<'a> {
    /// Signed in as the demonstration's user.
    pub client: &'a Client,
    /// The project.
    pub project: Uuid,
    /// The story.
    pub story: Uuid,
    /// Who answers.
    pub answers: Answers,
    /// Where the UI is, for links.
    pub url: String,
    /// Gives up when nothing has happened for so long.
    pub patience: Option<Duration>,
}

#[derive(Debug, FromRow)]
struct Step {
    run_id: Uuid,
    number: i32,
    name: String,
    target: Option<String>,
    status: String,
    stage: String,
    agent: String,
    role: String,
    simulated: bool,
    error: Option<String>,
}

impl Step {
    fn line(&self) -> String {
        let target = self.target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
        let ended = match (self.status.as_str(), &self.error) {
            ("done", _) => String::new(),
            (status, Some(error)) => format!(" ({status}: {})", error.chars().take(160).collect::<String>()),
            (status, None) => format!(" ({status})"),
        };
        let simulated = if self.simulated { " [simulated model]" } else { "" };
        format!("  {} ({}): {}{target}{ended}{simulated}", self.agent, self.role, self.name)
    }
}

impl Follow<'_> {
    /// Tells what happens until the story is done; gives its merge commit. A story that a human must unblock ends
    /// it only where nobody would.
    pub async fn to_the_end(&self, app: &App, mut tell: impl FnMut(String)) -> Result<String, Error> {
        let (project, story) = (ProjectId(self.project), StoryId(self.story));
        let (mut last_step, mut last_phase, mut told) = ((Uuid::nil(), 0), String::new(), None);
        let (mut down_since, mut waiting) = (None, None);
        let last_told = Cell::new(Instant::now());
        let mut tell = |line: String| {
            last_told.set(Instant::now());
            tell(line);
        };
        loop {
            let (state, steps, wait) = match look(app, project, story, last_step).await {
                Ok(seen) => seen,
                // The database may be starting again; what it knows is not lost.
                Err(db::Error::Database(_)) if since(&mut down_since) < OUTAGE_LIMIT => {
                    tokio::time::sleep(POLL).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            down_since = None;
            for step in steps {
                last_step = (step.run_id, step.number);
                if step.stage != last_phase {
                    last_phase.clone_from(&step.stage);
                    tell(format!("story {} is in {last_phase}", state.number));
                }
                tell(step.line());
            }
            let phase = state.phase.name();
            if phase != last_phase && !matches!(state.phase, Phase::Working { .. }) {
                tell(format!("story {} is {phase}", state.number));
                last_phase = phase.to_owned();
            }
            match &state.phase {
                Phase::Done { commit, .. } => return merged(app, project, story, commit).await,
                Phase::Blocked { reason, .. } if self.answers == Answers::Yes => {
                    return Err(Error::Story(format!("the story is blocked: {reason}")));
                }
                Phase::Cancelled { reason, .. } => {
                    return Err(Error::Story(format!("the story was cancelled: {reason}")));
                }
                Phase::Working { work: Work::Asking { approval, .. }, .. } if told != Some(*approval) => {
                    told = Some(*approval);
                    self.asked(*approval, &mut tell).await?;
                }
                _ => {}
            }
            if wait != waiting {
                waiting = wait;
                self.waits(waiting.as_ref(), &mut tell)?;
            }
            if let Some(patience) = self.patience.filter(|patience| last_told.get().elapsed() > *patience) {
                let minutes = patience.as_secs() / 60;
                return Err(Error::Story(format!("nothing has happened for {minutes} minutes")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Says what the story waits for; where nobody will do something about it, that is the end.
    fn waits(&self, wait: Option<&Waits>, tell: &mut impl FnMut(String)) -> Result<(), Error> {
        let Some(wait) = wait else { return Ok(()) };
        if wait.for_a_human && self.answers == Answers::Yes {
            return Err(Error::Story(format!("--yes cannot go on: it {}", wait.sentence)));
        }
        tell(format!("  it {}", wait.sentence));
        Ok(())
    }

    async fn asked(&self, approval: ApprovalId, tell: &mut impl FnMut(String)) -> Result<(), Error> {
        if self.answers == Answers::Human {
            tell(format!("a human must decide: {}/projects/{}/approvals/{approval}", self.url, self.project));
            return Ok(());
        }
        let path = format!("/projects/{}/approvals/{approval}", self.project);
        let view = self.client.get(&path).await?;
        if view["action"] == "human_input" {
            let question = text(&view["title"]);
            return Err(Error::Story(format!("--yes cannot answer what an agent asks: {question}")));
        }
        let body =
            json!({ "outcome": "approved", "digest": view["digest"], "note": "answered by demo --yes" });
        match self.client.post(&format!("{path}/decision"), &body).await {
            Ok(_) => tell(format!("approved: {}", text(&view["title"]))),
            // Somebody in the UI was quicker: that is an answer, too.
            Err(error) if error.code() == Some("approval_already_decided") => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// What a story waits for that is no question.
#[derive(Debug, PartialEq, Eq)]
struct Waits {
    sentence: String,
    for_a_human: bool,
}

impl Waits {
    fn of(run: &Run) -> Option<Self> {
        let run::Phase::Waiting { wait, .. } = &run.phase else { return None };
        let (sentence, for_a_human) = match wait {
            Wait::Budget { detail } => (format!("waits for budget: {detail}"), true),
            Wait::Paused { .. } => ("waits until its paused agent is resumed".to_owned(), true),
            Wait::RateLimit { detail, .. } => (format!("waits for the model: {detail}"), false),
            Wait::Approval { .. } | Wait::Human { .. } => return None,
        };
        Some(Self { sentence, for_a_human })
    }
}

/// How long it has been down, from its first failure on.
fn since(down: &mut Option<Instant>) -> Duration {
    down.get_or_insert_with(Instant::now).elapsed()
}

/// The story as it is, and the steps that ended since the last look, in their order: one that is still under way holds
/// back those after it.
async fn look(
    app: &App,
    project: ProjectId,
    story: StoryId,
    (run, number): (Uuid, i32),
) -> Result<(Story, Vec<Step>, Option<Waits>), db::Error> {
    let state = app.store.read::<Story>(project, story).await?.state;
    let wait = match &state.phase {
        Phase::Working { work: Work::Running { run, .. }, .. } => {
            Waits::of(&app.store.read::<Run>(project, *run).await?.state)
        }
        _ => None,
    };
    let rows = sqlx::query_as(
        "select s.run_id, s.number, s.name, s.target, s.status, r.state ->> 'stage' as stage, a.name as agent, a.role,
                s.simulated, s.error
         from step s
         join run r on r.id = s.run_id
         join agent a on a.id = (r.state ->> 'agent')::uuid
         where s.project_id = $1 and r.story_id = $2 and (s.run_id, s.number) > ($3, $4)
           and s.status <> 'started'
           and not exists (select 1 from step open
                           where open.run_id = s.run_id and open.status = 'started' and open.number < s.number)
         order by s.run_id, s.number limit $5",
    )
    .bind(project.0)
    .bind(story.0)
    .bind(run)
    .bind(number)
    .bind(STEPS)
    .fetch_all(app.pool())
    .await?;
    Ok((state, rows, wait))
}

/// A story that is done has its merge in the default branch, and nothing less counts.
async fn merged(app: &App, project: ProjectId, story: StoryId, commit: &str) -> Result<String, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Story(format!("the repository cannot be read: {error}"));
    let info = app.forge.info(project.0).await.map_err(|error| failed(&error))?;
    let query = LogQuery { limit: LOOK_BACK, ..LogQuery::default() };
    let log = app.forge.log(project.0, &info.head, &query).await.map_err(|error| failed(&error))?;
    let trailer = format!("Story: {story}");
    let found = log.iter().find(|entry| entry.id.as_str() == commit);
    match found {
        Some(entry) if entry.parents.len() == 2 && entry.body.lines().any(|line| line == trailer) => {
            Ok(commit.to_owned())
        }
        Some(_) => Err(Error::Story(format!("{commit} is not a merge with the trailer `{trailer}`"))),
        None => Err(Error::Story(format!("the merge {commit} is not in {}", info.default_branch))),
    }
}
