//! What tokens cost: a versioned table in this crate, overridable per deployment.
//!
//! Invariants: money is integer micro-USD and every cost is rounded up; an unknown model is flagged and charged
//! at the dearest rates of the table; the table never comes from the network.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::Usage;

/// Rates are per this many tokens.
const PER: i128 = 1_000_000;
const EMBEDDED: &str = include_str!("prices.toml");

/// Prices in micro-USD per 1,000,000 tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Prompt tokens.
    pub input: i64,
    /// Answer tokens, reasoning included.
    pub output: i64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: i64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: i64,
}

impl Rates {
    /// Cost of the usage in micro-USD, rounded up, saturating.
    pub fn cost(&self, usage: &Usage) -> i64 {
        let parts = [
            (usage.input, self.input),
            (usage.output, self.output),
            (usage.cache_read, self.cache_read),
            (usage.cache_write, self.cache_write),
        ];
        let sum: i128 = parts.iter().map(|&(tokens, rate)| i128::from(tokens) * i128::from(rate)).sum();
        i64::try_from((sum + PER - 1).div_euclid(PER)).unwrap_or(i64::MAX)
    }

    /// The most that a call with so many prompt and answer tokens can cost, in micro-USD: every prompt token at
    /// the dearest of its three classes.
    pub fn worst_case(&self, prompt_tokens: u32, output_tokens: u32) -> i64 {
        let input = self.input.max(self.cache_read).max(self.cache_write);
        Self { input, ..*self }.cost(&Usage {
            input: prompt_tokens,
            output: output_tokens,
            ..Usage::default()
        })
    }

    fn dearest(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
        }
    }

    fn is_valid(self) -> bool {
        [self.input, self.output, self.cache_read, self.cache_write].iter().all(|&rate| rate >= 0)
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceRow {
    /// Provider, or `*` for any.
    pub provider: String,
    /// Model, exact or with a trailing `*`.
    pub model: String,
    /// The row holds for prompts of more tokens than this only, cached ones included.
    #[serde(default)]
    pub prompt_above: u32,
    /// Micro-USD per 1,000,000 prompt tokens.
    pub input: i64,
    /// Micro-USD per 1,000,000 answer tokens.
    pub output: i64,
    /// Micro-USD per 1,000,000 prompt tokens read from the cache.
    pub cache_read: i64,
    /// Micro-USD per 1,000,000 prompt tokens written to the cache.
    pub cache_write: i64,
    /// The day the row was checked against its source, `YYYY-MM-DD`.
    pub date: String,
    /// Where the figures come from.
    pub source: String,
}

impl PriceRow {
    fn rates(&self) -> Rates {
        Rates {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
        }
    }

    /// How exactly the row names the model; `None` when it does not. Exact beats pattern, long beats short,
    /// a named provider beats any, a step for long prompts beats the base.
    fn fit(&self, provider: &str, model: &str, prompt_tokens: u32) -> Option<(bool, usize, bool, u32)> {
        let for_any = self.provider == "*";
        if (!for_any && self.provider != provider)
            || (self.prompt_above > 0 && prompt_tokens <= self.prompt_above)
        {
            return None;
        }
        match self.model.strip_suffix('*') {
            Some(prefix) if model.starts_with(prefix) => {
                Some((false, prefix.len(), !for_any, self.prompt_above))
            }
            None if self.model == model => Some((true, model.len(), !for_any, self.prompt_above)),
            _ => None,
        }
    }

    fn same_key(&self, other: &Self) -> bool {
        self.provider == other.provider
            && self.model == other.model
            && self.prompt_above == other.prompt_above
    }
}

/// What is known about a model's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "price", content = "rates")]
pub enum Price {
    /// From the table or the deployment.
    Known(Rates),
    /// Not in the table; the rates are the dearest of it, class by class.
    Unknown(Rates),
}

impl Price {
    /// The rates to charge.
    pub fn rates(&self) -> &Rates {
        match self {
            Self::Known(rates) | Self::Unknown(rates) => rates,
        }
    }

    /// Whether the price is not known.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// The cost of a usage.
    pub fn cost(&self, usage: &Usage) -> Cost {
        Cost { micro_usd: self.rates().cost(usage), price_unknown: self.is_unknown() }
    }
}

/// What an attempt cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Micro-USD, rounded up.
    pub micro_usd: i64,
    /// Whether the rates were a stand-in for an unknown price.
    pub price_unknown: bool,
}

/// The table is not usable.
#[derive(Debug, Error)]
pub enum PriceTableError {
    /// Not TOML of the right shape.
    #[error("the price table cannot be read")]
    Syntax(#[from] toml::de::Error),
    /// A row is wrong.
    #[error("price row {provider}/{model}: {reason}")]
    Row {
        /// Its provider.
        provider: String,
        /// Its model.
        model: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no row to take a ceiling from.
    #[error("the price table is empty")]
    Empty,
}

/// All known prices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceTable {
    /// The table's own version, recorded with usage so that a cost can be computed again.
    pub version: String,
    /// The rows.
    #[serde(rename = "price")]
    pub rows: Vec<PriceRow>,
}

impl PriceTable {
    /// The table that ships with the crate.
    pub fn embedded() -> Result<Self, PriceTableError> {
        Self::from_toml(EMBEDDED)
    }

