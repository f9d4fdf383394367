//! What comes of each fault.

use super::upstream::Bad;

const LONG: &str = "{\"error\":{\"message\":\"x\",\"code\":\"context_length_exceeded\"}}";
const PATIENT: &str = "retry-after: 60\r\n";
const WHOLE: &str = "200 whole [DONE]";
const STOPPED: &str = "200 whole message_stop";
const BROKEN: &str = "200 error event";

/// The first deployment's fault: then, plain and streamed, who answers, what the client sees, how many attempts, after
/// which call the first is left alone (two failures open its breaker, one retry is allowed), and whether it was waited for.
pub(super) type Expected = (&'static str, &'static str, usize, &'static str, &'static str);
pub(super) type Line = (&'static str, Bad, Expected, Expected);

/// A chat with models of OpenAI's.
pub(super) static CHATS: [Line; 21] = [
    (
        "429",
        Bad::Status(429, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "429, Retry-After 60",
        Bad::Status(429, PATIENT, ""),
        ("second", "200", 2, "after 1", "at once"),
        ("second", WHOLE, 2, "after 1", "at once"),
    ),
    (
        "500",
        Bad::Status(500, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "529",
        Bad::Status(529, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "silent before headers",
        Bad::SilentBeforeHeaders,
        ("second", "200", 2, "after 2", "time-out"),
        ("second", WHOLE, 2, "after 2", "time-out"),
    ),
    (
        "silent after headers",
        Bad::SilentAfterHeaders,
        ("second", "200", 2, "after 2", "time-out"),
        ("second", WHOLE, 2, "after 2", "time-out"),
    ),
    (
        "silent after first token",
        Bad::SilentAfterFirstToken,
        ("second", "200", 2, "after 2", "time-out"),
        ("first", BROKEN, 1, "after 2", "time-out"),
    ),
    (
        "cut before first token",
        Bad::CutBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "cut after first token",
        Bad::CutAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "garbage body",
        Bad::GarbageBody,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "garbage before first token",
        Bad::GarbageBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "garbage after first token",
        Bad::GarbageAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "error before first token",
        Bad::ErrorBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "error after first token",
        Bad::ErrorAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "connection refused",
        Bad::Refused,
        ("second", "200", 3, "after 1", "at once"),
        ("second", WHOLE, 3, "after 1", "at once"),
    ),
    (
        "400",
        Bad::Status(400, "", ""),
        ("nobody", "400", 1, "never", "at once"),
        ("nobody", "400", 1, "never", "at once"),
    ),
    (
        "401",
        Bad::Status(401, "", ""),
        ("second", "200", 2, "after 2", "at once"),
        ("second", WHOLE, 2, "after 2", "at once"),
    ),
    (
        "404",
        Bad::Status(404, "", ""),
        ("second", "200", 2, "never", "at once"),
        ("second", WHOLE, 2, "never", "at once"),
    ),
    (
        "413",
        Bad::Status(413, "", ""),
        ("second", "200", 2, "never", "at once"),
        ("second", WHOLE, 2, "never", "at once"),
    ),
    (
        "422",
        Bad::Status(422, "", ""),
        ("nobody", "422", 1, "never", "at once"),
        ("nobody", "422", 1, "never", "at once"),
    ),
    (
        "context too long",
        Bad::Status(400, "", LONG),
        ("second", "200", 2, "never", "at once"),
        ("second", WHOLE, 2, "never", "at once"),
    ),
];

/// Messages to models of Anthropic's.
pub(super) static MESSAGES: [Line; 13] = [
    (
        "429",
        Bad::Status(429, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "500",
        Bad::Status(500, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "529",
        Bad::Status(529, "", ""),
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "silent before headers",
        Bad::SilentBeforeHeaders,
        ("second", "200", 2, "after 2", "time-out"),
        ("second", STOPPED, 2, "after 2", "time-out"),
    ),
    (
        "silent after headers",
        Bad::SilentAfterHeaders,
        ("second", "200", 2, "after 2", "time-out"),
        ("second", STOPPED, 2, "after 2", "time-out"),
    ),
    (
        "silent after first token",
        Bad::SilentAfterFirstToken,
        ("second", "200", 2, "after 2", "time-out"),
        ("first", BROKEN, 1, "after 2", "time-out"),
    ),
    (
        "cut before first token",
        Bad::CutBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "cut after first token",
        Bad::CutAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "garbage body",
        Bad::GarbageBody,
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "garbage before first token",
        Bad::GarbageBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "garbage after first token",
        Bad::GarbageAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
    (
        "error before first token",
        Bad::ErrorBeforeFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("second", STOPPED, 3, "after 1", "at once"),
    ),
    (
        "error after first token",
        Bad::ErrorAfterFirstToken,
        ("second", "200", 3, "after 1", "at once"),
        ("first", BROKEN, 1, "after 2", "at once"),
    ),
];
