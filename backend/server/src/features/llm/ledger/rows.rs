//! The usage rows: one for each attempt, written before it and completed after it (`ends`), many in one statement.

use super::{
    Reservation, Settlement,
    book::{Book, PgQuery, WRITE, Window, bind_windows},
    place::Place,
};
use crate::db::Error;
use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use syndarix_domain::{
    Timestamp,
    budget::Amount,
    ids::{AgentId, CallId, GatewayKeyId, ProjectId, RunId, SprintId, StepId, StoryId, UserId},
};
use syndarix_llm::{Extras, Part, Rates, Usage};
use uuid::Uuid;

/// What is going to be tried.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Of which call.
    pub call: CallId,
    /// 1, 2, 3 ... within the call.
    pub number: i32,
    /// For which story.
    pub story: Option<StoryId>,
    /// For which step, and the fence of the job that does it.
    pub step: Option<(StepId, i64)>,
    /// The person who asks, where one is known.
    pub user: Option<UserId>,
    /// Whom it goes to.
    pub deployment: String,
    /// Who serves that.
    pub provider: String,
    /// The model there.
    pub model: String,
    /// The price is not known.
    pub unpriced: bool,
    /// Where the price is from.
    pub price_version: String,
    /// A scripted endpoint answers.
    pub simulated: bool,
    /// What was asked for.
    pub group: String,
    /// The cheaper group that serves it, where a soft limit is reached, or a hard one would not pay for another.
    pub downgraded_to: Option<String>,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Of which call, for whoever is told.
    pub call: CallId,
    /// For which run and step.
    pub run: Option<RunId>,
    /// The step.
    pub step: Option<StepId>,
    /// The model that answered, or was asked.
    pub model: String,
    /// Why there is no answer.
    pub error: Option<Failed>,
    /// What was used.
    pub usage: Usage,
    /// What that costs, in micro-USD.
    pub cost: i64,
    /// A price behind that is not known.
    pub unpriced: bool,
    /// What tokens cost.
    pub rates: Rates,
    /// Where that price is from.
    pub price_version: String,
    /// From sending to the end, in milliseconds.
    pub latency_ms: u64,
    /// From sending to the first content, in milliseconds.
    pub first_content_ms: Option<u64>,
    /// A scripted endpoint answered.
    pub simulated: bool,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The word for its kind.
    pub kind: &'static str,
    /// The provider's words, or ours.
    pub message: String,
}

/// A caller's going away is nobody's failure.
pub(super) const CANCELLED: &str = "cancelled";

/// A reservation that has just been ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) place: Place,
    pub(super) at: Timestamp,
    pub(super) reserved: Amount,
}

#[derive(Debug, FromRow)]
pub(super) struct EndedRow {
    pub(super) id: Uuid,
    at: Timestamp,
    sprint_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    run_id: Option<Uuid>,
    key_id: Option<Uuid>,
    reserved_micro_usd: i64,
    reserved_tokens: i64,
}

impl Outcome {
    /// What it counts for.
    pub(super) fn used(&self) -> Amount {
        Amount::new(self.cost, i64::from(self.usage.prompt()).saturating_add(i64::from(self.usage.output)))
    }

    /// What was charged at a rate that has no column of its own; none, nearly always.
    fn other_classes(&self) -> Option<serde_json::Value> {
        let is_apart = |part: &Part| match part.class {
            "image" | "audio" | "audio_output" => true,
            "reasoning" => part.rate != self.rates.output,
            _ => false,
        };
        let parts = self.rates.parts(&self.usage);
        let apart = parts.iter().filter(|part| part.tokens > 0 && is_apart(part));
        let said: Vec<serde_json::Value> = apart
            .map(|part| serde_json::json!({ "class": part.class, "tokens": part.tokens, "rate": part.rate }))
            .collect();
        (!said.is_empty()).then(|| said.into())
    }

    /// What is charged for what is kept for an hour.
    fn rate_of_an_hour(&self) -> Option<i64> {
        let parts = self.rates.parts(&self.usage);
        parts.iter().find(|part| part.class == "cache_write_1h" && part.tokens > 0).map(|part| part.rate)
    }

    pub(super) fn data(&self) -> serde_json::Value {
        serde_json::json!({
            "run_id": self.run, "step_id": self.step, "model": self.model, "cost_micro_usd": self.cost,
            "simulated": self.simulated, "tokens_in": self.usage.prompt(), "tokens_out": self.usage.output,
            "failed": self.error.is_some(),
        })
    }
}

