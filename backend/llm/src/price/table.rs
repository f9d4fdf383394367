//! The table: rows, each with its source and its day, and how a model finds its own.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::Spanned;

use super::{Price, Rates, plausible};

const EMBEDDED: &str = include_str!("prices.toml");
/// The only currency that money is counted in.
const CURRENCY: &str = "USD";

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct PriceRow {
    /// Provider, or `*` for any.
    pub provider: String,
    /// Model, exact or with a trailing `*`.
    pub model: String,
    /// The row holds for prompts of more tokens than this only, cached ones included.
    pub prompt_above: u32,
    /// What tokens cost.
    #[serde(flatten)]
    pub rates: Rates,
    /// The day the row was checked against its source.
    pub date: NaiveDate,
    /// Where the figures come from.
    pub source: String,
    /// Whether the operator's file has it.
    #[serde(rename = "override")]
    pub is_override: bool,
}

/// A row as it is written: a field that is not known is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    provider: String,
    model: String,
    #[serde(default)]
    prompt_above: u32,
    input: i64,
    output: i64,
    cache_read: i64,
    cache_write: i64,
    cache_write_1h: Option<i64>,
    image: Option<i64>,
    audio: Option<i64>,
    audio_output: Option<i64>,
    reasoning: Option<i64>,
    batch_input: Option<i64>,
    batch_output: Option<i64>,
    date: NaiveDate,
    source: String,
}

impl From<Written> for PriceRow {
    fn from(row: Written) -> Self {
        let rates = Rates {
            input: row.input,
            output: row.output,
            cache_read: row.cache_read,
            cache_write: row.cache_write,
            cache_write_1h: row.cache_write_1h,
            image: row.image,
            audio: row.audio,
            audio_output: row.audio_output,
            reasoning: row.reasoning,
            batch_input: row.batch_input,
            batch_output: row.batch_output,
        };
        let Written { provider, model, prompt_above, date, source, .. } = row;
        Self { provider, model, prompt_above, rates, date, source, is_override: false }
    }
}

impl PriceRow {
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

    pub(super) fn names_the_same(&self, other: &Self) -> bool {
        self.provider == other.provider && self.model == other.model
    }

    /// Whether it stands for the same prompts of the same models.
    pub fn same_key(&self, other: &Self) -> bool {
        self.names_the_same(other) && self.prompt_above == other.prompt_above
    }

    /// What it is called: `openai/gpt-5.5`, with the length of prompts that it begins with.
    pub fn name(&self) -> String {
        let step =
            if self.prompt_above > 0 { format!(" above {}", self.prompt_above) } else { String::new() };
        format!("{}/{}{step}", self.provider, self.model)
    }
}

/// The table is not usable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}: {reason}")]
pub struct PriceTableError {
    /// Which line of the text, from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

/// All known prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    /// The table's own version, recorded with usage so that a cost can be computed again; with the operator's after a `+`.
    pub version: String,
    /// The rows.
    pub rows: Vec<PriceRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<String>,
    #[serde(default)]
    currency: Option<Spanned<String>>,
    #[serde(rename = "price")]
    rows: Vec<Spanned<PriceRow>>,
}

impl PriceTable {
    /// The table that ships with the crate.
    pub fn embedded() -> Result<Self, PriceTableError> {
        Self::from_toml(EMBEDDED)
    }

    /// Reads and checks a table. The first fault is the error; see [`Self::faults`].
    pub fn from_toml(text: &str) -> Result<Self, PriceTableError> {
        let (table, mut faults) = Self::read(text)?;
        if faults.is_empty() { Ok(table) } else { Err(faults.remove(0)) }
    }

    /// Everything that is wrong with the text of a table, in the order of its lines.
    pub fn faults(text: &str) -> Vec<PriceTableError> {
        match Self::read(text) {
            Ok((_, faults)) => faults,
            Err(fault) => vec![fault],
        }
    }

