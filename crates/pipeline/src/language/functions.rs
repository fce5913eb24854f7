//! The source functions and their arguments, as one table.

use std::collections::BTreeMap;

use berglake_ingest::kafka::Starting;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Spanned as _, UnaryOperator, Value,
};

use super::ast::{Literal, SourceFunction, fold};
use super::diagnostics::{FileId, Problem, Span, Spanned};
use super::lexer::span_of;
use super::suggest;
use super::types::parse_schema;

/// What values an argument takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum ArgumentKind {
    /// Any text.
    Text,
    /// One character.
    Character,
    /// True or false, as a keyword or a string.
    Boolean,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// A list of columns with their types.
    Schema,
    /// `earliest`, `latest` or a point in time.
    Starting,
}

/// A source function.
#[derive(Debug)]
pub(super) struct FunctionSpec {
    pub(super) name: &'static str,
    /// Whether this version can execute it.
    supported: bool,
    /// The arguments that may be given without a name, in order; they are required.
    positional: &'static [&'static str],
    /// More arguments that must be given.
    required: &'static [&'static str],
    arguments: &'static [(&'static str, ArgumentKind)],
}

/// What `format` can be; the names are those of ingest.
const FORMATS: &[&str] = &["json", "ndjson", "json_array", "csv", "parquet", "arrow"];

/// What `tombstones` can be; the names are those of ingest.
const TOMBSTONES: &[&str] = &["dead_letter", "row", "skip"];

/// All source functions. A new argument is a new line here.
pub(super) const FUNCTIONS: &[FunctionSpec] = &[
    FunctionSpec {
        name: "read_files",
        supported: true,
        positional: &["path"],
        required: &[],
        arguments: &[
            ("path", ArgumentKind::Text),
            ("format", ArgumentKind::OneOf(FORMATS)),
            ("schema", ArgumentKind::Schema),
            ("header", ArgumentKind::Boolean),
            ("delimiter", ArgumentKind::Character),
            ("quote", ArgumentKind::Character),
            ("filename", ArgumentKind::Text),
            ("row_number", ArgumentKind::Text),
            ("connection", ArgumentKind::Text),
        ],
    },
    FunctionSpec {
        name: "read_kafka",
        supported: true,
        positional: &[],
        required: &["connection", "topic", "schema"],
        arguments: &[
            ("connection", ArgumentKind::Text),
            ("topic", ArgumentKind::Text),
            ("format", ArgumentKind::OneOf(&["json"])),
            ("schema", ArgumentKind::Schema),
            ("key", ArgumentKind::Text),
            ("headers", ArgumentKind::Text),
            ("timestamp", ArgumentKind::Text),
            ("topic_column", ArgumentKind::Text),
            ("partition", ArgumentKind::Text),
            ("offset", ArgumentKind::Text),
            ("starting", ArgumentKind::Starting),
            ("tombstones", ArgumentKind::OneOf(TOMBSTONES)),
            ("on_data_loss", ArgumentKind::OneOf(&["fail", "continue"])),
        ],
    },
    FunctionSpec {
        name: "read_postgres",
        supported: false,
        positional: &[],
        required: &[],
        arguments: &[],
    },
    FunctionSpec {
        name: "read_push",
        supported: false,
        positional: &[],
        required: &[],
        arguments: &[],
    },
];

/// The source function of this name.
pub(super) fn find(name: &str) -> Option<&'static FunctionSpec> {
    FUNCTIONS
        .iter()
        .find(|function| function.name.eq_ignore_ascii_case(name))
}

/// Checks a call against the table; every mistake in it goes to `problems`.
pub(super) fn check(
    spec: &'static FunctionSpec,
    span: Span,
    arguments: &[FunctionArg],
    problems: &mut Vec<Problem>,
) -> SourceFunction {
    let mut call = SourceFunction {
        name: spec.name.to_owned(),
        arguments: BTreeMap::new(),
    };
    if !spec.supported {
        problems.push(
            Problem::unsupported(span, spec.name)
                .help("this version has read_files and read_kafka"),
        );
        return call;
    }
    let mut positional = spec.positional.iter();
    for argument in arguments {
        let place = span_of(span.file, argument.span()).unwrap_or(span);
        let (name, name_span, value) = match argument {
            FunctionArg::Named { name, arg, .. } => {
                let span = span_of(span.file, name.span).unwrap_or(place);
                (fold(&name.value, false), span, arg)
            }
            FunctionArg::Unnamed(value) => match positional.next() {
                Some(name) => ((*name).to_owned(), place, value),
                None => {
                    problems.push(
                        Problem::new(place, "this argument needs a name")
                            .help("named arguments are written as name => value"),
                    );
                    continue;
                }
            },
            FunctionArg::ExprNamed { arg, .. } => (String::new(), place, arg),
        };
        let Some((_, kind)) = spec.arguments.iter().find(|(known, _)| *known == name) else {
            let known = spec.arguments.iter().map(|(known, _)| *known);
            let help = suggest::did_you_mean(&name, known.clone())
                .unwrap_or_else(|| format!("it has {}", known.collect::<Vec<_>>().join(", ")));
            let message = format!("{} has no argument `{name}`", spec.name);
            problems.push(Problem::new(name_span, message).help(help));
            continue;
        };
        match literal(span.file, value).ok_or_else(|| {
            Problem::new(
                place,
                format!("`{name}` of {} must be a constant", spec.name),
            )
        }) {
            Ok(value) => match convert(&name, *kind, value.node, value.span.unwrap_or(place)) {
                Ok(value) => {
                    if call.arguments.insert(name.clone(), value).is_some() {
                        let message = format!("argument `{name}` is given twice");
                        problems.push(Problem::new(name_span, message));
                    }
                }
                Err(problem) => problems.push(problem),
            },
            Err(problem) => problems.push(problem),
        }
    }
    for required in spec.required {
        if !call.arguments.contains_key(*required) && !is_given(arguments, required) {
            let message = format!("{} needs a {required}", spec.name);
            let help = format!("write {}({required} => '…', …)", spec.name);
            problems.push(Problem::new(span, message).help(help));
        }
    }
    for required in spec.positional {
        let given = arguments.iter().any(|argument| match argument {
            FunctionArg::Named { name, .. } => name.value.eq_ignore_ascii_case(required),
            _ => true,
        });
        if !given {
            let message = format!("{} needs a {required}", spec.name);
            let help = format!("write {}('…', …)", spec.name);
            problems.push(Problem::new(span, message).help(help));
        }
    }
    call
}

