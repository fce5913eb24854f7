//! Branches and tags in `ALTER TABLE`, as Spark's extensions write them.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

use super::types::parsed;
use super::words::{ahead, at, expect, number, take};

/// `CREATE BRANCH`, `REPLACE TAG`, ….
#[derive(Debug)]
pub(crate) struct CreateRef {
    pub(crate) is_branch: bool,
    pub(crate) name: Ident,
    pub(crate) existing: Existing,
    /// The current one where nothing is said.
    pub(crate) snapshot_id: Option<i64>,
    /// How long the ref stays, in milliseconds.
    pub(crate) max_ref_age_ms: Option<i64>,
    pub(crate) min_snapshots_to_keep: Option<i32>,
    /// How long the snapshots of a branch stay, in milliseconds.
    pub(crate) max_snapshot_age_ms: Option<i64>,
}

/// What becomes of a ref of this name that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// There must be none.
    Fail,
    /// It stays as it is: `IF NOT EXISTS`.
    Keep,
    /// It is replaced: `CREATE OR REPLACE`.
    Replace,
    /// There must be one: `REPLACE`.
    Demand,
}

/// `DROP BRANCH | TAG [IF EXISTS] name`
#[derive(Debug)]
pub(crate) struct DropRef {
    pub(crate) is_branch: bool,
    pub(crate) name: Ident,
    pub(crate) if_exists: bool,
}

/// `CREATE | CREATE OR REPLACE | REPLACE BRANCH | TAG …`, or nothing.
pub(super) fn create(parser: &mut Parser<'_>) -> Result<Option<CreateRef>> {
    let mut found = None;
    for (words, existing) in [
        (&["CREATE", "OR", "REPLACE"][..], Existing::Replace),
        (&["CREATE"], Existing::Fail),
        (&["REPLACE"], Existing::Demand),
    ] {
        for kind in ["BRANCH", "TAG"] {
            let words = [words, &[kind]].concat();
            if take(parser, &words) {
                found = Some((existing, kind == "BRANCH"));
            }
        }
    }
    let Some((mut existing, is_branch)) = found else {
        return Ok(None);
    };
    if ahead(parser, &["IF", "NOT", "EXISTS"]) {
        let place = parser.peek_token();
        if existing != Existing::Fail {
            let error = Error::invalid("what is replaced has no IF NOT EXISTS");
            return Err(at(error, &place));
        }
        parsed(expect(parser, &["IF", "NOT", "EXISTS"]))?;
        existing = Existing::Keep;
    }
    let mut create = CreateRef {
        is_branch,
        name: parsed(parser.parse_identifier())?,
        existing,
        snapshot_id: None,
        max_ref_age_ms: None,
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
    };
    if take(parser, &["AS", "OF", "VERSION"]) {
        create.snapshot_id = Some(parsed(number(parser))?);
    }
    if take(parser, &["RETAIN"]) {
        create.max_ref_age_ms = Some(parsed(duration(parser))?);
    }
    let place = parser.peek_token();
    if take(parser, &["WITH", "SNAPSHOT", "RETENTION"]) {
        if !is_branch {
            let error = Error::invalid("a tag is of one snapshot, and has no snapshots to retain");
            return Err(at(error, &place).help("RETAIN n DAYS says how long the tag stays"));
        }
        parsed(retention(parser, &mut create))?;
    }
    Ok(Some(create))
}

/// `n SNAPSHOTS [n DAYS]`, or `n DAYS` alone.
fn retention(parser: &mut Parser<'_>, create: &mut CreateRef) -> Result<(), ParserError> {
    let is_number = |parser: &Parser<'_>| {
        matches!(
            parser.peek_token().token,
            datafusion::sql::sqlparser::tokenizer::Token::Number(..)
        )
    };
    let counted = matches!(
        &parser.peek_nth_token(1).token,
        datafusion::sql::sqlparser::tokenizer::Token::Word(word)
            if word.value.eq_ignore_ascii_case("SNAPSHOTS")
    );
    if counted {
        create.min_snapshots_to_keep = Some(number(parser)?);
        expect(parser, &["SNAPSHOTS"])?;
    }
    if !counted || is_number(parser) {
        create.max_snapshot_age_ms = Some(duration(parser)?);
    }
    Ok(())
}

/// `n DAYS | HOURS | MINUTES` in milliseconds.
fn duration(parser: &mut Parser<'_>) -> Result<i64, ParserError> {
    let place = parser.peek_token();
    let count: i64 = number(parser)?;
    let minutes = if take(parser, &["DAYS"]) || take(parser, &["DAY"]) {
        24 * 60
    } else if take(parser, &["HOURS"]) || take(parser, &["HOUR"]) {
        60
    } else if take(parser, &["MINUTES"]) || take(parser, &["MINUTE"]) {
        1
    } else {
        let place = parser.peek_token();
        return parser.expected("DAYS, HOURS or MINUTES", place);
    };
    count
        .checked_mul(minutes * 60_000)
        .map_or_else(|| parser.expected("a smaller number", place), Ok)
}

/// `DROP BRANCH | TAG`, or nothing.
pub(super) fn drop(parser: &mut Parser<'_>) -> Result<Option<DropRef>> {
    let is_branch = take(parser, &["DROP", "BRANCH"]);
    if !is_branch && !take(parser, &["DROP", "TAG"]) {
        return Ok(None);
    }
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    Ok(Some(DropRef {
        is_branch,
        name: parsed(parser.parse_identifier())?,
        if_exists,
    }))
}
