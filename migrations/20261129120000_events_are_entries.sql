-- An event is its own audit entry: the sealer makes the header of the stored event and links it. Nothing is written
-- beside an event any more, and the chain vouches for the event store itself.

-- The stored text is what is sealed, byte for byte; a parsed form would have to be written out again to be hashed.
alter table event alter column data type json using data::json;
alter table event alter column data set statistics 0;

create trigger event_append_only before update or delete on event
    for each row execute function audit_is_append_only();
create trigger event_not_emptied before truncate on event
    for each statement execute function audit_is_append_only();

-- A seal is of an entry, named by xid and ordinal, or of an event, named by its number. Of an event it keeps what the
-- event has no column for.
alter table audit_seal
    alter column entry_xid drop not null,
    alter column entry_ordinal drop not null,
    add column event_seq bigint,
    add column header bytea,
    add column salt bytea,
    add constraint audit_seal_of_one check (
        (event_seq is null) = (entry_xid is not null and entry_ordinal is not null)
        and (event_seq is null) = (header is null)
    );
alter table audit_seal alter column header set statistics 0, alter column salt set statistics 0;

-- How far the events of a chain are sealed: those that are there already have entries of the version before. A project
-- has its row from its first moment, so that a chain that was taken away does not begin again unseen.
alter table audit_head add column event_seq bigint not null default 0;
insert into audit_head as h (chain, position, hash, event_seq)
    select project_id, 0, decode(repeat('00', 32), 'hex'), head from project_log
    on conflict (chain) do update set event_seq = excluded.event_seq;

create function audit_begins() returns trigger language plpgsql as $$
begin
    insert into audit_head (chain, position, hash) values (new.project_id, 0, decode(repeat('00', 32), 'hex'))
        on conflict (chain) do nothing;
    return null;
end $$;
create trigger project_log_audit_begins after insert on project_log
    for each row execute function audit_begins();

create or replace function audit_head_only_grows() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.chain = old.chain and new.position >= old.position and new.event_seq >= old.event_seq then
        return new;
    end if;
    raise exception 'audit rows are append-only' using errcode = 'insufficient_privilege';
end $$;

create or replace function audit_is_append_only() returns trigger language plpgsql as $$
begin
    -- Erasure: what a header commits to may go, together with its salt, and nothing else may change.
    if tg_op = 'UPDATE' and tg_table_name = 'audit_entry' then
        if new.payload is null and new.salt is null
            and to_jsonb(new) - array['payload', 'salt'] = to_jsonb(old) - array['payload', 'salt']
        then
            return new;
        end if;
    elsif tg_op = 'UPDATE' and tg_table_name = 'audit_seal' then
        if new.salt is null and to_jsonb(new) - 'salt' = to_jsonb(old) - 'salt' then
            return new;
        end if;
    elsif tg_op = 'UPDATE' and tg_table_name = 'event' then
        if new.data::text = 'null' and to_jsonb(new) - 'data' = to_jsonb(old) - 'data' then
            return new;
        end if;
    end if;
    raise exception 'audit rows are append-only' using errcode = 'insufficient_privilege';
end $$;
