//! Column types in Spark's spelling, of tables and of `schema => '…'`.

use std::fmt;
use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ast::fold;
use super::cursor::Cursor;
use super::diagnostics::{FileId, Problem, Span, Spanned};
use super::lexer;
use super::suggest;
use super::variables::Expanded;

/// Types may be nested this deep; more is a mistake, and would only exhaust the stack.
const MAX_DEPTH: usize = 32;

/// A column, or a field of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnDef {
    /// The name.
    pub name: String,
    /// The type.
    pub ty: SqlType,
    /// Whether values may be missing.
    pub nullable: bool,
    /// The comment.
    pub comment: Option<String>,
}

impl fmt::Display for ColumnDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let null = if self.nullable { "" } else { " not null" };
        write!(f, "{}: {}{null}", self.name, self.ty)
    }
}

/// The types that a column can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqlType {
    /// True or false.
    Boolean,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// 32 bits, IEEE 754.
    Float,
    /// 64 bits, IEEE 754.
    Double,
    /// A number with this many digits, so many of them after the point.
    Decimal {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// A day.
    Date,
    /// A point in time: microseconds, UTC.
    Timestamp,
    /// A date and time of day that belong to no zone, in microseconds.
    TimestampNtz,
    /// Text.
    String,
    /// Bytes.
    Binary,
    /// A UUID.
    Uuid,
    /// A time of day, in microseconds.
    Time,
    /// Exactly this many bytes.
    Fixed(u64),
    /// Named fields.
    Struct(Vec<ColumnDef>),
    /// A list.
    Array(Box<SqlType>),
    /// Keys and values.
    Map(Box<SqlType>, Box<SqlType>),
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int => f.write_str("int"),
            Self::Long => f.write_str("long"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::TimestampNtz => f.write_str("timestamp_ntz"),
            Self::String => f.write_str("string"),
            Self::Binary => f.write_str("binary"),
            Self::Uuid => f.write_str("uuid"),
            Self::Time => f.write_str("time"),
            Self::Fixed(length) => write!(f, "fixed({length})"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{field}")?;
                }
                f.write_str(">")
            }
            Self::Array(element) => write!(f, "array<{element}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
        }
    }
}

/// Whether unquoted column names mean their lower-case form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameCase {
    /// As everywhere in SQL.
    Fold,
    /// As written: the fields of a file are what the file calls them.
    Keep,
}

/// What is wrong with a schema text, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The bytes of the text that the message is about.
    pub range: Range<usize>,
}

/// Reads a list of columns such as `a INT, b STRING NOT NULL, c STRUCT<x: INT>`. Names keep their
/// case, since the fields of a file are what the file calls them.
///
/// # Errors
/// When the text is no such list, or two columns have the same name.
pub fn parse_schema(text: &str) -> Result<Vec<ColumnDef>, SchemaError> {
    let file = FileId(0);
    let error = |problem: Problem| SchemaError {
        message: problem.message,
        help: problem.help,
        range: problem.span.range(),
    };
    let mut problems = Vec::new();
    let whole = Span::new(file, 0, text.len());
    // Variables were put in when the statement was read, and values are not scanned again.
    let expanded = Expanded::verbatim(text);
    let statements = lexer::statements(file, &expanded, &mut problems);
    if let Some(problem) = problems.into_iter().next() {
        return Err(error(problem));
    }
    let [statement] = statements.as_slice() else {
        return Err(error(
            Problem::new(whole, "expected a list of columns").help(
                "a schema is written as 'name TYPE, name TYPE, …' in one list without semicolons",
            ),
        ));
    };
    let mut cursor = Cursor::new(file, &statement.tokens, statement.end);
    let mut columns: Vec<Spanned<ColumnDef>> = Vec::new();
    loop {
        let column = column(&mut cursor, NameCase::Keep).map_err(error)?;
        push_unique(&mut columns, column).map_err(error)?;
        if !cursor.eat(&Token::Comma) {
            break;
        }
    }
    cursor
        .expect_done("`,` or the end of the schema")
        .map_err(error)?;
    Ok(columns.into_iter().map(|column| column.node).collect())
}