/// Writes the book, and adds the rows of reservations, each with the answer limit that was granted and what is set aside for
/// it: one statement. `max_output` is what all answers of a call may have together.
pub(super) async fn write(
    conn: &mut PgConnection,
    book: &Book,
    instance: Uuid,
    granted: &[(&Reservation, u32, Amount)],
) -> Result<(), Error> {
    let added = add(conn, &book.changed(), instance, granted).await?;
    // A reservation that is there already is counted already.
    if added.len() == granted.len() { Ok(()) } else { Err(Error::Conflict) }
}

/// Writes windows, and adds rows of reservations. Gives back the ids of those that were not there yet.
pub(super) async fn add(
    conn: &mut PgConnection,
    changed: &[&Window],
    instance: Uuid,
    granted: &[(&Reservation, u32, Amount)],
) -> Result<Vec<Uuid>, Error> {
    let sql = format!(
        "with booked as ({WRITE})
         insert into usage (id, project_id, story_id, run_id, step_id, agent_id, sprint_id, key_id, call_id, attempt, fence,
                            deployment, provider, model, state, unpriced, simulated, model_group, downgraded_to, at,
                            reserved_micro_usd, reserved_tokens, max_output, user_id, rate_input, rate_output,
                            rate_cache_read, rate_cache_write, instance, price_version)
         select id, project_id, story_id, run_id, step_id, agent_id, sprint_id, key_id, call_id, attempt, fence,
                deployment, provider, model, 'reserved', unpriced, simulated, model_group, downgraded_to, at,
                reserved_micro_usd, reserved_tokens, max_output, user_id, rate_input, rate_output, rate_input, rate_input,
                $31, price_version
           from unnest($8::uuid[], $9::uuid[], $10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::uuid[], $15::uuid[],
                       $16::uuid[], $17::int[], $18::bigint[], $19::text[], $20::text[], $21::text[], $22::bool[], $23::bool[],
                       $24::text[], $25::text[], $26::timestamptz[], $27::bigint[], $28::bigint[], $29::int[], $30::uuid[],
                       $32::bigint[], $33::bigint[], $34::text[])
                as r (id, project_id, story_id, run_id, step_id, agent_id, sprint_id, key_id, call_id, attempt, fence,
                      deployment, provider, model, unpriced, simulated, model_group, downgraded_to, at,
                      reserved_micro_usd, reserved_tokens, max_output, user_id, rate_input, rate_output, price_version)
         on conflict (id) do nothing returning id"
    );
    // What the worst case is made of: of a call that nobody ends, the row says how its cost comes about.
    let rates: Vec<Rates> = granted.iter().map(|(row, _, _)| row.rates.ceiling(Extras::default())).collect();
    let query = bind_windows(sqlx::query(sqlx::AssertSqlSafe(sql)), changed);
    let added = bind_reservations(query, granted)
        .bind(instance)
        .bind(rates.iter().map(|rates| rates.input).collect::<Vec<_>>())
        .bind(rates.iter().map(|rates| rates.output).collect::<Vec<_>>())
        .bind(granted.iter().map(|(row, ..)| row.attempt.price_version.as_str()).collect::<Vec<_>>());
    Ok(added.try_map(|row: PgRow| row.try_get("id")).fetch_all(conn).await?)
}

/// Binds the 23 parameters of reservations, each with its answer limit and what is set aside for it.
pub(super) fn bind_reservations<'q>(
    query: PgQuery<'q>,
    granted: &[(&'q Reservation, u32, Amount)],
) -> PgQuery<'q> {
    macro_rules! each {
        ($row:ident => $value:expr) => {
            granted
                .iter()
                .map(|&(row, _, _)| {
                    let $row: &'q Reservation = row;
                    $value
                })
                .collect::<Vec<_>>()
        };
    }
    let limit = |(row, output, _): &(&Reservation, u32, _)| {
        i32::try_from(output.saturating_mul(row.choices)).unwrap_or(i32::MAX)
    };
    query
        .bind(each!(row => row.id))
        .bind(each!(row => row.place.project.0))
        .bind(each!(row => row.attempt.story.map(|id| id.0)))
        .bind(each!(row => row.place.run.map(|id| id.0)))
        .bind(each!(row => row.attempt.step.map(|(id, _)| id.0)))
        .bind(each!(row => row.place.agent.map(|id| id.0)))
        .bind(each!(row => row.place.sprint.map(|id| id.0)))
        .bind(each!(row => row.place.key.map(|id| id.0)))
        .bind(each!(row => row.attempt.call.0))
        .bind(each!(row => row.attempt.number))
        .bind(each!(row => row.attempt.step.map(|(_, fence)| fence)))
        .bind(each!(row => row.attempt.deployment.as_str()))
        .bind(each!(row => row.attempt.provider.as_str()))
        .bind(each!(row => row.attempt.model.as_str()))
        .bind(each!(row => row.attempt.unpriced))
        .bind(each!(row => row.attempt.simulated))
        .bind(each!(row => row.attempt.group.as_str()))
        .bind(each!(row => row.attempt.downgraded_to.as_deref()))
        .bind(each!(row => row.at))
        .bind(granted.iter().map(|(_, _, amount)| amount.money.0).collect::<Vec<_>>())
        .bind(granted.iter().map(|(_, _, amount)| amount.tokens).collect::<Vec<_>>())
        .bind(granted.iter().map(limit).collect::<Vec<_>>())
        .bind(each!(row => row.attempt.user.map(|id| id.0)))
}

