//! What the command line says of prices: what is wrong, what is missing, what is overridden.

use crate::cli::{Place, refused};
use serde_json::{Value, json};
use std::{fmt::Write, process::Output};

const MODELS: &str = r#"
[[group]]
name = "code"
[[group.chain]]
name = "known"
provider = "anthropic"
base_url = "https://api.anthropic.com/v1"
model = "claude-opus-5-5"
context_window = 1000
max_output = 100
[[group.chain]]
name = "own"
provider = "openai_compatible"
base_url = "https://models.example.org/v1"
model = "ours"
context_window = 1000
max_output = 100
prices = { input = 1, output = 2, cache_read = 0, cache_write = 1, cache_write_1h = 3 }
"#;

fn row(provider: &str, model: &str, input: u32, date: &str) -> String {
    format!(
        "[[price]]\nprovider = '{provider}'\nmodel = '{model}'\ninput = {input}\noutput = 30_000_000\ncache_read = 0\n\
         cache_write = {input}\ndate = '{date}'\nsource = 'contract'\n"
    )
}

/// Settings with these models and these prices.
fn configured(place: &Place, models: &str, prices: Option<&str>) -> String {
    let path = |name: &str| place.dir.path().join(name).display().to_string();
    let mut config = format!("models = '{}'\n", path("models.toml"));
    std::fs::write(path("models.toml"), models).unwrap();
    if let Some(prices) = prices {
        std::fs::write(path("prices.toml"), prices).unwrap();
        writeln!(config, "prices = '{}'", path("prices.toml")).unwrap();
    }
    std::fs::write(path("config.toml"), config).unwrap();
    path("config.toml")
}

fn report(done: &Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
    })
}

/// The findings as severity, code and what they begin with.
fn findings(report: &Value) -> Vec<(String, String, String)> {
    let items = report["findings"].as_array().unwrap().iter();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    items.map(|item| (text(item, "severity"), text(item, "code"), text(item, "detail"))).collect()
}

#[tokio::test]
async fn an_operator_is_told_which_prices_are_missing_wrong_old_or_their_own() {
    let place = Place::new().await;
    let check = |config: &str, more: &[&str]| {
        place.run(&[&["prices", "check", "--json", "--config", config], more].concat())
    };

    let fine = check(&configured(&place, MODELS, None), &["--offline"]);
    assert_eq!((fine.status.code(), findings(&report(&fine))), (Some(0), Vec::new()));

    // Configured without a price.
    let unknown = MODELS.replace("claude-opus-5-5", "nobody-knows-it");
    let missing = check(&configured(&place, &unknown, None), &["--offline"]);
    assert_eq!(missing.status.code(), Some(1));
    let [(severity, code, detail)] = &findings(&report(&missing))[..] else { panic!("{missing:?}") };
    assert_eq!((severity.as_str(), code.as_str()), ("error", "no_price"));
    assert!(detail.starts_with("deployment known (anthropic/nobody-knows-it)"), "{detail}");

    // The operator's own rows: one cheaper, one new, one that changes nothing, and that the model is priced by is old.
    let own = format!(
        "version = 'ours'\n{}{}{}",
        row("anthropic", "nobody-knows-it", 5, "2020-01-01"),
        row("openai", "gpt-5.5", 4_000_000, "2026-11-01"),
        row("openai", "gpt-5.4-*", 1, "2026-11-01"),
    );
    let told = check(&configured(&place, &unknown, Some(&own)), &["--offline"]);
    let shown = report(&told);
    assert_eq!(told.status.code(), Some(0), "warnings are no failure: {shown}");
    let codes: Vec<_> = findings(&shown).into_iter().map(|(severity, code, _)| (severity, code)).collect();
    let warning = |code: &str| ("warning".to_owned(), code.to_owned());
    assert_eq!(codes, [warning("old_price"), warning("no_effect")], "{shown}");
    assert_eq!(
        (&shown["overrides"][0]["adds"], &shown["overrides"][1]["adds"]),
        (&json!(true), &json!(false))
    );
    let cheaper = json!({ "column": "input", "from": 5_000_000, "to": 4_000_000, "percent": -20 });
    assert!(shown["overrides"][1]["changes"].as_array().unwrap().contains(&cheaper), "{shown}");

    // A file that is wrong, given or configured: each fault with its line.
    let wrong = own.replace("source = 'contract'", "source = ''");
    let config = configured(&place, MODELS, Some(&wrong));
    let table = place.dir.path().join("prices.toml").display().to_string();
    for more in [&["--offline"][..], &["--offline", "--file", &table]] {
        let done = check(&config, more);
        assert_eq!(done.status.code(), Some(1));
        let said = findings(&report(&done));
        let at = |line: u32| {
            said.iter().any(|(_, code, detail)| {
                code == "wrong"
                    && detail.starts_with(&format!("{table}:{line}: "))
                    && detail.ends_with("needs a source")
            })
        };
        assert!(said.len() == 3 && [2, 11, 20].into_iter().all(at), "{said:?}");
    }
    let start = refused(&place.run(&["serve", "--listen", "127.0.0.1:0", "--config", &config]));
    assert!(start.contains(&format!("{table}:2: ")) && start.contains("needs a source"), "{start}");
    place.end().await;
}

#[tokio::test]
async fn what_a_model_costs_is_shown_with_its_steps_and_what_was_asked_without_a_price_is_named() {
    let place = Place::new().await;
    let shown = place.json(&["prices", "show", "gpt-5.5"]);
    let items = shown["items"].as_array().unwrap();
    let steps: Vec<_> = items.iter().map(|row| (&row["prompt_above"], &row["input"])).collect();
    assert_eq!(steps, [(&json!(0), &json!(5_000_000)), (&json!(272_000), &json!(10_000_000))]);
    assert!(items[0]["source"].as_str().unwrap().starts_with("https://") && items[0]["date"].is_string());
    let config = configured(&place, MODELS, None);
    let own = place.json(&["prices", "show", "own", "--config", &config]);
    assert_eq!((&own["items"][0]["cache_write_1h"], &own["items"][0]["model"]), (&json!(3), &json!("ours")));
    let said = refused(&place.run(&["prices", "show", "nobody-knows-it"]));
    assert!(said.contains("SYNDARIX_PRICES"), "{said}");

    place.json(&["user", "create", "ada@example.org", "--name", "Ada", "--generate-password"]);
    place.json(&["project", "create", "shop"]);
    let pool = place.pool().await;
    for (provider, model) in [("openai_compatible", "ours"), ("openai", "gpt-5.5"), ("openai", "gpt-next")] {
        sqlx::query(
            "insert into usage_hour (project_id, hour, provider, model, simulated, calls, failures, tokens_in, tokens_out,
                                     tokens_cached, tokens_reasoning, cost_micro_usd)
             select id, date_trunc('hour', now()) - interval '2 hours', $1, $2, false, 7, 0, 1, 1, 0, 0, 1 from project",
        )
        .bind(provider)
        .bind(model)
        .execute(&pool)
        .await
        .unwrap();
    }
    let checked = place.run(&["prices", "check", "--json", "--config", &config]);
    let [(_, code, detail)] = &findings(&report(&checked))[..] else { panic!("{checked:?}") };
    assert_eq!((code.as_str(), checked.status.code()), ("no_price", Some(1)));
    assert!(detail.starts_with("openai/gpt-next was asked 7 times"), "{detail}");
    pool.close().await;
    place.end().await;
}
