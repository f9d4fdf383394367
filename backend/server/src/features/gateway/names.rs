//! Names that can stand in a path and in `model`: those of model groups and of providers.

use crate::http::ApiError;

/// Refuses a `name` that is none, with at most so many characters.
pub(super) fn check(name: &str, most: usize) -> Result<(), ApiError> {
    let is_usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && name.len() <= most && name.chars().all(is_usual) {
        return Ok(());
    }
    let message = format!(
        "must have 1 to {most} lower-case letters, digits, `-`, `.` or `_`, and begin with a letter or digit"
    );
    Err(ApiError::invalid("name", message))
}
