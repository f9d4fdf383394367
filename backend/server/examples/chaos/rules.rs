//! What must be nowhere in the tables once everything has settled, each rule with a damage that it must notice.

use crate::Failure;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A count that must be 0.
pub(crate) struct Rule {
    /// What was found when it is not.
    pub(crate) what: &'static str,
    /// How many there are.
    pub(crate) count: &'static str,
    /// Makes at least one, in tables where some stories are done.
    pub(crate) damage: &'static str,
}

/// Of what is worked on: nothing is left behind.
pub(crate) const SETTLED: &[Rule] = &[
    Rule {
        what: "jobs left over",
        count: "select count(*) from job where kind not like 'costs.%' and kind not like '%.reconcile' and project_id is not null",
        damage: "insert into job (queue, project_id, kind, payload, max_attempts) select 'agent', id, 'run.advance', '{}', 1 from project limit 1",
    },
    Rule {
        what: "dead letters",
        count: "select count(*) from job_dead",
        damage: "insert into job_dead (id, queue, kind, payload, priority, attempt, max_attempts, rescues, fence, reason, errors, created_at)
                 values (-1, 'agent', 'run.advance', '{}', 2, 1, 1, 0, 1, 'spoilt', '[]', now())",
    },
    Rule {
        what: "reservations left open",
        count: "select count(*) from usage where state = 'reserved'",
        damage: "update usage set state = 'reserved' where id = (select id from usage limit 1)",
    },
    Rule {
        what: "money reserved",
        count: "select coalesce(sum(reserved_micro_usd), 0)::bigint from budget_window",
        damage: "update budget_window set reserved_micro_usd = 1 where budget_id = (select budget_id from budget_window limit 1)",
    },
    Rule {
        what: "model steps without a usage row",
        count: "select count(*) from step s where s.kind = 'model' and not exists (select from usage u where u.step_id = s.id)",
        damage: "delete from usage where step_id = (select id from step where kind = 'model' limit 1)",
    },
    Rule {
        what: "steps without an end",
        count: "select count(*) from step where status = 'started'",
        damage: "update step set status = 'started' where id = (select id from step limit 1)",
    },
    Rule {
        what: "agents busy without a run",
        count: "select count(*) from agent where status = 'active'",
        damage: "update agent set status = 'active' where id = (select id from agent limit 1)",
    },
    Rule {
        what: "audit entries and events without a seal",
        count: "select (select count(*) from audit_entry e where not exists (select from audit_seal s where s.entry_id = e.id))
                     + (select count(*) from project_log l left join audit_head h on h.chain = l.project_id
                         where l.head > coalesce(h.event_seq, 0))
                     + (select count(*) from audit_head h
                         where h.position <> (select count(*) from audit_seal s where s.chain = h.chain)
                                           + (select coalesce(sum(events), 0) from audit_block b where b.chain = h.chain))",
        damage: "alter table audit_block disable trigger user;
                 delete from audit_block where (chain, position) = (select chain, position from audit_block limit 1)",
    },
];

