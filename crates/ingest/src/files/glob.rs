//! Patterns of file names, as shells have them.

use crate::error::{IngestError, Result};

/// One segment of a pattern, between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A name without wildcards, escapes removed.
    Literal(String),
    /// A name with wildcards.
    Wild(Vec<Part>),
    /// `**`: any number of folders.
    Folders,
}

/// A part of a segment with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Char(char),
    /// `?`
    AnyChar,
    /// `*`
    AnyText,
    /// `[a-z]`, `[!a-z]`
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `{a,b}`
    Either(Vec<Vec<Part>>),
}

/// Parses a pattern, which is a path with `/` between its segments.
pub(crate) fn parse(pattern: &str) -> Result<Vec<Segment>> {
    pattern
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| {
            if segment == "**" {
                return Ok(Segment::Folders);
            }
            let mut chars = segment.chars().peekable();
            let parts = parts(&mut chars, false).map_err(|reason| IngestError::BadPattern {
                pattern: pattern.to_owned(),
                reason: reason.to_owned(),
            })?;
            let literal: Option<String> = parts
                .iter()
                .map(|part| {
                    if let Part::Char(char) = part {
                        Some(*char)
                    } else {
                        None
                    }
                })
                .collect();
            Ok(literal.map_or(Segment::Wild(parts), Segment::Literal))
        })
        .collect()
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn parts(chars: &mut Chars<'_>, in_braces: bool) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    while let Some(char) = chars.peek().copied() {
        if in_braces && matches!(char, ',' | '}') {
            return Ok(parts);
        }
        chars.next();
        parts.push(match char {
            '\\' => Part::Char(chars.next().ok_or("it ends with a backslash")?),
            '?' => Part::AnyChar,
            '*' => Part::AnyText,
            '[' => set(chars)?,
            '{' => {
                let mut choices = Vec::new();
                loop {
                    choices.push(self::parts(chars, true)?);
                    match chars.next() {
                        Some(',') => {}
                        Some(_) => break,
                        None => return Err("a '{' is not closed in its segment"),
                    }
                }
                Part::Either(choices)
            }
            other => Part::Char(other),
        });
    }
    Ok(parts)
}

fn set(chars: &mut Chars<'_>) -> Result<Part, &'static str> {
    const OPEN: &str = "a '[' is not closed in its segment";
    let negated = chars.next_if(|char| matches!(char, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let mut first = chars.next().ok_or(OPEN)?;
        if first == ']' && !ranges.is_empty() {
            return Ok(Part::Set { negated, ranges });
        }
        if first == '\\' {
            first = chars.next().ok_or(OPEN)?;
        }
        let mut last = first;
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|char| char != ']') {
            chars.next();
            last = chars.next().ok_or(OPEN)?;
        }
        ranges.push((first, last));
    }
}

/// Whether a name matches the parts of a segment as a whole.
pub(crate) fn matches(parts: &[Part], name: &str) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return name.is_empty();
    };
    match part {
        Part::AnyText => {
            // Stars in a row say no more than one, and would cost a search each.
            if matches!(rest.first(), Some(Part::AnyText)) {
                return matches(rest, name);
            }
            name.char_indices()
                .map(|(at, _)| at)
                .chain([name.len()])
                .any(|at| matches(rest, &name[at..]))
        }
        Part::Either(choices) => choices.iter().any(|choice| {
            let whole: Vec<Part> = choice.iter().chain(rest).cloned().collect();
            matches(&whole, name)
        }),
        single => {
            let mut chars = name.chars();
            chars.next().is_some_and(|char| fits(single, char)) && matches(rest, chars.as_str())
        }
    }
}

fn fits(part: &Part, char: char) -> bool {
    match part {
        Part::Char(expected) => *expected == char,
        Part::AnyChar => true,
        Part::Set { negated, ranges } => {
            *negated
                != ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&char))
        }
        Part::AnyText | Part::Either(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wild(pattern: &str, name: &str) -> bool {
        match &parse(pattern).unwrap()[..] {
            [Segment::Wild(parts)] => matches(parts, name),
            [Segment::Literal(literal)] => literal == name,
            other => panic!("{pattern} is {other:?}"),
        }
    }

    #[test]
    fn names_match_as_shells_match_them() {
        for (pattern, name, expected) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.jsonl", false),
            ("movies*.json", "movies 2%20.json", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[a-]x", "-x", true),
            ("{a,bc*}.csv", "bcd.csv", true),
            ("{a,bc*}.csv", "b.csv", false),
            ("\\*.json", "*.json", true),
            ("\\*.json", "a.json", false),
            ("a**b", "axxb", true),
        ] {
            assert_eq!(wild(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn segments_are_told_apart() {
        let segments = parse("/data//**/part-*/x\\[1].csv").unwrap();
        assert_eq!(segments[0], Segment::Literal("data".into()));
        assert_eq!(segments[1], Segment::Folders);
        assert!(matches!(segments[2], Segment::Wild(_)));
        assert_eq!(segments[3], Segment::Literal("x[1].csv".into()));
    }

    #[test]
    fn broken_patterns_are_errors() {
        for pattern in ["a[", "{a,b", "x\\", "[a"] {
            assert!(
                matches!(parse(pattern), Err(IngestError::BadPattern { .. })),
                "{pattern}"
            );
        }
    }
}
