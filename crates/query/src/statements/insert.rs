//! `INSERT`: rows into data files, data files into one commit.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use berglake_format::commit::{Operation, Sequence, Transaction};
use berglake_format::properties::retry_policy;
use berglake_format::schema::to_arrow;
use berglake_format::snapshot::{Append, CommitNotes, Overwrite, ReplacePartitions};
use berglake_format::write::{DataWriter, discard};
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, cast, lit};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, Ident, SelectItem, SetExpr};
use futures::StreamExt;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{NestedFieldRef, Transform, Type};

use super::{may_write, values};
use crate::error::{IntoOurs, advice};
use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::{Insert, doubles, normal, parts, placed, type_name};
use crate::table::scalar;

pub(super) async fn run(session: &Session, statement: Insert) -> Result<QueryOutput> {
    let mut source = statement.source;
    let settings = session.settings();
    let (table, branch) = session
        .resolver(&settings)
        .find_target(&parts(&statement.table)?)
        .await?;
    may_write(&table, settings.force_write)?;
    let fixed = fixed(session, &table, &statement.partition).await?;
    let how = match (statement.overwrite, settings.dynamic_overwrite) {
        (false, _) => How::Append,
        (true, false) => How::Overwrite(filter(&table, &fixed)?),
        (true, true) => How::ReplacePartitions,
    };
    let target = Target {
        columns: &statement.columns,
        fixed,
        how,
        branch,
    };
    if let SetExpr::Values(values) = source.body.as_mut() {
        let arrow = to_arrow(table.schema())?;
        for (column, place) in target.places(&table, &arrow)?.into_iter().enumerate() {
            if arrow.field(place).data_type().is_floating() {
                doubles(values, column);
            }
        }
    }
    distinct_names(&mut source.body);
    let frame = session.plan(source).await?;
    let appended = write(session, &table, table.ident(), frame, target).await?;
    count(appended.rows)
}

/// Gives expressions that a `SELECT` repeats names of their own: the engine wants names to differ, and
/// rows go into a table by position.
fn distinct_names(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            let mut seen = HashSet::new();
            for (place, item) in select.projection.iter_mut().enumerate() {
                if let SelectItem::UnnamedExpr(expr) = item
                    && !seen.insert(expr.to_string())
                {
                    let alias = Ident::with_quote('"', format!("{expr} {place}"));
                    let expr = expr.clone();
                    *item = SelectItem::ExprWithAlias { expr, alias };
                }
            }
        }
        SetExpr::Query(query) => distinct_names(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            distinct_names(left);
            distinct_names(right);
        }
        _ => {}
    }
}

/// What becomes of the rows that are there.
#[derive(Debug, Clone, Default)]
enum How {
    #[default]
    Append,
    /// Those that match go.
    Overwrite(Predicate),
    /// Those in the partitions of the new rows go.
    ReplacePartitions,
}

/// Where rows go.
#[derive(Debug, Clone, Default)]
pub(super) struct Target<'a> {
    /// The columns that the rows have; all in their order where none are named.
    columns: &'a [Ident],
    /// The columns that have one value in all rows, by their places in the table.
    fixed: Vec<(usize, ScalarValue)>,
    how: How,
    branch: Option<String>,
}

