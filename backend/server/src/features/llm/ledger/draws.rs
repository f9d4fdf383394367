//! Calls that were granted from a lease, posted: each gets a row of its own, which takes over what the lease held for it.
//!
//! Posting the same twice does no more than once: rows are added by their ids, and only what was added leaves the lease.

use super::{
    Reservation, Settlement,
    book::{Book, Counted},
    place::Place,
    rows::{self, Ended},
};
use crate::db::Error;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use std::collections::{HashMap, HashSet};
use syndarix_domain::{Timestamp, budget::Amount, ids::ProjectId, lease::Terms};
use uuid::Uuid;

/// What one place has to post.
#[derive(Debug)]
pub(super) struct Draw {
    pub(super) place: Place,
    /// None where nothing was drawn and nothing is to be set aside.
    pub(super) lease: Option<Held>,
    pub(super) drawn: Vec<Drawn>,
    pub(super) settlements: Vec<Settlement>,
}

/// A call that was granted all that it asked for.
#[derive(Debug)]
pub(super) struct Drawn {
    pub(super) reservation: Reservation,
    pub(super) amount: Amount,
}

/// A lease as it is to be renewed.
#[derive(Debug)]
pub(super) struct Held {
    /// Its usage row.
    pub(super) id: Uuid,
    /// Since when.
    pub(super) at: Timestamp,
    /// It may have no row yet.
    pub(super) begins: bool,
    pub(super) terms: Terms,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Landed {
    /// There was no lease in it.
    Settled,
    /// The lease holds so much, and might hold so much; without anything it has no row any more.
    Leased { booked: Amount, allowed: Amount },
    /// The lease has been ended by somebody else, with all that was drawn from it.
    Gone,
}

/// Leases that are being renewed in a transaction: what each held once its calls had their rows.
pub(super) struct Renewals<'a> {
    project: ProjectId,
    left: Vec<(&'a Draw, &'a Held, Amount)>,
}

impl Held {
    fn counted(&self, place: Place) -> Counted {
        Counted { place, at: self.at, new: true }
    }
}

/// The row of a lease: no attempt of any call, or the one before the first.
const BEGIN: &str = "
insert into usage (id, project_id, agent_id, sprint_id, run_id, key_id, call_id, attempt, deployment, provider, model, state, at,
                   reserved_micro_usd, instance)
select id, $1, agent, sprint, run, key, id, 0, 'lease', 'syndarix', 'lease', 'reserved', at, 0, $2
  from unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::timestamptz[]) as l (id, agent, sprint, run, key, at)
on conflict (id) do nothing";

/// Gives the drawn calls their rows, whose money leaves the leases. Those that are over are ended with that.
pub(super) async fn post<'a>(
    conn: &mut PgConnection,
    project: ProjectId,
    instance: Uuid,
    draws: &[&'a Draw],
) -> Result<(Renewals<'a>, HashMap<Uuid, Ended>), Error> {
    let leased: Vec<(&Draw, &Held)> =
        draws.iter().filter_map(|draw| draw.lease.as_ref().map(|held| (*draw, held))).collect();
    if leased.is_empty() {
        return Ok((Renewals { project, left: Vec::new() }, HashMap::new()));
    }
    begin(conn, project, instance, &leased).await?;
    let held: HashMap<Uuid, Amount> = sqlx::query_as::<_, (Uuid, i64, i64)>(
        "select id, reserved_micro_usd, reserved_tokens from usage
          where id = any($1) and project_id = $2 and state = 'reserved' order by id for update",
    )
    .bind(leased.iter().map(|(_, held)| held.id).collect::<Vec<_>>())
    .bind(project.0)
    .fetch_all(&mut *conn)
    .await?
    .into_iter()
    .map(|(id, money, tokens)| (id, Amount::new(money, tokens)))
    .collect();
    let there: Vec<_> = leased.into_iter().filter(|(_, lease)| held.contains_key(&lease.id)).collect();
    let (open, over, ends) = by_state(&there);
    let mut added: HashSet<Uuid> = HashSet::new();
    if !open.is_empty() {
        added.extend(rows::add(conn, &[], instance, &open).await?);
    }
    let mut ended = HashMap::new();
    if !over.is_empty() {
        added.extend(add_ended(conn, instance, &over, &ends).await?);
        let new = over.iter().filter(|(call, ..)| added.contains(&call.id));
        ended.extend(
            new.map(|(call, _, amount)| {
                (call.id, Ended { place: call.place, at: call.at, reserved: *amount })
            }),
        );
    }
    let left = |(draw, lease): (&'a Draw, &'a Held)| {
        let added = draw.drawn.iter().filter(|call| added.contains(&call.reservation.id));
        let moved = added.fold(Amount::default(), |sum, call| sum.plus(call.amount));
        Some((draw, lease, held.get(&lease.id)?.minus(moved)))
    };
    Ok((Renewals { project, left: there.into_iter().filter_map(left).collect() }, ended))
}

