//! What a response would need a memory for: nothing that is said is kept, here or at OpenAI, so that everything comes with the
//! request, and what was thought comes sealed with the answer.

use serde_json::{Value, json};

use super::{Endpoint, Native};
use crate::inbound::{self, WireError};
use crate::provider::Deployment;
use crate::provider::openai::{SEALED_THOUGHTS, seal};

impl Native {
    /// Refuses what asks for something that was said before and is not sent again. At a provider, others' words may be kept
    /// under the same key.
    pub(super) fn refuse_memory(&self) -> Result<(), WireError> {
        if self.endpoint != Endpoint::Responses {
            return Ok(());
        }
        let is_said = |raw: &[u8]| !matches!(raw, b"null" | b"false");
        inbound::responses::refuse_memory(|name| {
            self.values().any(|(field, raw)| field == name && is_said(raw))
        })?;
        let names_items = self.says(br#""item_reference""#);
        if names_items { inbound::responses::refuse_references(&self.document()?) } else { Ok(()) }
    }

    /// What is asked for and not done, since nothing is stored.
    pub(super) fn unstored(&self) -> Option<&'static str> {
        let is_said = self.raw("store").is_some_and(|raw| !matches!(raw, b"null" | b"false"));
        (self.endpoint == Endpoint::Responses && is_said).then_some("store")
    }

    /// What the client wants in its response, and what was thought: where nothing is stored, the next request must have it.
    pub(super) fn included(&self) -> Value {
        let said = self.value::<Vec<Value>>("include").ok().flatten();
        let mut wanted = said.unwrap_or_default();
        if !wanted.iter().any(|wanted| wanted == SEALED_THOUGHTS) {
            wanted.push(json!(SEALED_THOUGHTS));
        }
        json!(wanted)
    }

    /// Whether all that was thought before was thought by this deployment's model, and so is sent back to it.
    pub(super) fn brings_back(&self, deployment: &Deployment) -> bool {
        self.document().is_ok_and(|body| inbound::dropped::all_sealed(&body, &seal(deployment)))
    }
}
