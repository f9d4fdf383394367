//! A caller's wishes, cut to what a deployment takes. What has no place there is left out and named: a provider would
//! refuse the whole request over it.
//!
//! Invariants: a thinking budget is at least what Anthropic takes and at most half of the answer's limit; nobody thinks
//! before a tool that must be called; a tool's result is never sent back to a model that has to show a signature for
//! the thoughts before it and has none; no model is told not to think that cannot be told.

use super::openai::SEAL;
use super::{Deployment, Format, ProviderKind};
use crate::types::{Block, ChatRequest, Effort, Options, Reasoning, Role, ToolChoice};

/// The least that Anthropic takes.
const MIN_BUDGET: u32 = 1_024;
/// The most that every model of Gemini's second generation takes.
const GEMINIS_BUDGET: u32 = 24_576;
/// With thoughts, no token may be ruled out that is likelier than this.
const MIN_TOP_P: f64 = 0.95;
/// The fewest tokens of an answer that OpenAI takes for a response.
const MIN_RESPONSE: u32 = 16;

/// What is sent of the wishes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) thought: Option<Thought>,
    pub(crate) lost: Vec<Lost>,
}

/// How a deployment is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thought {
    /// Not at all.
    Off,
    /// At most so many tokens: Anthropic's models before 4.6.
    Budget(u32),
    /// As the model likes, with this effort: Anthropic's models since.
    Adaptive(Effort),
    /// A word alone.
    Effort(Effort),
}

/// A wish that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    Temperature,
    TopP,
    Reasoning,
}

/// Cuts a request to what is sent with this answer limit, in tokens.
pub(crate) fn fit(deployment: &Deployment, request: &ChatRequest, max_output: u32) -> Fitted {
    let mut fitted = Fitted::default();
    fitted.reason(deployment, request, max_output);
    fitted.sample(deployment, request);
    fitted
}

impl Fitted {
    fn reason(&mut self, deployment: &Deployment, request: &ChatRequest, max_output: u32) {
        let Some(wish) = request.options.reasoning else { return };
        let format = deployment.provider.format();
        self.thought = match format {
            Format::OpenAi => openai(deployment, wish),
            Format::Anthropic => anthropic(&deployment.model, wish, request, max_output),
            Format::Gemini => gemini(&deployment.model, wish, max_output),
            // Models of Ollama's that do not think refuse to, and which do is not known here.
            Format::Ollama => (wish == Reasoning::Off).then_some(Thought::Off),
            Format::Voyage => None,
        };
        // A model that thinks only when it is told to needs no word for not thinking.
        let is_said = self.thought.is_some() || (wish == Reasoning::Off && !thinks_unasked(deployment));
        let is_cut = forced(&request.options, request) && matches!(self.thought, Some(Thought::Effort(_)));
        if !is_said || (is_cut && format == Format::Anthropic) {
            self.lost.push(Lost::Reasoning);
        }
    }

    fn sample(&mut self, deployment: &Deployment, request: &ChatRequest) {
        let (temperature, top_p) = (request.temperature, request.options.top_p);
        let is_anthropic = deployment.provider.format() == Format::Anthropic;
        let thinks = is_anthropic && matches!(self.thought, Some(Thought::Budget(_) | Thought::Adaptive(_)));
        let takes = deployment.accepts_temperature;
        self.temperature = temperature.filter(|_| takes && !thinks);
        if is_anthropic {
            self.temperature = self.temperature.map(|temperature| temperature.min(1.0));
        }
        let may_choose = !thinks || top_p.is_some_and(|top_p| top_p >= MIN_TOP_P);
        // Anthropic's models take one of the two.
        self.top_p = top_p.filter(|_| takes && may_choose && !(is_anthropic && self.temperature.is_some()));
        if temperature != self.temperature {
            self.lost.push(Lost::Temperature);
        }
        if top_p != self.top_p {
            self.lost.push(Lost::TopP);
        }
    }
}

