//! The top of a client's document, without looking below it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The body with its letters and digits as themselves; none where they are. Quotes and backslashes stay escaped.
pub(super) fn unescaped(body: &[u8]) -> Option<Vec<u8>> {
    let mut escapes = memchr::memmem::find_iter(body, b"\\u00").peekable();
    escapes.peek()?;
    let (mut out, mut copied) = (Vec::with_capacity(body.len()), 0);
    for at in escapes {
        let digits = body.get(at + 4..at + 6).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
            out.extend_from_slice(body.get(copied..at).unwrap_or_default());
            out.push(byte);
            copied = at + 6;
        }
    }
    out.extend_from_slice(body.get(copied..).unwrap_or_default());
    Some(out)
}

/// The top of a JSON object, in its order.
pub(super) struct Top<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Top<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Top(fields))
            }
        }
        from.deserialize_map(Fields)
    }
}

/// A field's name, borrowed unless it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
