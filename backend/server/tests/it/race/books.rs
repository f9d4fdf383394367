//! What the database says of a race, and what is wrong with it.

use super::{
    clients::Seen,
    plan::{Call, Plan, SHORTEST},
    site::Race,
    upstream::{Asked, Upstream},
};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgPool, Result};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::Ordering},
};
use uuid::Uuid;

/// Tokens that are set aside for a prompt beside its bytes.
const AROUND: i64 = 12;

/// How long a row of usage may be on its way where durability is relaxed: with something older than that, nothing more is
/// granted from memory.
const LATE: TimeDelta = TimeDelta::milliseconds(100);
/// And what a busy machine may put between a grant and its arrival at the provider.
const BUSY: TimeDelta = TimeDelta::seconds(2);

/// Notes every change of every budget, as whoever commits it leaves it.
const WATCH: &str = "
create unlogged table race_log (n bigint generated always as identity, budget_id uuid, used bigint, hard bigint,
                                tokens bigint, hard_tokens bigint);
create function race_watched() returns trigger language plpgsql as $$
begin
    insert into race_log (budget_id, used, hard, tokens, hard_tokens)
    select new.budget_id, new.spent_micro_usd + new.simulated_micro_usd + new.reserved_micro_usd, b.hard_limit_micro_usd,
           new.spent_tokens + new.reserved_tokens, b.hard_limit_tokens
      from budget b where b.id = new.budget_id;
    return new;
end $$;
create trigger race_watched before insert or update on budget_window for each row execute function race_watched();";

/// Begins to look.
pub(crate) async fn watch(pool: &PgPool) -> Result<()> {
    sqlx::raw_sql(WATCH).execute(pool).await?;
    Ok(())
}

/// A usage row.
#[derive(Debug, FromRow)]
struct Row {
    attempt: i32,
    /// What was set aside for the prompt, in tokens.
    prompt: i64,
    state: String,
    estimated: bool,
    cost: i64,
    tokens_in: i64,
    tokens_out: i64,
    #[expect(dead_code, reason = "for whoever reads a failure")]
    error: Option<String>,
}

/// What came of a race.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Everything that must not be; nothing.
    pub(crate) wrong: Vec<String>,
    rows: HashMap<String, usize>,
    requests: usize,
    answered: usize,
    refused: usize,
    changes: i64,
    /// Requests without a row.
    lost: usize,
    /// The longest time within which those of one key came of which a kill left no rows.
    within: TimeDelta,
    /// What is booked for leases of processes that were killed.
    leases: i64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, requests, answered, refused, changes, wrong, lost, within, leases } = self;
        let (wrong, within) = (wrong.len(), within.num_milliseconds());
        write!(
            f,
            "{requests} requests upstream, {answered} whole answers, {refused} refused for money, rows {rows:?}, \
             {changes} changes of budgets noted, {lost} without a row, those of a key within {within} ms, {leases} booked for \
             leases, {wrong} wrong"
        )
    }
}

/// Compares what the provider, the clients, the rows and the budgets say of a race that is over.
///
/// Where durability is relaxed, what a process was asked for before it was killed may have no rows, and is paid for by what
/// was booked for its leases. How much that is is bounded: see [`of_the_lost`].
pub(crate) async fn judge(race: &Race, plan: &Plan, upstream: &Upstream, seen: &[Seen]) -> Result<Verdict> {
    let (pool, relaxed) = (&race.pool, race.is_relaxed());
    let mut verdict = Verdict { requests: upstream.requests(), ..Verdict::default() };
    let rows: Vec<Row> = sqlx::query_as(
        "select attempt, reserved_tokens - max_output as prompt, state, estimated, cost_micro_usd as cost, tokens_in, tokens_out,
                error
           from usage where attempt > 0 order by call_id, attempt",
    )
    .fetch_all(pool)
    .await?;
    let mut by_call: HashMap<usize, Vec<Row>> = HashMap::new();
    for row in rows {
        *verdict.rows.entry(row.state.clone()).or_default() += 1;
        let n = usize::try_from(row.prompt - AROUND).unwrap_or_default().saturating_sub(SHORTEST);
        by_call.entry(n).or_default().push(row);
    }
    let asked = upstream.asked();
    let mut witnessed: HashMap<Uuid, Witnessed> = HashMap::new();
    let mut unwritten = Vec::new();
    for call in &plan.calls {
        let (asked, rows) = (asked.get(&call.n), by_call.get(&call.n));
        let asked = asked.map(Vec::as_slice).unwrap_or_default();
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        let of_key = witnessed.entry(race.key(call)).or_default();
        of_key.charged += asked.iter().map(|asked| asked.charged()).sum::<i64>();
        let lost = without_row(asked, rows);
        if relaxed && !lost.is_empty() {
            unwritten.extend(lost.iter().map(|asked| (call, asked.at)));
            of_key.lost += lost.iter().map(|asked| set_aside(call.n, asked)).sum::<i64>();
            continue;
        }
        let left = call.streamed && seen[call.n] == Seen::Left;
        let wrong = of_call(asked, rows, (&seen[call.n], relaxed, left));
        verdict.wrong.extend(wrong.into_iter().map(|what| {
            format!(
                "{what}: {call:?} was seen as {:?} by its client, {asked:?} upstream, {rows:?} in the books",
                seen[call.n]
            )
        }));
    }
    of_the_lost(race, &unwritten, &mut verdict);
    verdict.answered = seen.iter().filter(|seen| **seen == Seen::Whole).count();
    verdict.refused = seen.iter().filter(|seen| **seen == Seen::Failed(402)).count();
    of_keys(pool, &witnessed, &mut verdict).await?;
    of_budgets(pool, &mut verdict).await?;
    Ok(verdict)
}

