//! Where statements end, and whether they write: as much of SQL as a prompt must know.

/// The statements of a text that end with a semicolon, and what follows the last of them.
pub(crate) fn split(text: &str) -> (Vec<&str>, &str) {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut rest = text;
    while let Some(end) = end_of_statement(rest) {
        statements.push(&text[start..start + end]);
        start += end + 1;
        rest = &text[start..];
    }
    (statements, rest)
}

/// Whether nothing is left to be typed: the text ends with a semicolon, or has nothing but comments.
pub(crate) fn is_complete(text: &str) -> bool {
    let (_, rest) = split(text);
    first_word(rest).is_none()
}

/// Whether a statement of the text may change something.
pub(crate) fn writes(text: &str) -> bool {
    const READS: &[&str] = &[
        "SELECT", "WITH", "VALUES", "FROM", "TABLE", "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "USE",
        "SET",
    ];
    let (mut statements, rest) = split(text);
    statements.push(rest);
    statements.into_iter().filter_map(first_word).any(|word| {
        !word.starts_with('(') && !READS.iter().any(|read| read.eq_ignore_ascii_case(word))
    })
}

/// The first word that is no comment, or a sign where one stands in its place.
fn first_word(text: &str) -> Option<&str> {
    let mut rest = text.trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            break;
        }
        rest = rest.trim_start();
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let first = rest.chars().next()?;
    Some(&rest[..end.max(first.len_utf8())])
}

/// The place of the first semicolon that is in no quotes and no comment.
fn end_of_statement(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let skip_to = |end: &[u8], from: usize| {
            rest[from..]
                .windows(end.len())
                .position(|window| window == end)
                .map_or(rest.len(), |found| from + found + end.len())
        };
        at += match rest {
            [b';', ..] => return Some(at),
            // A doubled quote ends one text and begins another, which comes to the same here.
            [quote @ (b'\'' | b'"' | b'`'), ..] => skip_to(&[*quote], 1),
            [b'-', b'-', ..] => skip_to(b"\n", 2),
            [b'/', b'*', ..] => skip_to(b"*/", 2),
            _ => 1,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semicolons_in_quotes_and_comments_end_nothing() {
        let text = "SELECT ';', \"a;b\", `;` -- ;\n /* ; */ FROM t; SELECT 2";
        let (statements, rest) = split(text);
        assert_eq!(statements.len(), 1);
        assert!(statements[0].ends_with("FROM t"));
        assert_eq!(rest.trim(), "SELECT 2");
    }

    #[test]
    fn input_is_complete_at_its_semicolon() {
        for (text, complete) in [
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1; -- done", true),
            ("SELECT 1; SELECT", false),
            ("SELECT 'it''s;", false),
            ("SELECT 'it''s';", true),
            ("  ", true),
            ("-- only this", true),
        ] {
            assert_eq!(is_complete(text), complete, "{text}");
        }
    }

    #[test]
    fn statements_that_write_are_known_by_their_first_word() {
        for (text, expected) in [
            ("SELECT 1", false),
            ("/* x */ with a as (select 1) select * from a;", false),
            ("(SELECT 1)", false),
            ("show tables; create namespace a", true),
            ("-- c\nINSERT INTO t VALUES (1)", true),
            ("", false),
        ] {
            assert_eq!(writes(text), expected, "{text}");
        }
    }
}
