//! Column types in DDL: Spark's names and Trino's.

use std::sync::Arc;

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use iceberg::spec::{ListType, MapType, NestedField, PrimitiveType, Schema, StructType, Type};

use crate::error::parser_error;

/// A type as it was written. `TIMESTAMP` alone means two things: with time zone to Spark, without to
/// Trino; the rest of the statement says whose it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SqlType {
    Primitive(PrimitiveType),
    Timestamp { nanos: bool },
    List(Box<SqlType>),
    Map(Box<SqlType>, Box<SqlType>),
    Struct(Vec<SqlField>),
}

/// A column, or a field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SqlField {
    pub(super) name: String,
    pub(super) ty: SqlType,
    pub(super) required: bool,
    pub(super) doc: Option<String>,
    /// What the column holds where a row says nothing.
    pub(super) default: Option<Expr>,
}

/// Whose `TIMESTAMP` it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timestamps {
    /// With time zone.
    Spark,
    /// Without.
    Trino,
}

pub(super) fn parse(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let token = parser.next_token();
    let Token::Word(word) = &token.token else {
        return parser.expected("a type", token);
    };
    let name = word.value.to_lowercase();
    Ok(SqlType::Primitive(match name.as_str() {
        "boolean" | "bool" => PrimitiveType::Boolean,
        "tinyint" | "smallint" | "byte" | "short" | "int" | "integer" => PrimitiveType::Int,
        "bigint" | "long" => PrimitiveType::Long,
        "float" | "real" => PrimitiveType::Float,
        "double" => {
            let _ = parser.parse_keyword(Keyword::PRECISION);
            PrimitiveType::Double
        }
        "decimal" | "dec" | "numeric" => {
            let sizes = sizes(parser)?;
            PrimitiveType::Decimal {
                precision: sizes.first().copied().unwrap_or(10),
                scale: sizes.get(1).copied().unwrap_or(0),
            }
        }
        "date" => PrimitiveType::Date,
        "time" => {
            sizes(parser)?;
            PrimitiveType::Time
        }
        "timestamp" => return timestamp(parser),
        "timestamp_ntz" => PrimitiveType::Timestamp,
        "timestamp_ltz" | "timestamptz" => PrimitiveType::Timestamptz,
        "timestamp_ns" => PrimitiveType::TimestampNs,
        "timestamptz_ns" => PrimitiveType::TimestamptzNs,
        "string" | "text" => PrimitiveType::String,
        "varchar" | "char" | "character" => {
            sizes(parser)?;
            PrimitiveType::String
        }
        "binary" | "varbinary" | "bytes" => PrimitiveType::Binary,
        "uuid" => PrimitiveType::Uuid,
        "fixed" => match sizes(parser)?.as_slice() {
            [size] => PrimitiveType::Fixed(u64::from(*size)),
            _ => return parser.expected("FIXED(length)", token),
        },
        "array" => {
            let close = open(parser)?;
            let element = parse(parser)?;
            parser.expect_token(&close)?;
            return Ok(SqlType::List(Box::new(element)));
        }
        "map" => {
            let close = open(parser)?;
            let key = parse(parser)?;
            parser.expect_token(&Token::Comma)?;
            let value = parse(parser)?;
            parser.expect_token(&close)?;
            return Ok(SqlType::Map(Box::new(key), Box::new(value)));
        }
        "struct" | "row" => {
            let close = open(parser)?;
            let fields = parser.parse_comma_separated(|parser| {
                let name = super::normal(&parser.parse_identifier()?);
                let _ = parser.consume_token(&Token::Colon);
                let ty = parse(parser)?;
                let required = parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]);
                let doc = super::comment(parser)?;
                Ok(SqlField {
                    name,
                    ty,
                    required,
                    doc,
                    default: None,
                })
            })?;
            parser.expect_token(&close)?;
            return Ok(SqlType::Struct(fields));
        }
        _ => return parser.expected("a type that Iceberg has", token),
    }))
}

fn timestamp(parser: &mut Parser<'_>) -> Result<SqlType, ParserError> {
    let precision = sizes(parser)?.first().copied();
    let nanos = precision.is_some_and(|digits| digits > 6);
    let zoned = if parser.parse_keywords(&[Keyword::WITH, Keyword::TIME, Keyword::ZONE])
        || parser.parse_keywords(&[Keyword::WITH, Keyword::LOCAL, Keyword::TIME, Keyword::ZONE])
    {
        Some(true)
    } else if parser.parse_keywords(&[Keyword::WITHOUT, Keyword::TIME, Keyword::ZONE])
        || precision.is_some()
    {
        // Spark's TIMESTAMP takes no precision, so one that has it is Trino's.
        Some(false)
    } else {
        None
    };
    Ok(match zoned {
        Some(zoned) => SqlType::Primitive(timestamp_type(zoned, nanos)),
        None => SqlType::Timestamp { nanos },
    })
}

fn timestamp_type(zoned: bool, nanos: bool) -> PrimitiveType {
    match (zoned, nanos) {
        (true, false) => PrimitiveType::Timestamptz,
        (false, false) => PrimitiveType::Timestamp,
        (true, true) => PrimitiveType::TimestamptzNs,
        (false, true) => PrimitiveType::TimestampNs,
    }
}

