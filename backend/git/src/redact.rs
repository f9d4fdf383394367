//! Takes credentials out of what git says before it reaches an error, a log line or a screen.

/// Replaces the user part and the query of every address in `text`: `https://u:p@host/x?token=y` becomes
/// `https://***@host/x?***`.
pub fn redact_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        out.push_str(before);
        let end = address
            .find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '<' | '>' | '`'))
            .unwrap_or(address.len());
        push_redacted(&mut out, &address[..end]);
        rest = &address[end..];
    }
    out.push_str(rest);
    out
}

fn push_redacted(out: &mut String, address: &str) {
    let (place, query) = address.split_once('?').map_or((address, false), |(place, _)| (place, true));
    // The last '@' before the path: a password may itself hold an '@'.
    let authority_end = place.find('/').unwrap_or(place.len());
    match place[..authority_end].rfind('@') {
        Some(at) => {
            out.push_str("***");
            out.push_str(&place[at..]);
        }
        None => out.push_str(place),
    }
    if query {
        out.push_str("?***");
    }
}

#[cfg(test)]
mod tests {
    use super::redact_urls;

    #[test]
    fn user_password_and_query_leave_the_text_and_the_rest_stays() {
        let said = "fatal: unable to access 'https://bob:s3cr@t@git.example/x.git?private_token=abc': 401";
        assert_eq!(redact_urls(said), "fatal: unable to access 'https://***@git.example/x.git?***': 401");
        assert_eq!(redact_urls("see ssh://host/a@b and more"), "see ssh://host/a@b and more");
        assert_eq!(redact_urls("no address"), "no address");
        assert_eq!(redact_urls("https://tok@h"), "https://***@h");
    }
}
