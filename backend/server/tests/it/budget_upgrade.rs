//! A database of the release before the tree of budgets, with many usage rows, goes through the migrations with the right sums.

use crate::support;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::path::Path;
use uuid::Uuid;

/// The migration that made budgets a tree.
const TREE: &str = "20261129160000";

/// Four projects, eight keys of which half have a limit, 200,000 attempts of all states; budgets as that release counted them.
const BEFORE: &str = "
insert into organisation (id, name, created_at) values (gen_random_uuid(), 'Old', now());
insert into project (id, organisation_id, name, autonomy, policy, repository_state, repository_source, created_at)
select ('00000000-0000-0000-0000-00000000000' || n)::uuid, o.id, 'P' || n, 'milestone', '{}', 'ready', '{}', now()
  from organisation o, generate_series(0, 3) n;
insert into gateway_key (id, project_id, name, prefix, hash, hard_limit_micro_usd, created_at)
select ('10000000-0000-0000-0000-00000000000' || n)::uuid, ('00000000-0000-0000-0000-00000000000' || n % 4)::uuid, 'k', 'k',
       decode(md5(n::text), 'hex'), case when n < 4 then 5000000 end, now()
  from generate_series(0, 7) n;
insert into usage (id, project_id, key_id, attempt, deployment, provider, model, state, reserved_micro_usd, cost_micro_usd, tokens_in,
                   tokens_out, simulated, at, call_id)
select gen_random_uuid(), ('00000000-0000-0000-0000-00000000000' || n % 4)::uuid,
       case when n % 3 = 0 then ('10000000-0000-0000-0000-00000000000' || n % 8)::uuid end, 1, 'd', 'p', 'm',
       case when n % 97 = 7 then 'reserved' when n % 10 = 1 then 'failed' else 'settled' end, 100,
       case when n % 97 = 7 then 0 else n % 89 end, case when n % 97 = 7 then 0 else n % 50 end,
       case when n % 97 = 7 then 0 else n % 30 end, n % 5 = 0, now() - n * interval '1 second', gen_random_uuid()
  from generate_series(1, 200000) n;
insert into budget (project_id, hard_limit_micro_usd, soft_limit_micro_usd, spent_micro_usd, reserved_micro_usd, simulated_micro_usd,
                    updated_at)
select project_id, 900000000, 800000000, sum(cost_micro_usd) filter (where not simulated),
       sum(reserved_micro_usd) filter (where state = 'reserved'), sum(cost_micro_usd) filter (where simulated), now()
  from usage group by project_id";

/// What a budget says, beside what the rows below it say.
const DIFFER: &str = "
select b.scope || ' ' || b.scope_id from budget b join budget_window w on w.budget_id = b.id
 cross join lateral (
        select coalesce(sum(u.cost_micro_usd) filter (where not u.simulated), 0) as spent,
               coalesce(sum(u.cost_micro_usd) filter (where u.simulated), 0) as simulated,
               coalesce(sum(u.reserved_micro_usd) filter (where u.state = 'reserved'), 0) as reserved,
               coalesce(sum(u.tokens_in + u.tokens_out), 0) as tokens
          from usage u where b.scope_id in (u.project_id, u.key_id)) rows
 where (w.spent_micro_usd, w.simulated_micro_usd, w.reserved_micro_usd, w.spent_tokens)
       is distinct from (rows.spent, rows.simulated, rows.reserved, rows.tokens)";

#[tokio::test]
async fn budgets_of_the_release_before_the_tree_are_taken_over_with_what_two_hundred_thousand_rows_say() {
    let database = format!("syndarix_upgrade_{}", Uuid::now_v7().simple());
    support::admin(format!("create database {database}")).await;
    let mut url = support::server_url();
    url.set_path(&database);
    let mut conn = PgConnection::connect(url.as_str()).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut migrations: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    let is_older = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap() < TREE;
    let (before, after): (Vec<_>, Vec<_>) = migrations.into_iter().partition(is_older);
    for migration in before {
        let sql = std::fs::read_to_string(migration).unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    }
    sqlx::raw_sql(BEFORE).execute(&mut conn).await.unwrap();

    for migration in after {
        let sql = std::fs::read_to_string(migration).unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    }

    let differ: Vec<String> = sqlx::query_scalar(DIFFER).fetch_all(&mut conn).await.unwrap();
    assert_eq!(differ, Vec::<String>::new());
    let limits: Vec<(String, i64, Option<i64>, Option<i64>)> = sqlx::query_as(
        "select scope, count(*), min(hard_limit_micro_usd), min(soft_limit_micro_usd) from budget group by scope order by scope",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let expected = [
        ("key".to_owned(), 4, Some(5_000_000), None),
        ("project".to_owned(), 4, Some(900_000_000), Some(800_000_000)),
    ];
    assert_eq!(limits, expected);
    let sums: (i64, i64) = sqlx::query_as(
        "select (select sum(cost_micro_usd) from usage_sum)::bigint, (select sum(cost_micro_usd) from usage)::bigint",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(sums.0, sums.1, "sums by the hour begin with what is there");
    conn.close().await.unwrap();
    support::admin(format!("drop database {database} with (force)")).await;
}
