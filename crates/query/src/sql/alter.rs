//! `ALTER TABLE`: Spark's statements, and Trino's where they are others.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use iceberg::spec::Type;

use super::partitioning::{PartitionBy, SortBy};
use super::properties::{self, TrinoProperties};
use super::refs::{self, CreateRef, DropRef};
use super::types::{self, Timestamps, parsed};
use super::words::{ahead, expect, path, split_closing_brackets, take, take_one};
use super::{end, parser_of, unsupported};

/// An `ALTER TABLE` as it was written.
#[derive(Debug)]
pub(crate) struct AlterTable {
    pub(crate) name: ObjectName,
    pub(crate) if_exists: bool,
    pub(crate) change: Alteration,
}

/// What is changed.
#[derive(Debug)]
pub(crate) enum Alteration {
    Columns(Vec<ColumnEdit>),
    RenameTo(ObjectName),
    SetProperties(Vec<(String, String)>),
    UnsetProperties {
        keys: Vec<String>,
        if_exists: bool,
    },
    Trino(TrinoProperties),
    AddPartitionField(PartitionTerm),
    DropPartitionField(PartitionBy),
    ReplacePartitionField {
        old: PartitionBy,
        new: PartitionTerm,
    },
    /// Spark's `WRITE …`: the sort order, and how rows are spread before they are written.
    WriteOrder {
        fields: Vec<SortBy>,
        distribution: &'static str,
    },
    CreateRef(CreateRef),
    DropRef(DropRef),
}

/// A partition field to make.
#[derive(Debug)]
pub(crate) struct PartitionTerm {
    pub(crate) by: PartitionBy,
    pub(crate) name: Option<Ident>,
}

/// A column, with the structs that it lies in before it.
pub(crate) type Path = Vec<Ident>;

/// One change of the columns.
#[derive(Debug)]
pub(crate) enum ColumnEdit {
    Add(Box<NewColumn>),
    Drop {
        path: Path,
        if_exists: bool,
    },
    Rename {
        path: Path,
        to: Ident,
        if_exists: bool,
    },
    Type {
        path: Path,
        ty: Type,
    },
    Required {
        path: Path,
        required: bool,
    },
    Comment {
        path: Path,
        comment: String,
    },
    Default {
        path: Path,
        value: Option<Expr>,
    },
    Move {
        path: Path,
        to: Place,
    },
}

/// A column to add.
#[derive(Debug)]
pub(crate) struct NewColumn {
    pub(crate) path: Path,
    pub(crate) ty: Type,
    pub(crate) required: bool,
    pub(crate) comment: Option<String>,
    pub(crate) default: Option<Expr>,
    pub(crate) place: Option<Place>,
    pub(crate) if_not_exists: bool,
}

/// Where a column stands among its neighbours.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    First,
    After(Ident),
}

const COLUMN: [&str; 2] = ["COLUMN", "COLUMNS"];

pub(super) fn parse(mut tokens: Vec<TokenWithSpan>) -> Result<AlterTable> {
    split_closing_brackets(&mut tokens, false);
    let mut parser = parser_of(tokens);
    let parser = &mut parser;
    parsed(expect(parser, &["ALTER", "TABLE"]))?;
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = parsed(parser.parse_object_name(true))?;
    let change = alteration(parser)?;
    end(parser)?;
    Ok(AlterTable {
        name,
        if_exists,
        change,
    })
}

fn alteration(parser: &mut Parser<'_>) -> Result<Alteration> {
    if let Some(change) = partitioning(parser)? {
        return Ok(change);
    }
    if let Some(change) = properties_of(parser)? {
        return Ok(change);
    }
    if take(parser, &["RENAME", "TO"]) {
        return parsed(parser.parse_object_name(true)).map(Alteration::RenameTo);
    }
    if take(parser, &["WRITE"]) {
        return write(parser);
    }
    if let Some(create) = refs::create(parser)? {
        return Ok(Alteration::CreateRef(create));
    }
    if let Some(drop) = refs::drop(parser)? {
        return Ok(Alteration::DropRef(drop));
    }
    columns(parser)
}

