//! What people set of a project: checked, and brought into the form that is stored.

use crate::http::ApiError;
use syndarix_domain::policy::Autonomy;

/// The longest test command, in characters: a script belongs into the repository.
const MAX_TEST_COMMAND: usize = 500;
/// The most agents that a project may have: far more than one repository keeps busy.
const MAX_AGENTS: i32 = 1_000;
/// The longest that an answer of a model is given again, in seconds. The constraint of its column knows it, too.
const MAX_CACHE_SECONDS: i32 = 7 * 24 * 3_600;

/// A test command as it is going to be run. An empty one is none.
pub(super) fn test_command(command: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(command) = command else { return Ok(None) };
    let wrong = |message: String| Err(ApiError::invalid("test_command", message));
    if command.trim().is_empty() {
        return wrong("must not be empty: leave it out when there is none".into());
    }
    if command.contains('\0') {
        return wrong("must not contain a NUL character".into());
    }
    if command.chars().count() > MAX_TEST_COMMAND {
        return wrong(format!(
            "must have at most {MAX_TEST_COMMAND} characters: put a script into the repository"
        ));
    }
    Ok(Some(command.to_owned()))
}

/// How many agents a project may have at once. At least one, or no story would ever begin.
pub(super) fn agent_limit(limit: i32) -> Result<i32, ApiError> {
    if (1..=MAX_AGENTS).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::invalid("agent_limit", format!("must be from 1 to {MAX_AGENTS}")))
}

/// For how long answers of models are given again, in seconds; none: never.
pub(super) fn gateway_cache_seconds(seconds: Option<i32>) -> Result<Option<i32>, ApiError> {
    match seconds {
        Some(seconds) if !(1..=MAX_CACHE_SECONDS).contains(&seconds) => {
            let message = format!("must be from 1 to {MAX_CACHE_SECONDS}, a week, or null for never");
            Err(ApiError::invalid("gateway_cache_seconds", message))
        }
        _ => Ok(seconds),
    }
}

/// A share from 0 to 1 as whole percent.
pub(super) fn percent(field: &str, share: f64) -> Result<u8, ApiError> {
    let steps = (0..=100_u8).find(|percent| (f64::from(*percent) - share * 100.0).abs() < 0.5 + f64::EPSILON);
    match steps {
        Some(percent) if (0.0..=1.0).contains(&share) => Ok(percent),
        _ => Err(ApiError::invalid(field, "must be from 0 to 1")),
    }
}

/// Whole percent as a share from 0 to 1.
pub(super) fn share(percent: u8) -> f64 {
    f64::from(percent) / 100.0
}

/// A stored autonomy level. The constraint of its column knows the same names.
pub(super) fn autonomy(name: &str) -> Autonomy {
    [Autonomy::FullControl, Autonomy::Autonomous]
        .into_iter()
        .find(|level| level.name() == name)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_command_is_kept_as_given_or_refused() {
        assert_eq!(test_command(Some(" cargo test ")).unwrap().as_deref(), Some(" cargo test "));
        assert_eq!(test_command(None).unwrap(), None);
        for wrong in ["", "  ", "a\0b", &"x".repeat(MAX_TEST_COMMAND + 1)] {
            assert_eq!(test_command(Some(wrong)).unwrap_err().code(), "invalid", "{wrong:?}");
        }
    }

    #[test]
    fn a_project_has_at_least_one_agent_and_at_most_a_thousand() {
        assert_eq!(agent_limit(1).unwrap(), 1);
        assert_eq!(agent_limit(MAX_AGENTS).unwrap(), MAX_AGENTS);
        for wrong in [-1, 0, MAX_AGENTS + 1] {
            assert_eq!(agent_limit(wrong).unwrap_err().code(), "invalid", "{wrong}");
        }
    }

    #[test]
    fn every_percent_survives_the_way_through_the_api() {
        for whole in 0..=100 {
            assert_eq!(percent("threshold", share(whole)).unwrap(), whole);
        }
        for wrong in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert!(percent("threshold", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_autonomy_level_reads_back() {
        for level in [Autonomy::FullControl, Autonomy::Milestone, Autonomy::Autonomous] {
            assert_eq!(autonomy(level.name()), level);
        }
    }
}
