-- Devices know the epoch they were signed in in and since when they are; audit tables cannot be emptied at a stroke.

-- Written null or zero by the version before, which signs nobody out everywhere.
alter table session add column token_epoch integer not null default 0;
alter table session add column signed_in_at timestamptz;
update session s set token_epoch = u.token_epoch from app_user u where u.id = s.user_id and u.token_epoch <> 0;
update session s set signed_in_at = first.at
  from (select family, min(created_at) as at from session group by family) first where first.family = s.family;
create index session_expiry on session (expires_at);

create trigger audit_entry_not_emptied before truncate on audit_entry
    for each statement execute function audit_is_append_only();
create trigger audit_seal_not_emptied before truncate on audit_seal
    for each statement execute function audit_is_append_only();

-- Where each chain ends: a chain whose last entries were removed with their seals is as well linked as before. Written
-- by the sealer with the seals; the version before writes none, and a chain that is longer than its row is none the
-- worse.
create table audit_head (
    chain uuid primary key,
    position bigint not null,
    hash bytea not null
);
insert into audit_head
    select distinct on (chain) chain, position, hash from audit_seal where position > 0 order by chain, position desc;

create function audit_head_only_grows() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and new.chain = old.chain and new.position >= old.position then
        return new;
    end if;
    raise exception 'audit rows are append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger audit_head_only_grows before update or delete on audit_head
    for each row execute function audit_head_only_grows();
create trigger audit_head_not_emptied before truncate on audit_head
    for each statement execute function audit_is_append_only();

-- Entries that the sealer has read and cannot seal, because the end of their chain is damaged. They wait here, so that
-- no other chain waits with them.
create table audit_held (
    entry_id uuid primary key,
    chain uuid not null
);

-- The end of the chain when it was last checked and found good.
alter table audit_verification add column head bytea;
