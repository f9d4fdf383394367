//! The state rows are nothing but what the events make of them: so they are damaged in the stopped system, and
//! `rebuild --write` must bring back every one of them as it was.

use crate::{Failure, invariants::Scene};
use rand::{Rng, rngs::StdRng};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection};
use syndarix_postgres::EmbeddedOptions;

const KINDS: [&str; 5] = ["sprint", "story", "pull_request", "run", "approval"];

#[derive(Debug, PartialEq, FromRow)]
struct Row {
    kind: String,
    id: sqlx::types::Uuid,
    project_id: sqlx::types::Uuid,
    version: i64,
    phase: String,
    state: Value,
}

/// Deletes the rows of one kind, spoils some of the others, has all of them made again, and compares. Gives how many
/// rows differed.
pub(crate) async fn undone(scene: &Scene<'_>, rng: &mut StdRng) -> Result<usize, Failure> {
    let gone = KINDS[rng.random_range(1..KINDS.len())];
    let before = on_the_database(scene, async |conn| {
        let before = rows(conn).await?;
        run(conn, &format!("delete from {gone}")).await?;
        for kind in KINDS.iter().filter(|kind| **kind != gone) {
            let third = "abs(hashtext(id::text)) % 3 = 0";
            run(conn, &format!("update {kind} set version = version + 1, phase = 'spoilt' where {third}"))
                .await?;
        }
        Ok(before)
    })
    .await?;
    let repaired = scene.rebuild(&["--write"])?;
    let differed = repaired["different"].as_array().map_or(0, Vec::len);
    let lost = before.iter().filter(|row| row.kind == gone).count();
    if differed < lost || lost == 0 {
        return Err(format!("{lost} rows of {gone} were deleted, and {differed} told").into());
    }
    let proved = scene.rebuild(&[])?;
    if proved["different"] != Value::Array(Vec::new()) {
        return Err(format!("after a repair there are differences: {proved}").into());
    }
    let after = on_the_database(scene, rows).await?;
    if after != before {
        return Err(format!("{} rows came back of {}, or others", after.len(), before.len()).into());
    }
    Ok(differed)
}

/// Starts the database alone for this piece of work: nothing else of Syndarix runs.
async fn on_the_database<T>(
    scene: &Scene<'_>,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let options = EmbeddedOptions::platform_default(syndarix::config::process_env)
        .in_dir(scene.data_dir.join("postgres"));
    let server = syndarix_postgres::start(options).await?;
    let mut conn = PgConnection::connect(server.url()).await?;
    let done = work(&mut conn).await;
    conn.close().await?;
    server.stop().await?;
    done
}

async fn rows(conn: &mut PgConnection) -> Result<Vec<Row>, Failure> {
    let each = KINDS
        .map(|kind| format!("select '{kind}' as kind, id, project_id, version, phase, state from {kind}"));
    let sql = format!("{} order by kind, id", each.join(" union all "));
    Ok(sqlx::query_as(AssertSqlSafe(sql)).fetch_all(conn).await?)
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<(), Failure> {
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}
