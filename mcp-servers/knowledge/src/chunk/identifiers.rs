//! Splits the names in code into words, so that full-text search finds `parseHttpUrl` by "http url".

/// Longest word that is split, in characters: longer ones are data, not names.
const MAX_WORD_CHARS: usize = 100;

/// The words of `text` in lower case; after a name made of several words (`camelCase`, `snake_case`,
/// `HTTPServer`) those words follow one by one. Search texts take the same way as what is searched.
pub fn identifiers(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
        let parts = parts(word);
        let whole = word.trim_matches('_').to_lowercase();
        add(&mut out, &whole);
        if parts.len() > 1 {
            for part in parts {
                add(&mut out, &part);
            }
        }
    }
    out
}

fn add(out: &mut String, word: &str) {
    if word.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push(' ');
    }
    out.push_str(word);
}

/// A name's words: cut at `_`, before a capital that follows a small letter or a digit (`parseHttp`,
/// `utf8Text`), and before the last capital of a run (`HTTPServer`).
fn parts(word: &str) -> Vec<String> {
    let chars: Vec<char> = word.chars().collect();
    if chars.len() > MAX_WORD_CHARS {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let mut part = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        let after = chars.get(at + 1);
        let starts = c.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if (starts || *c == '_') && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        if *c != '_' {
            part.extend(c.to_lowercase());
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_split_where_a_reader_would_split_them() {
        for (name, expected) in [
            ("parseHttpUrl", "parsehttpurl parse http url"),
            ("HTTPServer", "httpserver http server"),
            ("snake_case_name", "snake_case_name snake case name"),
            ("MAX_CHUNK_BYTES", "max_chunk_bytes max chunk bytes"),
            ("utf8Text", "utf8text utf8 text"),
            ("sha256sum", "sha256sum"),
            ("_private", "private"),
            ("__init__", "init"),
            ("plain words, and (more).", "plain words and more"),
            ("Größe naïveWert", "größe naïvewert naïve wert"),
            ("a::bC->d_e", "a bc b c d_e d e"),
            ("____", ""),
            ("", ""),
        ] {
            assert_eq!(identifiers(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_the_result_is_bounded(text in any::<String>()) {
            let out = identifiers(&text);
            // Twice each letter and a space; lower case may take up to three times the bytes.
            prop_assert!(out.len() <= text.len() * 8 + 8);
            prop_assert!(!out.contains("  "));
        }
    }
}