fn partitioning(parser: &mut Parser<'_>) -> Result<Option<Alteration>> {
    Ok(Some(if take(parser, &["ADD", "PARTITION", "FIELD"]) {
        Alteration::AddPartitionField(term(parser)?)
    } else if take(parser, &["DROP", "PARTITION", "FIELD"]) {
        Alteration::DropPartitionField(PartitionBy::next(parser)?)
    } else if take(parser, &["REPLACE", "PARTITION", "FIELD"]) {
        let old = PartitionBy::next(parser)?;
        parsed(expect(parser, &["WITH"]))?;
        Alteration::ReplacePartitionField {
            old,
            new: term(parser)?,
        }
    } else {
        return Ok(None);
    }))
}

fn term(parser: &mut Parser<'_>) -> Result<PartitionTerm> {
    let by = PartitionBy::next(parser)?;
    let name = match parser.parse_keyword(Keyword::AS) {
        true => Some(parsed(parser.parse_identifier())?),
        false => None,
    };
    Ok(PartitionTerm { by, name })
}

fn properties_of(parser: &mut Parser<'_>) -> Result<Option<Alteration>> {
    Ok(Some(if take(parser, &["SET", "TBLPROPERTIES"]) {
        Alteration::SetProperties(parsed(properties::assignments(parser))?)
    } else if take(parser, &["UNSET", "TBLPROPERTIES"]) {
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let keys = parsed(properties::keys(parser))?;
        Alteration::UnsetProperties { keys, if_exists }
    } else if take(parser, &["SET", "PROPERTIES"]) {
        let place = parser.peek_token().span.start;
        let given = TrinoProperties::parse(parser)?;
        if given.location.is_some() {
            let error = Error::unsupported("the location of a table is fixed when it is created");
            return Err(super::placed(error, place));
        }
        Alteration::Trino(given)
    } else {
        return Ok(None);
    }))
}

fn write(parser: &mut Parser<'_>) -> Result<Alteration> {
    let order = |fields, distribution| Alteration::WriteOrder {
        fields,
        distribution,
    };
    if take(parser, &["UNORDERED"]) {
        return Ok(order(Vec::new(), "none"));
    }
    if take(parser, &["DISTRIBUTED", "BY", "PARTITION"]) {
        let ordered =
            take(parser, &["LOCALLY", "ORDERED", "BY"]) || take(parser, &["ORDERED", "BY"]);
        let fields = match ordered {
            true => SortBy::list(parser)?,
            false => Vec::new(),
        };
        return Ok(order(fields, "hash"));
    }
    let locally = take(parser, &["LOCALLY"]);
    parsed(expect(parser, &["ORDERED", "BY"]))?;
    let fields = SortBy::list(parser)?;
    Ok(order(fields, if locally { "none" } else { "range" }))
}

/// One change of columns after the other, with commas between them.
fn columns(parser: &mut Parser<'_>) -> Result<Alteration> {
    let mut edits = Vec::new();
    loop {
        edit(parser, &mut edits)?;
        if !parser.consume_token(&Token::Comma) {
            return Ok(Alteration::Columns(edits));
        }
    }
}

fn edit(parser: &mut Parser<'_>, edits: &mut Vec<ColumnEdit>) -> Result<()> {
    if take(parser, &["ADD"]) {
        let named = take_one(parser, &COLUMN);
        let starts = matches!(
            parser.peek_token().token,
            Token::Word(_) | Token::LParen | Token::DoubleQuotedString(_)
        );
        if !starts || (!named && (ahead(parser, &["PARTITION"]) || ahead(parser, &["CONSTRAINT"])))
        {
            return Err(unsupported(&format!(
                "ALTER TABLE … ADD {}",
                parser.peek_token()
            )));
        }
        parsed(added(parser, edits))
    } else if take(parser, &["DROP"]) {
        if !take_one(parser, &COLUMN) {
            return Err(unsupported(&format!(
                "ALTER TABLE … DROP {}",
                parser.peek_token()
            )));
        }
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        for path in parsed(several(parser, path))? {
            edits.push(ColumnEdit::Drop { path, if_exists });
        }
        Ok(())
    } else if take(parser, &["RENAME"]) {
        parsed(expect(parser, &["COLUMN"]))?;
        let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
        let path = parsed(path(parser))?;
        parsed(expect(parser, &["TO"]))?;
        let to = parsed(parser.parse_identifier())?;
        edits.push(ColumnEdit::Rename {
            path,
            to,
            if_exists,
        });
        Ok(())
    } else if take(parser, &["ALTER"]) {
        let _ = take(parser, &["COLUMN"]);
        let path = parsed(path(parser))?;
        parsed(altered(parser, &path, edits))
    } else {
        let what = parser.peek_token();
        if what.token == Token::EOF {
            return parsed(parser.expected("what to alter", what));
        }
        let mut words = format!("ALTER TABLE … {what}");
        if let Token::Word(next) = &parser.peek_nth_token(1).token {
            words.push_str(&format!(" {next}"));
        }
        Err(unsupported(&words))
    }
}

