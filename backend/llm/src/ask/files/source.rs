//! Where a picture or a document of a request is, and how many of its bytes it takes.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

/// Where a picture or a document is.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// All of it stands here, as text.
    Text,
    /// It stands here, packed into so many bytes: a document is longer than that.
    Packed(u32),
    Elsewhere,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said<'a> {
            Of {
                #[serde(rename = "type")]
                kind: String,
                #[serde(borrow, default)]
                data: Cow<'a, str>,
            },
            Else(IgnoredAny),
        }
        Ok(match Said::deserialize(from)? {
            Said::Of { kind, .. } if kind == "text" => Self::Text,
            Said::Of { kind, data } if kind == "base64" => Self::Packed(bytes(&data)),
            Said::Of { .. } | Said::Else(_) => Self::Elsewhere,
        })
    }
}

/// How many bytes of a picture's address are the picture itself.
pub(super) struct Address(pub(super) u32);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said<'a> {
            Plain(#[serde(borrow)] Cow<'a, str>),
            Of {
                #[serde(borrow)]
                url: Cow<'a, str>,
            },
            Else(IgnoredAny),
        }
        Ok(match Said::deserialize(from)? {
            Said::Plain(url) | Said::Of { url } if url.starts_with("data:image/") => Self(bytes(&url)),
            _ => Self(0),
        })
    }
}

fn bytes(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}
