-- Of what kind a failure was, as a word that stays: until now it was read from the beginning of a text.

alter table usage add column error_kind text;

-- The last failure of each deployment in a project's calls, however long ago; that a caller went away is none. A row for
-- each, so that looking it up costs the same however many attempts there are.
create table deployment_failure (
    project_id uuid not null references project,
    deployment text not null,
    at timestamptz not null,
    kind text not null,
    message text not null,
    primary key (project_id, deployment)
);

insert into deployment_failure (project_id, deployment, at, kind, message)
select distinct on (project_id, deployment) project_id, deployment, at,
       lower(regexp_replace(substring(error from '^[A-Za-z]+'), '([a-z])([A-Z])', '\1_\2', 'g')),
       regexp_replace(error, '^[A-Za-z]+( \{[^{}]*\})?: ', '')
  from usage
 where state = 'failed' and error not like 'Cancelled:%' and error ~ '^[A-Z][A-Za-z]+( \{[^{}]*\})?: '
 order by project_id, deployment, at desc;