/// The columns of `ADD COLUMN`, in parentheses or not.
fn added(parser: &mut Parser<'_>, edits: &mut Vec<ColumnEdit>) -> Result<(), ParserError> {
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    for mut column in several(parser, new_column)? {
        column.if_not_exists = if_not_exists;
        edits.push(ColumnEdit::Add(Box::new(column)));
    }
    Ok(())
}

/// A list in parentheses, or one that ends where the next change of columns begins.
fn several<T>(
    parser: &mut Parser<'_>,
    one: fn(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<Vec<T>, ParserError> {
    if parser.consume_token(&Token::LParen) {
        let all = parser.parse_comma_separated(one)?;
        parser.expect_token(&Token::RParen)?;
        return Ok(all);
    }
    let mut all = vec![one(parser)?];
    while parser.peek_token().token == Token::Comma && !change_follows(parser) {
        parser.next_token();
        all.push(one(parser)?);
    }
    Ok(all)
}

/// Whether behind the comma stands `DROP COLUMN` or the like. A column may be called `drop`, but no
/// type is called `COLUMN`.
fn change_follows(parser: &Parser<'_>) -> bool {
    let word = |place: usize| match parser.peek_nth_token(place).token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
        _ => String::new(),
    };
    ["ADD", "DROP", "RENAME", "ALTER"].contains(&word(1).as_str())
        && COLUMN.contains(&word(2).as_str())
}

fn new_column(parser: &mut Parser<'_>) -> Result<NewColumn, ParserError> {
    let path = path(parser)?;
    let mut column = NewColumn {
        path,
        ty: types::provisional(&types::parse(parser)?, Timestamps::Spark),
        required: false,
        comment: None,
        default: None,
        place: None,
        if_not_exists: false,
    };
    loop {
        if parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
            column.required = true;
        } else if parser.parse_keyword(Keyword::NULL) {
            column.required = false;
        } else if parser.parse_keyword(Keyword::DEFAULT) {
            column.default = Some(parser.parse_prefix()?);
        } else if let Some(place) = place(parser)? {
            column.place = Some(place);
        } else if let Some(comment) = super::comment(parser)? {
            column.comment = Some(comment);
        } else {
            // Trino's `LAST` is where a column goes anyway.
            let _ = take(parser, &["LAST"]);
            return Ok(column);
        }
    }
}

fn place(parser: &mut Parser<'_>) -> Result<Option<Place>, ParserError> {
    if take(parser, &["FIRST"]) {
        Ok(Some(Place::First))
    } else if take(parser, &["AFTER"]) {
        parser
            .parse_identifier()
            .map(|name| Some(Place::After(name)))
    } else {
        Ok(None)
    }
}

