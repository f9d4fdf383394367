-- Model groups of an organisation: over those of the configuration, by name. Whom they name is configured by the operator,
-- with address and key; nothing of that is here.
create table model_group (
    organisation_id uuid not null references organisation,
    name text not null,
    routing text not null,
    hedge_after_ms integer,
    cheaper text,
    -- In order: [{"deployment": "...", "weight": 1}, ...]
    chain jsonb not null,
    updated_at timestamptz not null,
    primary key (organisation_id, name),
    constraint model_group_routing check (routing in ('order', 'weighted', 'least_latency', 'least_cost')),
    constraint model_group_hedge check (hedge_after_ms > 0),
    constraint model_group_chain check (jsonb_typeof(chain) = 'array' and jsonb_array_length(chain) between 1 and 16)
);
