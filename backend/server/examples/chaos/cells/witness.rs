//! A trigger that writes down what becomes of every job, in the transaction in which it happens: so that it can be said
//! of jobs that are gone that none was lost, none ended twice, and that no fence ever went back.

use crate::{Failure, rules::Rule};
use sqlx::PgConnection;

const TRIGGER: &str = "
create table chaos_witness (n bigserial primary key, id bigint not null, op text not null, fence bigint not null, owner uuid);
create index chaos_witness_id on chaos_witness (id, n);
create function chaos_witness() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        insert into chaos_witness (id, op, fence, owner) values (old.id, tg_op, old.fence, old.owner);
    elsif tg_op = 'INSERT' or (new.fence, new.owner) is distinct from (old.fence, old.owner) then
        insert into chaos_witness (id, op, fence, owner) values (new.id, tg_op, new.fence, new.owner);
    end if;
    return null;
end $$;
create trigger chaos_witness after insert or update or delete on job for each row execute function chaos_witness();";

/// What it can tell.
pub(crate) const WITNESSED: &[Rule] = &[
    Rule {
        what: "jobs lost",
        count: "select count(distinct id) from chaos_witness w where op = 'INSERT' and not exists (select from job j where j.id = w.id)
                   and not exists (select from job_done d where d.id = w.id) and not exists (select from job_dead d where d.id = w.id)",
        damage: "delete from job_done where id = (select max(id) from job_done)",
    },
    Rule {
        what: "jobs that ended twice",
        count: "select count(*) from (select id from chaos_witness where op = 'DELETE' group by 1 having count(*) > 1) d",
        damage: "insert into chaos_witness (id, op, fence, owner) select id, op, fence, owner from chaos_witness where op = 'DELETE' limit 1",
    },
    Rule {
        what: "fences that went back",
        count: "select count(*) from (select fence, lag(fence) over (partition by id order by n) as before from chaos_witness) w where fence < before",
        damage: "insert into chaos_witness (id, op, fence) select id, 'UPDATE', fence - 1 from chaos_witness where op = 'DELETE' limit 1",
    },
    Rule {
        what: "claims under a fence that was there before",
        count: "select count(*) from (select fence, owner, lag(fence) over same as fence_before, lag(owner) over same as owner_before
                  from chaos_witness window same as (partition by id order by n)) w
                 where owner is not null and owner is distinct from owner_before and fence <= fence_before",
        damage: "insert into chaos_witness (id, op, fence, owner)
                 select id, 'UPDATE', fence, gen_random_uuid() from chaos_witness where op = 'DELETE' limit 1",
    },
];

/// Begins to look.
pub(super) async fn install(conn: &mut PgConnection) -> Result<(), Failure> {
    sqlx::raw_sql(TRIGGER).execute(conn).await?;
    Ok(())
}