/// The values that `PARTITION (…)` gives.
async fn fixed(
    session: &Session,
    table: &Table,
    partition: &[(Ident, Option<SqlExpr>)],
) -> Result<Vec<(usize, ScalarValue)>> {
    let schema = table.schema();
    let fields = schema.as_struct().fields();
    let spec = table.metadata().default_partition_spec();
    let by_identity: Vec<i32> = spec
        .fields()
        .iter()
        .filter(|field| field.transform == Transform::Identity)
        .map(|field| field.source_id)
        .collect();
    let mut seen = Vec::new();
    let mut fixed = Vec::new();
    for (column, value) in partition {
        let place = place_of(table, names_of(fields), column)?;
        let field = &fields[place];
        let wrong = |message: String| {
            placed(Error::invalid(message), column.span.start).with("table", table.ident())
        };
        if !by_identity.contains(&field.id) {
            return Err(wrong(format!(
                "the table is not partitioned by the values of {:?}",
                field.name
            ))
            .help(
                "PARTITION names columns that are partition fields themselves, without a transform",
            ));
        }
        if seen.contains(&place) {
            return Err(wrong(format!("the column {:?} is named twice", field.name)));
        }
        seen.push(place);
        if let Some(value) = value {
            let value = values::constant(session, value, &field.name, &field.field_type).await?;
            fixed.push((place, value));
        }
    }
    Ok(fixed)
}

