//! Reading state rows: by themselves in a transaction, or many callers' at once outside of one.

use super::{
    Error,
    combine::Combine,
    store::{Loaded, table},
};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgPool, types::Json};
use std::collections::{BTreeMap, HashMap};
use syndarix_domain::machine::{Kind, Machine};
use uuid::Uuid;

/// Which row is wanted. Of another project it is as good as not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) project: Uuid,
    pub(super) id: Uuid,
}

/// A state row as it is stored.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Row {
    id: Uuid,
    project_id: Uuid,
    version: i64,
    state: Json<Box<RawValue>>,
}

impl Row {
    pub(super) fn read<M: Machine>(&self) -> Result<Loaded<M>, Error> {
        let state = serde_json::from_str(self.state.get())
            .map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
        Ok(Loaded { version: self.version, state })
    }
}

impl Combine for Wanted {
    type Answer = Result<Option<Row>, Error>;

    /// Readers are in nobody's way.
    fn alone_on(&self) -> Vec<Uuid> {
        Vec::new()
    }
}

/// Reads one row in the caller's transaction.
pub(super) async fn load(conn: &mut PgConnection, wanted: Wanted) -> Result<Option<Row>, Error> {
    let sql = format!(
        "select id, project_id, version, state from {} where id = $1 and project_id = $2",
        table(wanted.kind)
    );
    let row = sqlx::query_as(AssertSqlSafe(sql)).bind(wanted.id).bind(wanted.project);
    Ok(row.fetch_optional(conn).await?)
}

/// Reads many rows, with one statement for each kind.
pub(super) async fn load_together(pool: &PgPool, wanted: Vec<Wanted>) -> Vec<Result<Option<Row>, Error>> {
    match read(pool, &wanted).await {
        Ok(rows) => wanted
            .iter()
            .map(|wanted| {
                Ok(rows
                    .get(&(wanted.kind, wanted.id))
                    .filter(|row| row.project_id == wanted.project)
                    .cloned())
            })
            .collect(),
        Err(error) => {
            let error = Error::from(error);
            wanted.iter().map(|_| Err(error.again())).collect()
        }
    }
}

async fn read(pool: &PgPool, wanted: &[Wanted]) -> Result<HashMap<(Kind, Uuid), Row>, sqlx::Error> {
    let mut kinds: BTreeMap<Kind, Vec<Uuid>> = BTreeMap::new();
    for wanted in wanted {
        kinds.entry(wanted.kind).or_default().push(wanted.id);
    }
    let mut conn = pool.acquire().await?;
    let mut found = HashMap::with_capacity(wanted.len());
    for (kind, ids) in kinds {
        let sql = format!("select id, project_id, version, state from {} where id = any($1)", table(kind));
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(&mut *conn).await?;
        found.extend(rows.into_iter().map(|row| ((kind, row.id), row)));
    }
    Ok(found)
}
