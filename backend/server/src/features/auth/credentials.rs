//! What people type: checked, and brought into the one form that is stored.

use crate::http::ApiError;

/// The longest address that mail can carry, in bytes (RFC 5321).
const MAX_EMAIL: usize = 254;
/// The longest name of a person, an organisation or a project, in characters.
const MAX_NAME: usize = 200;
/// The shortest password, in characters: length is what makes guessing hopeless.
const MIN_PASSWORD: usize = 12;
/// The longest password, in bytes: more is an attempt to keep the hash busy.
const MAX_PASSWORD: usize = 1024;

/// An e-mail address in its stored form. None when it cannot be one: whether mail arrives only sending can show.
pub(super) fn normalised(email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    let (local, domain) = email.split_once('@')?;
    let visible = |text: &str| !text.chars().any(|c| c.is_whitespace() || c.is_control());
    let labels = domain.split('.').all(|label| {
        let inside = |c: char| c.is_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(inside)
    });
    let fits = !local.is_empty() && visible(local) && labels && email.len() <= MAX_EMAIL;
    fits.then_some(email)
}

/// An e-mail address from a body, in its stored form.
pub(crate) fn email_of(field: &str, email: &str) -> Result<String, ApiError> {
    normalised(email).ok_or_else(|| ApiError::invalid(field, "is not an e-mail address"))
}

/// A name from a body: trimmed, one line, not empty.
pub(crate) fn named(field: &str, name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(ApiError::invalid(field, format!("must have 1 to {MAX_NAME} characters")));
    }
    if name.chars().any(char::is_control) {
        return Err(ApiError::invalid(field, "must be a single line of visible characters"));
    }
    Ok(name.to_owned())
}

/// A password that is worth hashing.
pub(super) fn acceptable(field: &str, password: &str) -> Result<(), ApiError> {
    if password.chars().count() < MIN_PASSWORD {
        let message =
            format!("must have at least {MIN_PASSWORD} characters: a few words are easy to remember");
        return Err(ApiError::invalid(field, message));
    }
    if password.len() > MAX_PASSWORD {
        return Err(ApiError::invalid(field, format!("must have at most {MAX_PASSWORD} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_is_trimmed_and_lower_cased() {
        assert_eq!(normalised("  Maria@Example.ORG ").as_deref(), Some("maria@example.org"));
        assert_eq!(normalised("root@localhost").as_deref(), Some("root@localhost"));
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for wrong in
            ["", "maria", "@x.org", "maria@", "a@b@c", "a b@c.org", "a@b..org", "a@b.org\n x", "a@\0"]
        {
            assert_eq!(normalised(wrong), None, "{wrong:?}");
        }
        assert_eq!(normalised(&format!("{}@x.org", "a".repeat(300))), None);
    }

    #[test]
    fn a_short_password_is_refused_by_characters_and_a_long_one_by_bytes() {
        assert!(acceptable("password", "elevenchars").is_err());
        assert!(acceptable("password", "zwölf zeiche").is_ok());
        assert!(acceptable("password", &"x".repeat(MAX_PASSWORD + 1)).is_err());
    }

    #[test]
    fn a_name_is_one_visible_line() {
        assert_eq!(named("name", "  Acme ").unwrap(), "Acme");
        assert!(named("name", "   ").is_err());
        assert!(named("name", "a\nb").is_err());
        assert!(named("name", &"x".repeat(MAX_NAME + 1)).is_err());
    }

    proptest! {
        #[test]
        fn a_normalised_address_is_lower_case_and_stays_as_it_is(text in "\\PC{0,40}@\\PC{0,40}") {
            if let Some(email) = normalised(&text) {
                prop_assert_eq!(normalised(&email), Some(email.clone()));
            }
        }
    }
}
