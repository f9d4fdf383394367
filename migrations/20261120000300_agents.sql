-- Agent types and instances, messages, budgets, usage, knowledge, the built-in issue tracker.

create table agent_type (
    id uuid primary key,
    -- Null: shipped with the product, the same for every organisation.
    organisation_id uuid references organisation,
    name text not null,
    role text not null,
    version integer not null,
    is_active boolean not null default true,
    updated_at timestamptz not null
);
create unique index agent_type_name_key on agent_type (coalesce(organisation_id, '00000000-0000-0000-0000-000000000000'), name);

create table agent_type_version (
    agent_type_id uuid not null references agent_type,
    version integer not null,
    definition jsonb not null,
    created_at timestamptz not null,
    primary key (agent_type_id, version)
);

create table agent (
    id uuid primary key,
    project_id uuid not null references project,
    agent_type_id uuid not null references agent_type,
    type_version integer not null,
    role text not null,
    name text not null,
    status text not null,
    -- Who paused or terminated it.
    status_by uuid,
    current_run_id uuid,
    current_task text,
    last_activity_at timestamptz not null,
    created_at timestamptz not null,
    constraint agent_name_key unique (project_id, name),
    constraint agent_status check (status in ('idle', 'active', 'paused', 'terminated'))
) with (fillfactor = 70);
create index agent_idle on agent (project_id, role) where status = 'idle';

create table message (
    id uuid primary key,
    project_id uuid not null references project,
    -- Order within a conversation.
    ordinal bigint generated always as identity,
    conversation_id uuid not null,
    correlation_id uuid,
    type text not null,
    sender jsonb not null,
    recipient uuid,
    routing text not null,
    topic text,
    action text not null default '',
    priority text not null default 'normal',
    content jsonb not null,
    at timestamptz not null,
    delivered_at timestamptz,
    constraint message_type check (type in ('request', 'response', 'broadcast', 'notification')),
    constraint message_routing check (routing in ('direct', 'role', 'broadcast', 'topic')),
    constraint message_priority check (priority in ('low', 'normal', 'high', 'urgent'))
);
create index message_conversation on message (project_id, conversation_id, ordinal);
create index message_inbox on message (recipient, ordinal) where delivered_at is null;

-- What was sent to whom, outside the UI: the intent before, the outcome after.
create table notification_delivery (
    id uuid primary key,
    project_id uuid not null references project,
    -- As in the event envelope: `approval/<id>`.
    subject text not null,
    user_id uuid not null references app_user,
    -- asked, `reminder 1`, stalled ...: told once for each subject and person.
    kind text not null,
    state text not null,
    attempts integer not null,
    -- An attempt began and its end is not known: the mail may have been sent twice.
    uncertain boolean not null default false,
    error text,
    at timestamptz not null,
    sent_at timestamptz,
    constraint notification_delivery_key unique (subject, user_id, kind),
    constraint notification_delivery_state check (state in ('sending', 'sent', 'failed', 'refused'))
);
create index notification_delivery_project on notification_delivery (project_id);

-- A node of the budget tree. This release has the project's node; the others hang above and below it.
create table budget (
    project_id uuid primary key references project,
    hard_limit_micro_usd bigint,
    soft_limit_micro_usd bigint,
    spent_micro_usd bigint not null default 0,
    reserved_micro_usd bigint not null default 0,
    -- Spend of the scripted endpoint: limited like real money, shown apart, never added to it.
    simulated_micro_usd bigint not null default 0,
    updated_at timestamptz not null,
    constraint budget_not_negative check (spent_micro_usd >= 0 and reserved_micro_usd >= 0 and simulated_micro_usd >= 0)
) with (fillfactor = 50);

-- One attempt of a model call: reserved before, settled after.
create table usage (
    id uuid primary key,
    project_id uuid not null references project,
    story_id uuid,
    run_id uuid,
    step_id uuid,
    agent_id uuid,
    attempt integer not null,
    deployment text not null,
    provider text not null,
    model text not null,
    state text not null,
    reserved_micro_usd bigint not null,
    cost_micro_usd bigint not null default 0,
    tokens_in bigint not null default 0,
    tokens_out bigint not null default 0,
    tokens_cached bigint not null default 0,
    tokens_reasoning bigint not null default 0,
    latency_ms bigint,
    estimated boolean not null default false,
    simulated boolean not null default false,
    unpriced boolean not null default false,
    error text,
    -- Who holds the reservation: the worker incarnation and the job's fence.
    fence bigint not null,
    at timestamptz not null,
    settled_at timestamptz,
    constraint usage_attempt_key unique (step_id, attempt),
    constraint usage_state check (state in ('reserved', 'settled', 'failed', 'interrupted'))
);
create index usage_project_at on usage (project_id, at);
create index usage_story on usage (story_id);
create index usage_run on usage (run_id);
create index usage_open on usage (at) where state = 'reserved';