/// `(10, 2)`, or nothing.
fn sizes(parser: &mut Parser<'_>) -> Result<Vec<u32>, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(Vec::new());
    }
    let sizes = parser.parse_comma_separated(|parser| {
        let place = parser.peek_token();
        let size = parser.parse_literal_uint()?;
        u32::try_from(size).or_else(|_| parser.expected("a smaller number", place))
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(sizes)
}

/// `<` or `(`, and what closes it.
fn open(parser: &mut Parser<'_>) -> Result<Token, ParserError> {
    if parser.consume_token(&Token::LParen) {
        return Ok(Token::RParen);
    }
    parser.expect_token(&Token::Lt)?;
    Ok(Token::Gt)
}

/// The Iceberg schema of these columns. Ids are given level by level.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for names that repeat.
pub(super) fn schema(columns: &[SqlField], timestamps: Timestamps) -> Result<Schema> {
    for (place, column) in columns.iter().enumerate() {
        if columns[..place]
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&column.name))
        {
            return Err(Error::invalid("a column is defined twice").with("column", &column.name));
        }
    }
    let mut ids = Ids {
        last: 0,
        timestamps,
    };
    let fields = ids.fields(columns);
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| Error::invalid("the columns do not make a schema").source_error(error))
}

/// The Iceberg type, with ids that stand for nothing.
pub(super) fn provisional(ty: &SqlType, timestamps: Timestamps) -> Type {
    let mut ids = Ids {
        last: 0,
        timestamps,
    };
    ids.ty(ty)
}

struct Ids {
    last: i32,
    timestamps: Timestamps,
}

impl Ids {
    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }

    fn fields(&mut self, fields: &[SqlField]) -> Vec<Arc<NestedField>> {
        let ids: Vec<i32> = fields.iter().map(|_| self.next()).collect();
        fields
            .iter()
            .zip(ids)
            .map(|(field, id)| {
                let ty = self.ty(&field.ty);
                let nested = NestedField::new(id, &field.name, ty, field.required);
                Arc::new(match &field.doc {
                    Some(doc) => nested.with_doc(doc),
                    None => nested,
                })
            })
            .collect()
    }

    fn ty(&mut self, ty: &SqlType) -> Type {
        match ty {
            SqlType::Primitive(primitive) => Type::Primitive(primitive.clone()),
            SqlType::Timestamp { nanos } => {
                Type::Primitive(timestamp_type(self.timestamps == Timestamps::Spark, *nanos))
            }
            SqlType::List(element) => {
                let id = self.next();
                let element = self.ty(element);
                Type::List(ListType::new(Arc::new(NestedField::list_element(
                    id, element, false,
                ))))
            }
            SqlType::Map(key, value) => {
                let (key_id, value_id) = (self.next(), self.next());
                let (key, value) = (self.ty(key), self.ty(value));
                Type::Map(MapType::new(
                    Arc::new(NestedField::map_key_element(key_id, key)),
                    Arc::new(NestedField::map_value_element(value_id, value, false)),
                ))
            }
            SqlType::Struct(fields) => Type::Struct(StructType::new(self.fields(fields))),
        }
    }
}

/// A type as Spark writes it.
pub(crate) fn name(ty: &Type) -> String {
    match ty {
        Type::Primitive(primitive) => match primitive {
            PrimitiveType::Long => "bigint".into(),
            PrimitiveType::Timestamp => "timestamp_ntz".into(),
            PrimitiveType::Timestamptz => "timestamp".into(),
            PrimitiveType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            PrimitiveType::Fixed(size) => format!("fixed({size})"),
            other => other.to_string(),
        },
        Type::List(list) => format!("array<{}>", name(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "map<{},{}>",
            name(&map.key_field.field_type),
            name(&map.value_field.field_type)
        ),
        Type::Struct(fields) => {
            let fields: Vec<String> = fields
                .fields()
                .iter()
                .map(|field| format!("{}:{}", field.name, name(&field.field_type)))
                .collect();
            format!("struct<{}>", fields.join(","))
        }
    }
}

/// Parses columns as they stand in `CREATE TABLE`, without the parentheses around them.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with the place in the text.
pub(super) fn columns(parser: &mut Parser<'_>) -> Result<Vec<SqlField>, ParserError> {
    parser.parse_comma_separated(|parser| {
        let name = super::normal(&parser.parse_identifier()?);
        let ty = parse(parser)?;
        let mut field = SqlField {
            name,
            ty,
            required: false,
            doc: None,
            default: None,
        };
        loop {
            if parser.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
                field.required = true;
            } else if parser.parse_keyword(Keyword::NULL) {
                field.required = false;
            } else if parser.parse_keyword(Keyword::DEFAULT) {
                field.default = Some(parser.parse_prefix()?);
            } else if let Some(doc) = super::comment(parser)? {
                field.doc = Some(doc);
            } else {
                return Ok(field);
            }
        }
    })
}

/// A result of the parser as one of ours.
pub(super) fn parsed<T>(result: Result<T, ParserError>) -> Result<T> {
    result.map_err(|error| parser_error(&error))
}
