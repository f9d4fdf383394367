//! `prices`: what models cost, where that is known from, and what is missing. Nothing of it comes from the network.

use super::{Failure, Global, output};
use crate::{
    clock::Clock,
    config::Config,
    lifecycle::{self, Session},
};
use chrono::{NaiveDate, TimeDelta};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};
use syndarix_llm::{Deployment, ModelGroups, PriceRow, PriceTable, ProviderKind, Rates};

/// Models that were asked within so many days count as in use.
const IN_USE: i64 = 30;

#[derive(Debug, Subcommand)]
pub(super) enum Prices {
    /// Checks the table and your own prices against what is configured and in use. Fails when something is wrong, or when a
    /// model has no price.
    Check(Check),
    /// Shows what a model costs.
    Show {
        /// A model as its provider names it, or a deployment.
        model: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file with your own prices, instead of the configured one.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Prices that were looked up longer ago are reported.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    max_age: u32,
    /// Does not ask the database which models are in use.
    #[arg(long)]
    offline: bool,
}

/// One line of the report.
#[derive(Debug)]
struct Finding {
    /// Nothing may stay like this.
    is_error: bool,
    /// A stable word.
    code: &'static str,
    detail: String,
}

fn error(code: &'static str, detail: String) -> Finding {
    Finding { is_error: true, code, detail }
}

fn warning(code: &'static str, detail: String) -> Finding {
    Finding { is_error: false, code, detail }
}

impl Prices {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode, Failure> {
        match self {
            Self::Check(check) => check.run(global).await,
            Self::Show { model } => show(global, &model),
        }
    }
}

impl Check {
    async fn run(self, global: &Global) -> Result<ExitCode, Failure> {
        let mut config = global.config()?;
        config.prices = self.file.clone().or(config.prices);
        let today = Clock::default().now().date_naive();
        let embedded = PriceTable::embedded().map_err(Failure::of)?;
        let mut findings = Vec::new();
        let own = Self::own(&config, &mut findings)?;
        // A file that is wrong is left out: the rest of the report is then of the built-in table.
        let table = own.as_ref().map_or_else(|| Ok(embedded.clone()), |own| embedded.with(own));
        let table = table.unwrap_or_else(|fault| {
            findings.push(error("wrong", fault));
            embedded.clone()
        });
        findings.extend(
            table
                .rows
                .iter()
                .filter(|row| row.date > today)
                .map(|row| error("date", format!("{}: {} is still to come", row.name(), row.date))),
        );
        let groups = lifecycle::groups_of(&config)?;
        let oldest = today - TimeDelta::days(self.max_age.into());
        findings.extend(groups.deployments().filter_map(|one| of_deployment(one, &table, oldest)));
        if !self.offline {
            findings.extend(in_use(&config, &groups, &table).await?);
        }
        let overrides = own.map_or_else(Vec::new, |own| differences(&own, &embedded, &mut findings));
        report(global, &table, &findings, &overrides);
        let is_wrong = findings.iter().any(|finding| finding.is_error);
        Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// The operator's rows, with every fault of the file.
    fn own(config: &Config, findings: &mut Vec<Finding>) -> Result<Option<PriceTable>, Failure> {
        let Some(path) = &config.prices else { return Ok(None) };
        let place = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::new(format!("{place}: {error}")))?;
        let faults = PriceTable::faults(&text);
        findings.extend(faults.iter().map(|fault| error("wrong", format!("{place}:{fault}"))));
        Ok(PriceTable::from_toml(&text).ok())
    }
}

/// What is to be said of a deployment's price.
fn of_deployment(one: &Deployment, table: &PriceTable, oldest: NaiveDate) -> Option<Finding> {
    if one.prices.is_some() {
        return None;
    }
    let named = format!("deployment {} ({}/{})", one.name, one.vendor(), one.model);
    match table.row(one.vendor(), &one.model, 0) {
        None => {
            Some(error("no_price", format!("{named} has no price: it is charged at the dearest known rates")))
        }
        Some(row) if row.date < oldest => {
            Some(warning("old_price", format!("{named}: its price is of {}, from {}", row.date, row.source)))
        }
        Some(_) => None,
    }
}

/// Models that were asked of late and have no price. What a deployment has prices of its own for has one.
async fn in_use(config: &Config, groups: &ModelGroups, table: &PriceTable) -> Result<Vec<Finding>, Failure> {
    let session = Session::open(config).await?;
    let used = used(session.pool()).await;
    session.close().await;
    let priced: BTreeSet<(&str, &str)> = groups
        .deployments()
        .filter(|one| one.prices.is_some() || one.provider == ProviderKind::Scripted)
        .map(|one| (one.vendor(), one.model.as_str()))
        .collect();
    let unpriced = used?.into_iter().filter(|(provider, model, ..)| {
        !priced.contains(&(provider.as_str(), model.as_str())) && table.row(provider, model, 0).is_none()
    });
    Ok(unpriced
        .map(|(provider, model, calls)| {
            let detail =
                format!("{provider}/{model} was asked {calls} times in {IN_USE} days and has no price");
            error("no_price", detail)
        })
        .collect())
}

/// Whose models were asked of late, and how often. A database without a schema has seen none.
async fn used(pool: &PgPool) -> Result<Vec<(String, String, i64)>, sqlx::Error> {
    let is_there: bool =
        sqlx::query_scalar("select to_regclass('usage_sum') is not null").fetch_one(pool).await?;
    if !is_there {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "select provider, model, sum(calls)::bigint from usage_sum
          where at >= now() - make_interval(days => $1) and not simulated and provider <> 'syndarix' group by 1, 2 order by 1, 2",
    )
    .bind(i32::try_from(IN_USE).unwrap_or(i32::MAX))
    .fetch_all(pool)
    .await
}

/// What the operator's rows change, row by row.
fn differences(own: &PriceTable, embedded: &PriceTable, findings: &mut Vec<Finding>) -> Vec<Value> {
    let mut changed = Vec::new();
    for row in &own.rows {
        let before = embedded.rows.iter().find(|one| one.same_key(row));
        changed.push(json!({
            "row": row.name(), "adds": before.is_none(),
            "changes": before.map_or_else(Vec::new, |before| changes(&before.rates, &row.rates)),
        }));
        let prefix = row.model.strip_suffix('*');
        let hidden = embedded.rows.iter().filter(|one| {
            let exact = one.model.trim_end_matches('*');
            let is_covered =
                prefix.is_some_and(|prefix| exact.len() > prefix.len() && exact.starts_with(prefix));
            is_covered && one.provider == row.provider && !own.rows.iter().any(|own| own.same_key(one))
        });
        let names: BTreeSet<&str> = hidden.map(|one| one.model.as_str()).collect();
        if !names.is_empty() {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let detail = format!("{} does not change {names}: the built-in rows are more exact", row.name());
            findings.push(warning("no_effect", detail));
        }
    }
    changed
}

/// Column by column what differs.
fn changes(before: &Rates, after: &Rates) -> Vec<Value> {
    let fields = |rates: &Rates| serde_json::to_value(rates).unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&String> =
        before.as_object().into_iter().chain(after.as_object()).flat_map(|map| map.keys()).collect();
    let differs = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differs
        .map(|name| {
            let number = |of: &Value| of.get(name).and_then(Value::as_i64);
            let (from, to) = (number(&before), number(&after));
            let percent = from.zip(to).filter(|(from, _)| *from > 0).map(|(from, to)| percent(from, to));
            json!({ "column": name, "from": from, "to": to, "percent": percent })
        })
        .collect()
}

/// By how many percent a price goes up.
fn percent(from: i64, to: i64) -> i64 {
    let change = i128::from(to - from) * 100 / i128::from(from);
    i64::try_from(change).unwrap_or(i64::MAX)
}

fn report(global: &Global, table: &PriceTable, findings: &[Finding], overrides: &[Value]) {
    let severity = |finding: &Finding| if finding.is_error { "error" } else { "warning" };
    if global.json {
        let items = findings
            .iter()
            .map(|one| json!({ "severity": severity(one), "code": one.code, "detail": one.detail }));
        output::json(&json!({
            "version": table.version, "rows": table.rows.len(), "findings": items.collect::<Vec<_>>(),
            "overrides": overrides,
        }));
        return;
    }
    output::line(&format!("version {}, {} rows", table.version, table.rows.len()));
    for one in overrides {
        let row = one["row"].as_str().unwrap_or_default();
        if one["adds"] == true {
            output::line(&format!("own      {row} is not in the built-in table"));
        }
        for change in one["changes"].as_array().into_iter().flatten() {
            let percent = change["percent"].as_i64().map_or_else(String::new, |by| format!(" ({by:+} %)"));
            let (column, from, to) = (&change["column"], &change["from"], &change["to"]);
            let column = column.as_str().unwrap_or_default();
            output::line(&format!("own      {row} {column}: {from} -> {to}{percent}"));
        }
    }
    for one in findings {
        output::line(&format!("{:<8} {}", severity(one), one.detail));
    }
}

const ROWS: [output::Column; 9] = [
    ("PROVIDER", "provider"),
    ("MODEL", "model"),
    ("ABOVE", "prompt_above"),
    ("INPUT", "input"),
    ("OUTPUT", "output"),
    ("CACHE READ", "cache_read"),
    ("CACHE WRITE", "cache_write"),
    ("1 H", "cache_write_1h"),
    ("DATE", "date"),
];

/// Every row that the model may be charged by.
fn show(global: &Global, name: &str) -> Result<ExitCode, Failure> {
    let config = global.config()?;
    let table = lifecycle::prices_of(&config)?;
    let groups = lifecycle::groups_of(&config)?;
    let items = match groups.deployment(name) {
        Some(one) => match one.prices {
            Some(rates) => vec![of_its_own(one, rates)],
            None => table.rows_of(one.vendor(), &one.model).into_iter().map(|row| json!(row)).collect(),
        },
        None => of_model(&table, name),
    };
    if items.is_empty() {
        return Err(Failure::new(format!(
            "there is no price for `{name}`: calls are charged at the dearest known rates, and flagged; add a row to a file \
             and name it in SYNDARIX_PRICES"
        )));
    }
    if global.json {
        output::json(&json!({ "version": table.version, "items": items }));
    } else {
        output::table(&ROWS, &items);
        for row in &items {
            output::note(&format!("source: {}", row["source"].as_str().unwrap_or_default()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of_its_own(one: &Deployment, rates: Rates) -> Value {
    let mut row = json!(rates);
    row["provider"] = one.vendor().into();
    row["model"] = one.model.as_str().into();
    row["source"] = format!("the deployment {}", one.name).into();
    row
}

fn of_model(table: &PriceTable, model: &str) -> Vec<Value> {
    let providers: BTreeSet<&str> = table.rows.iter().map(|row| row.provider.as_str()).collect();
    let mut rows: Vec<&PriceRow> = Vec::new();
    for row in providers.into_iter().flat_map(|provider| table.rows_of(provider, model)) {
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows.into_iter().map(|row| json!(row)).collect()
}
