//! Where spans go, and what is in them.

use syndarix_llm::Secret;

/// What the operator set. Without an address, nothing is exported.
#[derive(Clone, Default)]
pub struct Tracing {
    /// The collector's address of OTLP over HTTP, without the path: `http://127.0.0.1:4318`.
    pub endpoint: Option<String>,
    /// Headers that it wants: `name=value,name=value`.
    pub headers: Option<Secret>,
    /// Prompts and answers are told, too.
    pub content: bool,
}
