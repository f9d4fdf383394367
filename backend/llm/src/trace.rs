//! Where a call stands in a trace of the W3C's format: taken from a client, and passed to providers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::Rng;

/// The longest list of other systems' marks that is passed on, in bytes: what the format asks for at the least.
const MAX_STATE: usize = 512;
const SAMPLED: u8 = 1;

/// A trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// A span of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// A span as the next one is told of it: the headers `traceparent` and `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that is told.
    pub span: SpanId,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// A trace that begins here.
    pub fn begin() -> Self {
        let mut rng = rand::rng();
        Self { trace: TraceId(rng.random()), span: SpanId::random(), flags: SAMPLED, state: None }
    }

    /// What a client sent. `None`: nothing that reads, which the format says is to be treated as nothing.
    pub fn read(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut context: Self = parent.parse().ok()?;
        let fits = |state: &&str| {
            state.len() <= MAX_STATE && state.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        context.state = state.map(str::trim).filter(|state| !state.is_empty()).filter(fits).map(Into::into);
        Some(context)
    }

    /// The same trace one span further down.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: SpanId::random(), ..self.clone() }
    }

    /// Whether whoever began it keeps it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Marks of other systems, as they came.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl SpanId {
    /// One that nobody else has.
    pub fn random() -> Self {
        // Zero means none.
        Self(rand::rng().random_range(1..=u64::MAX).to_be_bytes())
    }
}

impl FromStr for TraceContext {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.trim().split('-');
        let mut next = || parts.next().ok_or(());
        let (version, trace, span, flags) = (next()?, next()?, next()?, next()?);
        let [version] = bytes(version)?;
        // Later versions may add parts; this one has none, and ff is none.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return Err(());
        }
        let (trace, span, [flags]) = (bytes(trace)?, bytes(span)?, bytes(flags)?);
        if trace == [0; 16] || span == [0; 8] {
            return Err(());
        }
        Ok(Self { trace: TraceId(trace), span: SpanId(span), flags: flags & SAMPLED, state: None })
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Hexadecimal digits, small ones only, as the format wants them.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], ()> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(()),
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return Err(());
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_the_same_and_a_child_stays_in_the_trace() {
        let context = TraceContext::read(PARENT, Some("vendor=1")).unwrap();
        assert_eq!((context.to_string().as_str(), context.state()), (PARENT, Some("vendor=1")));
        let child = context.child();
        assert!(
            child.trace == context.trace && child.span != context.span && child.state() == context.state()
        );
        assert!(context.is_sampled() && TraceContext::begin().is_sampled());
        let dropped = PARENT.replace("-01", "-00");
        assert!(!TraceContext::read(&dropped, None).unwrap().is_sampled());
    }

    #[test]
    fn what_breaks_the_format_is_nothing() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::read(wrong, None), None, "{wrong}");
        }
        let later = format!("{}-more", PARENT.replacen("00", "01", 1));
        assert!(TraceContext::read(&later, None).is_some(), "a later version may say more");
        assert_eq!(TraceContext::read(PARENT, Some("a\u{7f}b")).unwrap().state(), None);
    }
}