/// Calls as their rows are made, each with its answer limit and what is set aside for it.
type Calls<'a> = Vec<(&'a Reservation, u32, Amount)>;

/// The drawn calls that are under way, and those that are over, with their ends.
fn by_state<'a>(leased: &[(&'a Draw, &Held)]) -> (Calls<'a>, Calls<'a>, Vec<&'a Settlement>) {
    let (mut open, mut over, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for (draw, _) in leased {
        let settled: HashMap<Uuid, &Settlement> = draw.settlements.iter().map(|one| (one.id, one)).collect();
        for call in &draw.drawn {
            let row = (&call.reservation, call.reservation.max_output, call.amount);
            match settled.get(&call.reservation.id) {
                Some(end) => {
                    over.push(row);
                    ends.push(*end);
                }
                None => open.push(row),
            }
        }
    }
    (open, over, ends)
}

/// Adds the rows of calls that are over, in one piece. Gives back the ids of those that were not there yet.
async fn add_ended(
    conn: &mut PgConnection,
    instance: Uuid,
    calls: &Calls<'_>,
    settlements: &[&Settlement],
) -> Result<Vec<Uuid>, Error> {
    let query = rows::bind_reservations(sqlx::query(ADD_ENDED), calls);
    let added = rows::bind_outcomes(query, settlements).bind(instance);
    Ok(added.try_map(|row: PgRow| row.try_get("id")).fetch_all(conn).await?)
}

const ADD_ENDED: &str = "
insert into usage (id, project_id, story_id, run_id, step_id, agent_id, sprint_id, key_id, call_id, attempt, fence,
                   deployment, provider, model, state, unpriced, simulated, model_group, downgraded_to, at,
                   reserved_micro_usd, reserved_tokens, max_output, user_id, instance, cost_micro_usd, tokens_in, tokens_out,
                   tokens_cached, tokens_reasoning, latency_ms, estimated, error, settled_at, tokens_cache_write,
                   rate_input, rate_output, rate_cache_read, rate_cache_write, price_version, first_content_ms, error_kind,
                   tokens_cache_write_1h, rate_cache_write_1h, other_classes)
select id, project_id, story_id, run_id, step_id, agent_id, sprint_id, key_id, call_id, attempt, fence,
       deployment, provider, answered, state, unpriced or unknown, scripted, model_group, downgraded_to, at,
       reserved_micro_usd, reserved_tokens, max_output, user_id, $49, cost, tokens_in, tokens_out,
       cached, reasoning, latency, estimated, error, settled_at, cache_write,
       rate_input, rate_output, rate_cache_read, rate_cache_write, version, first_content, error_kind,
       hour, rate_hour, other_classes
  from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[],
              $10::int[], $11::bigint[], $12::text[], $13::text[], $14::text[], $15::bool[], $16::bool[], $17::text[],
              $18::text[], $19::timestamptz[], $20::bigint[], $21::bigint[], $22::int[],
              $23::uuid[], $24::uuid[], $25::text[], $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[],
              $30::bigint[], $31::bigint[], $32::bool[], $33::bool[], $34::text[], $35::text[], $36::timestamptz[], $37::bigint[],
              $38::bigint[], $39::bigint[], $40::bigint[], $41::bigint[], $42::text[], $43::bigint[], $44::text[],
              $45::bool[], $46::bigint[], $47::bigint[], $48::jsonb[])
       as c (id, project_id, story_id, run_id, step_id, agent_id, sprint_id, key_id, call_id, attempt, fence, deployment,
             provider, model, unpriced, simulated, model_group, downgraded_to, at, reserved_micro_usd, reserved_tokens,
             max_output, user_id, same, state, cost, tokens_in, tokens_out, cached, reasoning, latency, estimated,
             scripted, error, answered, settled_at, cache_write, rate_input, rate_output, rate_cache_read, rate_cache_write, version,
             first_content, error_kind, unknown, hour, rate_hour, other_classes)
