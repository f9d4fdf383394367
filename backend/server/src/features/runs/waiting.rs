//! Why a run, or the stage of a story, does not go on at this moment: whose move it is, until when, and what its job is at.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use syndarix_domain::run::{Phase, Wait};
use utoipa::ToSchema;
use uuid::Uuid;

/// A job that is ready for longer than this waits for a worker; before, it is just being handed over.
const HANDED_OVER_SECONDS: f64 = 5.0;

/// Why a run, or the stage of a story, does not go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    /// approval, unknown_outcome (of a tool call), human, rate_limit, budget, paused of a parked run; retry, queue,
    /// worker_lost, turn, dead_letter where its job waits; start, agent, blocked of a story that nobody works on.
    pub on: String,
    /// In a sentence.
    pub detail: String,
    /// The open question.
    pub approval_id: Option<Uuid>,
    /// Whose move it is: approver or member (of the project), admin (of the organisation), person (who paused it),
    /// provider (of the model), worker (any that polls the queue), operator (no worker does), syndarix (goes on by itself).
    pub owner: String,
    /// That person's name.
    pub owner_name: Option<String>,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// When something happens by itself: the question lapses, the provider is asked again, the next attempt begins, a
    /// budget begins anew, people are reminded.
    pub deadline: Option<DateTime<Utc>>,
    /// The job that would go on with it.
    pub job: Option<WaitingJob>,
}

/// The job that would go on with a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingJob {
    /// Its id.
    pub id: String,
    /// The queue that it is in.
    pub queue: String,
    /// A worker that is up polls this queue.
    pub polled: bool,
    /// Attempts that were begun, without those that died with their worker.
    pub attempts: i32,
    /// Attempts before it is given up.
    pub attempts_left: i32,
    /// When the next attempt begins, where it is put off; null for one that is ready or was given up.
    pub next_retry_at: Option<DateTime<Utc>>,
    /// What went wrong last, or what it waits for.
    pub last_error: Option<String>,
}

/// What the database says of a run's job, of its open question and of who paused it.
#[derive(Debug, Clone, Default, FromRow)]
#[sqlx(default)]
pub struct Circumstances {
    job_id: Option<i64>,
    job_state: Option<String>,
    job_queue: Option<String>,
    job_polled: Option<bool>,
    job_attempts: Option<i32>,
    job_max_attempts: Option<i32>,
    job_at: Option<DateTime<Utc>>,
    job_waited_seconds: Option<f64>,
    job_error: Option<String>,
    asked_until: Option<DateTime<Utc>>,
    paused_by: Option<String>,
    /// The tool whose call a human is asked about, as nobody knows whether it took effect.
    doubtful: Option<String>,
    /// When it is looked at again: with the next day, where the project or its organisation has a budget of a period.
    budget_anew: Option<DateTime<Utc>>,
}

