-- A key that is rotated with an overlap keeps the secret before, good beside the new one until then by this database's clock.
alter table gateway_key
    add column previous_hash bytea,
    add column previous_until timestamptz,
    add constraint gateway_key_previous check ((previous_hash is null) = (previous_until is null));
create unique index gateway_key_previous_hash on gateway_key (previous_hash) where previous_hash is not null;