    fn read(text: &str) -> Result<(Self, Vec<PriceTableError>), PriceTableError> {
        let line_at = |at: usize| 1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count();
        let fault = |at: usize, reason: String| PriceTableError { line: line_at(at), reason };
        let file: File = toml::from_str(text)
            .map_err(|error| fault(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let mut faults = Vec::new();
        if file.version.get_ref().trim().is_empty() {
            faults.push(fault(file.version.span().start, "the table needs a version".into()));
        }
        if let Some(currency) = file.currency.filter(|currency| currency.get_ref() != CURRENCY) {
            let reason = format!("money is counted in {CURRENCY} only, not in `{}`", currency.get_ref());
            faults.push(fault(currency.span().start, reason));
        }
        if file.rows.is_empty() {
            faults.push(fault(0, "there is no [[price]]".into()));
        }
        let (starts, rows): (Vec<usize>, Vec<PriceRow>) =
            file.rows.into_iter().map(|row| (row.span().start, row.into_inner())).unzip();
        for (place, start) in starts.into_iter().enumerate() {
            let wrong = plausible::faults(&rows, place);
            faults.extend(
                wrong.into_iter().map(|reason| fault(start, format!("{}: {reason}", rows[place].name()))),
            );
        }
        faults.sort_by_key(|fault| fault.line);
        Ok((Self { version: file.version.into_inner(), rows }, faults))
    }

    /// The same with the operator's rows: each takes the place of the row of the same provider, model and `prompt_above`, or
    /// is added. Of all that fit, the most exact still counts.
    ///
    /// Errors: a row for long prompts would be cheaper than the one for short ones that stays.
    pub fn with(&self, own: &Self) -> Result<Self, String> {
        let own_rows = || own.rows.iter().cloned().map(|row| PriceRow { is_override: true, ..row });
        let kept = self.rows.iter().filter(|row| !own.rows.iter().any(|own| own.same_key(row))).cloned();
        let rows: Vec<PriceRow> = kept.chain(own_rows()).collect();
        for (place, row) in rows.iter().enumerate() {
            if let Some(reason) = plausible::cheaper_step(&rows, place) {
                return Err(format!("{}: {reason}; override both", row.name()));
            }
        }
        Ok(Self { version: format!("{}+{}", self.version, own.version), rows })
    }

    /// The row of a model at a provider, for a prompt of so many tokens, cached ones included.
    pub fn row(&self, provider: &str, model: &str, prompt_tokens: u32) -> Option<&PriceRow> {
        let fitting =
            self.rows.iter().filter_map(|row| Some((row.fit(provider, model, prompt_tokens)?, row)));
        fitting.max_by_key(|(fit, _)| *fit).map(|(_, row)| row)
    }

    /// Every row that a model may be charged by: the one of short prompts, and those of longer ones.
    pub fn rows_of(&self, provider: &str, model: &str) -> Vec<&PriceRow> {
        let Some(base) = self.row(provider, model, 0) else { return Vec::new() };
        let steps = self.rows.iter().filter(|row| row.names_the_same(base) && row.prompt_above > 0);
        let mut found: Vec<&PriceRow> = std::iter::once(base).chain(steps).collect();
        found.sort_by_key(|row| row.prompt_above);
        found
    }

    /// The price of a model at a provider, for a prompt of so many tokens, cached ones included.
    pub fn price(&self, provider: &str, model: &str, prompt_tokens: u32) -> Price {
        match self.row(provider, model, prompt_tokens) {
            Some(row) => Price::Known(row.rates),
            None => Price::Unknown(self.ceiling()),
        }
    }

    fn ceiling(&self) -> Rates {
        self.rows.iter().map(|row| row.rates).fold(Rates::default(), Rates::or_dearer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Usage;

    fn table() -> PriceTable {
        PriceTable::embedded().unwrap()
    }

    fn row(provider: &str, model: &str, input: i64, more: &str) -> String {
        format!(
            "[[price]]\nprovider='{provider}'\nmodel='{model}'\ninput={input}\noutput=10\ncache_read=1\n\
             cache_write={input}\ndate='2026-01-01'\nsource='test'\n{more}\n"
        )
    }

    #[test]
    fn an_unknown_model_is_flagged_and_dearer_than_every_known_one() {
        let price = table().price("nobody", "no-such-model", 10);
        assert!(price.is_unknown());
        let usage = Usage { input: 1, ..Usage::default() };
        assert!(price.cost(&usage).micro_usd > 0);
        for row in table().rows {
            assert!(price.rates().worst_case(1_000, 1_000) >= row.rates.worst_case(1_000, 1_000));
        }
    }

    #[test]
    fn the_most_exact_row_wins_whatever_the_order() {
        let rows = [
            row("*", "gpt-*", 1, ""),
            row("openai", "gpt-5", 2, ""),
            row("openai", "gpt-*", 3, ""),
            row("openai", "gpt-5-*", 4, ""),
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
        let input = |model: &str, tokens| {
            let provider = if model.starts_with("gpt") { "openai" } else { "anthropic" };
            table().price(provider, model, tokens).rates().input
        };
        assert_eq!([input("gpt-5.5", 272_000), input("gpt-5.5", 272_001)], [5_000_000, 10_000_000]);
        let pro = "gpt-5.4-pro-2026-03-05";
        assert_eq!([input(pro, 272_000), input(pro, 272_001)], [30_000_000, 60_000_000]);
        let sonnet = "claude-sonnet-4-5-20250929";
        assert_eq!([input(sonnet, 200_000), input(sonnet, 200_001)], [3_000_000, 6_000_000]);
        assert_eq!(input("claude-sonnet-4-6", 500_000), 3_000_000, "a longer name has its own steps");
        let fables = ["claude-fable-5", "claude-fable-5-1", "claude-fable-5-2"].map(|model| input(model, 10));
        assert_eq!(fables, [10_000_000, 10_000_000, 8_000_000]);
    }

    #[test]
    fn every_model_of_the_scripted_endpoint_has_a_price() {
        for provider in ["scripted", "openai", "anthropic"] {
            assert!(!table().price(provider, "scripted-demo", 10).is_unknown());
        }
    }

    #[test]
    fn what_is_embedded_is_charged_by_its_prompt_alone() {
        for (provider, model, expected) in [
            ("openai", "text-embedding-3-small", 20_000),
            ("openai", "text-embedding-3-large", 130_000),
            ("gemini", "gemini-embedding-001", 150_000),
        ] {
            let price = table().price(provider, model, 10);
            let usage = Usage { input: 1_000_000, ..Usage::default() };
            assert_eq!((price.is_unknown(), price.cost(&usage).micro_usd), (false, expected), "{model}");
            assert_eq!(price.rates().output, 0, "{model}");
        }
    }

    #[test]
    fn every_model_of_anthropic_has_the_hours_price() {
        for row in table().rows.iter().filter(|row| row.provider == "anthropic") {
            assert_eq!(row.rates.cache_write_1h, Some(2 * row.rates.input), "{}", row.name());
        }
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_line() {
        let said = |text: &str| {
            PriceTable::faults(text).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let one = |more: &str| format!("version='t'\n{}", row("p", "m", 5, more));
        assert_eq!(said(&one("")), "");
        for (text, expected) in [
            (one("").replace("source='test'", "source=' '"), "2: p/m: it needs a source"),
            (one("").replace("2026-01-01", "2026-02-30"), "9: "),
            (one("").replace("output=10", "output=-1"), "2: p/m: output is negative"),
            (one("inputs=1"), "11: unknown field `inputs`"),
            (format!("currency='EUR'\n{}", one("")), "1: money is counted in USD only, not in `EUR`"),
            (one("") + &row("p", "m", 6, ""), "12: p/m: it is there twice, with other prices"),
            (one("").replace("cache_read=1", "cache_read=6"), "2: p/m: cache_read is above input"),
            (one("cache_write_1h=4"), "2: p/m: cache_write_1h is below cache_write"),
            (one("batch_output=11"), "2: p/m: batch_output is above output"),
            (
                one("") + &row("p", "m", 4, "prompt_above=1000"),
                "12: p/m above 1000: input is below that of shorter prompts",
            ),
            ("version='t'\nprice=[]".to_owned(), "1: there is no [[price]]"),
        ] {
            assert!(said(&text).contains(expected), "{expected}: {}", said(&text));
            assert!(PriceTable::from_toml(&text).is_err());
        }
    }

    #[test]
    fn the_operators_row_takes_the_place_of_its_like_and_leaves_the_others() {
        let own =
            format!("version='ours'\n{}{}", row("openai", "gpt-5.5", 4_000_000, ""), row("ours", "m", 7, ""));
        let own = PriceTable::from_toml(&own).unwrap();
        let merged = table().with(&own).unwrap();
        assert_eq!(merged.version, format!("{}+ours", table().version));
        let input = |provider, model, tokens| merged.price(provider, model, tokens).rates().input;
        assert_eq!(input("openai", "gpt-5.5", 10), 4_000_000);
        assert_eq!(input("openai", "gpt-5.5", 300_000), 10_000_000, "the step of the table stays");
        assert_eq!(input("ours", "m", 10), 7);
        assert!(
            merged.row("ours", "m", 1).unwrap().is_override && merged.rows.len() == table().rows.len() + 1
        );
        let dear =
            PriceTable::from_toml(&format!("version='x'\n{}", row("openai", "gpt-5.5", 11_000_000, "")));
        let refused = table().with(&dear.unwrap()).unwrap_err();
        assert!(refused.contains("gpt-5.5 above 272000"), "{refused}");
    }
}
