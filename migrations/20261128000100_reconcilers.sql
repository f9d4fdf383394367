-- What the reconcilers look for every few seconds, and the two foreign ids that were read without an index.

create index job_dead_key on job_dead (concurrency_key, id) where concurrency_key is not null;
-- The merge queue's key is the repository's; which pull request a merge is of stands in its payload.
create index job_merge on job ((payload ->> 'pull_request')) where kind = 'pull_request.merge';
create index job_dead_merge on job_dead ((payload ->> 'pull_request'), id) where kind = 'pull_request.merge';
-- On the phase, which changes seldom: an index on anything in `state` would make every update of a story a cold one.
create index story_working on story (id) where phase not in ('done', 'blocked', 'cancelled');
create index agent_current_run on agent (current_run_id) where current_run_id is not null;
create index test_run_run on test_run (run_id);