/// A model that takes a temperature is none that reasons, and refuses the word. Those that cannot but think know the words
/// in the middle only.
fn openai(deployment: &Deployment, wish: Reasoning) -> Option<Thought> {
    if deployment.accepts_temperature {
        return None;
    }
    if cannot_but_think(deployment) {
        let effort = match wish {
            Reasoning::Off => return None,
            Reasoning::Effort(effort) => effort,
            Reasoning::Budget(tokens) => Effort::of_budget(tokens),
        };
        return Some(Thought::Effort(effort.clamp(Effort::Low, Effort::XHigh)));
    }
    Some(match wish {
        Reasoning::Off => Thought::Off,
        Reasoning::Effort(effort) => Thought::Effort(effort),
        Reasoning::Budget(tokens) => Thought::Effort(Effort::of_budget(tokens)),
    })
}

/// Whether this model of OpenAI's is asked over `/v1/responses`: since 5.4 they refuse tools over chat completions unless they
/// are told not to think, since 5.5 they think unasked, and since 6 some cannot be told. What was thought between two calls
/// comes and goes back only there. At Azure a name says nothing of its model, and other servers need not know the path.
pub(crate) fn answers_as_responses(deployment: &Deployment) -> bool {
    let is_newer = gpt(&deployment.model).is_some_and(|version| version >= (5, 4));
    deployment.provider == ProviderKind::OpenAi && !deployment.accepts_temperature && is_newer
}

/// Whether this model of OpenAI's refuses `none`: the largest since 6 and those of the middle since 6.1, as its list of models
/// has it (<https://developers.openai.com/api/docs/models>).
fn cannot_but_think(deployment: &Deployment) -> bool {
    let is_family = |family: &str| deployment.model.contains(family);
    let is_since = |version: (u32, u32)| gpt(&deployment.model).is_some_and(|own| own >= version);
    deployment.provider == ProviderKind::OpenAi
        && ((is_family("-astra") && is_since((6, 0))) || (is_family("-sol") && is_since((6, 1))))
}

/// The fewest tokens that an answer may be limited to, where the request is not a client's own words.
pub(crate) fn least_output(deployment: &Deployment) -> u32 {
    if answers_as_responses(deployment) { MIN_RESPONSE } else { 0 }
}

/// Up to its second generation Gemini takes a number of tokens, since then a word; only the small ones of the second can
/// be told not to think.
fn gemini(model: &str, wish: Reasoning, max_output: u32) -> Option<Thought> {
    let counts_tokens = model.starts_with("gemini-2");
    let tokens = |tokens: u32| Thought::Budget(tokens.min(max_output / 2));
    match wish {
        Reasoning::Off => (counts_tokens && model.contains("flash")).then_some(Thought::Off),
        Reasoning::Effort(effort) if counts_tokens => Some(tokens(effort.budget().min(GEMINIS_BUDGET))),
        Reasoning::Effort(effort) => Some(Thought::Effort(effort)),
        Reasoning::Budget(budget) if counts_tokens => Some(tokens(budget.min(GEMINIS_BUDGET))),
        Reasoning::Budget(budget) => Some(Thought::Effort(Effort::of_budget(budget))),
    }
}

fn anthropic(model: &str, wish: Reasoning, request: &ChatRequest, max_output: u32) -> Option<Thought> {
    let forced = forced(&request.options, request);
    if is_adaptive(model) {
        let effort = match wish {
            Reasoning::Off => return (!always_thinks(model)).then_some(Thought::Off),
            Reasoning::Effort(effort) => effort.max(Effort::Low),
            Reasoning::Budget(tokens) => Effort::of_budget(tokens),
        };
        return Some(if forced { Thought::Effort(effort) } else { Thought::Adaptive(effort) });
    }
    let tokens = match wish {
        Reasoning::Off => return None,
        Reasoning::Effort(effort) => effort.budget(),
        Reasoning::Budget(tokens) => tokens.max(MIN_BUDGET),
    };
    let tokens = tokens.min(max_output / 2);
    let may_think = tokens >= MIN_BUDGET && !forced && !lacks_a_signature(request);
    may_think.then_some(Thought::Budget(tokens))
}

fn forced(options: &Options, request: &ChatRequest) -> bool {
    !request.tools.is_empty() && matches!(options.tool_choice, Some(ToolChoice::Any | ToolChoice::Tool(_)))
}