/// One call: every request has its row, and the row says at least what the provider will charge.
///
/// What was on its way to a stream that its client left is nobody's to count: such a row says the prompt at least, and what
/// of the answer had come. The sums of the keys hold all the same.
fn of_call(
    asked: &[Arc<Asked>],
    rows: &[Row],
    (seen, relaxed, left): (&Seen, bool, bool),
) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    if rows.len() < asked.len() {
        wrong.push("a request has no row");
    }
    if rows.len() > asked.len() + 1 {
        wrong.push("there are rows that nobody asked for");
    }
    if *seen == Seen::Whole && !relaxed && rows.last().is_none_or(|row| row.state != "settled") {
        wrong.push("an answer was given out that is not settled");
    }
    for (asked, row) in asked.iter().zip(rows) {
        let gave = asked.gave.load(Ordering::SeqCst);
        let charged = asked.charged();
        if gave > asked.limit {
            wrong.push("the provider was asked for more than was granted");
        }
        let (tokens, whole) = (row.tokens_in + row.tokens_out, asked.whole.load(Ordering::SeqCst));
        let what = match (row.state.as_str(), row.estimated) {
            ("reserved", _) => Some("nobody has ended a reservation"),
            ("settled", true) => Some("what the provider counted was estimated"),
            ("settled", false) if row.cost != charged || tokens != charged => {
                Some("a settled row is not what the provider counted")
            }
            ("settled", false) => (!whole).then_some("half an answer was settled as a whole one"),
            // Whoever went away at the last moment has cut nothing.
            (_, false) if whole && row.cost == charged && tokens == charged => None,
            (_, false) if charged > 0 => Some("what was cut is not marked as estimated"),
            // Of what was refused at once nothing was on its way.
            ("failed", _) if left && !asked.refused => (row.cost < asked.prompt || tokens < asked.prompt)
                .then_some("a row says less than its prompt"),
            _ => (row.cost < charged || tokens < charged)
                .then_some("a row says less than the provider charges"),
        };
        wrong.extend(what);
    }
    wrong
}

/// What the provider says of the calls of a key.
#[derive(Default)]
struct Witnessed {
    /// What it charges, in micro-USD.
    charged: i64,
    /// What was set aside for the requests that have no row.
    lost: i64,
}

/// The requests that have no row: the first is the first attempt.
fn without_row<'a>(asked: &'a [Arc<Asked>], rows: &[Row]) -> Vec<&'a Arc<Asked>> {
    let has_row = |number: i32| rows.iter().any(|row| row.attempt == number);
    (1..).zip(asked).filter(|(number, _)| !has_row(*number)).map(|(_, asked)| asked).collect()
}

/// Requests without a row came from a process that was killed, and those of one key all within a tenth of a second: while
/// something of it waits for longer, nothing more is granted from memory. How long before the kill that was says how long the
/// database took to answer, and is not bounded.
fn of_the_lost(race: &Race, lost: &[(&Call, DateTime<Utc>)], verdict: &mut Verdict) {
    verdict.lost = lost.len();
    let mut spans: HashMap<_, (DateTime<Utc>, DateTime<Utc>)> = HashMap::new();
    for (call, at) in lost {
        let Some(kill) = race.kill_after(call.process, *at) else {
            verdict.wrong.push(format!("a request has no row, and its process lives: {call:?}"));
            continue;
        };
        let (from, until) = spans.entry((kill, call.project, call.key)).or_insert((*at, *at));
        (*from, *until) = ((*from).min(*at), (*until).max(*at));
    }
    for ((_, project, key), (from, until)) in spans {
        let within = until - from;
        verdict.within = verdict.within.max(within);
        if within > LATE + BUSY {
            let within = within.num_milliseconds();
            verdict.wrong.push(format!(
                "requests of {within} ms of key {key} of project {project} have no rows: they were granted from memory while \
                 others waited for theirs"
            ));
        }
    }
}

