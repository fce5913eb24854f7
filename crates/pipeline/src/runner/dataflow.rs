//! From a flow to a DataFusion plan: sources become table providers, temporary views are inlined.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use berglake_format::{Error, Result};
use berglake_query::{Engine, stream_table};
use datafusion::catalog::TableProvider;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, cast, ident};
use futures::{StreamExt, TryStreamExt};

use super::types::table_type;
use crate::language::{Flow, Query, SourceRef, Span};

/// The providers of a flow's inputs, by the id of the source.
pub(super) type Providers = HashMap<String, Arc<dyn TableProvider>>;

/// Why a flow does not plan, and where in the files it says what is wrong.
pub(super) struct Misplanned {
    pub(super) error: Error,
    pub(super) place: Option<Span>,
}

impl Misplanned {
    /// The error of a query, with its place in the text that the engine saw turned into one in the
    /// file.
    fn of(query: &Query, error: Error) -> Self {
        let number = |name: &str| {
            let (_, value) = error.context().iter().find(|(key, _)| *key == name)?;
            value.parse::<u64>().ok()
        };
        let place = match (number("line"), number("column")) {
            (Some(line), Some(column)) => query.places.get(line, column),
            _ => None,
        };
        Self {
            place: place.or(Some(query.span)),
            error,
        }
    }
}

impl From<Error> for Misplanned {
    fn from(error: Error) -> Self {
        Self { error, place: None }
    }
}

/// The rows of a flow's query, over these providers, in types that a table can hold.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if the query does not plan.
pub(super) async fn plan_flow(
    engine: &Engine,
    flow: &Flow,
    providers: &Providers,
) -> Result<DataFrame> {
    plan_and_locate(engine, flow, providers)
        .await
        .map_err(|misplanned| misplanned.error)
}

/// As [`plan_flow`], with the place of the mistake.
///
/// # Errors
/// As [`plan_flow`].
pub(super) async fn plan_and_locate(
    engine: &Engine,
    flow: &Flow,
    providers: &Providers,
) -> Result<DataFrame, Misplanned> {
    let mut views: HashMap<String, Arc<dyn TableProvider>> = HashMap::new();
    for view in &flow.views {
        let frame = plan_query(engine, flow, &view.query, providers, &views).await?;
        views.insert(view.name.to_string(), frame.into_view());
    }
    let frame = plan_query(engine, flow, &flow.query, providers, &views).await?;
    into_table_types(frame)
        .map_err(|error| super::engine_error(error).with("flow", &flow.name).into())
}

async fn plan_query(
    engine: &Engine,
    flow: &Flow,
    query: &Query,
    providers: &Providers,
    views: &HashMap<String, Arc<dyn TableProvider>>,
) -> Result<DataFrame, Misplanned> {
    let mut tables = Vec::with_capacity(query.sources.len());
    for source in &query.sources {
        let view = match &source.from {
            SourceRef::Table(name) => views.get(&name.to_string()),
            SourceRef::Function(_) => None,
        };
        let provider = view.or_else(|| providers.get(&source.id)).ok_or_else(|| {
            Error::internal("a source of a flow has no provider")
                .with("flow", &flow.name)
                .with("source", &source.from)
        })?;
        tables.push((source.id.clone(), provider.clone()));
    }
    let session = engine.connect_with(tables);
    session
        .query(&query.sql)
        .await
        .map_err(|error| Misplanned::of(query, error.with("flow", &flow.name)))
}

fn into_table_types(frame: DataFrame) -> Result<DataFrame, datafusion::error::DataFusionError> {
    let columns: Vec<Expr> = frame
        .schema()
        .columns()
        .into_iter()
        .zip(frame.schema().fields())
        .map(|(column, field)| {
            let name = column.name.clone();
            let expr = Expr::Column(column);
            let wanted = table_type(field.data_type());
            // Views of strings are cast by the writer for nothing; a cast here would copy them.
            if wanted == *field.data_type() || is_string_view(field.data_type()) {
                expr
            } else {
                cast(expr, wanted).alias(name)
            }
        })
        .collect();
    if columns.iter().all(|expr| matches!(expr, Expr::Column(_))) {
        return Ok(frame);
    }
    frame.select(columns)
}

fn is_string_view(ty: &DataType) -> bool {
    matches!(ty, DataType::Utf8View | DataType::BinaryView)
}

/// A provider that plans like a source and has no rows.
pub(super) fn schema_only(schema: SchemaRef) -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(schema))
}

/// A provider over one stream of batches. A second read of it is an error, never an empty result.
pub(super) fn once(stream: SendableRecordBatchStream) -> Result<Arc<dyn TableProvider>> {
    stream_table(stream.schema(), stream.map_err(super::engine_error).boxed())
}

/// Keeps these columns of a frame, in this order.
///
/// # Errors
/// [`Internal`](berglake_format::ErrorKind::Internal) if the frame lacks one of them.
pub(super) fn keep(frame: DataFrame, names: &[String]) -> Result<DataFrame> {
    let columns: Vec<Expr> = names.iter().map(|name| ident(name.as_str())).collect();
    frame.select(columns).map_err(super::engine_error)
}
