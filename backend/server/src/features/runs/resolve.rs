//! Calls of which no end is known: what each tool's class says is to be done about them.
//!
//! A step that is `started` was begun, and nothing else is known: the worker died, or the answer was lost. The tool's own
//! definition says what may be done ([`Recovery`]). `repeat`: it is called again with the same key. `trace`: the tool is
//! asked whether the key took effect, and called if it did not. `human`, which is also what a definition that says
//! nothing means: a person is asked.

use super::{
    act::said,
    advance::Turn,
    steps::{self, Ended, Resolution},
    tools::Toolbox,
};
use crate::db::{storable, storable_json};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use syndarix_domain::ids::StepId;
use syndarix_mcp::{CallError, Recovery, ToolInfo, ToolOutcome};

/// Pauses before a call that did not reach its server is made again, in milliseconds.
const UNSENT_PAUSES: [u64; 3] = [500, 2_000, 5_000];
/// What is said of a step whose worker was lost.
pub(super) const LOST: &str = "the worker was lost during the call";

/// What has become of a call.
pub(super) enum Fate {
    /// It has its end.
    Ended(Ended),
    /// The turn was interrupted: the intent stays for whoever comes next.
    Interrupted,
    /// Only a human can say how it goes on, for this reason.
    Doubt(String),
}

/// What one sending came to.
enum Sent {
    Ended(Ended),
    Interrupted,
    /// It did not reach the tool.
    Unsent(Ended),
    /// The tool may have done it, or does it still.
    Lost(String),
}

/// A call with its key.
#[derive(Clone, Copy)]
pub(super) struct Sending<'a> {
    pub(super) turn: &'a Turn,
    pub(super) toolbox: &'a Toolbox,
    pub(super) tool: &'a ToolInfo,
    pub(super) input: &'a Value,
    pub(super) step: StepId,
}

impl Sending<'_> {
    /// Makes the call; an answer that is lost is looked for as the tool's class says.
    pub(super) async fn call(self) -> Fate {
        match self.send().await {
            Sent::Ended(ended) | Sent::Unsent(ended) => Fate::Ended(ended),
            Sent::Interrupted => Fate::Interrupted,
            Sent::Lost(why) => self.recover(why).await,
        }
    }

    /// The call was begun before, and may have taken effect.
    pub(super) async fn recover(self, why: String) -> Fate {
        match self.tool.recovery {
            Recovery::Human => Fate::Doubt(why),
            Recovery::Repeat => self.again(Resolution::Repeated).await,
            Recovery::Trace => match self.trace().await {
                Traced::Found(ended) => Fate::Ended(ended),
                Traced::NotFound => self.again(Resolution::NotFound).await,
                Traced::Interrupted => Fate::Interrupted,
                Traced::Unclear(sentence) => Fate::Doubt(format!("{why}. {sentence}")),
            },
        }
    }

    /// With the same key. Whoever is lost twice is not tried a third time: something else is wrong.
    async fn again(self, resolution: Resolution) -> Fate {
        let harmless = self.tool.read_only || resolution == Resolution::NotFound;
        match self.send().await {
            Sent::Ended(ended) => Fate::Ended(Ended { resolution: Some(resolution), ..ended }),
            Sent::Interrupted => Fate::Interrupted,
            Sent::Unsent(ended) if harmless => Fate::Ended(ended),
            Sent::Unsent(ended) => Fate::Doubt(ended.error.unwrap_or_default()),
            // Nothing can have happened: the model may look again itself.
            Sent::Lost(why) if self.tool.read_only => Fate::Ended(lost(&why)),
            Sent::Lost(why) => Fate::Doubt(why),
        }
    }

    async fn send(self) -> Sent {
        for pause in UNSENT_PAUSES {
            match self.toolbox.call(self.turn, self.tool, self.input, self.step).await {
                Err(CallError::Unreachable { sent: false, .. }) => {}
                answer => return sent(answer),
            }
            if self.paused(pause).await {
                return Sent::Interrupted;
            }
        }
        sent(self.toolbox.call(self.turn, self.tool, self.input, self.step).await)
    }

    /// Asks the tool whether the step took effect. Asking changes nothing, so it is asked again when nothing comes back.
    async fn trace(self) -> Traced {
        for pause in UNSENT_PAUSES {
            match self.toolbox.trace(self.turn, self.tool, self.input, self.step).await {
                Err(error) if error.is_transient() => {}
                answer => return traced(answer),
            }
            if self.paused(pause).await {
                return Traced::Interrupted;
            }
        }
        traced(self.toolbox.trace(self.turn, self.tool, self.input, self.step).await)
    }

    /// Waits; true when the turn was interrupted meanwhile.
    async fn paused(self, milliseconds: u64) -> bool {
        tokio::select! {
            () = self.turn.cancel.cancelled() => true,
            () = tokio::time::sleep(Duration::from_millis(milliseconds)) => false,
        }
    }
}