    /// Reads and checks a table.
    pub fn from_toml(text: &str) -> Result<Self, PriceTableError> {
        let table: Self = toml::from_str(text)?;
        if table.rows.is_empty() {
            return Err(PriceTableError::Empty);
        }
        for (at, row) in table.rows.iter().enumerate() {
            let twice = table.rows[..at].iter().any(|earlier| earlier.same_key(row));
            let reason = if !row.rates().is_valid() {
                "a price is negative"
            } else if row.source.is_empty() || row.date.len() != "2026-01-01".len() {
                "it needs a date and a source"
            } else if twice {
                "it is there twice"
            } else {
                continue;
            };
            return Err(PriceTableError::Row {
                provider: row.provider.clone(),
                model: row.model.clone(),
                reason,
            });
        }
        Ok(table)
    }

    /// The price of a model at a provider, for a prompt of so many tokens, cached ones included.
    pub fn price(&self, provider: &str, model: &str, prompt_tokens: u32) -> Price {
        let fitting =
            self.rows.iter().filter_map(|row| Some((row.fit(provider, model, prompt_tokens)?, row)));
        match fitting.max_by_key(|(fit, _)| *fit) {
            Some((_, row)) => Price::Known(row.rates()),
            None => Price::Unknown(self.ceiling()),
        }
    }

    fn ceiling(&self) -> Rates {
        let none = Rates { input: 0, output: 0, cache_read: 0, cache_write: 0 };
        self.rows.iter().map(PriceRow::rates).fold(none, Rates::dearest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table() -> PriceTable {
        PriceTable::embedded().unwrap()
    }

    #[test]
    fn an_unknown_model_is_flagged_and_dearer_than_every_known_one() {
        let price = table().price("nobody", "no-such-model", 10);
        assert!(price.is_unknown());
        let usage = Usage { input: 1, ..Usage::default() };
        assert!(price.cost(&usage).micro_usd > 0);
        for row in table().rows {
            assert!(price.rates().worst_case(1_000, 1_000) >= row.rates().worst_case(1_000, 1_000));
        }
    }

    #[test]
    fn the_most_exact_row_wins_whatever_the_order() {
        let row = |provider: &str, model: &str, input: i64| {
            format!(
                "[[price]]\nprovider='{provider}'\nmodel='{model}'\ninput={input}\noutput=1\ncache_read=1\n\
                 cache_write=1\ndate='2026-01-01'\nsource='test'\n"
            )
        };
        let rows = [
            row("*", "gpt-*", 1),
            row("openai", "gpt-5", 2),
            row("openai", "gpt-*", 3),
            row("openai", "gpt-5-*", 4),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let text = format!("version='t'\n{}", order.map(|at| rows[at].clone()).concat());
            let table = PriceTable::from_toml(&text).unwrap();
            let input = |provider, model| table.price(provider, model, 10).rates().input;
            assert_eq!(
                [
                    input("azure", "gpt-5"),
                    input("openai", "gpt-5"),
                    input("openai", "gpt-4"),
                    input("openai", "gpt-5-mini")
                ],
                [1, 2, 3, 4]
            );
        }
    }

    #[test]
    fn a_long_prompt_is_charged_at_the_step_that_it_crosses() {
        let input = |tokens| table().price("openai", "gpt-5.5", tokens).rates().input;
        assert_eq!([input(272_000), input(272_001)], [5_000_000, 10_000_000]);
    }

    #[test]
    fn every_model_of_the_scripted_endpoint_has_a_price() {
        for provider in ["scripted", "openai", "anthropic"] {
            assert!(!table().price(provider, "scripted-demo", 10).is_unknown());
        }
    }

    #[test]
    fn a_row_without_a_source_or_with_a_negative_price_is_refused() {
        let row = |input: i64, source: &str| {
            format!(
                "version='t'\n[[price]]\nprovider='p'\nmodel='m'\ninput={input}\noutput=1\ncache_read=1\n\
                 cache_write=1\ndate='2026-01-01'\nsource='{source}'\n"
            )
        };
        assert!(PriceTable::from_toml(&row(1, "x")).is_ok());
        assert!(PriceTable::from_toml(&row(-1, "x")).is_err());
        assert!(PriceTable::from_toml(&row(1, "")).is_err());
    }

    prop_compose! {
        fn rates()(r in prop::array::uniform4(0i64..200_000_000)) -> Rates {
            Rates { input: r[0], output: r[1], cache_read: r[2], cache_write: r[3] }
        }
    }
    prop_compose! {
        fn usage()(t in prop::array::uniform4(0u32..3_000_000)) -> Usage {
            Usage { input: t[0], output: t[1], cache_read: t[2], cache_write: t[3], ..Usage::default() }
        }
    }

    proptest! {
        #[test]
        fn a_cost_is_the_exact_sum_rounded_up(rates in rates(), usage in usage()) {
            let exact = i128::from(usage.input) * i128::from(rates.input)
                + i128::from(usage.output) * i128::from(rates.output)
                + i128::from(usage.cache_read) * i128::from(rates.cache_read)
                + i128::from(usage.cache_write) * i128::from(rates.cache_write);
            let cost = i128::from(rates.cost(&usage)) * PER;
            prop_assert!(cost >= exact && cost - exact < PER);
        }

        #[test]
        fn no_split_of_the_prompt_over_the_classes_costs_more_than_the_worst_case(rates in rates(), usage in usage()) {
            prop_assert!(rates.cost(&usage) <= rates.worst_case(usage.prompt(), usage.output));
        }

        #[test]
        fn no_figures_overflow(tokens in any::<u32>(), rate in 0..i64::MAX) {
            let rates = Rates { input: rate, output: rate, cache_read: rate, cache_write: rate };
            let usage = Usage { input: tokens, output: tokens, cache_read: tokens, cache_write: tokens, ..Usage::default() };
            prop_assert!(rates.cost(&usage) >= 0);
        }
    }
}
