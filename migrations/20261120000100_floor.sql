-- Tenants, people, projects; the event store with one state table for each machine; audit; idempotency.
-- Forward-only. Every table of a tenant carries project_id, or is listed in the tenancy test with its reason.

create extension if not exists vector;

-- What the installation keeps for itself: the key that signs tokens.
create table instance_secret (
    name text primary key,
    value text not null
);

create table organisation (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null,
    constraint organisation_name_length check (length(name) between 1 and 200)
);

create table app_user (
    id uuid primary key,
    email text not null,
    name text not null,
    password_hash text not null,
    -- Access tokens of an older epoch are refused: one update signs a person out everywhere.
    token_epoch integer not null default 0,
    created_at timestamptz not null,
    constraint app_user_email_key unique (email),
    constraint app_user_email_lower check (email = lower(email))
);

create table membership (
    organisation_id uuid not null references organisation,
    user_id uuid not null references app_user,
    role text not null,
    created_at timestamptz not null,
    primary key (organisation_id, user_id),
    constraint membership_role check (role in ('owner', 'admin', 'member'))
);
create index membership_user on membership (user_id);

-- One row for each refresh token. A family is one signed-in device.
create table session (
    id uuid primary key,
    user_id uuid not null references app_user,
    family uuid not null,
    token_hash bytea not null,
    user_agent text not null default '',
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    successor uuid,
    revoked_at timestamptz,
    constraint session_token_key unique (token_hash)
);
create index session_family on session (family);
create index session_of_user on session (user_id);

-- Attempts to sign in within the present window, by a hash of e-mail and address.
create table login_attempt (
    key bytea primary key,
    attempts integer not null,
    since timestamptz not null
);
create index login_attempt_since on login_attempt (since);

create table project (
    id uuid primary key,
    organisation_id uuid not null references organisation,
    name text not null,
    autonomy text not null,
    policy jsonb not null,
    test_command text,
    agent_limit integer not null default 50,
    repository_state text not null,
    repository_detail text not null default '',
    repository_source jsonb not null,
    default_branch text not null default 'main',
    -- An approval asked before a change of the policy keeps the rule that asked it.
    created_at timestamptz not null,
    constraint project_name_key unique (organisation_id, name),
    constraint project_name_length check (length(name) between 1 and 200),
    constraint project_autonomy check (autonomy in ('full_control', 'milestone', 'autonomous')),
    constraint project_repository_state check (repository_state in ('importing', 'ready', 'failed'))
);

create table project_member (
    project_id uuid not null references project,
    user_id uuid not null references app_user,
    role text not null,
    created_at timestamptz not null,
    primary key (project_id, user_id),
    constraint project_member_role check (role in ('admin', 'editor', 'approver', 'viewer'))
);
create index project_member_user on project_member (user_id);

-- The head of a project's event log: one update here, as the last statement of a transaction, gives its
-- events their dense numbers.
create table project_log (
    project_id uuid primary key references project,
    head bigint not null default 0,
    -- Changes on a restore from backup, so that clients reload instead of resuming at a number that is gone.
    epoch integer not null default 1
) with (fillfactor = 50);

create table counter (
    project_id uuid not null references project,
    name text not null,
    value bigint not null,
    primary key (project_id, name)
) with (fillfactor = 50);

create table event (
    project_id uuid not null,
    seq bigint not null,
    id uuid not null,
    kind text not null,
    stream_id uuid not null,
    version bigint not null,
    type text not null,
    data jsonb not null,
    actor jsonb not null,
    command_id uuid,
    at timestamptz not null,
    primary key (project_id, seq),
    constraint event_version check (version >= 0)
);
-- Version 0: an announcement of something that is not a machine (an agent, a budget, a message).
create unique index event_stream_version_key on event (stream_id, version) where version > 0;
create index event_announced on event (stream_id, seq) where version = 0;

create table sprint (
    id uuid primary key,
    project_id uuid not null references project,
    version bigint not null,
    phase text not null,
    state jsonb not null,
    updated_at timestamptz not null
) with (fillfactor = 70);
create index sprint_project on sprint (project_id);

create table story (
    id uuid primary key,
    project_id uuid not null references project,
    version bigint not null,
    phase text not null,
    state jsonb not null,
    updated_at timestamptz not null
) with (fillfactor = 70);
create index story_project on story (project_id);

create table pull_request (
    id uuid primary key,
    project_id uuid not null references project,
    version bigint not null,
    phase text not null,
    state jsonb not null,
    updated_at timestamptz not null
) with (fillfactor = 70);
create index pull_request_project on pull_request (project_id);

create table run (
    id uuid primary key,
    project_id uuid not null references project,
    version bigint not null,
    phase text not null,
    state jsonb not null,
    updated_at timestamptz not null
) with (fillfactor = 60);
create index run_project on run (project_id);
create index run_story on run (((state ->> 'story')::uuid));