-- How far the index of a project's repository is.
create table knowledge_index (
    project_id uuid primary key references project,
    state text not null,
    detail text not null default '',
    -- The commit that is wholly indexed.
    indexed_commit text,
    files_total integer not null default 0,
    files_done integer not null default 0,
    updated_at timestamptz not null,
    constraint knowledge_index_state check (state in ('queued', 'indexing', 'ready', 'failed'))
) with (fillfactor = 50);

create table knowledge_source (
    project_id uuid not null references project,
    origin text not null,
    path text not null,
    -- Of the content, and of the version of the chunker: what either changes is cut again.
    content_hash text not null,
    -- A document's own text; a file's is in its repository.
    content text,
    indexed_commit text,
    chunks integer not null default 0,
    status text not null,
    detail text not null default '',
    updated_at timestamptz not null,
    primary key (project_id, origin, path),
    constraint knowledge_source_origin check (origin in ('repository', 'document')),
    constraint knowledge_source_content check ((origin = 'document') = (content is not null)),
    constraint knowledge_source_status check (status in ('queued', 'indexing', 'ready', 'failed'))
);

create table knowledge_chunk (
    -- Short, because every posting names it.
    id bigint generated always as identity primary key,
    project_id uuid not null,
    origin text not null,
    path text not null,
    kind text not null,
    language text not null default '',
    breadcrumb text not null default '',
    start_line integer not null,
    end_line integer not null,
    body text not null,
    content_hash text not null,
    -- The words of breadcrumb and body, identifiers split, so that `parseHeader` is found by "header".
    search tsvector not null,
    -- How many words that is.
    length integer not null,
    -- Filled when embeddings are configured; the model is recorded, because vectors of two models do not compare.
    embedding vector,
    embedding_model text,
    foreign key (project_id, origin, path) references knowledge_source on delete cascade
);
create index knowledge_chunk_source on knowledge_chunk (project_id, origin, path);

-- The inverted index that BM25 reads: which word is how often in which chunk. The key holds all that ranking needs,
-- so that a search reads the index alone.
create table knowledge_posting (
    project_id uuid not null,
    term text not null,
    chunk bigint not null,
    frequency integer not null,
    length integer not null,
    primary key (project_id, term, chunk) include (frequency, length)
);

create table knowledge_statistics (
    project_id uuid primary key references project,
    chunks bigint not null,
    words bigint not null
) with (fillfactor = 50);

-- Postings follow their chunks whichever way those come and go, cascades included: a chunk that was deleted is
-- found by no word.
create function knowledge_chunk_added() returns trigger language plpgsql as $$
begin
    insert into knowledge_posting (project_id, term, chunk, frequency, length)
    select added.project_id, word.lexeme, added.id, cardinality(word.positions), added.length
    from added cross join lateral unnest(added.search) word;
    insert into knowledge_statistics (project_id, chunks, words)
    select project_id, count(*), sum(length) from added group by project_id
    on conflict (project_id) do update
        set chunks = knowledge_statistics.chunks + excluded.chunks,
            words = knowledge_statistics.words + excluded.words;
    return null;
end $$;
create trigger knowledge_chunk_added after insert on knowledge_chunk
    referencing new table as added for each statement execute function knowledge_chunk_added();

-- The planner knows nothing of how many words a chunk has, and would read the whole table for a few of them.
create function knowledge_chunk_removed() returns trigger language plpgsql
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $$
begin
    delete from knowledge_posting posting using removed cross join lateral unnest(removed.search) word
    where posting.project_id = removed.project_id and posting.term = word.lexeme and posting.chunk = removed.id;
    update knowledge_statistics statistics
    set chunks = statistics.chunks - gone.chunks, words = statistics.words - gone.words
    from (select project_id, count(*) as chunks, sum(length) as words from removed group by project_id) gone
    where statistics.project_id = gone.project_id;
    return null;
end $$;
create trigger knowledge_chunk_removed after delete on knowledge_chunk
    referencing old table as removed for each statement execute function knowledge_chunk_removed();

create table issue (
    project_id uuid not null references project,
    number bigint not null,
    -- The stream of its events: numbers are the project's own, ids are everybody's.
    id uuid not null,
    title text not null,
    body text not null default '',
    state text not null default 'open',
    labels text[] not null default '{}',
    assignee text,
    story_id uuid,
    author jsonb not null,
    comments bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    closed_at timestamptz,
    -- A word in the title weighs more than one in the text.
    search tsvector not null generated always as (
        setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', body), 'B')) stored,
    primary key (project_id, number),
    constraint issue_id_key unique (id),
    constraint issue_title_length check (length(title) between 1 and 200),
    constraint issue_state check (state in ('open', 'closed')),
    constraint issue_closed_at check ((state = 'closed') = (closed_at is not null))
);
create index issue_latest on issue (project_id, state, updated_at desc, number desc);
create index issue_search on issue using gin (search);

create table issue_comment (
    id uuid primary key,
    project_id uuid not null,
    number bigint not null,
    author jsonb not null,
    body text not null,
    at timestamptz not null,
    foreign key (project_id, number) references issue (project_id, number)
);
create index issue_comment_issue on issue_comment (project_id, number, at, id);
