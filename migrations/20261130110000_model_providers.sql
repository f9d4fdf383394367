-- Model providers of an organisation: an address, a key, and the models that are asked there. The key is sealed with the
-- installation's master key, which is not in the database, for this row, this organisation and this address.
create table model_provider (
    id uuid primary key,
    organisation_id uuid not null references organisation,
    name text not null,
    kind text not null,
    base_url text not null,
    vendor text,
    api_version text,
    -- In order: [{"name": "...", "model": "...", "context_window": 128000, ...}, ...]
    deployments jsonb not null,
    key_id text,
    key_sealed bytea,
    -- Of a long key only.
    key_last_four text,
    key_fingerprint text,
    key_set_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint model_provider_name_key unique (organisation_id, name),
    constraint model_provider_kind check (kind in ('openai', 'anthropic', 'azure_openai', 'gemini', 'ollama', 'voyage',
                                                   'openai_compatible', 'scripted')),
    constraint model_provider_key check (
        (key_id is null) = (key_sealed is null) and (key_id is null) = (key_fingerprint is null)
        and (key_id is null) = (key_set_at is null) and (key_last_four is null or key_id is not null)
        and char_length(key_last_four) <= 4),
    constraint model_provider_deployments check (
        jsonb_typeof(deployments) = 'array' and jsonb_array_length(deployments) between 1 and 64)
);
