//! A project's money, as model calls move it. All SQL about budgets that a call needs is here.
//!
//! `take` and `give` are the statements behind `syndarix_domain::budget`; a test keeps the two alike.

use crate::{
    db::{Error, Uow},
    features::approvals::{self, Notice},
};
use serde_json::json;
use sqlx::{FromRow, PgConnection};
use syndarix_domain::{
    budget,
    ids::{GatewayKeyId, ProjectId, StepId},
    money::MicroUsd,
    run::Usage,
};
use syndarix_llm::Refused;
use uuid::Uuid;

/// The refusal's code when a hard limit would be passed.
pub(super) const BUDGET: &str = "budget_exceeded";
/// The refusal's code when only what other calls reserve is in the way: most of it comes back when they settle.
pub(super) const RESERVED: &str = "budget_reserved";

/// Sets the amount aside in one statement: `spent + reserved` cannot pass the limit in any interleaving.
pub async fn take(conn: &mut PgConnection, project: ProjectId, amount: i64) -> Result<bool, Error> {
    let taken = sqlx::query(
        "update budget set reserved_micro_usd = reserved_micro_usd + $2
         where project_id = $1
           and (hard_limit_micro_usd is null
                or spent_micro_usd + simulated_micro_usd + reserved_micro_usd + $2 <= hard_limit_micro_usd)",
    )
    .bind(project.0)
    .bind(amount)
    .execute(conn)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// The real cost of what was reserved.
#[derive(Debug, Clone, Copy)]
pub struct Settlement {
    /// What was set aside, in micro-USD.
    pub reserved: i64,
    /// What it cost, in micro-USD.
    pub cost: i64,
    /// Whether a scripted endpoint answered.
    pub simulated: bool,
}

#[derive(Debug, FromRow)]
struct After {
    soft_limit_micro_usd: Option<i64>,
    spent: i64,
}

/// Ends a reservation with the real cost, and tells people of what they should know.
pub async fn give(uow: &mut Uow, project: ProjectId, settled: Settlement) -> Result<(), Error> {
    let after: Option<After> = sqlx::query_as(
        "update budget set reserved_micro_usd = reserved_micro_usd - $2,
                spent_micro_usd = spent_micro_usd + $3, simulated_micro_usd = simulated_micro_usd + $4
         where project_id = $1
         returning soft_limit_micro_usd, spent_micro_usd + simulated_micro_usd as spent",
    )
    .bind(project.0)
    .bind(settled.reserved)
    .bind(if settled.simulated { 0 } else { settled.cost })
    .bind(if settled.simulated { settled.cost } else { 0 })
    .fetch_optional(uow.conn().await?)
    .await?;
    let Some(After { soft_limit_micro_usd, spent }) = after else { return Ok(()) };
    if settled.cost > settled.reserved {
        overrun(uow, project, settled).await?;
    }
    let Some(limit) = soft_limit_micro_usd else { return Ok(()) };
    let (before, spent) = (MicroUsd(spent.saturating_sub(settled.cost)), MicroUsd(spent));
    for percent in budget::crossed(MicroUsd(limit), before, spent) {
        near(uow, project, percent, MicroUsd(limit), spent).await?;
    }
    Ok(())
}

/// The project has come nearer to its soft limit, or reached it.
async fn near(
    uow: &mut Uow,
    project: ProjectId,
    percent: u8,
    limit: MicroUsd,
    spent: MicroUsd,
) -> Result<(), Error> {
    let sentence =
        format!("The project has spent {spent}: {percent} % of its soft limit of {limit} is reached.");
    let data = json!({
        "reason": "soft_limit", "percent": percent, "soft_limit_micro_usd": limit, "spent_micro_usd": spent,
        "text": sentence,
    });
    uow.announce(project, "budget", project, "cost.alert.v1", data);
    // Once for each limit: with another one, people are told anew.
    let kind = format!("{percent} % of {limit}");
    approvals::notify(uow, project, Notice::about(format!("budget/{project}"), kind, sentence)).await
}

/// A provider charged more than the worst case: the hard limit may have been passed by the difference.
async fn overrun(uow: &mut Uow, project: ProjectId, settled: Settlement) -> Result<(), Error> {
    let (cost, reserved) = (MicroUsd(settled.cost), MicroUsd(settled.reserved));
    let sentence = format!(
        "A model call cost {cost}, and only {reserved} was set aside for it: the provider counts more than was sent, \
         or does not keep to the answer's limit."
    );
    let data = json!({
        "reason": "overrun", "cost_micro_usd": cost, "reserved_micro_usd": reserved, "text": sentence,
    });
    uow.announce(project, "budget", project, "cost.alert.v1", data);
    approvals::notify(uow, project, Notice::about(format!("budget/{project}"), "overrun", sentence)).await
}

pub(super) async fn refusal(
    conn: &mut PgConnection,
    project: ProjectId,
    amount: i64,
) -> Result<Refused, Error> {
    let found: Option<(i64, i64, i64)> = sqlx::query_as(
        "select coalesce(hard_limit_micro_usd, 0), spent_micro_usd + simulated_micro_usd, reserved_micro_usd
         from budget where project_id = $1",
    )
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    let (code, reason) = match found {
        None => (BUDGET, "the project has no budget row".to_owned()),
        Some((limit, spent, reserved)) => (
            if spent + amount <= limit { RESERVED } else { BUDGET },
            format!(
                "the project's hard budget of {} would be passed: {} spent, {} reserved, this call may cost {}",
                MicroUsd(limit),
                MicroUsd(spent),
                MicroUsd(reserved),
                MicroUsd(amount)
            ),
        ),
    };
    Ok(Refused { code: code.into(), reason })
}

/// Why a virtual key may not spend this much, if it may not. Comes after [`take`], whose lock on the project's budget lets
/// one reservation of the project in at a time: no two of them see the same rest.
pub(super) async fn key_refusal(
    conn: &mut PgConnection,
    project: ProjectId,
    key: GatewayKeyId,
    amount: i64,
) -> Result<Option<Refused>, Error> {
    let found: Option<(i64, i64, i64)> = sqlx::query_as(
        "select k.hard_limit_micro_usd,
                coalesce(sum(u.cost_micro_usd) filter (where u.state <> 'reserved'), 0)::bigint,
                coalesce(sum(u.reserved_micro_usd) filter (where u.state = 'reserved'), 0)::bigint
           from gateway_key k left join usage u on u.key_id = k.id and u.project_id = k.project_id
          where k.id = $1 and k.project_id = $2 and k.hard_limit_micro_usd is not null
          group by k.id",
    )
    .bind(key.0)
    .bind(project.0)
    .fetch_optional(conn)
    .await?;
    let Some((limit, spent, reserved)) = found else { return Ok(None) };
    if spent.saturating_add(reserved).saturating_add(amount) <= limit {
        return Ok(None);
    }
    let code = if spent.saturating_add(amount) <= limit { RESERVED } else { BUDGET };
    let reason = format!(
        "the key's budget of {} would be passed: {} spent, {} reserved, this call may cost {}",
        MicroUsd(limit),
        MicroUsd(spent),
        MicroUsd(reserved),
        MicroUsd(amount)
    );
    Ok(Some(Refused { code: code.into(), reason }))
}

/// Whether the project could pay this much now. Holds the budget still until the end of the transaction: who
/// raises it meanwhile sees what was written in it.
pub async fn affordable(conn: &mut PgConnection, project: ProjectId, amount: i64) -> Result<bool, Error> {
    let affordable: Option<bool> = sqlx::query_scalar(
        "select hard_limit_micro_usd is null or spent_micro_usd + simulated_micro_usd + $2 <= hard_limit_micro_usd
         from budget where project_id = $1 for share",
    )
    .bind(project.0)
    .bind(amount)
    .fetch_optional(conn)
    .await?;
    Ok(affordable.unwrap_or(false))
}

/// Settles the attempts of a step whose worker was lost: nobody knows what they cost, so they cost what was
/// reserved, marked as estimated.
pub async fn settle_interrupted(uow: &mut Uow, project: ProjectId, step: StepId) -> Result<(), Error> {
    interrupt(uow, project, "step_id = $2", step.0).await
}

/// The same for an attempt that nobody comes back to: its process died.
pub async fn settle_abandoned(uow: &mut Uow, project: ProjectId, usage: Uuid) -> Result<(), Error> {
    interrupt(uow, project, "id = $2", usage).await
}

async fn interrupt(uow: &mut Uow, project: ProjectId, which: &'static str, id: Uuid) -> Result<(), Error> {
    let now = uow.now();
    let open: Vec<(i64, bool)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "update usage set state = 'interrupted', cost_micro_usd = reserved_micro_usd, estimated = true,
                settled_at = $3
         where project_id = $1 and {which} and state = 'reserved'
         returning reserved_micro_usd, simulated"
    )))
    .bind(project.0)
    .bind(id)
    .bind(now)
    .fetch_all(uow.conn().await?)
    .await?;
    for (reserved, simulated) in open {
        give(uow, project, Settlement { reserved, cost: reserved, simulated }).await?;
    }
    Ok(())
}

/// What all attempts of a step have used up, failed and lost ones included.
pub async fn used(conn: &mut PgConnection, project: ProjectId, step: StepId) -> Result<Usage, Error> {
    let (input, output, cost, simulated): (i64, i64, i64, i64) = sqlx::query_as(
        "select coalesce(sum(tokens_in), 0)::bigint, coalesce(sum(tokens_out), 0)::bigint,
                coalesce(sum(cost_micro_usd) filter (where not simulated), 0)::bigint,
                coalesce(sum(cost_micro_usd) filter (where simulated), 0)::bigint
         from usage where step_id = $1 and project_id = $2 and state <> 'reserved'",
    )
    .bind(step.0)
    .bind(project.0)
    .fetch_one(conn)
    .await?;
    Ok(Usage {
        input_tokens: u64::try_from(input).unwrap_or_default(),
        output_tokens: u64::try_from(output).unwrap_or_default(),
        cost: MicroUsd(cost),
        simulated_cost: MicroUsd(simulated),
    })
}