/// What `ALTER COLUMN` says of a column: at least one thing.
fn altered(
    parser: &mut Parser<'_>,
    path: &Path,
    edits: &mut Vec<ColumnEdit>,
) -> Result<(), ParserError> {
    let before = edits.len();
    loop {
        let path = path.clone();
        let edit = if take(parser, &["TYPE"]) || take(parser, &["SET", "DATA", "TYPE"]) {
            let ty = types::provisional(&types::parse(parser)?, Timestamps::Spark);
            ColumnEdit::Type { path, ty }
        } else if take(parser, &["SET", "NOT", "NULL"]) {
            ColumnEdit::Required {
                path,
                required: true,
            }
        } else if take(parser, &["DROP", "NOT", "NULL"]) {
            ColumnEdit::Required {
                path,
                required: false,
            }
        } else if take(parser, &["SET", "DEFAULT"]) {
            let value = Some(parser.parse_prefix()?);
            ColumnEdit::Default { path, value }
        } else if take(parser, &["DROP", "DEFAULT"]) {
            ColumnEdit::Default { path, value: None }
        } else if let Some(comment) = super::comment(parser)? {
            ColumnEdit::Comment { path, comment }
        } else if let Some(to) = place(parser)? {
            ColumnEdit::Move { path, to }
        } else if edits.len() > before {
            return Ok(());
        } else {
            let place = parser.peek_token();
            return parser.expected(
                "TYPE, SET DATA TYPE, SET or DROP NOT NULL, SET or DROP DEFAULT, COMMENT, FIRST or \
                 AFTER",
                place,
            );
        };
        edits.push(edit);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};
    use super::*;

    fn change(text: &str) -> Alteration {
        match parse(&format!("ALTER TABLE t {text}")).unwrap().pop() {
            Some(Statement::AlterTable(alter)) => alter.change,
            other => panic!("{other:?}"),
        }
    }

    fn edits(text: &str) -> Vec<String> {
        let Alteration::Columns(edits) = change(text) else {
            panic!("{text} changes no columns");
        };
        let name = |path: &Path| {
            let parts: Vec<&str> = path.iter().map(|part| part.value.as_str()).collect();
            parts.join(".")
        };
        edits
            .iter()
            .map(|edit| match edit {
                ColumnEdit::Add(new) => {
                    format!("+{} {} {:?}", name(&new.path), new.ty, new.place.is_some())
                }
                ColumnEdit::Drop { path, .. } => format!("-{}", name(path)),
                ColumnEdit::Rename { path, to, .. } => format!("{}>{}", name(path), to.value),
                ColumnEdit::Type { path, ty } => format!("{} {ty}", name(path)),
                ColumnEdit::Required { path, required } => format!("{} {required}", name(path)),
                ColumnEdit::Comment { path, comment } => format!("{} '{comment}'", name(path)),
                ColumnEdit::Default { path, value } => {
                    format!("{} ={}", name(path), value.is_some())
                }
                ColumnEdit::Move { path, to } => format!("{} {}", name(path), *to == Place::First),
            })
            .collect()
    }

    #[test]
    fn columns_stand_in_parentheses_or_not_and_changes_follow_each_other() {
        let two = ["+a int false", "+b.c string true"];
        assert_eq!(edits("ADD COLUMNS (a INT, b.c STRING FIRST)"), two);
        assert_eq!(edits("ADD COLUMN a INT, b.c STRING FIRST"), two);
        assert_eq!(edits("ADD a INT, ADD COLUMN b.c STRING AFTER x"), two);
        assert_eq!(
            edits("DROP COLUMNS a, b, DROP COLUMN (c), RENAME COLUMN x.y TO z"),
            ["-a", "-b", "-c", "x.y>z"]
        );
        assert_eq!(
            edits("ALTER COLUMN a TYPE BIGINT COMMENT 'n' FIRST, ALTER COLUMN b DROP NOT NULL"),
            ["a long", "a 'n'", "a true", "b false"]
        );
        // Words that mean something elsewhere are names here.
        assert_eq!(
            edits("ADD COLUMNS (drop INT, comment STRING, first DATE)"),
            [
                "+drop int false",
                "+comment string false",
                "+first date false"
            ]
        );
    }

    #[test]
    fn nested_types_end_in_any_number_of_brackets() {
        assert_eq!(
            edits("ADD COLUMN a ARRAY<MAP<STRING, ARRAY<INT>>> AFTER b").len(),
            1
        );
    }

    #[test]
    fn what_is_not_altered_is_refused_by_its_name() {
        for (text, words) in [
            ("ADD PARTITION (d = 1)", "ADD PARTITION"),
            ("ADD CONSTRAINT c CHECK (a > 1)", "ADD CONSTRAINT"),
            ("DROP PARTITION (d = 1)", "DROP PARTITION"),
            ("REPLACE COLUMNS (a INT)", "REPLACE COLUMNS"),
            ("SET LOCATION 'x'", "SET LOCATION"),
            ("EXECUTE optimize", "EXECUTE optimize"),
            ("RECOVER PARTITIONS", "RECOVER PARTITIONS"),
        ] {
            let error = parse(&format!("ALTER TABLE t {text}")).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("not supported") && message.contains(words),
                "{message}"
            );
        }
    }
}