/// Of what is remembered: true at every moment, also while work goes on.
pub(crate) const ALWAYS: &[Rule] = &[
    Rule {
        what: "gaps in the event numbers",
        count: "select count(*) from (select project_id, max(seq) as head, count(*) as n from event group by 1) e where e.head <> e.n",
        damage: "alter table event disable trigger user; delete from event where seq = 1",
    },
    Rule {
        what: "events beyond the log's head",
        count: "select count(*) from event e join project_log l using (project_id) where e.seq > l.head",
        damage: "update project_log set head = head - 1",
    },
    Rule {
        what: "numbers given to no event",
        count: "select count(*) from project_log l where l.head > (select count(*) from event e where e.project_id = l.project_id)",
        damage: "update project_log set head = head + 1",
    },
    Rule {
        what: "streams whose versions have gaps",
        count: "select count(*) from (select stream_id from event where version > 0 group by 1
                 having min(version) <> 1 or max(version) <> count(*)) s",
        damage: "alter table event disable trigger user; delete from event where version = 2",
    },
    Rule {
        what: "state rows that are not at their stream's last version",
        count: "with last as (select stream_id, max(version) as version from event where version > 0 group by 1),
                     state as (select id, version from sprint union all select id, version from story
                               union all select id, version from pull_request union all select id, version from run
                               union all select id, version from approval)
                select count(*) from last full join state on state.id = last.stream_id
                 where last.version is distinct from state.version",
        damage: "update run set version = version + 1 where id = (select id from run limit 1)",
    },
    Rule {
        what: "commands that took effect at two moments",
        count: "select count(*) from (select command_id from event where command_id is not null group by 1
                 having count(distinct at) > 1) c",
        damage: "alter table event disable trigger user; update event set command_id = '00000000-0000-0000-0000-000000000001'
                  where seq in (1, (select max(head) from project_log))
                     or at in ((select min(at) from event), (select max(at) from event))",
    },
    Rule {
        what: "tool calls recorded twice",
        count: "select count(*) from (select run_id, call_id from step where call_id is not null group by 1, 2 having count(*) > 1) d",
        damage: "update step s set call_id = t.call_id
                   from (select id, run_id, call_id from step where call_id is not null limit 1) t
                  where s.run_id = t.run_id and s.id <> t.id",
    },
    Rule {
        what: "questions answered twice",
        count: "select count(*) from (select stream_id from event where type = 'approval.decided.v1' group by 1 having count(*) > 1) d",
        damage: "insert into event (project_id, seq, id, kind, stream_id, version, type, data, actor, at)
                 select project_id, -n, gen_random_uuid(), kind, id, 1000 + n, 'approval.decided.v1', '{}', actor, at
                   from (select * from event where version = 1 limit 1) e (project_id, seq, eid, kind, id, v, t, d, actor, c, at),
                        generate_series(1, 2) n",
    },
    Rule {
        what: "stories merged twice",
        count: "select count(*) from (select state ->> 'story' from pull_request where phase = 'merged' group by 1 having count(*) > 1) d",
        damage: "insert into pull_request select gen_random_uuid(), project_id, version, phase, state, updated_at
                   from pull_request where phase = 'merged'",
    },
    Rule {
        what: "jobs in two places",
        count: "select count(*) from (select id from (select id from job union all select id from job_done union all select id from job_dead) j
                 group by 1 having count(*) > 1) d",
        damage: "insert into job (id, queue, kind, payload, max_attempts) select id, queue, kind, '{}', 1 from job_done limit 1",
    },
    Rule {
        what: "runs that nobody goes on with and that wait for nothing",
        count: "select count(*) from run r where phase not in ('succeeded', 'failed', 'stalled', 'cancelled')
                   and not exists (select from job where concurrency_key = 'run:' || r.id)
                   and not exists (select from timer where stream = r.id)
                   and not exists (select from approval a where a.phase = 'pending' and a.id::text = r.state -> 'phase' -> 'wait' ->> 'approval')",
        damage: "update run set phase = 'thinking' where id = (select id from run where phase = 'succeeded' limit 1)",
    },
    Rule {
        what: "questions that are open without a deadline",
        count: "select count(*) from approval a where phase = 'pending' and not exists (select from timer where stream = a.id)",
        damage: "insert into approval select gen_random_uuid(), project_id, 1, 'pending', '{}', now() from project_log limit 1",
    },
];

/// Which of the rules are broken, in words.
pub(crate) async fn broken(conn: &mut PgConnection, rules: &[&[Rule]]) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    for Rule { what, count, .. } in rules.iter().copied().flatten() {
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(*count)).fetch_one(&mut *conn).await?;
        if count != 0 {
            wrong.push(format!("{what}: {count}"));
        }
    }
    Ok(wrong)
}

/// Does every damage in a transaction that is rolled back, and wants its rule to notice it. Gives how many there were.
pub(crate) async fn sabotaged(conn: &mut PgConnection, rules: &[&[Rule]]) -> Result<usize, Failure> {
    let mut noticed = 0;
    for rule in rules.iter().copied().flatten() {
        let mut spoilt = conn.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(rule.damage))
            .execute(&mut *spoilt)
            .await
            .map_err(|error| format!("the damage of `{}`: {error}", rule.what))?;
        let told = broken(&mut spoilt, &[std::slice::from_ref(rule)]).await?;
        spoilt.rollback().await?;
        if told.is_empty() {
            return Err(format!("nobody notices: {}", rule.what).into());
        }
        noticed += 1;
    }
    Ok(noticed)
}
