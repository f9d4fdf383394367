//! A provider, as people set it.

use super::address;
use crate::{config::Config, features::gateway::names, http::ApiError, state::App};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, ops::RangeInclusive};
use syndarix_llm::{Limits, ProviderKind, Rates, Secret};
use utoipa::ToSchema;

/// The longest names, in characters.
const MAX_NAME: usize = 40;
const MAX_MODEL: usize = 100;
/// As many models as anybody lists by hand.
const MAX_DEPLOYMENTS: usize = 64;
/// The largest window, in tokens.
const MAX_WINDOW: u32 = 100_000_000;
/// The highest price, in micro-USD per million tokens: a typing slip of six zeros is refused.
const MAX_PRICE: i64 = 1_000_000_000_000;
/// How long a connection may be waited for, in milliseconds, and anything else.
const CONNECT_MS: RangeInclusive<u64> = 100..=60_000;
const WAIT_MS: RangeInclusive<u64> = 1_000..=3_600_000;
/// A key has so many characters. Shorter ones could not be told from ordinary words where a provider repeats them.
const KEY: RangeInclusive<usize> = 8..=4_000;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case", type_name = "text")]
#[schema(as = ModelProviderKind)]
pub(super) enum Kind {
    /// Anthropic, or a server of its format.
    Anthropic,
    /// OpenAI itself.
    #[serde(rename = "openai")]
    #[sqlx(rename = "openai")]
    OpenAi,
    /// Any other server of OpenAI's format.
    #[serde(rename = "openai_compatible")]
    #[sqlx(rename = "openai_compatible")]
    OpenAiCompatible,
    /// OpenAI's models at Azure.
    #[serde(rename = "azure_openai")]
    #[sqlx(rename = "azure_openai")]
    AzureOpenAi,
    /// Google Gemini.
    Gemini,
    /// An Ollama server.
    Ollama,
    /// Voyage AI: embeddings only.
    Voyage,
    /// A scripted endpoint: whatever it answers is marked as simulated.
    Scripted,
}

impl From<Kind> for ProviderKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Anthropic => Self::Anthropic,
            Kind::OpenAi => Self::OpenAi,
            Kind::OpenAiCompatible => Self::OpenAiCompatible,
            Kind::AzureOpenAi => Self::AzureOpenAi,
            Kind::Gemini => Self::Gemini,
            Kind::Ollama => Self::Ollama,
            Kind::Voyage => Self::Voyage,
            Kind::Scripted => Self::Scripted,
        }
    }
}

/// What a model costs, in micro-USD per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelProviderPrices)]
pub(super) struct Prices {
    /// Prompts.
    pub(super) input: i64,
    /// Answers, reasoning included.
    pub(super) output: i64,
    /// Prompts that were read from the provider's cache. Left out: as much as others, since nothing unknown is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache_read: Option<i64>,
    /// Prompts that were written to it. Left out: as much as others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cache_write: Option<i64>,
}

impl From<Prices> for Rates {
    fn from(prices: Prices) -> Self {
        let Prices { input, output, cache_read, cache_write } = prices;
        let [cache_read, cache_write] = [cache_read, cache_write].map(|said| said.unwrap_or(input));
        Self { input, output, cache_read, cache_write, ..Self::FREE }
    }
}

/// How long the model is waited for, in milliseconds. What is left out is as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelProviderTimeouts)]
#[expect(clippy::struct_field_names, reason = "the unit is part of the names that users see")]
pub(super) struct Timeouts {
    /// For a connection; usually 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 60_000)]
    pub(super) connect_ms: Option<u64>,
    /// For the first token, connecting and thinking included; usually 5 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_000, maximum = 3_600_000)]
    pub(super) first_token_ms: Option<u64>,
    /// For the next piece of an answer; usually a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_000, maximum = 3_600_000)]
    pub(super) idle_ms: Option<u64>,
    /// For the whole answer; usually 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_000, maximum = 3_600_000)]
    pub(super) total_ms: Option<u64>,
}