/// Whether tools were called by a model that does not show what it thought before.
fn lacks_a_signature(request: &ChatRequest) -> bool {
    let last = request.messages.iter().rev().find(|message| message.role == Role::Assistant);
    last.is_some_and(|message| {
        let calls = message
            .content
            .iter()
            .any(|block| matches!(block, Block::ToolUse { .. } | Block::InvalidToolUse { .. }));
        let signed = matches!(message.content.first(),
            Some(Block::Thinking { signature: Some(signature), .. }) if !signature.starts_with(SEAL));
        calls && !signed
    })
}

/// Whether the model thinks unless it is told not to.
fn thinks_unasked(deployment: &Deployment) -> bool {
    match deployment.provider.format() {
        Format::OpenAi => !deployment.accepts_temperature,
        Format::Anthropic => is_adaptive(&deployment.model),
        Format::Gemini | Format::Ollama => true,
        Format::Voyage => false,
    }
}

/// Models that cannot be told not to think.
fn always_thinks(model: &str) -> bool {
    model.contains("fable") || model.contains("mythos")
}

/// Whether this model of Anthropic's decides by itself how long it thinks. Since 4.7 they refuse a budget; before 4.6
/// they knew nothing else.
fn is_adaptive(model: &str) -> bool {
    version(model).is_some_and(|version| version >= (4, 6)) || model.contains("mythos")
}

/// Major and minor, which stand before the family in older names and behind it in newer ones. A date is neither.
fn version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("claude")?;
    let words = name.split(['-', '.', '_', '@', ':']);
    let mut numbers = words.map(|word| word.parse::<u32>().ok().filter(|_| word.len() <= 2));
    let major = numbers.by_ref().flatten().next()?;
    // `by_ref` above stopped behind the major number.
    Some((major, numbers.next().flatten().unwrap_or(0)))
}

