//! What of a request is more than its bytes: pictures, and documents of which nothing in the request says how long they are.
//!
//! Invariant: whatever is no text by a type that is known counts as such a document, however it is written.

mod source;

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Native;
use crate::types::ChatRequest;
use source::{Address, Source};

/// Fields of a request that have parts of a conversation in them, or texts to be embedded.
const SAID: [&str; 4] = ["messages", "system", "input", "instructions"];
/// Within a part, what has further parts in it.
const WITHIN: [&str; 2] = ["content", "output"];
/// Parts whose bytes are all that they are, but for what is within them.
const TEXTS: [&str; 22] = [
    "text",
    "input_text",
    "output_text",
    "refusal",
    "message",
    "thinking",
    "redacted_thinking",
    "reasoning",
    "tool_use",
    "tool_result",
    "function",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "item_reference",
    "search_result",
    "server_tool_use",
    "tool_reference",
    "mcp_tool_use",
    "mcp_tool_result",
    // A tenth of a second of sound is a token, and more than one byte.
    "input_audio",
];
const PICTURES: [&str; 3] = ["image", "image_url", "input_image"];

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Pictures.
    pub(crate) images: u32,
    /// Documents, films, and whatever else is named by its address or its id, or is packed.
    pub(crate) documents: u32,
    /// Bytes of the request that are pictures: what these cost goes by their size in pixels.
    pub(crate) packed: u32,
}

impl Files {
    /// Of a request in the neutral vocabulary, which has no documents.
    pub(super) fn of(request: &ChatRequest) -> Self {
        let images = u32::try_from(request.images().count()).unwrap_or(u32::MAX);
        Self { images, documents: 0, packed: 0 }
    }

    fn and(self, other: Self) -> Self {
        Self {
            images: self.images.saturating_add(other.images),
            documents: self.documents.saturating_add(other.documents),
            packed: self.packed.saturating_add(other.packed),
        }
    }
}

impl Native {
    /// What is in it.
    pub(super) fn count_files(&self) -> Files {
        let said = self.values().filter(|(name, _)| SAID.contains(name));
        said.filter(|(_, raw)| may_have_parts(raw)).fold(Files::default(), |all, (_, raw)| {
            // What cannot be read is whatever it likes.
            let unknown = Files { documents: 1, ..Files::default() };
            all.and(serde_json::from_slice::<Parts>(raw).map_or(unknown, |parts| parts.0))
        })
    }
}

/// A conversation of plain texts, the usual case, is not read: a part has a type, or stands in a list of its own, or is the object
/// of a list of inputs. A key may hide in an escape.
fn may_have_parts(raw: &[u8]) -> bool {
    let says = |word: &[u8]| memmem::find(raw, word).is_some();
    let has_lists = memchr(b'[', raw.get(1..).unwrap_or_default()).is_some();
    has_lists || says(b"\"type\"") || says(b"\"audio\"") || says(b"\\u") || !says(b"\"role\"") && says(b"{")
}

