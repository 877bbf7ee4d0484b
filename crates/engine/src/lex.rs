//! Just enough of SQL's lexical rules to find where a statement begins and which words it begins with.
//!
//! What a statement does is learned from SQLite itself; this is for the few things that SQLite does not tell:
//! trailing text, the kind of a BEGIN, and libSQL's `BEGIN READONLY`.

/// `sql` without the whitespace, comments and semicolons that it begins with.
pub(crate) fn skip_trivia(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        let gap = skip_gap(rest);
        match gap.strip_prefix([';', '\u{feff}']) {
            Some(next) => rest = next,
            None => return gap,
        }
    }
}

/// `sql` without the whitespace and comments that it begins with.
fn skip_gap(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
        rest = if let Some(comment) = trimmed.strip_prefix("--") {
            comment.find('\n').map_or("", |end| &comment[end + 1..])
        } else if let Some(comment) = trimmed.strip_prefix("/*") {
            // SQLite lets an unclosed comment run to the end.
            comment.find("*/").map_or("", |end| &comment[end + 2..])
        } else {
            return trimmed;
        };
    }
}

/// The first `N` words of a statement in upper case, empty where there are fewer or where something else stands.
pub(crate) fn first_words<const N: usize>(sql: &str) -> [String; N] {
    let mut rest = skip_trivia(sql);
    std::array::from_fn(|_| {
        let text = skip_gap(rest);
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        // Anything but a word, such as the semicolon that ends the statement, ends the words.
        rest = if end == 0 { "" } else { &text[end..] };
        text[..end].to_ascii_uppercase()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_whitespace_and_semicolons_are_no_statement() {
        for nothing in ["", " \n\t;", "-- only a comment", "/* a */ ; -- b\n;", "/* never closed"] {
            assert_eq!(skip_trivia(nothing), "", "{nothing:?}");
        }
        assert_eq!(skip_trivia(" /* x */ -- y\n ;select 1; "), "select 1; ");
        assert_eq!(skip_trivia("-1"), "-1");
    }

    #[test]
    fn words_are_found_between_comments_and_end_with_the_statement() {
        let words: [String; 3] = first_words("/* hi */ begin/**/transaction -- now\n readonly");
        assert_eq!(words, ["BEGIN", "TRANSACTION", "READONLY"]);
        let words: [String; 2] = first_words("begin; readonly");
        assert_eq!(words, ["BEGIN", ""]);
        let words: [String; 2] = first_words("; (select 1)");
        assert_eq!(words, ["", ""]);
    }

    proptest! {
        #[test]
        fn any_text_has_a_beginning(text in ".*") {
            prop_assert!(text.ends_with(skip_trivia(&text)));
            let words: [String; 4] = first_words(&text);
            prop_assert!(words.iter().all(|word| word.len() <= text.len()));
        }
    }
}
