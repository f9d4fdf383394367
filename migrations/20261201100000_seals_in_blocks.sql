-- Events that follow each other in a project are sealed together: a row holds the salts, the commitments and the hashes of
-- all of them, 32 bytes each, in their order. A row for each event cost nearly as much log as the transition itself.
-- Their headers are not stored: they are made again of the events' columns, and an event that was changed does not match.

create table audit_block (
    chain uuid not null,
    -- Of the last event in it: its place in the chain, and its number in the project's log.
    position bigint not null,
    event_seq bigint not null,
    events integer not null,
    -- The hash before the first of them.
    previous bytea not null,
    -- Zeros where the event was erased.
    salts bytea not null,
    commitments bytea not null,
    hashes bytea not null,
    sealed_at timestamptz not null,
    primary key (chain, position),
    constraint audit_block_event_key unique (chain, event_seq),
    constraint audit_block_places check (events > 0 and position >= events and event_seq >= events),
    constraint audit_block_sizes check (
        octet_length(salts) = 32 * events and octet_length(commitments) = 32 * events and octet_length(hashes) = 32 * events
    )
);
-- Nobody searches by them, and noise does not compress. Uncompressed, one of many is read without the others.
alter table audit_block
    alter column previous set statistics 0,
    alter column salts set statistics 0, alter column salts set storage external,
    alter column commitments set statistics 0, alter column commitments set storage external,
    alter column hashes set statistics 0, alter column hashes set storage external;

-- Erasure: salts may become zeros, each of them as a whole, and nothing else may change.
create function audit_block_only_erases() returns trigger language plpgsql as $$
begin
    if to_jsonb(new) - 'salts' = to_jsonb(old) - 'salts' and not exists (
        select from generate_series(0, old.events - 1) i
         where substr(new.salts, i * 32 + 1, 32) not in (substr(old.salts, i * 32 + 1, 32), decode(repeat('00', 32), 'hex'))
    ) then
        return new;
    end if;
    raise exception 'audit rows are append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_block_only_erases before update on audit_block
    for each row execute function audit_block_only_erases();
create trigger audit_block_append_only before delete on audit_block
    for each row execute function audit_is_append_only();
create trigger audit_block_not_emptied before truncate on audit_block
    for each statement execute function audit_is_append_only();

-- The last link of a chain: of an entry's seal, or of a block.
create function audit_end(of uuid) returns table ("position" bigint, hash bytea) language sql stable as $$
    select e.position, e.hash from (
        (select s.position, s.hash from audit_seal s where s.chain = of order by s.position desc limit 1)
        union all
        (select b.position, substr(b.hashes, 32 * b.events - 31) from audit_block b
          where b.chain = of order by b.position desc limit 1)
    ) e order by e.position desc limit 1
$$;