/// The rows that have these values: all rows where there are none.
fn filter(table: &Table, fixed: &[(usize, ScalarValue)]) -> Result<Predicate> {
    let mut filter = Predicate::AlwaysTrue;
    for (place, value) in fixed {
        let field = &table.schema().as_struct().fields()[*place];
        let column = Reference::new(field.name.as_str());
        let is_nan = matches!(value, ScalarValue::Float32(Some(v)) if v.is_nan())
            || matches!(value, ScalarValue::Float64(Some(v)) if v.is_nan());
        let matches = if value.is_null() {
            column.is_null()
        } else if is_nan {
            column.is_nan()
        } else {
            let datum = match field.field_type.as_ref() {
                Type::Primitive(primitive) => values::datum(value, primitive),
                _ => None,
            };
            let datum = datum.ok_or_else(|| {
                Error::unsupported("partitions of this type cannot be overwritten by their value")
                    .with("name", &field.name)
            })?;
            column.equal_to(datum)
        };
        filter = match filter {
            Predicate::AlwaysTrue => matches,
            others => others.and(matches),
        };
    }
    Ok(filter)
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

/// Appends the rows of a query to a table, by position. Errors call the table by the name that is
/// `known`.
pub(super) async fn append(
    session: &Session,
    table: &Table,
    known: &TableIdent,
    frame: DataFrame,
) -> Result<Appended> {
    write(session, table, known, frame, Target::default()).await
}

async fn write(
    session: &Session,
    table: &Table,
    known: &TableIdent,
    frame: DataFrame,
    target: Target<'_>,
) -> Result<Appended> {
    let frame = fit(table, frame, &target)?;
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
    // Whoever overwrites with nothing empties; everything else with nothing does nothing.
    if files.is_empty() && !matches!(target.how, How::Overwrite(_)) {
        let table = table.clone();
        return Ok(Appended { rows: 0, table });
    }
    let notes = CommitNotes {
        branch: target.branch,
        ..CommitNotes::default()
    };
    let written = files.clone();
    let operation: Arc<dyn Operation> = match target.how {
        How::Append => Arc::new(Append { files, notes }),
        How::Overwrite(filter) => Arc::new(Overwrite {
            filter,
            files,
            notes,
        }),
        How::ReplacePartitions => Arc::new(ReplacePartitions { files, notes }),
    };
    let committed = Transaction::new(session.engine().catalog().as_ref())
        .retry(retry_policy(table.metadata())?)
        .step(table.ident().clone(), Sequence::new(vec![operation]))
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
                discard(table, &written).await;
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

fn names_of(fields: &[NestedFieldRef]) -> Vec<&str> {
    fields.iter().map(|field| field.name.as_str()).collect()
}

/// The place of a column among these.
fn place_of(table: &Table, known: Vec<&str>, column: &Ident) -> Result<usize> {
    let name = normal(column);
    let exact = known.iter().position(|known| *known == name);
    let like = || {
        known
            .iter()
            .position(|known| known.eq_ignore_ascii_case(&name))
    };
    exact.or_else(like).ok_or_else(|| {
        let error = Error::invalid(format!("the table has no column {name:?}"))
            .with("table", table.ident())
            .with("line", column.span.start.line)
            .with("column", column.span.start.column);
        match advice(&name, &known, "columns are") {
            Some(advice) => error.help(advice),
            None => error,
        }
    })
}

impl Target<'_> {
    /// The places of the table's columns that the rows have.
    fn places(&self, table: &Table, arrow: &ArrowSchema) -> Result<Vec<usize>> {
        let known = names(arrow);
        let is_fixed = |place: usize| self.fixed.iter().any(|(fixed, _)| *fixed == place);
        let mut targets = Vec::new();
        for column in self.columns {
            let place = place_of(table, known.clone(), column)?;
            let wrong = |message: String| placed(Error::invalid(message), column.span.start);
            let name = normal(column);
            if targets.contains(&place) {
                return Err(wrong(format!("the column {name:?} is named twice")));
            }
            if is_fixed(place) {
                return Err(wrong(format!(
                    "PARTITION gives the column {name:?} its value"
                )));
            }
            targets.push(place);
        }
        if self.columns.is_empty() {
            targets.extend((0..known.len()).filter(|place| !is_fixed(*place)));
        }
        Ok(targets)
    }
}

/// Names and casts the columns of a query as the table has them.
fn fit(table: &Table, frame: DataFrame, target: &Target<'_>) -> Result<DataFrame> {
    let schema = table.schema();
    let arrow = to_arrow(schema)?;
    let targets = target.places(table, &arrow)?;
    let given = frame.schema().fields().len();
    if given != targets.len() {
        return Err(Error::invalid(format!(
            "the rows have {given} columns and the table takes {}",
            targets.len()
        ))
        .with("table", table.ident())
        .help(format!("columns are: {}", names(&arrow).join(", "))));
    }
    let mut exprs = Vec::with_capacity(arrow.fields().len());
    for ((qualifier, source), place) in frame.schema().iter().zip(&targets) {
        let column = arrow.field(*place);
        if !assignable(source.data_type(), column.data_type()) {
            let name = schema
                .as_struct()
                .fields()
                .get(*place)
                .map(|field| type_name(&field.field_type))
                .unwrap_or_default();
            return Err(Error::invalid(format!(
                "a value of type {} cannot be stored as {name}",
                source.data_type()
            ))
            .with("table", table.ident())
            .with("column", column.name())
            .help("CAST it, if that is what is meant"));
        }
        let value = Expr::Column(datafusion::common::Column::from((qualifier, source)));
        // Views and nested types are brought into shape by the writer, which goes by name.
        let value = if source.data_type() == column.data_type() || source.data_type().is_nested() {
            value
        } else {
            cast(value, column.data_type().clone())
        };
        exprs.push(value.alias(column.name()));
    }
    for (place, value) in &target.fixed {
        exprs.push(lit(value.clone()).alias(arrow.field(*place).name()));
    }
    // A column that is left out has its default, where it has one.
    for (place, field) in schema.as_struct().fields().iter().enumerate() {
        let is_given =
            targets.contains(&place) || target.fixed.iter().any(|(fixed, _)| *fixed == place);
        if let (false, Some(default), Type::Primitive(primitive)) =
            (is_given, &field.write_default, field.field_type.as_ref())
        {
            let value = default
                .as_primitive_literal()
                .and_then(|value| scalar(&value, primitive, arrow.field(place).data_type()))
                .ok_or_else(|| {
                    Error::corrupt("the default of a column is not of its type")
                        .with("table", table.ident())
                        .with("column", &field.name)
                })?;
            exprs.push(lit(value).alias(&field.name));
        }
    }
    frame.select(exprs).ours()
}

/// Whether values of one type may be stored as another: where the meaning stays, and values that do
/// not fit are errors rather than something else. Text is not parsed into numbers in silence, but a
/// date or a time in quotes is what it says.
pub(super) fn assignable(from: &DataType, to: &DataType) -> bool {
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
