-- Answers of models that are given again: where a project wants it, for so long, and within the project only.
alter table project
    add column gateway_cache_seconds integer,
    add constraint project_gateway_cache check (gateway_cache_seconds between 1 and 604800);

create table gateway_cache (
    project_id uuid not null references project,
    -- SHA-256 of what was asked, and of whom.
    question bytea not null,
    answer bytea not null,
    bytes integer not null,
    expires_at timestamptz not null,
    constraint gateway_cache_key primary key (project_id, question)
);
-- What a project keeps is summed up before more of it is kept, and the oldest makes room.
create index gateway_cache_size on gateway_cache (project_id, expires_at) include (bytes);
create index gateway_cache_end on gateway_cache (expires_at);

-- An answer that cost nothing, because it was known already.
alter table usage add column from_cache boolean not null default false;
