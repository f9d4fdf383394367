-- The history is dropped by the day, not deleted by the row. It has no key: the end of a job is written by the statement
-- that takes its row out of `job`, under its fence, so that none ends twice; and an index that nobody reads costs each
-- job a write. `job_done_rest` takes what no day was made for, so that the end of a job never fails for want of one.
alter table job_done rename to job_done_before;
alter table job_done_before rename constraint job_done_pkey to job_done_before_pkey;
alter index job_done_ended_at rename to job_done_before_ended_at;

create table job_done (
    id         bigint      not null,
    queue      text        not null,
    project_id uuid,
    kind       text        not null,
    attempt    integer     not null,
    outcome    text        not null,
    ended_at   timestamptz not null default now(),
    constraint job_done_outcome_known check (outcome in ('done', 'cancelled', 'purged'))
) partition by range (ended_at);

create table job_done_rest partition of job_done default;

do $$
declare
    day date;
begin
    for day in select generate_series(current_date - 8, current_date + 4, interval '1 day')::date loop
        execute format('create table %I partition of job_done for values from (%L) to (%L)',
                       'job_done_' || to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', day + 1 || ' 00:00:00+00');
    end loop;
end $$;

insert into job_done (id, queue, project_id, kind, attempt, outcome, ended_at)
select id, queue, project_id, kind, attempt, outcome, ended_at from job_done_before;
drop table job_done_before;