/// The columns of [`Circumstances`] for a run `r`, from [`joins`].
pub const COLUMNS: &str = "
    j.id as job_id, j.state as job_state, j.queue as job_queue, j.attempts as job_attempts,
    j.max_attempts as job_max_attempts, j.at as job_at, j.waited_seconds as job_waited_seconds, j.error as job_error,
    exists (select from worker w where w.last_seen > now() - interval '30 seconds'
                                   and (w.queues is null or j.queue = any(w.queues))) as job_polled,
    (select (a.state #>> '{request,expires_at}')::timestamptz from approval a
      where a.project_id = r.project_id and a.id = (r.state #>> '{phase,wait,approval}')::uuid) as asked_until,
    (select p.name from app_user p where p.id = (r.state #>> '{phase,wait,by}')::uuid) as paused_by,
    (select s.name from step s where r.phase = 'waiting' and s.project_id = r.project_id and s.run_id = r.id
                                 and s.status = 'unknown' and s.ended_at is null order by s.number limit 1) as doubtful,
    (select (date_trunc('day', now() at time zone 'UTC') + interval '1 day') at time zone 'UTC' from project p
      where r.phase = 'waiting' and r.state #>> '{phase,wait,on}' = 'budget' and p.id = r.project_id
        and exists (select from budget b where b.period <> 'total'
                       and (b.project_id = p.id or (b.scope = 'organisation' and b.scope_id = p.organisation_id))))
        as budget_anew";

/// The job with the concurrency key `key`: a live one before one that was given up, one that runs before one that waits.
/// `which` says more about jobs of the key where they are of several things, and `when` whether one is looked for.
pub fn joins(key: &str, which: &str, when: &str) -> String {
    format!(
        "left join lateral (
            (select job.id, job.queue, job.attempt - job.rescues as attempts, job.max_attempts, job.last_error as error,
                    case when job.lease_until < now() then job.lease_until else job.run_at end as at,
                    extract(epoch from now() - job.run_at)::float8 as waited_seconds,
                    case when job.lease_until < now() then 'lost' when job.owner is not null then 'running'
                         when job.run_at > now() then 'delayed' when job.in_line_at is not null then 'in_line'
                         when exists (select from job o where o.concurrency_key = job.concurrency_key and o.owner is not null)
                         then 'behind' else 'ready' end as state
               from job where job.concurrency_key = {key} and {which} order by job.owner is null, job.run_at, job.id limit 1)
            union all
            (select job.id, job.queue, job.attempt - job.rescues, job.max_attempts, job.reason, job.died_at, null, 'dead'
               from job_dead job where job.concurrency_key = {key} and {which} order by job.id desc limit 1)
            limit 1
        ) j on {when}"
    )
}

/// The job of a run `r` that is not over.
pub(super) fn joins_of_run() -> String {
    joins("'run:' || r.id", "true", "r.phase in ('started', 'thinking', 'acting', 'waiting')")
}

/// Why a run in this phase does not go on; `None` when it does, or is over.
pub fn waiting(phase: &Phase, around: &Circumstances) -> Option<Waiting> {
    match phase {
        Phase::Waiting { wait, since, .. } => Some(parked(wait, *since, around)),
        phase if phase.is_terminal() => None,
        _ => held_up(around),
    }
}

fn parked(wait: &Wait, since: DateTime<Utc>, around: &Circumstances) -> Waiting {
    let base =
        |on, owner, detail| Waiting { since: Some(since), ..Waiting::new(on, owner, detail, around.job()) };
    let asked = |on, detail: &str, approval| Waiting {
        approval_id: Some(approval),
        deadline: around.asked_until,
        ..base(on, "approver", detail.to_owned())
    };
    match wait {
        Wait::Approval { approval } => match &around.doubtful {
            Some(tool) => {
                let detail =
                    format!("a human's word on {tool}: it is not known whether the call took effect");
                asked("unknown_outcome", &detail, approval.0)
            }
            None => asked("approval", "a human's decision", approval.0),
        },
        Wait::Human { approval } => asked("human", "a human's answer", approval.0),
        Wait::RateLimit { until, detail } => {
            let detail = format!("{detail}; tried again at {}", until.format("%H:%M:%S UTC"));
            Waiting { deadline: Some(*until), ..base("rate_limit", "provider", detail) }
        }
        Wait::Budget { detail } => {
            Waiting { deadline: around.budget_anew, ..base("budget", "admin", detail.clone()) }
        }
        Wait::Paused { .. } => {
            let owner_name = around.paused_by.clone();
            Waiting { owner_name, ..base("paused", "person", "its agent is paused".into()) }
        }
    }
}

/// What should be going on, and whose job does not let it.
pub fn held_up(around: &Circumstances) -> Option<Waiting> {
    let job = around.job()?;
    let base = |on, owner, detail| Waiting::new(on, owner, detail, Some(job.clone()));
    let said = |otherwise: &str| around.job_error.clone().unwrap_or_else(|| otherwise.to_owned());
    match around.job_state.as_deref()? {
        "delayed" => {
            let retry = base("retry", "syndarix", said("its next step is put off"));
            Some(Waiting { deadline: around.job_at, ..retry })
        }
        "dead" => {
            let given_up = base("dead_letter", "admin", said("its job was given up"));
            Some(Waiting { since: around.job_at, ..given_up })
        }
        "lost" => {
            let owner = if job.polled { "worker" } else { "operator" };
            let detail = "its worker was lost; another one takes its job over".to_owned();
            Some(Waiting { since: around.job_at, ..base("worker_lost", owner, detail) })
        }
        "behind" => {
            let detail = "another of its kind goes first: only one runs at a time".to_owned();
            Some(Waiting { since: around.job_at, ..base("turn", "syndarix", detail) })
        }
        "in_line" => {
            let detail = "as many of its kind have begun as may in this time".to_owned();
            Some(Waiting { since: around.job_at, ..base("turn", "syndarix", detail) })
        }
        "ready" if !job.polled => {
            let detail = format!("no worker is polling the queue {}", job.queue);
            Some(Waiting { since: around.job_at, ..base("queue", "operator", detail) })
        }
        "ready" if around.job_waited_seconds.unwrap_or_default() > HANDED_OVER_SECONDS => {
            let detail = format!("every worker of the queue {} is busy", job.queue);
            Some(Waiting { since: around.job_at, ..base("queue", "worker", detail) })
        }
        _ => None,
    }
}

impl Waiting {
    /// A wait without a moment.
    pub fn new(on: &str, owner: &str, detail: String, job: Option<WaitingJob>) -> Self {
        let (on, owner) = (on.into(), owner.into());
        Self { on, owner, detail, approval_id: None, owner_name: None, since: None, deadline: None, job }
    }
}

impl Circumstances {
    fn job(&self) -> Option<WaitingJob> {
        let (attempts, most) = (self.job_attempts?, self.job_max_attempts?);
        Some(WaitingJob {
            id: self.job_id?.to_string(),
            queue: self.job_queue.clone()?,
            polled: self.job_polled.unwrap_or_default(),
            attempts,
            attempts_left: (most - attempts).max(0),
            next_retry_at: self.job_at.filter(|_| self.job_state.as_deref() == Some("delayed")),
            last_error: self.job_error.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str) -> Circumstances {
        Circumstances {
            job_id: Some(7),
            job_state: Some(state.into()),
            job_queue: Some("agent".into()),
            job_polled: Some(true),
            job_attempts: Some(3),
            job_max_attempts: Some(12),
            job_at: Some(DateTime::UNIX_EPOCH),
            job_waited_seconds: Some(60.0),
            job_error: Some("the database is full".into()),
            ..Circumstances::default()
        }
    }

    fn why(around: &Circumstances) -> Option<(String, String)> {
        waiting(&Phase::Started, around).map(|waiting| (waiting.on, waiting.owner))
    }

    #[test]
    fn a_job_in_back_off_says_when_it_is_tried_again_and_how_often_still() {
        let waiting = waiting(&Phase::Thinking { step: None }, &job("delayed")).unwrap();
        assert_eq!((waiting.on.as_str(), waiting.detail.as_str()), ("retry", "the database is full"));
        assert_eq!(waiting.deadline, Some(DateTime::UNIX_EPOCH));
        let job = waiting.job.unwrap();
        assert_eq!((job.attempts, job.attempts_left), (3, 9));
        assert_eq!(job.next_retry_at, Some(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn a_run_that_goes_on_waits_for_nothing() {
        assert_eq!(why(&job("running")), None);
        assert_eq!(why(&Circumstances { job_waited_seconds: Some(0.2), ..job("ready") }), None);
        assert_eq!(why(&Circumstances::default()), None);
        let over = Phase::Failed { reason: "no".into(), at: DateTime::UNIX_EPOCH };
        assert_eq!(waiting(&over, &job("dead")), None);
    }

    #[test]
    fn a_job_whose_worker_is_lost_and_one_whose_key_is_taken_say_so() {
        assert_eq!(why(&job("lost")), Some(("worker_lost".into(), "worker".into())));
        let unpolled = Circumstances { job_polled: Some(false), ..job("lost") };
        assert_eq!(why(&unpolled), Some(("worker_lost".into(), "operator".into())));
        assert_eq!(why(&job("behind")), Some(("turn".into(), "syndarix".into())));
    }

    #[test]
    fn a_job_in_the_line_of_its_rate_waits_for_no_worker_and_for_no_time_of_its_own() {
        let in_line = Circumstances { job_polled: Some(false), ..job("in_line") };
        let waiting = waiting(&Phase::Started, &in_line).unwrap();
        assert_eq!((waiting.on.as_str(), waiting.owner.as_str()), ("turn", "syndarix"));
        assert_eq!((waiting.deadline, waiting.job.unwrap().next_retry_at), (None, None));
    }

    #[test]
    fn a_run_that_is_parked_says_what_it_is_about_and_when_it_is_looked_at_again() {
        let parked = |wait| Phase::Waiting {
            wait,
            resume: syndarix_domain::run::Resume::Think,
            since: DateTime::UNIX_EPOCH,
        };
        let approval = syndarix_domain::ids::ApprovalId(Uuid::nil());
        let doubt = Circumstances { doubtful: Some("send_mail".into()), ..Circumstances::default() };
        let asked = waiting(&parked(Wait::Approval { approval }), &doubt).unwrap();
        assert_eq!((asked.on.as_str(), asked.owner.as_str()), ("unknown_outcome", "approver"));
        assert!(asked.detail.contains("send_mail"), "{}", asked.detail);
        let anew = Circumstances { budget_anew: Some(DateTime::UNIX_EPOCH), ..Circumstances::default() };
        let broke = waiting(&parked(Wait::Budget { detail: "the day's".into() }), &anew).unwrap();
        assert_eq!(broke.deadline, Some(DateTime::UNIX_EPOCH));
    }

    #[test]
    fn a_ready_job_waits_for_a_busy_worker_or_for_whoever_starts_one() {
        assert_eq!(why(&job("ready")), Some(("queue".into(), "worker".into())));
        let unpolled =
            Circumstances { job_polled: Some(false), job_waited_seconds: Some(0.0), ..job("ready") };
        assert_eq!(why(&unpolled), Some(("queue".into(), "operator".into())));
        assert_eq!(why(&job("dead")), Some(("dead_letter".into(), "admin".into())));
    }
}
