//! What a search text asks for: words of which any is enough, `"phrases"` that must be there, `-words` that must not.

use super::store::words;

/// The longest search text, in characters: a question, not a document.
pub(super) const MAX_QUERY: usize = 1_000;
/// Words of one search, at most: the rest of a very long question adds little.
const MAX_WORDS: usize = 64;

/// A search text, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Any of these, the rarer the better.
    pub(super) words: String,
    /// Each of these, literally but for case: patterns of `ilike`.
    pub(super) phrases: Vec<String>,
    /// None of these.
    pub(super) excluded: Option<String>,
}

impl Query {
    /// Takes it apart. An unclosed quote is only a character.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.replace('\0', " ");
        let mut query = Self::default();
        let (mut any, mut excluded) = (String::new(), String::new());
        let mut rest = text.as_str();
        while let Some((before, phrase, after)) = quoted(rest) {
            take_words(before, &mut any, &mut excluded);
            query.phrases.extend(pattern(phrase));
            any.push_str(phrase);
            any.push(' ');
            rest = after;
        }
        take_words(rest, &mut any, &mut excluded);
        query.words = words(&any).split_whitespace().take(MAX_WORDS).collect::<Vec<_>>().join(" ");
        query.excluded = Some(words(&excluded)).filter(|words| !words.is_empty());
        query
    }
}

fn quoted(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('"')?;
    let (phrase, after) = rest.split_once('"')?;
    Some((before, phrase, after))
}

fn take_words(text: &str, any: &mut String, excluded: &mut String) {
    for word in text.split_whitespace() {
        let without = word.strip_prefix('-').filter(|rest| rest.starts_with(char::is_alphanumeric));
        let into = if without.is_some() { &mut *excluded } else { &mut *any };
        into.push_str(without.unwrap_or(word));
        into.push(' ');
    }
}

/// The phrase as a pattern that means nothing but itself.
fn pattern(phrase: &str) -> Option<String> {
    let phrase = phrase.trim();
    let escaped = phrase.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    (!phrase.is_empty()).then(|| format!("%{escaped}%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_phrases_and_exclusions_are_told_apart() {
        let query = Query::parse(r#"where is parseHeader "50% off_by" -tests --upload-pack "open"#);
        assert_eq!(query.words, "where is parseheader parse header 50 offby off by upload pack open");
        assert_eq!(query.phrases, [r"%50\% off\_by%"]);
        assert_eq!(query.excluded.as_deref(), Some("tests"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_query_of_bounded_size(text in ".{0,400}") {
            let query = Query::parse(&text);
            prop_assert!(query.words.split(' ').count() <= MAX_WORDS);
            prop_assert!(!query.words.contains('\0'));
        }
    }
}