/// Whether an argument is there, even if it is wrong.
fn is_given(arguments: &[FunctionArg], name: &str) -> bool {
    arguments.iter().any(|argument| {
        matches!(argument, FunctionArg::Named { name: given, .. } if given.value.eq_ignore_ascii_case(name))
    })
}

struct Constant {
    node: Literal,
    span: Option<Span>,
}

fn literal(file: FileId, argument: &FunctionArgExpr) -> Option<Constant> {
    let FunctionArgExpr::Expr(expr) = argument else {
        return None;
    };
    let span = span_of(file, expr.span());
    let (negative, value) = match expr {
        Expr::Value(value) => (false, &value.value),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(value) => (true, &value.value),
            _ => return None,
        },
        _ => return None,
    };
    let node = match value {
        Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) if !negative => {
            Literal::String(text.clone())
        }
        Value::Boolean(value) if !negative => Literal::Boolean(*value),
        Value::Number(text, _) => {
            let number: i64 = text.parse().ok()?;
            Literal::Integer(if negative { -number } else { number })
        }
        _ => return None,
    };
    Some(Constant { node, span })
}

fn convert(
    name: &str,
    kind: ArgumentKind,
    value: Literal,
    span: Span,
) -> Result<Spanned<Literal>, Problem> {
    let wrong = |what: &str| Problem::new(span, format!("`{name}` must be {what}"));
    let value = match (kind, value) {
        (ArgumentKind::Text, Literal::String(text)) => Literal::String(text),
        (ArgumentKind::Text, _) => return Err(wrong("a string")),
        (ArgumentKind::Character, Literal::String(text)) if text.chars().count() == 1 => {
            Literal::String(text)
        }
        (ArgumentKind::Character, _) => return Err(wrong("a string of one character")),
        (ArgumentKind::Boolean, Literal::Boolean(value)) => Literal::Boolean(value),
        (ArgumentKind::Boolean, Literal::String(text)) if text.eq_ignore_ascii_case("true") => {
            Literal::Boolean(true)
        }
        (ArgumentKind::Boolean, Literal::String(text)) if text.eq_ignore_ascii_case("false") => {
            Literal::Boolean(false)
        }
        (ArgumentKind::Boolean, _) => return Err(wrong("true or false")),
        (ArgumentKind::OneOf(allowed), Literal::String(text)) => {
            let text = text.to_lowercase();
            if !allowed.contains(&text.as_str()) {
                let help = suggest::did_you_mean(&text, allowed.iter().copied());
                return Err(wrong(&format!("one of {}", allowed.join(", "))).maybe_help(help));
            }
            Literal::String(text)
        }
        (ArgumentKind::OneOf(allowed), _) => {
            return Err(wrong(&format!("one of {}", allowed.join(", "))));
        }
        (ArgumentKind::Starting, Literal::String(text)) => {
            if text.parse::<Starting>().is_err() {
                return Err(wrong(
                    "earliest, latest, or a time such as 2026-01-31T00:00:00Z",
                ));
            }
            Literal::String(text)
        }
        (ArgumentKind::Starting, _) => return Err(wrong("a string")),
        (ArgumentKind::Schema, Literal::String(text)) => {
            if let Err(error) = parse_schema(&text) {
                // The literal's bytes are those of the text only if no quote in it was doubled
                // and no variable put in.
                let plain = span.end.saturating_sub(span.start) == text.len() + 2;
                let place = if plain {
                    let at = span.start + 1;
                    Span::new(span.file, at + error.range.start, at + error.range.end)
                } else {
                    span
                };
                let message = format!("in this schema: {}", error.message);
                return Err(Problem::new(place, message).maybe_help(error.help));
            }
            Literal::String(text)
        }
        (ArgumentKind::Schema, _) => return Err(wrong("a list of columns as a string")),
    };
    Ok(Spanned::new(value, span))
}
