-- Whom calls passed over is kept for 30 days: the oldest rows are found without reading the others.
create index usage_skip_age on usage_skip (at);
