//! A check that cannot fail proves nothing: so each is made to fail.

use super::{
    site::{Place, Site},
    witness::WITNESSED,
};
use crate::{
    Failure,
    rules::{self, ALWAYS, SETTLED},
};
use sqlx::AssertSqlSafe;

/// Breaks every rule, and gives how many breaches were noticed: those of the tables in transactions that are rolled
/// back, those that the command line looks for in the database that nobody needs afterwards.
pub(super) async fn every_rule(site: &mut Site) -> Result<usize, Failure> {
    ensure_material(site).await?;
    // Nobody works meanwhile, and nobody takes an invented job for a real one.
    for server in &mut site.servers {
        server.stop()?;
    }
    let mut conn = site.connect().await?;
    let noticed = rules::sabotaged(&mut conn, &[SETTLED, ALWAYS, WITNESSED]).await?;
    let scene = site.scene(Place::Plain);
    let spoil = "update story set state = jsonb_set(state, '{title}', '\"spoilt\"') where id = (select id from story limit 1)";
    sqlx::query(spoil).execute(&mut conn).await?;
    match scene.cli(&["rebuild", "--json"]) {
        Err(told) if told.to_string().contains("another state") => {}
        other => return Err(format!("a state that its events do not give is not noticed: {other:?}").into()),
    }
    let forge = "alter table event disable trigger user;
                 update event set actor = '{\"type\": \"system\"}' where seq = 1 and actor ->> 'type' <> 'system'";
    sqlx::raw_sql(AssertSqlSafe(forge)).execute(&mut conn).await?;
    match scene.cli(&["audit", "verify"]) {
        Ok(told) => Err(format!("a forged event is not noticed: {told}").into()),
        Err(_) => Ok(noticed + 2),
    }
}

/// A story that was done and a question that was answered: what the damages need.
async fn ensure_material(site: &mut Site) -> Result<(), Failure> {
    site.sign_in().await?;
    site.label = "sabotage".into();
    site.begin(Place::Asking, "Something to spoil").await?;
    site.finish().await?;
    site.check().await
}