on conflict (id) do nothing returning id";

async fn begin(
    conn: &mut PgConnection,
    project: ProjectId,
    instance: Uuid,
    leased: &[(&Draw, &Held)],
) -> Result<(), Error> {
    let new: Vec<_> = leased.iter().filter(|(_, held)| held.begins).collect();
    if new.is_empty() {
        return Ok(());
    }
    let place =
        |id: fn(&Place) -> Option<Uuid>| new.iter().map(|(draw, _)| id(&draw.place)).collect::<Vec<_>>();
    sqlx::query(BEGIN)
        .bind(project.0)
        .bind(instance)
        .bind(new.iter().map(|(_, held)| held.id).collect::<Vec<_>>())
        .bind(place(|place| place.agent.map(|id| id.0)))
        .bind(place(|place| place.sprint.map(|id| id.0)))
        .bind(place(|place| place.run.map(|id| id.0)))
        .bind(place(|place| place.key.map(|id| id.0)))
        .bind(new.iter().map(|(_, held)| held.at).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

impl Renewals<'_> {
    /// Where the leases count.
    pub(super) fn counted(&self) -> impl Iterator<Item = Counted> {
        self.left.iter().map(|(draw, held, _)| held.counted(draw.place))
    }

    /// Books what the leases come to, by their ids.
    pub(super) async fn write(
        &self,
        conn: &mut PgConnection,
        book: &mut Book,
    ) -> Result<HashMap<Uuid, Landed>, Error> {
        if self.left.is_empty() {
            return Ok(HashMap::new());
        }
        let renew = |(draw, held, left): &(&Draw, &Held, Amount)| {
            (held.id, book.renew(&held.counted(draw.place), *left, &held.terms))
        };
        let renewed: Vec<(Uuid, (Amount, Amount))> = self.left.iter().map(renew).collect();
        sqlx::query(
            "with l as (select * from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as l (id, money, tokens)),
                  gone as (delete from usage u using l
                            where u.id = l.id and u.project_id = $4 and l.money = 0 and l.tokens = 0)
             update usage u set reserved_micro_usd = l.money, reserved_tokens = l.tokens
               from l where u.id = l.id and u.project_id = $4 and (l.money > 0 or l.tokens > 0)",
        )
        .bind(renewed.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(renewed.iter().map(|(_, (booked, _))| booked.money.0).collect::<Vec<_>>())
        .bind(renewed.iter().map(|(_, (booked, _))| booked.tokens).collect::<Vec<_>>())
        .bind(self.project.0)
        .execute(conn)
        .await?;
        let leased = |(id, (booked, allowed))| (id, Landed::Leased { booked, allowed });
        Ok(renewed.into_iter().map(leased).collect())
    }
}

impl Draw {
    /// What became of it, among all leases of the transaction.
    pub(super) fn landed(&self, leased: &HashMap<Uuid, Landed>) -> Landed {
        match &self.lease {
            None => Landed::Settled,
            Some(held) => leased.get(&held.id).copied().unwrap_or(Landed::Gone),
        }
    }
}
