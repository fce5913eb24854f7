//! What a text says: statements of this engine's own, and queries for DataFusion.

mod alter;
mod call;
mod clauses;
mod create;
mod depth;
mod dialect;
mod insert;
mod literals;
mod names;
mod partitioning;
mod properties;
mod refs;
mod show;
mod tokens;
mod types;
mod words;

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Query,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

pub(crate) use self::alter::{
    AlterTable, Alteration, ColumnEdit, NewColumn, PartitionTerm, Path, Place,
};
pub(crate) use self::call::{Argument, Call};
pub(crate) use self::create::CreateTable;
use self::dialect::LakeDialect;
pub(crate) use self::insert::Insert;
pub(crate) use self::literals::doubles;
pub(crate) use self::names::{EngineName, Reference, References, Travel, has_query, respell};
pub(crate) use self::partitioning::{PartitionBy, SortBy};
pub(crate) use self::properties::{FORMAT_VERSION, TrinoProperties};
pub(crate) use self::refs::{CreateRef, DropRef, Existing};
pub(crate) use self::types::name as type_name;
use self::types::parsed;
pub(crate) use self::words::placed;

/// How deep expressions and queries may nest.
const RECURSION_LIMIT: usize = 200;

/// What this version does not do is said in these words.
pub(crate) fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("{what} is not supported by this version")).help(
        "supported are SELECT, INSERT INTO and INSERT OVERWRITE, CREATE and DROP of tables and \
         namespaces, ALTER TABLE, CALL, SHOW, DESCRIBE, EXPLAIN, USE and SET",
    )
}

/// A statement.
#[derive(Debug)]
pub(crate) enum Statement {
    Query(Box<Query>),
    Explain {
        query: Box<Query>,
        analyze: bool,
        verbose: bool,
        format: Option<String>,
    },
    CreateNamespace {
        name: ObjectName,
        if_not_exists: bool,
        comment: Option<String>,
    },
    DropNamespace {
        name: ObjectName,
        if_exists: bool,
    },
    CreateTable(Box<CreateTable>),
    DropTable {
        name: ObjectName,
        if_exists: bool,
        purge: bool,
    },
    AlterTable(Box<AlterTable>),
    Insert(Box<Insert>),
    Call(Box<Call>),
    ShowTables {
        namespace: Option<ObjectName>,
        pattern: Option<String>,
    },
    ShowNamespaces {
        parent: Option<ObjectName>,
        pattern: Option<String>,
    },
    Describe {
        table: ObjectName,
        extended: bool,
    },
    DescribeNamespace(ObjectName),
    ShowCreateTable(ObjectName),
    ShowProperties {
        table: ObjectName,
        key: Option<String>,
    },
    Use(ObjectName),
    Set {
        key: String,
        value: String,
    },
}

impl Statement {
    /// The kind of statement in one word, for measurements.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Query(_) => "select",
            Self::Explain { .. } => "explain",
            Self::CreateNamespace { .. } => "create-namespace",
            Self::DropNamespace { .. } => "drop-namespace",
            Self::CreateTable(_) => "create-table",
            Self::DropTable { .. } => "drop-table",
            Self::AlterTable(_) => "alter-table",
            Self::Insert(_) => "insert",
            Self::Call(_) => "call",
            Self::ShowTables { .. }
            | Self::ShowNamespaces { .. }
            | Self::ShowCreateTable(_)
            | Self::ShowProperties { .. } => "show",
            Self::Describe { .. } | Self::DescribeNamespace(_) => "describe",
            Self::Use(_) => "use",
            Self::Set { .. } => "set",
        }
    }
}

/// Splits a text into statements and parses each.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what does not parse, with line and
/// column; [`Unsupported`](berglake_format::ErrorKind::Unsupported) for statements of other engines.
pub(crate) fn parse(text: &str) -> Result<Vec<Statement>> {
    tokens::statements(text)?
        .into_iter()
        .map(|tokens| {
            depth::check(&tokens)?;
            statement(tokens)
        })
        .collect()
}

