//! Calls to language models: one neutral vocabulary, an adapter per wire format, ordered failover, prices,
//! and a scripted model endpoint for demonstrations and tests.
//!
//! This crate holds no database. Whoever uses it passes [`AttemptHooks`], in which it reserves budget before
//! every attempt and records the outcome after it.
//!
//! Invariants:
//! - every attempt that `before` admitted is reported to `after` exactly once, whatever came of it, unless the
//!   future itself is dropped (then the reservation expires on the caller's side);
//! - no attempt is repeated or moved to another deployment once content has been passed on;
//! - an answer of the scripted endpoint is always marked `simulated`;
//! - an unknown price is flagged and charged at the dearest known rates, never at zero;
//! - every wait, body, line and count has a limit.

mod ask;
mod assemble;
mod breaker;
mod error;
mod gateway;
pub mod inbound;
mod price;
mod provider;
mod redact;
pub mod scripted;
mod secret;
mod sse;
mod tokens;
mod trace;
mod types;

pub use ask::{Ask, Endpoint, Native, Question};
pub use assemble::Assembler;
pub use breaker::{Breaker, BreakerChange, BreakerNews, BreakerPolicy, BreakerState};
pub use error::{CallError, Cause, ErrorKind, ProviderError, RecordFailed, Refused, Skipped, TimeoutPhase};
pub use gateway::{
    AttemptHooks, AttemptIntent, AttemptOutcome, Event, Gateway, GatewayPolicy, Grant, GroupError, Head,
    ModelGroup, ModelGroups, Routing,
};
pub use price::{Cost, Extras, Part, Price, PriceRow, PriceTable, PriceTableError, Rates};
pub use provider::{
    Circuit, ClientError, Deployment, EndpointAccess, Http, Limits, Piece, PieceStream, Provider,
    ProviderKind, Raw, Wire, http_client, leads_inside,
};
pub use redact::{Found, RedactError, Redactor};
pub use secret::Secret;
pub use sse::{SseDecoder, SseEvent, SseTooLong};
pub use tokens::{estimate_block, estimate_request, estimate_text};
pub use trace::{SpanId, TraceContext, TraceId};
pub use types::{
    Block, CacheMark, CachePlace, CacheTime, ChatRequest, Completion, Delta, Effort, Image, Message, Options,
    Reasoning, Role, StopReason, ToolChoice, ToolSpec, Usage,
};
