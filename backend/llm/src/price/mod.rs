//! What tokens cost: a versioned table in this crate, overridable by the operator's file and per deployment.
//!
//! Invariants: money is integer micro-USD and every cost is rounded up; an unknown model is flagged and charged
//! at the dearest rates of the table, an unknown class of tokens at the dearest rate of its row; the table never comes
//! from the network.

mod plausible;
mod table;

use serde::{Deserialize, Serialize};

use crate::types::Usage;

pub use table::{PriceRow, PriceTable, PriceTableError};

/// Rates are per this many tokens.
const PER: i128 = 1_000_000;

/// Prices in micro-USD per 1,000,000 tokens. The default costs nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Prompt tokens.
    pub input: i64,
    /// Answer tokens.
    pub output: i64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: i64,
    /// Prompt tokens written to the provider's cache.
    pub cache_write: i64,
    /// Prompt tokens written to a cache that is kept for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<i64>,
    /// Prompt tokens that are pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<i64>,
    /// Prompt tokens that are sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<i64>,
    /// Answer tokens that are sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<i64>,
    /// Answer tokens that are reasoning; none: they cost what the answer costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<i64>,
    /// Prompt tokens of what is asked in a batch; none: the full price. This gateway sends no batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_input: Option<i64>,
    /// Answer tokens of what is asked in a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_output: Option<i64>,
}

/// What a request may make the provider count in a class of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// A part of the prompt is to be kept for an hour.
    pub hour: bool,
    /// It has pictures.
    pub image: bool,
    /// It has sound, or asks for some.
    pub audio: bool,
}

/// Tokens of one class, and what they are charged at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The column of the price table.
    pub class: &'static str,
    /// How many.
    pub tokens: u32,
    /// In micro-USD per 1,000,000.
    pub rate: i64,
}

impl Rates {
    /// What costs nothing per token.
    pub const FREE: Self = Self {
        input: 0,
        output: 0,
        cache_read: 0,
        cache_write: 0,
        cache_write_1h: None,
        image: None,
        audio: None,
        audio_output: None,
        reasoning: None,
        batch_input: None,
        batch_output: None,
    };

    /// Cost of the usage in micro-USD, rounded up, saturating.
    pub fn cost(&self, usage: &Usage) -> i64 {
        let sum: i128 =
            self.parts(usage).iter().map(|part| i128::from(part.tokens) * i128::from(part.rate)).sum();
        i64::try_from((sum + PER - 1).div_euclid(PER)).unwrap_or(i64::MAX)
    }

    /// The classes that the usage falls into, every token once, each with what it is charged at. What the row has no
    /// price for is charged at its dearest.
    pub fn parts(&self, usage: &Usage) -> [Part; 9] {
        let dearest = self.dearest();
        let or_dearest = |rate: Option<i64>| rate.unwrap_or(dearest);
        let image = usage.image.min(usage.input);
        let audio = usage.audio.min(usage.input - image);
        let hour = usage.cache_write_1h.min(usage.cache_write);
        let sound = usage.audio_output.min(usage.output);
        let reasoning = usage.reasoning.min(usage.output - sound);
        let part = |class, tokens, rate| Part { class, tokens, rate };
        [
            part("input", usage.input - image - audio, self.input),
            part("output", usage.output - sound - reasoning, self.output),
            part("cache_read", usage.cache_read, self.cache_read),
            part("cache_write", usage.cache_write - hour, self.cache_write),
            part("cache_write_1h", hour, or_dearest(self.cache_write_1h)),
            part("image", image, or_dearest(self.image)),
            part("audio", audio, or_dearest(self.audio)),
            part("audio_output", sound, or_dearest(self.audio_output)),
            part("reasoning", reasoning, self.reasoning.unwrap_or(self.output)),
        ]
    }

    /// Whether the usage has tokens of a class that the rates have no price for. Where everything costs nothing, nothing
    /// is missing.
    pub fn lacks(&self, usage: &Usage) -> bool {
        let missing = |tokens: u32, rate: Option<i64>| tokens > 0 && rate.is_none();
        self.dearest() > 0
            && (missing(usage.cache_write_1h, self.cache_write_1h)
                || missing(usage.image, self.image)
                || missing(usage.audio, self.audio)
                || missing(usage.audio_output, self.audio_output))
    }

