-- A snapshot that somebody holds keeps every dead index entry alive, and whoever walks past them pays for each. So the
-- queue's indexes are walked from where the last look ended, and jobs that may stand before that place have an index of
-- their own: those that were claimed before, or that name their time. Their fence says so.
update job set fence = 1 where fence = 0 and owner is null and run_at < created_at;
drop index job_ready;
create index job_ready on job (queue, tenant, priority, run_at, id) where owner is null and due and fence = 0;
create index job_again on job (queue, tenant, priority, run_at, id) where owner is null and due and fence > 0;

-- Leases run out in the order of this index: what ran out before the last look needs none any more.
drop index job_owned;
-- Its condition is not that of the running jobs' other indexes, so that it is not taken for one of them.
create index job_leased on job (lease_until) where lease_until is not null;

-- A dead worker that holds nothing any more is not asked about again.
alter table worker add column emptied_at timestamptz;