/// Adds a column to those before it.
///
/// # Errors
/// When one of them has the same name. Case does not tell columns apart in any engine.
pub(super) fn push_unique(
    columns: &mut Vec<Spanned<ColumnDef>>,
    column: Spanned<ColumnDef>,
) -> Result<(), Problem> {
    let name = column.node.name.to_lowercase();
    if columns
        .iter()
        .any(|other| other.node.name.to_lowercase() == name)
    {
        let message = format!("column `{}` is declared twice", column.node.name);
        return Err(Problem::new(column.span, message));
    }
    columns.push(column);
    Ok(())
}

/// `name TYPE [NOT NULL] [COMMENT '…']`.
///
/// # Errors
/// When anything else comes next.
pub(super) fn column(
    cursor: &mut Cursor<'_>,
    case: NameCase,
) -> Result<Spanned<ColumnDef>, Problem> {
    let mut types = Types {
        cursor,
        case,
        depth: 0,
        open: 0,
    };
    let column = types.column(false)?;
    types.expect_closed()?;
    Ok(column)
}

struct Types<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    case: NameCase,
    depth: usize,
    /// Closing angle brackets left over from a `>>` token.
    open: usize,
}

impl Types<'_, '_> {
    fn column(&mut self, in_struct: bool) -> Result<Spanned<ColumnDef>, Problem> {
        let what = if in_struct {
            "the name of a field"
        } else {
            "the name of a column"
        };
        let name = self.cursor.identifier(what)?;
        if in_struct {
            self.cursor.eat(&Token::Colon);
        }
        let ty = self.ty()?;
        let mut nullable = true;
        let mut comment = None;
        // After a split `>>` the next token belongs to an outer type.
        while self.open == 0 {
            if self.cursor.eat_words(&["NOT", "NULL"]) {
                nullable = false;
            } else if comment.is_none() && self.cursor.eat_words(&["COMMENT"]) {
                comment = Some(self.cursor.string("the comment")?.node);
            } else {
                break;
            }
        }
        let span = name.span.to(self.cursor.previous_span());
        let name = match self.case {
            NameCase::Fold => name.folded(),
            NameCase::Keep => fold(name.as_written(), true),
        };
        Ok(Spanned::new(
            ColumnDef {
                name,
                ty,
                nullable,
                comment,
            },
            span,
        ))
    }

    fn ty(&mut self) -> Result<SqlType, Problem> {
        self.depth += 1;
        let span = self.cursor.span();
        if self.depth > MAX_DEPTH {
            let message = format!("types nest deeper than {MAX_DEPTH} levels");
            return Err(Problem::new(span, message));
        }
        let Some(word) = self.cursor.word() else {
            return Err(self.cursor.unexpected("a type"));
        };
        self.cursor.advance();
        let ty = match word.to_ascii_uppercase().as_str() {
            "BOOLEAN" | "BOOL" => SqlType::Boolean,
            "TINYINT" | "BYTE" | "SMALLINT" | "SHORT" | "INT" | "INTEGER" => SqlType::Int,
            "BIGINT" | "LONG" => SqlType::Long,
            "FLOAT" | "REAL" => SqlType::Float,
            "DOUBLE" => {
                self.cursor.eat_words(&["PRECISION"]);
                SqlType::Double
            }
            "DECIMAL" | "NUMERIC" | "DEC" => self.decimal(span)?,
            "DATE" => SqlType::Date,
            "TIMESTAMP" => self.timestamp(),
            "TIMESTAMP_LTZ" | "TIMESTAMPTZ" => SqlType::Timestamp,
            "TIMESTAMP_NTZ" | "TIMESTAMPNTZ" => SqlType::TimestampNtz,
            "STRING" | "TEXT" => SqlType::String,
            "VARCHAR" | "CHAR" | "CHARACTER" => {
                if *self.cursor.peek() == Token::LParen {
                    self.numbers(1, 1)?;
                }
                SqlType::String
            }
            "BINARY" | "BYTEA" | "VARBINARY" => SqlType::Binary,
            "UUID" => SqlType::Uuid,
            "TIME" => SqlType::Time,
            "FIXED" => {
                let length = self.numbers(1, 1)?.first().copied().unwrap_or_default();
                if length == 0 {
                    return Err(Problem::new(span, "a fixed type has at least one byte"));
                }
                SqlType::Fixed(length)
            }
            "STRUCT" => self.fields()?,
            "ARRAY" => {
                self.open_bracket()?;
                let element = self.ty()?;
                self.close_bracket()?;
                SqlType::Array(Box::new(element))
            }
            "MAP" => {
                self.open_bracket()?;
                let key = self.ty()?;
                self.expect_closed()?;
                self.cursor.expect(&Token::Comma)?;
                let value = self.ty()?;
                self.close_bracket()?;
                SqlType::Map(Box::new(key), Box::new(value))
            }
            _ => {
                let help = suggest::did_you_mean(word, TYPE_NAMES.iter().copied())
                    .unwrap_or_else(|| format!("the types are {}", TYPE_NAMES.join(", ")));
                return Err(Problem::new(span, format!("unknown type `{word}`")).help(help));
            }
        };
        self.depth -= 1;
        Ok(ty)
    }

