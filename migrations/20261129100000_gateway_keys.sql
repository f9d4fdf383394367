-- Virtual keys: what programs ask models with through the gateway, instead of a provider's own key.
create table gateway_key (
    id uuid primary key,
    project_id uuid not null references project,
    name text not null,
    -- How it begins, to tell keys apart; the rest is known to its holder only.
    prefix text not null,
    hash bytea not null,
    -- In whose name calls are recorded.
    agent_id uuid,
    user_id uuid,
    -- Model groups and deployments that it may name; null: all.
    models text[],
    requests_per_minute integer,
    tokens_per_minute integer,
    hard_limit_micro_usd bigint,
    expires_at timestamptz,
    revoked_at timestamptz,
    -- To the minute.
    last_used_at timestamptz,
    created_at timestamptz not null,
    constraint gateway_key_hash_key unique (hash),
    constraint gateway_key_limits check (requests_per_minute > 0 and tokens_per_minute > 0 and hard_limit_micro_usd >= 0)
);
create index gateway_key_project on gateway_key (project_id, created_at, id);