/// What a request may cost at most: it was set aside before the request was sent.
fn set_aside(n: usize, asked: &Asked) -> i64 {
    i64::try_from(SHORTEST + n).unwrap_or(i64::MAX) + AROUND + asked.limit
}

/// With each key no less is booked than the provider charges, and what has no row was drawn from leases that are booked.
async fn of_keys(pool: &PgPool, witnessed: &HashMap<Uuid, Witnessed>, verdict: &mut Verdict) -> Result<()> {
    let booked: Vec<(Uuid, i64, i64, i64)> = sqlx::query_as(
        "select key_id, sum(cost_micro_usd)::bigint, coalesce(sum(cost_micro_usd) filter (where attempt = 0), 0)::bigint,
                count(*) filter (where attempt = 0 and (state <> 'interrupted' or not estimated))
           from usage where key_id is not null group by key_id",
    )
    .fetch_all(pool)
    .await?;
    for (key, _, _, open) in booked.iter().filter(|(.., open)| *open > 0) {
        verdict.wrong.push(format!("{open} leases of key {key} are neither given back nor booked"));
    }
    verdict.leases = booked.iter().map(|(_, _, leases, _)| leases).sum();
    let booked: HashMap<Uuid, (i64, i64)> =
        booked.into_iter().map(|(key, all, leases, _)| (key, (all, leases))).collect();
    for (key, Witnessed { charged, lost }) in witnessed {
        let (all, leases) = booked.get(key).copied().unwrap_or_default();
        if all < *charged {
            verdict.wrong.push(format!("{charged} are charged for key {key}, and {all} are booked"));
        }
        if leases < *lost {
            verdict.wrong.push(format!(
                "{lost} were set aside for requests of key {key} that have no row, and {leases} are booked for leases"
            ));
        }
    }
    Ok(())
}

/// At no moment was more used and reserved than is allowed, and at the end every budget is the sum of its rows.
async fn of_budgets(pool: &PgPool, verdict: &mut Verdict) -> Result<()> {
    let (changes, over): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where used > hard or tokens > hard_tokens) from race_log",
    )
    .fetch_one(pool)
    .await?;
    verdict.changes = changes;
    if over > 0 {
        verdict.wrong.push(format!("{over} times a hard limit was passed"));
    }
    let differ: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select b.scope || ' ' || b.period, w.spent_micro_usd - sums.cost, w.spent_tokens - sums.tokens,
                w.reserved_micro_usd + w.reserved_tokens
           from budget b join budget_window w on w.budget_id = b.id
          cross join lateral (
                select coalesce(sum(u.cost_micro_usd), 0)::bigint as cost,
                       coalesce(sum(u.tokens_in + u.tokens_out), 0)::bigint as tokens
                  from usage u
                 where (b.scope = 'organisation' or u.project_id = b.project_id)
                   and (b.scope <> 'agent' or u.agent_id = b.scope_id)
                   and (b.scope <> 'key' or u.key_id = b.scope_id)) sums
          where w.spent_micro_usd <> sums.cost or w.spent_tokens <> sums.tokens or w.reserved_micro_usd <> 0
             or w.reserved_tokens <> 0",
    )
    .fetch_all(pool)
    .await?;
    verdict
        .wrong
        .extend(differ.iter().map(|differ| format!("a budget is not the sum of its rows: {differ:?}")));
    Ok(())
}

/// For each key, by its id: the least that is left of any budget above it, in micro-USD or tokens.
pub(crate) async fn left(pool: &PgPool) -> Result<HashMap<Uuid, i64>> {
    let left: Vec<(Uuid, i64)> = sqlx::query_as(
        "select k.id, min(least(b.hard_limit_micro_usd - w.spent_micro_usd, b.hard_limit_tokens - w.spent_tokens))
           from gateway_key k join project p on p.id = k.project_id
           join budget b on b.scope_id in (k.id, k.agent_id, p.id, p.organisation_id)
           join budget_window w on w.budget_id = b.id
          group by k.id",
    )
    .fetch_all(pool)
    .await?;
    Ok(left.into_iter().collect())
}
