//! What a call has cost, and whether another could be paid for.

use super::ledger::{Book, Counted, Place};
use crate::db::Error;
use sqlx::PgConnection;
use syndarix_domain::{
    Timestamp,
    budget::Amount,
    ids::{ProjectId, StepId},
    money::MicroUsd,
    run::Usage,
};

/// Whether every budget above a call could pay this much now. Holds them still until the end of the transaction: who
/// raises one meanwhile sees what was written in it.
pub async fn affordable(
    conn: &mut PgConnection,
    place: Place,
    amount: Amount,
    at: Timestamp,
) -> Result<bool, Error> {
    let book = Book::open(conn, place.project, &[Counted { place, at, new: true }]).await?;
    Ok(!book.refuses(&place, at, amount))
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