/// Major and minor of a model of OpenAI's, which stand directly behind the family: `gpt-4o` has none.
fn gpt(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("gpt-")?;
    let number = name.split(['-', ':']).next()?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::provider::round_trip::{deployment, request};
    use crate::types::{Message, ToolSpec};

    fn wish() -> impl Strategy<Value = Reasoning> {
        let efforts =
            [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];
        prop_oneof![
            Just(Reasoning::Off),
            prop::sample::select(efforts.to_vec()).prop_map(Reasoning::Effort),
            any::<u32>().prop_map(Reasoning::Budget),
        ]
    }

    proptest! {
        #[test]
        fn no_budget_reaches_the_answers_limit_and_nobody_thinks_before_a_forced_tool(
            mut request in request(),
            wish in wish(),
            max_output in 1u32..200_000,
            model in prop::sample::select(vec!["claude-sonnet-4-5", "claude-sonnet-5", "claude-fable-5", "m"]),
        ) {
            request.options.reasoning = Some(wish);
            let deployment = Deployment { model: model.into(), ..deployment(ProviderKind::Anthropic) };

            let fitted = fit(&deployment, &request, max_output);

            if let Some(Thought::Budget(tokens)) = fitted.thought {
                prop_assert!((MIN_BUDGET..max_output).contains(&tokens), "{tokens} of {max_output}");
            }
            let thinks = matches!(fitted.thought, Some(Thought::Budget(_) | Thought::Adaptive(_)));
            let is_forced = matches!(request.options.tool_choice, Some(ToolChoice::Any | ToolChoice::Tool(_)));
            prop_assert!(!(thinks && is_forced));
            // Sampling is left to a model that thinks.
            prop_assert!(!(thinks && fitted.temperature.is_some()));
            let is_lost = fitted.lost.contains(&Lost::Reasoning);
            prop_assert!(is_lost || thinks || wish == Reasoning::Off, "{fitted:?}");
        }
    }

    #[test]
    fn a_models_version_is_read_from_older_and_newer_names() {
        for (model, expected) in [
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("anthropic.claude-opus-4-6-v1", Some((4, 6))),
            ("claude-haiku-4-5@20251001", Some((4, 5))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude-fable-5-1", Some((5, 1))),
            ("claude-latest", None),
            ("somebody's-4-9", None),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }

    #[test]
    fn the_version_of_a_model_of_openais_is_read_from_its_name() {
        for (model, expected) in [
            ("gpt-5.4-mini-2026-03-17", Some((5, 4))),
            ("ft:gpt-5.5:acme", Some((5, 5))),
            ("gpt-5-2025-08-07", Some((5, 0))),
            ("gpt-6", Some((6, 0))),
            ("gpt-6.2-astra", Some((6, 2))),
            ("gpt-4o-2024-08-06", None),
            ("gpt-oss-120b", None),
            ("o4-mini", None),
        ] {
            assert_eq!(gpt(model), expected, "{model}");
        }
    }

    #[test]
    fn a_model_that_takes_tools_over_responses_thinks_before_it_calls_them() {
        let tool = ToolSpec {
            name: "t".into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
        };
        let fitted = |model: &str, kind: ProviderKind, tools: &[ToolSpec], wish: Option<Reasoning>| {
            let request = ChatRequest {
                system: String::new(),
                messages: vec![Message::user("go")],
                tools: tools.to_vec(),
                max_output_tokens: 900,
                temperature: None,
                stop: Vec::new(),
                options: Options { reasoning: wish, ..Options::default() },
            };
            let deployment =
                Deployment { model: model.into(), accepts_temperature: false, ..deployment(kind) };
            let fitted = fit(&deployment, &request, 900);
            (fitted.thought, fitted.lost)
        };
        let (low, own, tools) = (Reasoning::Effort(Effort::Low), ProviderKind::OpenAi, [tool]);
        let thinks = (Some(Thought::Effort(Effort::Low)), Vec::new());
        for model in ["gpt-5.4", "gpt-5.5", "gpt-6-sol"] {
            let with_tools = |wish| fitted(model, own, &tools, wish);
            assert_eq!(with_tools(Some(low)), thinks, "{model}");
            assert_eq!(with_tools(Some(Reasoning::Off)), (Some(Thought::Off), Vec::new()), "{model}");
            assert_eq!(with_tools(None), (None, Vec::new()), "{model} thinks as it likes");
            assert_eq!(fitted(model, own, &[], Some(low)), thinks, "{model} without tools");
        }
        assert_eq!(fitted("gpt-5-mini", own, &tools, Some(low)), thinks, "an older one does both");
        assert_eq!(fitted("gpt-5.5", ProviderKind::OpenAiCompatible, &tools, Some(low)), thinks);

        for model in ["gpt-6-astra", "gpt-6.1-sol", "gpt-6.2-astra", "gpt-6.2-sol"] {
            let alone = |wish| fitted(model, own, &[], Some(wish));
            assert_eq!(alone(Reasoning::Off), (None, vec![Lost::Reasoning]), "{model} has no word for it");
            assert_eq!(alone(low), thinks, "{model}");
            let most = (Some(Thought::Effort(Effort::XHigh)), Vec::new());
            assert_eq!(alone(Reasoning::Effort(Effort::Max)), most, "{model}");
            assert_eq!(alone(Reasoning::Effort(Effort::Minimal)), thinks, "{model}");
        }
    }

    #[test]
    fn openais_newest_models_are_asked_over_responses_and_nobody_elses() {
        let reasons = |model: &str, kind: ProviderKind| Deployment {
            model: model.into(),
            accepts_temperature: false,
            ..deployment(kind)
        };
        for model in ["gpt-5.4-mini", "gpt-5.5", "gpt-5.6-sol", "gpt-6", "gpt-6-astra", "gpt-6.1-sol"] {
            let own = reasons(model, ProviderKind::OpenAi);
            assert!(answers_as_responses(&own), "{model}");
            assert_eq!(least_output(&own), MIN_RESPONSE, "{model}");
            for other in [ProviderKind::OpenAiCompatible, ProviderKind::AzureOpenAi, ProviderKind::Scripted] {
                assert!(!answers_as_responses(&reasons(model, other)), "{model} of {other}");
            }
            let samples = Deployment { accepts_temperature: true, ..own };
            assert!(!answers_as_responses(&samples), "{model} as one that does not reason");
        }
        for model in ["gpt-4.1", "gpt-5-mini", "gpt-5.2", "o4-mini"] {
            let older = reasons(model, ProviderKind::OpenAi);
            assert!(!answers_as_responses(&older) && least_output(&older) == 0, "{model}");
        }
    }
}
