//! The application, tested through its router against a real PostgreSQL.

#![expect(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "tests share their support, and name what they make"
)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up fails loudly")]

mod agents;
mod approvals;
mod audit;
mod auth;
mod bodies;
mod budget_nodes;
mod budget_upgrade;
mod budgets;
mod cli;
mod costs;
mod desk;
mod engine_metrics;
mod events;
mod fire;
mod floor;
mod gateway;
mod gateway_cache;
mod gateway_killed;
mod gateway_limits;
mod gateway_screens;
mod gateway_skips;
mod gateway_telemetry;
mod gateway_tools;
mod history;
mod idempotency;
mod issues;
mod job_actions;
mod killed;
mod knowledge;
mod ledger;
mod ledger_alerts;
mod ledger_away;
mod ledger_relaxed;
mod main_job;
mod model_groups;
mod model_providers;
mod notices;
mod operations;
mod prices;
mod projects;
mod pull_requests;
mod race;
mod rebuilt_windows;
mod reconcilers;
mod recovery;
mod runs;
mod scene;
mod sdk;
mod secrets_in_prompts;
mod seed;
mod signals;
mod sprints;
mod stopped;
mod strangers;
mod streams;
mod support;
mod tenancy;
mod tenant;
mod transitions;
mod upgrades;
mod waits;