    /// Rates at which no prompt and no answer costs less than it may, whatever classes its tokens fall into: for a request
    /// that may have these extras.
    #[must_use]
    pub fn ceiling(&self, extras: Extras) -> Self {
        let dearest = self.dearest();
        let may = |is: bool, rate: Option<i64>| if is { rate.unwrap_or(dearest) } else { 0 };
        let input = self
            .input
            .max(self.cache_read)
            .max(self.cache_write)
            .max(may(extras.hour, self.cache_write_1h))
            .max(may(extras.image, self.image))
            .max(may(extras.audio, self.audio));
        let output = self.output.max(self.reasoning.unwrap_or(0)).max(may(extras.audio, self.audio_output));
        Self { input, output, cache_read: input, cache_write: input, ..Self::default() }
    }

    /// Which extras a request has to be searched for: those that would make it dearer.
    pub fn dear_extras(&self) -> Extras {
        let plain = self.ceiling(Extras::default());
        let is_dear = |extras: Extras| self.ceiling(extras) != plain;
        Extras {
            hour: is_dear(Extras { hour: true, ..Extras::default() }),
            image: is_dear(Extras { image: true, ..Extras::default() }),
            audio: is_dear(Extras { audio: true, ..Extras::default() }),
        }
    }

    /// The most that a call with so many prompt and answer tokens can cost, in micro-USD, where the request has no extras:
    /// every prompt token at the dearest of its classes.
    pub fn worst_case(&self, prompt_tokens: u32, output_tokens: u32) -> i64 {
        self.ceiling(Extras::default()).cost(&Usage {
            input: prompt_tokens,
            output: output_tokens,
            ..Usage::default()
        })
    }

    /// The dearest of all classes.
    fn dearest(&self) -> i64 {
        self.columns().iter().filter_map(|(_, rate)| *rate).max().unwrap_or(0)
    }

    /// Every price of the tokens of a single call, by its column.
    pub(crate) fn columns(&self) -> [(&'static str, Option<i64>); 9] {
        [
            ("input", Some(self.input)),
            ("output", Some(self.output)),
            ("cache_read", Some(self.cache_read)),
            ("cache_write", Some(self.cache_write)),
            ("cache_write_1h", self.cache_write_1h),
            ("image", self.image),
            ("audio", self.audio),
            ("audio_output", self.audio_output),
            ("reasoning", self.reasoning),
        ]
    }

    /// Class by class the dearer of both.
    fn or_dearer(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            image: self.image.max(other.image),
            audio: self.audio.max(other.audio),
            audio_output: self.audio_output.max(other.audio_output),
            reasoning: self.reasoning.max(other.reasoning),
            batch_input: None,
            batch_output: None,
        }
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
        let price_unknown = self.is_unknown() || self.rates().lacks(usage);
        Cost { micro_usd: self.rates().cost(usage), price_unknown }
    }
}