/// A text, a part, or a list of either.
struct Parts(Files);

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Walk).map(Self)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Files;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is said")
    }

    fn visit_str<E>(self, _: &str) -> Result<Files, E> {
        Ok(Files::default())
    }

    fn visit_unit<E>(self) -> Result<Files, E> {
        Ok(Files::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Files, E> {
        Ok(Files::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Files, E> {
        Ok(Files::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Files, E> {
        Ok(Files::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Files, E> {
        Ok(Files::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Files, A::Error> {
        let mut all = Files::default();
        while let Some(Parts(files)) = list.next_element()? {
            all = all.and(files);
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Files, A::Error> {
        let (mut within, mut part) = (Files::default(), Part::default());
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "type" => part.says(&map.next_value::<Word>()?.0),
                "source" => part.comes(map.next_value()?),
                "image_url" => part.comes(Source::Packed(map.next_value::<Address>()?.0)),
                "role" => {
                    map.next_value::<IgnoredAny>()?;
                    part.is_known = true;
                }
                // An answer of before, by its id.
                "audio" => part.is_hidden |= map.next_value::<Option<IgnoredAny>>()?.is_some(),
                key if WITHIN.contains(&key) => within = within.and(map.next_value::<Parts>()?.0),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(within.and(part.files()))
    }
}

/// What is known of one part.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "a part that says its type twice is both")]
struct Part {
    is_known: bool,
    is_picture: bool,
    is_document: bool,
    /// All of a document stands in the request, as text.
    is_inline: bool,
    is_hidden: bool,
    /// Bytes of what stands in the request packed.
    packed: u32,
}

impl Part {
    fn comes(&mut self, source: Source) {
        match source {
            Source::Text => self.is_inline = true,
            Source::Packed(bytes) => self.packed = self.packed.saturating_add(bytes),
            Source::Elsewhere => {}
        }
    }

    fn says(&mut self, kind: &str) {
        // Results of tools that ran at a provider have their parts within them.
        let is_text = TEXTS.contains(&kind) || kind.ends_with("_tool_result") || kind.ends_with("_result");
        match kind {
            "document" => self.is_document = true,
            _ if PICTURES.contains(&kind) => self.is_picture = true,
            _ if is_text => self.is_known = true,
            _ => self.is_hidden = true,
        }
    }

    fn files(&self) -> Files {
        let is_plain = self.is_known || self.is_picture || self.is_inline && self.is_document;
        let is_hidden = self.is_hidden || self.is_document && !self.is_inline || !is_plain;
        // Whatever may be read as anything else counts byte by byte.
        let is_only_picture = self.is_picture && !self.is_known && !is_hidden;
        let packed = if is_only_picture { self.packed } else { 0 };
        Files { images: u32::from(self.is_picture), documents: u32::from(is_hidden), packed }
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A word, or whatever stands in its place.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let said = serde_json::Value::deserialize(from)?;
        Ok(Self(said.as_str().unwrap_or_default().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Ask, Endpoint};
    use crate::price::Extras;
    use crate::provider::{Deployment, ProviderKind};

    fn files(content: &str) -> (u32, u32) {
        let body = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": {content}}}]}}"#);
        let Files { images, documents, .. } =
            Native::parse(Endpoint::Messages, body.into()).unwrap().count_files();
        (images, documents)
    }

    #[test]
    fn texts_calls_and_their_results_are_no_files() {
        for plain in [
            r#""hé \u00e9 {\"type\": \"document\"}""#,
            r#"[{"type": "text", "text": "\"image\""}, {"type": "tool_use", "input": {"type": "document"}}]"#,
            r#"[{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "t"}]}]"#,
            r#"[{"type": "document", "source": {"type": "text", "data": "t"}}]"#,
        ] {
            assert_eq!(files(plain), (0, 0), "{plain}");
        }
    }

    #[test]
    fn pictures_are_counted_once_wherever_they_are_and_however_they_are_written() {
        for picture in [
            r#"[{"type": "image", "source": {"type": "url", "url": "https://h/p.png"}}]"#,
            r#"[{"type": "im\u0061ge", "source": {"type": "file", "file_id": "f"}}]"#,
            r#"[{"type": "image_url", "image_url": {"url": "https://h/p.png"}}]"#,
            r#"[{"type": "tool_result", "content": [{"type": "image"}]}]"#,
            r#"[{"t\u0079pe": "image"}]"#,
        ] {
            assert_eq!(files(picture), (1, 0), "{picture}");
        }
    }

    #[test]
    fn a_file_of_unknown_length_is_one_whatever_it_is_called() {
        for file in [
            r#"[{"type": "document", "source": {"type": "url", "url": "https://h/d.pdf"}}]"#,
            r#"[{"type": "document", "source": {"type": "file", "file_id": "f"}}]"#,
            r#"[{"type": "document", "source": {"type": "base64", "data": "JVBERi0"}}]"#,
            r#"[{"type": "file", "file": {"file_id": "f"}}]"#,
            r#"[{"type": "input_file", "file_url": "https://h/d.pdf"}]"#,
            r#"[{"type": "container_upload", "file_id": "f"}]"#,
            r#"[{"type": "video_url", "video_url": {"url": "https://h/v.mp4"}}]"#,
            r#"[{"type": "document", "type": "text", "text": "t"}]"#,
            r#"[{"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "content": {"type": "document"}}}]"#,
            r#"[{"unheard_of": "f"}]"#,
        ] {
            assert_eq!(files(file), (0, 1), "{file}");
        }
    }

    #[test]
    fn an_answer_of_before_that_is_named_by_its_id_and_inputs_of_another_shape_are_of_unknown_length() {
        let count =
            |endpoint, body: &str| Native::parse(endpoint, body.to_owned().into()).unwrap().count_files();
        let spoken = r#"{"model": "m", "messages": [{"role": "assistant", "audio": {"id": "a"}}]}"#;
        assert_eq!(count(Endpoint::ChatCompletions, spoken).documents, 1);
        let silent = r#"{"model": "m", "messages": [{"role": "assistant", "audio": null, "content": "x"}]}"#;
        assert_eq!(count(Endpoint::ChatCompletions, silent), Files::default());
        let embedded = r#"{"model": "m", "input": [{"image": "https://h/p.png"}]}"#;
        assert_eq!(count(Endpoint::Embeddings, embedded).documents, 1);
        for texts in [r#"["a", "b"]"#, "[[1, 2], [3]]", r#""a""#, r#"[{"role": "user", "content": "x"}]"#] {
            let body = format!(r#"{{"model": "m", "input": {texts}}}"#);
            assert_eq!(count(Endpoint::Responses, &body), Files::default(), "{texts}");
        }
    }

    #[test]
    fn what_is_set_aside_for_a_file_of_unknown_length_is_all_that_its_model_can_read() {
        let bound = |content: &str, model: &str, kind| {
            let body = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": {content}}}]}}"#);
            let native = Native::parse(Endpoint::Messages, body.into()).unwrap();
            let url = "http://localhost/v1".parse().unwrap();
            let deployment = Deployment {
                model: model.into(),
                context_window: 200_000,
                ..Deployment::new("d", kind, url)
            };
            Ask::Native(&native).bound(&deployment)
        };
        let (anthropic, openai) = (ProviderKind::Anthropic, ProviderKind::OpenAi);
        let file = r#"[{"type": "document", "source": {"type": "file", "file_id": "f"}}]"#;
        assert!(bound(file, "claude-opus-5", anthropic) >= 200_000);
        let picture = r#"[{"type": "image", "source": {"type": "url", "url": "https://h/p.png"}}]"#;
        let bounds =
            [("claude-opus-5", anthropic), ("gpt-5.5", openai), ("gpt-5-mini", openai), ("gpt-6", openai)]
                .map(|(model, kind)| bound(picture, model, kind) / 1_000);
        assert_eq!(bounds, [8, 16, 8, 50], "thousands of tokens");
        let packed = [
            r#"{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "DATA"}}"#,
            r#"{"type": "image_url", "image_url": {"url": "data:image/png;base64,DATA", "detail": "high"}}"#,
            r#"{"type": "input_image", "image_url": "data:image/png;base64,DATA"}"#,
        ];
        for packed in packed {
            let of = |part: &str| bound(&format!("[{part}]"), "gpt-6", openai);
            let (small, large) =
                (packed.replace("DATA", "iVBOR"), packed.replace("DATA", &"iVBOR".repeat(300_000)));
            assert_eq!(of(&small), of(&large), "a picture counts by its pixels, not by its bytes: {packed}");
            let also_text = large.replacen('{', r#"{"type": "text", "#, 1);
            assert!(of(&also_text) > 1_500_000, "whatever may be read as text counts byte by byte: {packed}");
        }
        let many = format!("[{}]", [&picture[1..picture.len() - 1]; 9].join(","));
        assert!(bound(&many, "gpt-6", openai) < 202_000, "no prompt is longer than the window");
    }

    #[test]
    fn what_is_kept_for_an_hour_and_what_is_heard_is_found_however_it_is_written() {
        let extras = |content: &str| {
            let body =
                format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": [{content}]}}]}}"#);
            let native = Native::parse(Endpoint::Messages, body.into()).unwrap();
            let url = "http://localhost/v1".parse().unwrap();
            let deployment = Deployment::new("d", ProviderKind::Anthropic, url);
            let all = Extras { hour: true, image: true, audio: true };
            let found = Ask::Native(&native).extras(&deployment, all);
            (found.hour, found.audio)
        };
        assert_eq!(extras(r#"{"type": "text", "text": "\u0031h \"1h\" input_audio"}"#), (false, false));
        for hour in ["1h", r"\u0031h", r"1\u0068", r"\u0031\u0068"] {
            let part = format!(r#"{{"type": "text", "text": "t", "cache_control": {{"ttl": "{hour}"}}}}"#);
            assert_eq!(extras(&part), (true, false), "{part}");
        }
        assert_eq!(extras(r#"{"type": "input\u005faudio"}"#), (false, true));
    }
}