impl From<Timeouts> for Limits {
    fn from(said: Timeouts) -> Self {
        let usual = Self::default();
        let total_ms = said.total_ms.unwrap_or(usual.total_ms);
        Self {
            connect_ms: said.connect_ms.unwrap_or(usual.connect_ms).min(total_ms),
            // The first byte comes no later than the first token, and may come no earlier.
            first_byte_ms: said.first_token_ms.unwrap_or(usual.first_byte_ms).min(total_ms),
            first_token_ms: said.first_token_ms.unwrap_or(usual.first_token_ms).min(total_ms),
            idle_ms: said.idle_ms.unwrap_or(usual.idle_ms).min(total_ms),
            total_ms,
            ..usual
        }
    }
}

impl Timeouts {
    /// What is wrong with them, by the field.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let said = [
            ("timeouts.connect_ms", self.connect_ms, CONNECT_MS),
            ("timeouts.first_token_ms", self.first_token_ms, WAIT_MS),
            ("timeouts.idle_ms", self.idle_ms, WAIT_MS),
            ("timeouts.total_ms", self.total_ms, WAIT_MS),
        ];
        for (field, wait, allowed) in &said {
            if wait.is_some_and(|wait| !allowed.contains(&wait)) {
                let (least, most) = (allowed.start(), allowed.end());
                return Err((*field, format!("must be from {least} to {most} milliseconds")));
            }
        }
        let total = self.total_ms.unwrap_or(Limits::default().total_ms);
        match said.iter().find(|(_, wait, _)| wait.is_some_and(|wait| wait > total)) {
            Some((field, ..)) => {
                Err((*field, format!("must not be longer than the whole answer may take, {total} ms")))
            }
            None => Ok(()),
        }
    }
}

/// A model at the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelProviderDeployment)]
pub(super) struct Deployment {
    /// What it is called here: groups and clients name it `PROVIDER/NAME`.
    pub(super) name: String,
    /// What it is called there.
    pub(super) model: String,
    /// Tokens that prompt and answer may have together.
    #[schema(minimum = 1)]
    pub(super) context_window: u32,
    /// Tokens that an answer may have.
    #[schema(minimum = 1)]
    pub(super) max_output: u32,
    /// Left out: those of the built-in table. Zeros: it costs nothing per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prices: Option<Prices>,
    /// Whether it takes a temperature; reasoning models refuse a request with one.
    #[serde(default)]
    pub(super) accepts_temperature: bool,
    /// How long it is waited for. Left out: as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timeouts: Option<Timeouts>,
}

/// What a provider is to be.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ModelProviderSettings)]
pub(super) struct Settings {
    /// The first part of its deployments' names; it stays what it was at first.
    pub(super) name: String,
    /// How it is spoken to.
    pub(super) kind: Kind,
    /// Up to and including the version, such as `https://api.openai.com/v1`.
    pub(super) base_url: String,
    /// Whose prices count, where the kind does not say it, such as `groq`.
    #[serde(default)]
    pub(super) vendor: Option<String>,
    /// Azure's `api-version`, where the address is not a versioned one.
    #[serde(default)]
    pub(super) api_version: Option<String>,
    /// The key; it is not shown again. Left out: as it was, or none. Another address needs it anew.
    #[serde(default)]
    #[schema(value_type = Option<String>, write_only)]
    pub(super) key: Option<Secret>,
    /// The models that are asked there.
    pub(super) deployments: Vec<Deployment>,
}

impl Settings {
    /// Checked as far as it can be without knowing what is stored.
    pub(super) async fn check(&self, app: &App) -> Result<(), ApiError> {
        names::check(&self.name, MAX_NAME)?;
        let optional = [("vendor", &self.vendor), ("api_version", &self.api_version)];
        for (field, said) in optional {
            if said.as_deref().is_some_and(|said| !is_plain(said, MAX_NAME)) {
                return Err(not_plain(field, MAX_NAME));
            }
        }
        if let Some(key) = &self.key {
            check_key(key)?;
        }
        self.check_deployments(app)?;
        self.check_address(&app.config).await
    }

    async fn check_address(&self, config: &Config) -> Result<(), ApiError> {
        address::check(config, &self.base_url).await.map_err(|said| ApiError::invalid("base_url", said))
    }

