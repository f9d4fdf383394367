//! A feature's own rows that go with the events of a transaction, so that both take one round trip.

use super::Error;
use sqlx::{Execute, Postgres, QueryBuilder, postgres::PgArguments, query::Query};

type PgQuery = Query<'static, Postgres, PgArguments>;

/// One change of a feature's own rows, as the statement that writes the events takes it in.
#[derive(Debug)]
pub(crate) struct Along {
    sql: &'static str,
    arguments: PgArguments,
}

impl Along {
    /// Of an insert, update or delete that returns nothing, and what binds its parameters.
    pub(crate) fn of(sql: &'static str, bind: impl FnOnce(PgQuery) -> PgQuery) -> Result<Self, Error> {
        let arguments = bind(sqlx::query(sql)).take_arguments().map_err(sqlx::Error::Encode)?;
        Ok(Self { sql, arguments: arguments.unwrap_or_default() })
    }

    /// The statement's beginning, with this as its part `along`: its parameters are the first.
    pub(super) fn begin(self) -> QueryBuilder<Postgres> {
        QueryBuilder::with_arguments(format!("with along as ({} returning 1), ", self.sql), self.arguments)
    }
}