create table approval (
    id uuid primary key,
    project_id uuid not null references project,
    version bigint not null,
    phase text not null,
    state jsonb not null,
    updated_at timestamptz not null
) with (fillfactor = 70);
create index approval_project on approval (project_id);
create index approval_pending on approval (project_id) where phase = 'pending';

-- One model call or tool call of a run: the intent before, the result after.
create table step (
    id uuid primary key,
    project_id uuid not null references project,
    run_id uuid not null,
    number integer not null,
    kind text not null,
    server text,
    name text not null,
    call_id text,
    status text not null,
    attempt integer not null default 1,
    fence bigint not null,
    request jsonb not null,
    request_hash text not null,
    result jsonb,
    error text,
    target text,
    additions integer,
    deletions integer,
    tokens_in bigint,
    tokens_out bigint,
    cost_micro_usd bigint not null default 0,
    simulated boolean not null default false,
    started_at timestamptz not null,
    ended_at timestamptz,
    constraint step_number_key unique (run_id, number),
    constraint step_kind check (kind in ('model', 'tool')),
    constraint step_status check (status in ('started', 'done', 'failed', 'unknown', 'interrupted'))
);
create index step_project on step (project_id);

-- What an agent was told at the beginning of its run.
create table run_brief (
    run_id uuid primary key,
    project_id uuid not null references project,
    definition jsonb not null,
    system text not null,
    task text not null
);

create table test_run (
    id uuid primary key,
    project_id uuid not null references project,
    story_id uuid not null,
    run_id uuid not null,
    step_id uuid not null,
    commit_id text not null,
    command text not null,
    passed boolean not null,
    exit_code integer,
    duration_ms bigint not null,
    output text not null,
    isolation jsonb not null,
    at timestamptz not null,
    constraint test_run_step_key unique (step_id)
);
create index test_run_story on test_run (story_id);

-- The first answer to a command from outside, given again for the same key.
create table idempotency (
    scope text not null,
    key text not null,
    request_hash bytea not null,
    status integer not null,
    body jsonb not null,
    created_at timestamptz not null,
    primary key (scope, key)
);
create index idempotency_age on idempotency (created_at);

-- Append-only. Sealing writes into audit_seal, so that no row here ever needs an update.
create table audit_entry (
    id uuid primary key,
    -- The chain: a project's, or the instance's own, which has the nil uuid.
    chain uuid not null,
    ordinal bigint generated always as identity,
    xid xid8 not null default pg_current_xact_id(),
    at timestamptz not null,
    type text not null,
    category text not null,
    severity text not null,
    actor_type text not null,
    actor_id uuid,
    action text not null,
    header bytea not null,
    payload bytea,
    salt bytea,
    constraint audit_entry_header_size check (octet_length(header) <= 65536)
);
create index audit_entry_unsealed on audit_entry (xid, ordinal);
create index audit_entry_chain on audit_entry (chain, ordinal);

create table audit_seal (
    chain uuid not null,
    position bigint not null,
    entry_id uuid not null,
    -- Copies of the two columns of an entry that are not in its header.
    entry_xid xid8 not null,
    entry_ordinal bigint not null,
    previous bytea not null,
    hash bytea not null,
    sealed_at timestamptz not null,
    primary key (chain, position),
    constraint audit_seal_entry_key unique (entry_id)
);

-- How far the sealer has read: below the transaction horizon only, so that no slow, earlier row is skipped.
create table audit_cursor (
    singleton boolean primary key default true check (singleton),
    xid xid8 not null default '0',
    ordinal bigint not null default 0,
    -- Entries up to here were brought by a restore: their xids are of another server, and they are sealed.
    restored_to bigint not null default 0
);
insert into audit_cursor default values;

-- What the last check of a chain found.
create table audit_verification (
    chain uuid primary key,
    verified_at timestamptz not null,
    entries bigint not null,
    ok boolean not null
);

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'audit_entry' then
        -- Erasure: payload and salt may go, together, and nothing else may change.
        if new.payload is null and new.salt is null
            and (new.id, new.chain, new.ordinal, new.xid, new.at, new.type, new.category, new.severity,
                 new.actor_type, new.actor_id, new.action, new.header)
                is not distinct from
                (old.id, old.chain, old.ordinal, old.xid, old.at, old.type, old.category, old.severity,
                 old.actor_type, old.actor_id, old.action, old.header)
        then
            return new;
        end if;
    end if;
    raise exception 'audit rows are append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_entry_append_only before update or delete on audit_entry
    for each row execute function audit_is_append_only();
create trigger audit_seal_append_only before update or delete on audit_seal
    for each row execute function audit_is_append_only();
