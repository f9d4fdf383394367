//! The default team: agent types that ship with the product, the same for every organisation.
//!
//! They are files (`agents/*.agent.toml`); a start stores a new version of those that changed. Instances keep the
//! version that they were spawned from.

use super::Definition;
use crate::db::{Error, Store};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

/// Name and content of every file.
const FILES: [(&str, &str); 10] = [
    ("product-owner", include_str!("../../../agents/product-owner.agent.toml")),
    ("analyst", include_str!("../../../agents/analyst.agent.toml")),
    ("architect", include_str!("../../../agents/architect.agent.toml")),
    ("engineer", include_str!("../../../agents/engineer.agent.toml")),
    ("reviewer", include_str!("../../../agents/reviewer.agent.toml")),
    ("qa", include_str!("../../../agents/qa.agent.toml")),
    ("devops", include_str!("../../../agents/devops.agent.toml")),
    ("security", include_str!("../../../agents/security.agent.toml")),
    ("writer", include_str!("../../../agents/writer.agent.toml")),
    ("data", include_str!("../../../agents/data.agent.toml")),
];

/// Two instances may start at once: one stores, the other finds it stored.
const LOCK: i64 = 0x5445_414d;

/// A file of the default team that does not read: a fault of this build.
#[derive(Debug, thiserror::Error)]
#[error("the agent type {file} of the default team does not read: {reason}")]
pub struct TeamError {
    file: &'static str,
    reason: String,
}

/// The default team as this build ships it.
pub fn default_team() -> Result<Vec<Definition>, TeamError> {
    let read = |(file, text): (&'static str, &str)| {
        toml::from_str(text).map_err(|error: toml::de::Error| TeamError { file, reason: error.to_string() })
    };
    FILES.into_iter().map(read).collect()
}

/// Stores the default team; what is stored already stays as it is.
pub async fn seed_default_team(store: &Store, team: &[Definition]) -> Result<(), Error> {
    let mut tx = store.pool().begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await?;
    for definition in team {
        store_one(store, &mut tx, definition).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn store_one(store: &Store, conn: &mut PgConnection, definition: &Definition) -> Result<(), Error> {
    let stored: Option<(Uuid, i32, Json<serde_json::Value>)> = sqlx::query_as(
        "select t.id, t.version, v.definition from agent_type t
         join agent_type_version v on v.agent_type_id = t.id and v.version = t.version
         where t.organisation_id is null and t.name = $1",
    )
    .bind(&definition.name)
    .fetch_optional(&mut *conn)
    .await?;
    let as_stored =
        serde_json::to_value(definition).map_err(|source| Error::Corrupt { what: "agent type", source })?;
    let (id, version) = match stored {
        // Compared as JSON: what an older release stored in another shape counts as changed.
        Some((_, _, Json(old))) if old == as_stored => return Ok(()),
        Some((id, version, _)) => (id, version + 1),
        None => (store.new_id(), 1),
    };
    let now = store.clock().now();
    sqlx::query(
        "insert into agent_type (id, organisation_id, name, role, version, is_active, updated_at)
         values ($1, null, $2, $3, $4, true, $5)
         on conflict (id) do update set role = excluded.role, version = excluded.version, updated_at = excluded.updated_at",
    )
    .bind(id)
    .bind(&definition.name)
    .bind(definition.role.name())
    .bind(version)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "insert into agent_type_version (agent_type_id, version, definition, created_at) values ($1, $2, $3, $4)",
    )
    .bind(id)
    .bind(version)
    .bind(as_stored)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use syndarix_domain::stage::StageName;

    /// Servers that a capability can name.
    const SERVERS: [&str; 6] = ["git", "filesystem", "knowledge-base", "issues", "cicd", "llm-gateway"];

    #[test]
    fn every_file_of_the_default_team_reads_and_every_role_is_there_once() {
        let team = default_team().unwrap();
        let roles: BTreeSet<&str> = team.iter().map(|one| one.role.name()).collect();
        let names: BTreeSet<&str> = team.iter().map(|one| one.name.as_str()).collect();
        assert_eq!((roles.len(), names.len()), (FILES.len(), FILES.len()));
        for stage in StageName::ALL {
            assert!(stage.roles().iter().any(|role| roles.contains(role.name())), "{}", stage.name());
        }
    }

    #[test]
    fn capabilities_name_real_servers_and_only_builders_write_code() {
        for definition in default_team().unwrap() {
            for capability in &definition.capabilities {
                let (server, access) = capability.split_once(':').unwrap();
                assert!(SERVERS.contains(&server) && ["read", "write"].contains(&access), "{capability}");
            }
            let writes = definition.capabilities.iter().any(|cap| cap == "git:write");
            let builds = ["engineer", "devops", "writer", "data"].contains(&definition.role.name());
            assert_eq!(writes, builds, "{}", definition.name);
        }
    }
}