/// A parser over tokens.
fn parser_of(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&LakeDialect)
        .with_recursion_limit(RECURSION_LIMIT)
        .with_tokens_with_locations(tokens)
}

fn statement(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let keyword = |place: usize| match tokens.get(place).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let word = |place: usize| match tokens.get(place).map(|token| &token.token) {
        Some(Token::Word(word)) => word.value.to_uppercase(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let is_namespace =
        |place: usize| matches!(word(place).as_str(), "NAMESPACE" | "SCHEMA" | "DATABASE");
    let first = word(0);
    match (first.as_str(), keyword(1)) {
        ("SELECT" | "WITH" | "VALUES" | "FROM" | "TABLE" | "(", _) => query(tokens),
        ("EXPLAIN", _) => explain(tokens),
        ("CREATE", Keyword::TABLE) => Ok(Statement::CreateTable(Box::new(create::parse(tokens)?))),
        ("CREATE", Keyword::OR) => Err(unsupported("CREATE OR REPLACE")),
        ("CREATE", _) if is_namespace(1) => create_namespace(tokens),
        ("DROP", Keyword::TABLE) => drop_table(tokens),
        ("DROP", _) if is_namespace(1) => drop_namespace(tokens),
        ("ALTER", Keyword::TABLE) => Ok(Statement::AlterTable(Box::new(alter::parse(tokens)?))),
        ("CREATE" | "DROP" | "ALTER", _) => Err(unsupported(&format!("{first} {}", word(1)))),
        ("INSERT", Keyword::INTO | Keyword::OVERWRITE) => {
            Ok(Statement::Insert(Box::new(insert::parse(tokens)?)))
        }
        ("CALL", _) => Ok(Statement::Call(Box::new(call::parse(tokens)?))),
        ("SHOW", _) => show::parse(tokens),
        ("DESCRIBE" | "DESC", _) => show::describe(tokens),
        ("USE", _) => use_namespace(tokens),
        ("SET", _) => set(&tokens),
        (other, _) if other.chars().all(|letter| letter.is_ascii_alphabetic()) => {
            Err(unsupported(other))
        }
        _ => {
            let mut parser = parser_of(tokens);
            let place = parser.next_token();
            parsed(parser.expected("a statement", place))
        }
    }
}

fn query(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    let query = query_of(&mut parser)?;
    end(&mut parser)?;
    Ok(Statement::Query(query))
}

/// The query that comes next.
fn query_of(parser: &mut Parser<'_>) -> Result<Box<Query>> {
    let mut query = parsed(parser.parse_query())?;
    clauses::check(&query)?;
    depth::balance(&mut query);
    Ok(query)
}

/// Nothing may follow.
fn end(parser: &mut Parser<'_>) -> Result<()> {
    let place = parser.peek_token();
    if place.token == Token::EOF {
        Ok(())
    } else {
        parsed(parser.expected("the end of the statement", place))
    }
}

fn explain(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parsed(parser.expect_keyword(Keyword::EXPLAIN))?;
    let (mut analyze, mut verbose, mut format) = (false, false, None);
    loop {
        if parser.parse_keyword(Keyword::ANALYZE) {
            analyze = true;
        } else if parser.parse_keyword(Keyword::VERBOSE) || parser.parse_keyword(Keyword::EXTENDED)
        {
            verbose = true;
        } else if parser.parse_keyword(Keyword::FORMAT) {
            format = Some(parsed(parser.parse_identifier())?.value);
        } else {
            break;
        }
    }
    if !matches!(
        &parser.peek_token().token,
        Token::LParen
            | Token::Word(datafusion::sql::sqlparser::tokenizer::Word {
                keyword: Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM,
                ..
            })
    ) {
        return Err(unsupported(&format!("EXPLAIN {}", parser.peek_token())));
    }
    let query = query_of(&mut parser)?;
    end(&mut parser)?;
    Ok(Statement::Explain {
        query,
        analyze,
        verbose,
        format,
    })
}

fn create_namespace(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parser.next_token();
    parser.next_token();
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parsed(parser.parse_object_name(false))?;
    let comment = parsed(comment(&mut parser))?;
    end(&mut parser)?;
    Ok(Statement::CreateNamespace {
        name,
        if_not_exists,
        comment,
    })
}

fn drop_namespace(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parser.next_token();
    parser.next_token();
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = parsed(parser.parse_object_name(false))?;
    if parser.parse_keyword(Keyword::CASCADE) {
        return Err(unsupported("DROP NAMESPACE … CASCADE"));
    }
    let _ = parser.parse_keyword(Keyword::RESTRICT);
    end(&mut parser)?;
    Ok(Statement::DropNamespace { name, if_exists })
}

fn drop_table(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parsed(parser.expect_keyword(Keyword::DROP))?;
    parsed(parser.expect_keyword(Keyword::TABLE))?;
    let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = parsed(parser.parse_object_name(true))?;
    let purge = parser.parse_keyword(Keyword::PURGE);
    end(&mut parser)?;
    Ok(Statement::DropTable {
        name,
        if_exists,
        purge,
    })
}

fn use_namespace(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parser.next_token();
    if parser.peek_nth_token(1).token != Token::EOF
        && ["NAMESPACE", "SCHEMA", "DATABASE"]
            .contains(&parser.peek_token().to_string().to_uppercase().as_str())
    {
        parser.next_token();
    }
    let name = parsed(parser.parse_object_name(false))?;
    end(&mut parser)?;
    Ok(Statement::Use(name))
}

/// `SET berglake.force_write = true`. Keys are not names: they have dots and dashes.
fn set(tokens: &[TokenWithSpan]) -> Result<Statement> {
    let wrong = || Error::invalid("SET is written SET key = value");
    let tokens = &tokens[1..];
    let equals = tokens
        .iter()
        .position(|token| token.token == Token::Eq)
        .ok_or_else(wrong)?;
    let text = |tokens: &[TokenWithSpan]| {
        tokens
            .iter()
            .map(|token| match &token.token {
                Token::SingleQuotedString(text) => text.clone(),
                Token::Word(word) => word.value.clone(),
                other => other.to_string(),
            })
            .collect::<String>()
    };
    let (key, value) = (text(&tokens[..equals]), text(&tokens[equals + 1..]));
    if key.is_empty() || value.is_empty() {
        return Err(wrong());
    }
    Ok(Statement::Set { key, value })
}

/// `COMMENT [=] 'text'`, or nothing.
fn comment(parser: &mut Parser<'_>) -> Result<Option<String>, ParserError> {
    if !parser.parse_keyword(Keyword::COMMENT) {
        return Ok(None);
    }
    let _ = parser.consume_token(&Token::Eq);
    parser.parse_literal_string().map(Some)
}

/// A name as it is stored: in lower case unless it is quoted.
pub(crate) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The parts of a name.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a name that is computed.
pub(crate) fn parts(name: &ObjectName) -> Result<Vec<Ident>> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(ident.clone()),
            ObjectNamePart::Function(_) => {
                Err(Error::invalid(format!("{name} is no name of a table")))
            }
        })
        .collect()
}

/// The parts of a table's name that stands in a string.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what is no name.
pub(crate) fn table_name(text: &str) -> Result<Vec<Ident>> {
    let read = || {
        let tokens = tokens::statements(text)?;
        let mut parser = parser_of(tokens.into_iter().next().unwrap_or_default());
        let name = parsed(parser.parse_object_name(false))?;
        end(&mut parser)?;
        parts(&name)
    };
    // Places in the string would say nothing about the statement that it stands in.
    let mut name = read().map_err(|_: Error| {
        Error::invalid(format!("{text:?} is no name of a table")).help("write namespace.table")
    })?;
    for part in &mut name {
        part.span = Span::empty();
    }
    Ok(name)
}

/// The plain arguments of a function.
fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

/// A query as the engine takes it.
pub(crate) fn engine_statement(mut query: Box<Query>) -> datafusion::sql::parser::Statement {
    literals::exponents(&mut query);
    datafusion::sql::parser::Statement::Statement(Box::new(ast::Statement::Query(query)))
}