    fn timestamp(&mut self) -> SqlType {
        if self.cursor.eat_words(&["WITHOUT", "TIME", "ZONE"]) {
            return SqlType::TimestampNtz;
        }
        if !self.cursor.eat_words(&["WITH", "TIME", "ZONE"]) {
            self.cursor.eat_words(&["WITH", "LOCAL", "TIME", "ZONE"]);
        }
        SqlType::Timestamp
    }

    fn decimal(&mut self, span: Span) -> Result<SqlType, Problem> {
        let numbers = match self.cursor.peek() {
            Token::LParen => self.numbers(1, 2)?,
            _ => vec![10, 0],
        };
        let precision = numbers.first().copied().unwrap_or(10);
        let scale = numbers.get(1).copied().unwrap_or(0);
        let span = span.to(self.cursor.previous_span());
        match (u8::try_from(precision), u8::try_from(scale)) {
            (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
                Ok(SqlType::Decimal { precision, scale })
            }
            _ => Err(
                Problem::new(span, "this decimal has no such precision and scale")
                    .help("a decimal has 1 to 38 digits, and no more after the point than in all"),
            ),
        }
    }

    /// `(n, …)`, between `least` and `most` of them.
    fn numbers(&mut self, least: usize, most: usize) -> Result<Vec<u64>, Problem> {
        let start = self.cursor.span();
        let mut inside = self.cursor.parenthesised()?;
        let mut numbers = vec![inside.integer("a length")?.node];
        while inside.eat(&Token::Comma) {
            numbers.push(inside.integer("a length")?.node);
        }
        inside.expect_done("`)`")?;
        if (least..=most).contains(&numbers.len()) {
            Ok(numbers)
        } else {
            let span = start.to(self.cursor.previous_span());
            Err(Problem::new(
                span,
                format!("this type takes at most {most} of these"),
            ))
        }
    }

    fn fields(&mut self) -> Result<SqlType, Problem> {
        self.open_bracket()?;
        let mut fields = Vec::new();
        loop {
            let field = self.column(true)?;
            push_unique(&mut fields, field)?;
            if self.open > 0 || !self.cursor.eat(&Token::Comma) {
                break;
            }
        }
        self.close_bracket()?;
        Ok(SqlType::Struct(
            fields.into_iter().map(|field| field.node).collect(),
        ))
    }

    /// # Errors
    /// When a `>>` closed one type more than was open.
    fn expect_closed(&self) -> Result<(), Problem> {
        if self.open == 0 {
            Ok(())
        } else {
            Err(Problem::new(
                self.cursor.previous_span(),
                "this `>` closes no type",
            ))
        }
    }

    fn open_bracket(&mut self) -> Result<(), Problem> {
        self.cursor.expect(&Token::Lt).map(|_| ())
    }

    fn close_bracket(&mut self) -> Result<(), Problem> {
        if self.open > 0 {
            self.open -= 1;
        } else if self.cursor.eat(&Token::ShiftRight) {
            self.open = 1;
        } else {
            self.cursor.expect(&Token::Gt)?;
        }
        Ok(())
    }
}

/// The names to suggest; synonyms of other systems are accepted without being advertised.
const TYPE_NAMES: [&str; 18] = [
    "BOOLEAN",
    "INT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NTZ",
    "STRING",
    "VARCHAR",
    "BINARY",
    "UUID",
    "TIME",
    "FIXED",
    "STRUCT",
    "ARRAY",
    "MAP",
];