fn sent(answer: Result<ToolOutcome, CallError>) -> Sent {
    match answer {
        Ok(outcome) => Sent::Ended(result(&outcome.text, outcome.structured, outcome.is_error)),
        Err(CallError::Cancelled) => Sent::Interrupted,
        Err(error @ (CallError::Timeout(_) | CallError::Unreachable { sent: true, .. })) => {
            Sent::Lost(storable(error.to_string()))
        }
        Err(error) => {
            let sentence = format!("The tool could not be called: {error}");
            Sent::Unsent(Ended { error: Some(storable(error.to_string())), ..said(&sentence, true) })
        }
    }
}

fn result(text: &str, structured: Option<Value>, is_error: bool) -> Ended {
    let mut ended = said(text, is_error);
    ended.lines = lines(structured.as_ref());
    if let Some(result) = ended.result.as_object_mut() {
        result.insert("structured".into(), structured.map(storable_json).unwrap_or_default());
    }
    ended
}

/// Lines added and removed, where a tool says so.
fn lines(structured: Option<&Value>) -> Option<(i32, i32)> {
    let count = |key: &str| structured?.get(key)?.as_i64().and_then(|n| i32::try_from(n).ok());
    Some((count("additions")?, count("deletions")?))
}

/// The end of a call that changes nothing and gave no answer.
fn lost(why: &str) -> Ended {
    let sentence = format!(
        "No answer came: {why}. It is not known whether the call took effect. Look before you repeat it."
    );
    Ended { status: "unknown", error: Some(why.to_owned()), ..said(&sentence, true) }
}

enum Traced {
    Found(Ended),
    NotFound,
    Unclear(String),
    Interrupted,
}

/// What a tool that can be asked answers; the names are the kit's.
#[derive(Deserialize)]
#[serde(tag = "trace", content = "with", rename_all = "snake_case")]
enum Trace {
    Found(Value),
    NotFound,
    Unclear(String),
}

fn traced(answer: Result<ToolOutcome, CallError>) -> Traced {
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(CallError::Cancelled) => return Traced::Interrupted,
        Err(error) => return Traced::Unclear(storable(format!("The tool could not be asked: {error}"))),
    };
    if outcome.is_error {
        return Traced::Unclear(storable(format!(
            "Asked about it, the tool says: {}",
            steps::head(&outcome.text, 500)
        )));
    }
    match outcome.structured.map(serde_json::from_value) {
        Some(Ok(Trace::Found(with))) => {
            let ended = result(&with.to_string(), Some(with), false);
            Traced::Found(Ended { resolution: Some(Resolution::Found), ..ended })
        }
        Some(Ok(Trace::NotFound)) => Traced::NotFound,
        Some(Ok(Trace::Unclear(sentence))) => Traced::Unclear(storable(sentence)),
        Some(Err(_)) | None => Traced::Unclear("What the tool answers about it does not read.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_that_was_lost_is_no_failure_and_a_call_that_was_never_sent_is_one() {
        let reason = || "the connection was closed".to_owned();
        for error in [
            CallError::Timeout(Duration::from_secs(1)),
            CallError::Unreachable { reason: reason(), sent: true },
        ] {
            assert!(matches!(sent(Err(error)), Sent::Lost(_)));
        }
        let Sent::Unsent(ended) = sent(Err(CallError::Unreachable { reason: reason(), sent: false })) else {
            unreachable!()
        };
        assert_eq!(ended.status, "failed");
        assert!(ended.result["text"].as_str().unwrap().contains("could not be called"));
        let ended = lost("the connection was closed");
        assert_eq!(ended.status, "unknown");
        assert!(ended.result["text"].as_str().unwrap().contains("Look before you repeat it"));
    }

    #[test]
    fn what_a_tool_says_of_a_step_is_taken_at_its_word_and_anything_else_is_no_word() {
        let of = |structured| {
            traced(Ok(ToolOutcome { text: String::new(), structured, is_error: false, truncated: false }))
        };
        let Traced::Found(ended) = of(Some(json!({ "trace": "found", "with": { "commit": "abc" } }))) else {
            unreachable!()
        };
        assert_eq!((ended.status, &ended.result["structured"]["commit"]), ("done", &json!("abc")));
        assert!(matches!(of(Some(json!({ "trace": "not_found" }))), Traced::NotFound));
        for unclear in
            [Some(json!({ "trace": "unclear", "with": "Both." })), Some(json!({ "ok": true })), None]
        {
            assert!(matches!(of(unclear), Traced::Unclear(_)));
        }
    }
}