    fn check_deployments(&self, app: &App) -> Result<(), ApiError> {
        let many = self.deployments.len();
        if many == 0 || many > MAX_DEPLOYMENTS {
            let message = format!("must have 1 to {MAX_DEPLOYMENTS} models");
            return Err(ApiError::invalid("deployments", message));
        }
        let mut seen = BTreeSet::new();
        for (at, deployment) in self.deployments.iter().enumerate() {
            deployment
                .check()
                .map_err(|(field, said)| ApiError::invalid(&format!("deployments[{at}].{field}"), said))?;
            let name = || format!("deployments[{at}].name");
            if !seen.insert(&deployment.name) {
                return Err(ApiError::invalid(&name(), "is there twice"));
            }
            let full = full_name(&self.name, &deployment.name);
            if app.models.groups.resolve(&full).is_some() {
                let message = format!("`{full}` is the name of a configured deployment already");
                return Err(ApiError::invalid(&name(), message));
            }
        }
        Ok(())
    }
}

impl Deployment {
    /// What is wrong with it, by the field.
    fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, said) in [("name", &self.name), ("model", &self.model)] {
            if !is_plain(said, MAX_MODEL) {
                return Err((field, plain(MAX_MODEL)));
            }
        }
        if !(1..=MAX_WINDOW).contains(&self.context_window) {
            return Err(("context_window", format!("must be from 1 to {MAX_WINDOW} tokens")));
        }
        if !(1..=self.context_window).contains(&self.max_output) {
            return Err(("max_output", "must be from 1 to the context window".into()));
        }
        self.timeouts.unwrap_or_default().check()?;
        let Some(Prices { input, output, cache_read, cache_write }) = self.prices else { return Ok(()) };
        let said = [Some(input), Some(output), cache_read, cache_write];
        if said.iter().flatten().all(|price| (0..=MAX_PRICE).contains(price)) {
            return Ok(());
        }
        Err(("prices", format!("must be from 0 to {MAX_PRICE} micro-USD per million tokens")))
    }
}

/// What groups and clients call a deployment.
pub(super) fn full_name(provider: &str, deployment: &str) -> String {
    format!("{provider}/{deployment}")
}

/// A key that can stand in a header, and be told from other words.
pub(super) fn check_key(key: &Secret) -> Result<(), ApiError> {
    let text = key.expose();
    if KEY.contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    let (least, most) = (KEY.start(), KEY.end());
    let message = format!("must have {least} to {most} characters, without spaces and line breaks");
    Err(ApiError::invalid("key", message))
}

fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic() && c != '"')
}

fn plain(most: usize) -> String {
    format!("must have 1 to {most} letters, digits and signs, without spaces")
}

fn not_plain(field: &str, most: usize) -> ApiError {
    ApiError::invalid(field, plain(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_a_cache_costs_what_prompts_cost() {
        let prices = Prices { input: 30, output: 90, cache_read: None, cache_write: Some(40) };
        let rates = Rates::from(prices);
        assert_eq!((rates.cache_read, rates.cache_write), (30, 40));
    }

    #[test]
    fn what_is_not_said_of_waits_is_as_usual_and_nothing_is_waited_for_longer_than_for_the_whole() {
        let usual = Limits::default();
        assert_eq!(Limits::from(Timeouts::default()), usual);
        let short = Limits::from(Timeouts { total_ms: Some(30_000), ..Timeouts::default() });
        assert_eq!((short.first_byte_ms, short.first_token_ms, short.idle_ms), (30_000, 30_000, 30_000));
        let patient = Timeouts { first_token_ms: Some(700_000), ..Timeouts::default() };
        assert_eq!(patient.check(), Ok(()));
        assert_eq!(Limits::from(patient).first_byte_ms, 700_000);
        for (wrong, field) in [
            (Timeouts { connect_ms: Some(99), ..Timeouts::default() }, "connect_ms"),
            (Timeouts { total_ms: Some(3_600_001), ..Timeouts::default() }, "total_ms"),
            (Timeouts { idle_ms: Some(20_000), total_ms: Some(10_000), ..Timeouts::default() }, "idle_ms"),
        ] {
            assert!(wrong.check().unwrap_err().0.ends_with(field), "{wrong:?}");
        }
    }
}
