//! `INSERT INTO`: rows into data files, data files into one commit.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use berglake_format::commit::Transaction;
use berglake_format::properties::retry_policy;
use berglake_format::schema::to_arrow;
use berglake_format::snapshot::{Append, CommitNotes};
use berglake_format::write::{DataWriter, discard};
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, cast};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, SetExpr};
use futures::StreamExt;

use super::may_write;
use crate::error::{IntoOurs, advice};
use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::{doubles, normal, parts, type_name};

pub(super) async fn run(
    session: &Session,
    table: &ObjectName,
    columns: &[Ident],
    mut source: Box<Query>,
) -> Result<QueryOutput> {
    let settings = session.settings();
    let table = session
        .resolver(&settings)
        .find_table(&parts(table)?)
        .await?;
    may_write(&table, settings.force_write)?;
    if let SetExpr::Values(values) = source.body.as_mut() {
        let arrow = to_arrow(table.schema())?;
        for (column, place) in places(&table, &arrow, columns)?.into_iter().enumerate() {
            if arrow.field(place).data_type().is_floating() {
                doubles(values, column);
            }
        }
    }
    let frame = session.plan(source).await?;
    let appended = append(session, &table, table.ident(), frame, columns).await?;
    count(appended.rows)
}

/// What became of rows.
pub(super) struct Appended {
    pub(super) rows: u64,
    /// The table with them.
    pub(super) table: Table,
}

/// The one row that `INSERT` gives.
pub(super) fn count(rows: u64) -> Result<QueryOutput> {
    let schema = ArrowSchema::new(vec![Field::new("count", DataType::Int64, false)]);
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let batch = RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(Int64Array::from(vec![rows]))],
    )?;
    Ok(QueryOutput::of(batch))
}

/// Writes the rows of a query into a table, by position, and commits them. Errors call the table by
/// the name that is `known`.
pub(super) async fn append(
    session: &Session,
    table: &Table,
    known: &TableIdent,
    frame: DataFrame,
    columns: &[Ident],
) -> Result<Appended> {
    let frame = fit(table, frame, columns)?;
    let mut rows = frame.execute_stream().await.ours()?;
    let mut writer = DataWriter::new(table)?;
    loop {
        let written = match rows.next().await {
            None => break,
            Some(Ok(batch)) => writer.write(&batch).await,
            Some(Err(error)) => Err(crate::error::from_datafusion(error)),
        };
        if let Err(error) = written {
            writer.abort().await;
            return Err(error.with("table", known));
        }
    }
    let rows = writer.rows();
    let files = writer.finish().await?;
    if files.is_empty() {
        let table = table.clone();
        return Ok(Appended { rows: 0, table });
    }
    let append = Append {
        files: files.clone(),
        notes: CommitNotes::default(),
    };
    let committed = Transaction::new(session.engine().catalog().as_ref())
        .retry(retry_policy(table.metadata())?)
        .step(table.ident().clone(), append)
        .commit()
        .await;
    match committed {
        Ok(applied) => Ok(Appended {
            rows,
            table: applied
                .first()
                .map_or(table, |applied| applied.table())
                .clone(),
        }),
        Err(error) => {
            // After a lost answer the files may be part of the table.
            if error.kind() != ErrorKind::UnknownOutcome {
                discard(table, &files).await;
            }
            Err(error)
        }
    }
}

fn names(arrow: &ArrowSchema) -> Vec<&str> {
    arrow
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect()
}

/// The places of the table's columns that are to be written.
fn places(table: &Table, arrow: &ArrowSchema, columns: &[Ident]) -> Result<Vec<usize>> {
    let known = names(arrow);
    let mut targets = Vec::new();
    for column in columns {
        let name = normal(column);
        let place = known.iter().position(|known| *known == name).or_else(|| {
            known
                .iter()
                .position(|known| known.eq_ignore_ascii_case(&name))
        });
        let Some(place) = place else {
            let error = Error::invalid(format!("the table has no column {name:?}"))
                .with("table", table.ident())
                .with("line", column.span.start.line)
                .with("column", column.span.start.column);
            return Err(match advice(&name, &known, "columns are") {
                Some(advice) => error.help(advice),
                None => error,
            });
        };
        if targets.contains(&place) {
            return Err(
                Error::invalid(format!("the column {name:?} is named twice"))
                    .with("line", column.span.start.line)
                    .with("column", column.span.start.column),
            );
        }
        targets.push(place);
    }
    if columns.is_empty() {
        targets.extend(0..known.len());
    }
    Ok(targets)
}

/// Names and casts the columns of a query as the table has them.
fn fit(table: &Table, frame: DataFrame, columns: &[Ident]) -> Result<DataFrame> {
    let schema = table.schema();
    let arrow = to_arrow(schema)?;
    let targets = places(table, &arrow, columns)?;
    let given = frame.schema().fields().len();
    if given != targets.len() {
        return Err(Error::invalid(format!(
            "the rows have {given} columns and the table takes {}",
            targets.len()
        ))
        .with("table", table.ident())
        .help(format!("columns are: {}", names(&arrow).join(", "))));
    }
    let mut exprs = Vec::with_capacity(given);
    for ((qualifier, source), place) in frame.schema().iter().zip(targets) {
        let target = arrow.field(place);
        if !assignable(source.data_type(), target.data_type()) {
            let name = schema
                .as_struct()
                .fields()
                .get(place)
                .map(|field| type_name(&field.field_type))
                .unwrap_or_default();
            return Err(Error::invalid(format!(
                "a value of type {} cannot be stored as {name}",
                source.data_type()
            ))
            .with("table", table.ident())
            .with("column", target.name())
            .help("CAST it, if that is what is meant"));
        }
        let value = Expr::Column(datafusion::common::Column::from((qualifier, source)));
        // Views and nested types are brought into shape by the writer, which goes by name.
        let value = if source.data_type() == target.data_type() || source.data_type().is_nested() {
            value
        } else {
            cast(value, target.data_type().clone())
        };
        exprs.push(value.alias(target.name()));
    }
    frame.select(exprs).ours()
}

/// Whether values of one type may be stored as another: where the meaning stays, and values that do
/// not fit are errors rather than something else. Text is not parsed into numbers in silence, but a
/// date or a time in quotes is what it says.
fn assignable(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let is_text = |ty: &DataType| matches!(ty, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let is_binary = |ty: &DataType| {
        matches!(
            ty,
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_)
        )
    };
    let is_decimal = |ty: &DataType| {
        matches!(
            ty,
            T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..)
        )
    };
    match (from, to) {
        (T::Null, _) => true,
        (T::Dictionary(_, value), to) => assignable(value, to),
        (from, to) if from == to => true,
        (from, to) if is_text(from) && is_text(to) => true,
        (from, to) if is_binary(from) && is_binary(to) => true,
        (from, to) if from.is_integer() => to.is_numeric() || is_text(to),
        (from, to) if from.is_floating() => to.is_floating() || is_decimal(to) || is_text(to),
        (from, to) if is_decimal(from) => is_decimal(to) || to.is_floating() || is_text(to),
        (T::Boolean, to) => is_text(to),
        (T::Date32 | T::Date64, to) => matches!(to, T::Date32 | T::Timestamp(..)) || is_text(to),
        (T::Timestamp(..), to) => matches!(to, T::Timestamp(..)) || is_text(to),
        (T::Time32(_) | T::Time64(_), T::Time64(_)) => true,
        (from, T::Date32 | T::Timestamp(..) | T::Time64(_)) => is_text(from),
        (from, to) => from.is_nested() && to.is_nested(),
    }
}