/// Binds the 25 parameters of settlements.
pub(super) fn bind_outcomes<'q>(query: PgQuery<'q>, settlements: &[&'q Settlement]) -> PgQuery<'q> {
    macro_rules! each {
        ($outcome:ident => $value:expr) => {
            settlements
                .iter()
                .map(|&row| {
                    let $outcome: &'q Outcome = &row.outcome;
                    $value
                })
                .collect::<Vec<_>>()
        };
    }
    query
        .bind(settlements.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(each!(outcome => if outcome.error.is_none() { "settled" } else { "failed" }))
        .bind(each!(outcome => outcome.cost))
        .bind(each!(outcome => i64::from(outcome.usage.prompt())))
        .bind(each!(outcome => i64::from(outcome.usage.output)))
        .bind(each!(outcome => i64::from(outcome.usage.cache_read)))
        .bind(each!(outcome => i64::from(outcome.usage.reasoning)))
        .bind(each!(outcome => i64::try_from(outcome.latency_ms).unwrap_or(i64::MAX)))
        .bind(each!(outcome => outcome.usage.estimated))
        .bind(each!(outcome => outcome.simulated))
        .bind(each!(outcome => outcome.error.as_ref().map(|failed| failed.message.as_str())))
        .bind(each!(outcome => outcome.model.as_str()))
        .bind(settlements.iter().map(|row| row.at).collect::<Vec<_>>())
        .bind(each!(outcome => i64::from(outcome.usage.cache_write)))
        .bind(each!(outcome => outcome.rates.input))
        .bind(each!(outcome => outcome.rates.output))
        .bind(each!(outcome => outcome.rates.cache_read))
        .bind(each!(outcome => outcome.rates.cache_write))
        .bind(each!(outcome => outcome.price_version.as_str()))
        .bind(each!(outcome => outcome.first_content_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX))))
        .bind(each!(outcome => outcome.error.as_ref().map(|failed| failed.kind)))
        .bind(each!(outcome => outcome.unpriced))
        .bind(each!(outcome => i64::from(outcome.usage.cache_write_1h)))
        .bind(each!(outcome => outcome.rate_of_an_hour()))
        .bind(each!(outcome => outcome.other_classes()))
}

/// Ends the open rows of a step, or one row, at their worst case: nobody knows what they cost.
pub(super) async fn interrupt(
    conn: &mut PgConnection,
    project: ProjectId,
    (step, id): (Option<StepId>, Option<Uuid>),
    now: Timestamp,
) -> Result<Vec<(Ended, bool)>, Error> {
    let rows: Vec<InterruptedRow> = sqlx::query_as(
        "update usage set state = 'interrupted', cost_micro_usd = reserved_micro_usd, estimated = true, settled_at = $4,
                tokens_in = reserved_tokens - coalesce(max_output, 0), tokens_out = coalesce(max_output, 0)
          where project_id = $1 and (step_id = $2 or id = $3) and state = 'reserved'
         returning id, at, sprint_id, agent_id, run_id, key_id, reserved_micro_usd, reserved_tokens, simulated",
    )
    .bind(project.0)
    .bind(step.map(|id| id.0))
    .bind(id)
    .bind(now)
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.ended.ended(project), row.simulated)).collect())
}

#[derive(Debug, FromRow)]
struct InterruptedRow {
    #[sqlx(flatten)]
    ended: EndedRow,
    simulated: bool,
}

impl EndedRow {
    pub(super) fn ended(&self, project: ProjectId) -> Ended {
        let place = Place {
            project,
            sprint: self.sprint_id.map(SprintId),
            agent: self.agent_id.map(AgentId),
            run: self.run_id.map(RunId),
            key: self.key_id.map(GatewayKeyId),
        };
        let reserved = Amount::new(self.reserved_micro_usd, self.reserved_tokens);
        Ended { place, at: self.at, reserved }
    }
}
