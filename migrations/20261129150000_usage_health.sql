-- How quickly a deployment begins to answer, and of what it failed last.

-- From sending to the first content; null where none came, and in rows of versions that did not write it down.
alter table usage add column first_content_ms bigint;
-- The last failure of a deployment, however long ago; that a caller went away is none.
create index usage_failure on usage (project_id, deployment, at) where state = 'failed' and error not like 'Cancelled:%';