/// What an attempt cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Micro-USD, rounded up.
    pub micro_usd: i64,
    /// Whether a rate was a stand-in for an unknown price.
    pub price_unknown: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SONNET: Rates = Rates {
        input: 2_000_000,
        output: 10_000_000,
        cache_read: 200_000,
        cache_write: 2_500_000,
        cache_write_1h: Some(4_000_000),
        ..Rates::FREE
    };

    #[test]
    fn what_is_kept_for_an_hour_costs_the_hours_price_and_the_rest_that_of_five_minutes() {
        let usage = Usage { cache_write: 3_000_000, cache_write_1h: 1_000_000, ..Usage::default() };
        assert_eq!(SONNET.cost(&usage), 2 * 2_500_000 + 4_000_000);
        assert!(!SONNET.lacks(&usage));
    }

    #[test]
    fn a_class_without_a_price_costs_the_dearest_rate_and_is_flagged() {
        let price = Price::Known(SONNET);
        let sound = Usage { input: 1_000_000, audio: 1_000_000, ..Usage::default() };
        assert_eq!(price.cost(&sound), Cost { micro_usd: 10_000_000, price_unknown: true });
        let priced = Price::Known(Rates { audio: Some(3_000_000), ..SONNET });
        assert_eq!(priced.cost(&sound), Cost { micro_usd: 3_000_000, price_unknown: false });
        let text = Usage { input: 1_000_000, reasoning: 5, output: 5, ..Usage::default() };
        assert!(!price.cost(&text).price_unknown, "reasoning is a part of the answer");
        assert_eq!(Price::Known(Rates::default()).cost(&sound), Cost { micro_usd: 0, price_unknown: false });
    }

    prop_compose! {
        fn rates()(r in prop::array::uniform4(0i64..200_000_000), o in prop::array::uniform5(prop::option::of(0i64..200_000_000))) -> Rates {
            Rates {
                input: r[0], output: r[1], cache_read: r[2], cache_write: r[3], cache_write_1h: o[0], image: o[1],
                audio: o[2], audio_output: o[3], reasoning: o[4], batch_input: None, batch_output: None,
            }
        }
    }
    prop_compose! {
        fn usage()(t in prop::array::uniform9(0u32..3_000_000)) -> Usage {
            Usage {
                input: t[0], output: t[1], cache_read: t[2], cache_write: t[3], cache_write_1h: t[4], image: t[5],
                audio: t[6], audio_output: t[7], reasoning: t[8], estimated: false,
            }
        }
    }

    proptest! {
        #[test]
        fn every_token_is_charged_once(rates in rates(), usage in usage()) {
            let tokens: u64 = rates.parts(&usage).iter().map(|part| u64::from(part.tokens)).sum();
            prop_assert_eq!(tokens, u64::from(usage.prompt()) + u64::from(usage.output));
        }

        #[test]
        fn a_cost_is_the_exact_sum_rounded_up(rates in rates(), usage in usage()) {
            let exact: i128 =
                rates.parts(&usage).iter().map(|part| i128::from(part.tokens) * i128::from(part.rate)).sum();
            let cost = i128::from(rates.cost(&usage)) * PER;
            prop_assert!(cost >= exact && cost - exact < PER);
        }

        #[test]
        fn no_split_over_the_classes_costs_more_than_the_ceiling_for_what_the_request_has(
            rates in rates(), usage in usage(), hour in any::<bool>(), image in any::<bool>(), audio in any::<bool>(),
        ) {
            let only = |is: bool, tokens: u32| if is { tokens } else { 0 };
            let usage = Usage {
                cache_write_1h: only(hour, usage.cache_write_1h), image: only(image, usage.image),
                audio: only(audio, usage.audio), audio_output: only(audio, usage.audio_output), ..usage
            };
            let dear = rates.dear_extras();
            let searched = Extras { hour: hour && dear.hour, image: image && dear.image, audio: audio && dear.audio };
            let ceiling = rates.ceiling(Extras { hour, image, audio });
            prop_assert_eq!(ceiling, rates.ceiling(searched));
            prop_assert!(rates.cost(&usage) <= ceiling.worst_case(usage.prompt(), usage.output));
        }

        #[test]
        fn nothing_that_is_used_is_free_where_something_costs(rates in rates(), usage in usage()) {
            if rates.lacks(&usage) {
                let missing = rates.parts(&usage).into_iter().filter(|part| part.tokens > 0);
                let free = missing.filter(|part| part.rate == 0).all(|part| {
                    rates.columns().contains(&(part.class, Some(0))) || part.class == "reasoning"
                });
                prop_assert!(free);
            }
        }

        #[test]
        fn no_figures_overflow(tokens in any::<u32>(), rate in 0..i64::MAX) {
            let rates = Rates { input: rate, output: rate, cache_read: rate, cache_write: rate, ..Rates::default() };
            let usage = Usage { input: tokens, output: tokens, cache_read: tokens, cache_write: tokens, ..Usage::default() };
            prop_assert!(rates.cost(&usage) >= 0);
        }
    }
}
