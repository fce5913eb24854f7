//! The columns of every table of a pipeline, found by planning its queries without reading rows.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::SchemaRef;
use berglake_format::{Error, ErrorKind, Result, schema};
use berglake_ingest::dead_letter;

use super::dataflow::{self, Providers};
use super::expectations::Checks;
use super::files::FileInput;
use super::kafka::{KAFKA, KafkaCall};
use super::tables::{self, Wanted};
use super::types::table_schema;
use super::{Runner, progress_key, upsert};
use crate::language::{Flow, SourceRef, Table, TableName};

/// The columns of each table, and those of each inferred source.
pub(crate) struct Schemas {
    tables: HashMap<TableName, SchemaRef>,
    /// Columns of `read_files` by source id, without the columns that the call adds.
    files: HashMap<String, SchemaRef>,
    /// The properties that keep inferred columns, of each table.
    pins: HashMap<TableName, HashMap<String, String>>,
}

impl Schemas {
    /// Plans every flow, in order.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for queries that do not plan, unknown tables, flows
    /// that do not fit their table's declared columns.
    pub(super) async fn of(runner: &Runner) -> Result<Self> {
        Self::of_tables(runner, |_| true).await
    }

    /// Plans what one flow needs: the flows into its table and into all tables before it. What is
    /// wrong elsewhere in the pipeline does not matter to it.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) async fn for_flow(runner: &Runner, flow: &Flow) -> Result<Self> {
        let mut needed: HashSet<TableName> = [flow.target.clone()].into();
        let mut left = vec![flow.target.clone()];
        while let Some(name) = left.pop() {
            let table = runner.pipeline.table(&name);
            for upstream in table.into_iter().flat_map(|table| &table.upstream) {
                if needed.insert(upstream.clone()) {
                    left.push(upstream.clone());
                }
            }
        }
        Self::of_tables(runner, |name| needed.contains(name)).await
    }

    async fn of_tables(runner: &Runner, needed: impl Fn(&TableName) -> bool) -> Result<Self> {
        let mut schemas = Self {
            tables: HashMap::new(),
            files: HashMap::new(),
            pins: HashMap::new(),
        };
        let tables = runner.pipeline.tables().iter();
        for table in tables.filter(|table| needed(table.name())) {
            let mut columns = tables::declared_columns(&table.definition);
            for flow in runner.pipeline.flows_into(table.name()) {
                let given = schemas.plan(runner, flow).await?;
                match &columns {
                    Some(declared) => fits(flow, &given, declared)?,
                    None => columns = Some(given),
                }
            }
            let columns = columns.ok_or_else(|| {
                Error::invalid("nothing says what columns the table has")
                    .with("table", table.name())
            })?;
            schemas.tables.insert(table.name().clone(), columns);
        }
        Ok(schemas)
    }

    /// What the table should be.
    pub(super) fn wanted<'a>(&'a self, table: &'a Table) -> Result<Wanted<'a>> {
        let columns = self.tables.get(table.name()).ok_or_else(|| {
            Error::internal("a table of the pipeline was not planned").with("table", table.name())
        })?;
        Ok(Wanted {
            ident: tables::ident(table.name())?,
            definition: Some(&table.definition),
            columns: columns.as_ref(),
            pins: self.pins(table.name()),
        })
    }

    /// The properties by which the table keeps the columns that were inferred for its flows.
    pub(super) fn pins(&self, table: &TableName) -> HashMap<String, String> {
        self.pins.get(table).cloned().unwrap_or_default()
    }

    /// The columns of a `read_files` call, by the id of its source.
    pub(super) fn files(&self, source_id: &str) -> Result<SchemaRef> {
        self.files.get(source_id).cloned().ok_or_else(|| {
            Error::internal("a file source was not planned").with("source", source_id)
        })
    }

    async fn plan(&mut self, runner: &Runner, flow: &Flow) -> Result<SchemaRef> {
        let mut providers = Providers::new();
        for source in flow.inputs() {
            let columns = match &source.from {
                SourceRef::Table(name) => match self.tables.get(name) {
                    Some(columns) => columns.clone(),
                    None if runner.pipeline.keeps_dead_letters_in(name) => dead_letter::schema(),
                    None => external(runner, name).await.map_err(|error| {
                        let place = Some(source.span);
                        pointed(runner, dataflow::Misplanned { error, place })
                    })?,
                },
                SourceRef::Function(function) if function.name == KAFKA => {
                    KafkaCall::bind(function, &runner.project)?.columns()?
                }
                SourceRef::Function(function) => {
                    let input = FileInput::bind(function, &runner.project, &runner.storage)?;
                    let columns = file_columns(runner, flow, &input).await?;
                    if !input.is_declared() {
                        let pins = self.pins.entry(flow.target.clone()).or_default();
                        pins.insert(
                            pinned_key(&progress_key(&runner.project, flow)),
                            pinned(&columns)?,
                        );
                    }
                    self.files.insert(source.id.clone(), columns.clone());
                    input.options(columns).output_schema()?
                }
            };
            providers.insert(source.id.clone(), dataflow::schema_only(columns));
        }
        let frame = dataflow::plan_and_locate(&runner.engine, flow, &providers)
            .await
            .map_err(|misplanned| pointed(runner, misplanned))?;
        let columns = upsert::columns(flow, &table_schema(frame.schema().as_arrow()))?;
        let names: Vec<_> = columns.fields().iter().map(|f| f.name().clone()).collect();
        let frame = dataflow::keep(frame, &names)?;
        // Conditions must fit even if no row ever comes.
        let table = runner.definition(flow)?;
        for expectation in &table.definition.expectations {
            // One by one: the error of all together would not say whose it is.
            Checks::new(std::slice::from_ref(expectation))
                .flag(&runner.engine, frame.clone())
                .await
                .map_err(|error| {
                    let place = Some(expectation.condition.span);
                    pointed(runner, dataflow::Misplanned { error, place })
                })?;
        }
        Ok(columns)
    }
}

/// The mistake with the line of the file around it, as a mistake of the language is shown.
fn pointed(runner: &Runner, misplanned: dataflow::Misplanned) -> Error {
    let dataflow::Misplanned { error, place } = misplanned;
    let of_the_text = matches!(
        error.kind(),
        ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::NotFound
    );
    match place {
        Some(place) if of_the_text => {
            let (message, help) = (error.message(), error.advice());
            let shown = runner.pipeline.diagnostic(place, message, help);
            Error::new(
                error.kind(),
                format!("the pipeline has a mistake\n\n{shown}\n"),
            )
        }
        _ => error,
    }
}

/// The columns of files: declared, pinned at the first run, or inferred now.
async fn file_columns(runner: &Runner, flow: &Flow, input: &FileInput) -> Result<SchemaRef> {
    if input.is_declared() {
        return input.columns().await;
    }
    let key = pinned_key(&progress_key(&runner.project, flow));
    match runner.catalog.load(&tables::ident(&flow.target)?).await {
        Ok(table) => match table.metadata().properties().get(&key) {
            Some(pinned) => {
                let columns: iceberg::spec::Schema =
                    serde_json::from_str(pinned).map_err(|error| {
                        Error::corrupt("the pinned columns of a source cannot be read")
                            .with("table", table.ident())
                            .with("property", &key)
                            .source_error(error)
                    })?;
                schema::to_arrow(&columns)
            }
            None => input.columns().await,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => input.columns().await,
        Err(error) => Err(error),
    }
}

/// Columns as the property keeps them.
fn pinned(columns: &SchemaRef) -> Result<String> {
    serde_json::to_string(&schema::from_arrow(columns)?)
        .map_err(|error| Error::internal("columns cannot be written").source_error(error))
}

/// The table property that keeps the inferred columns of a flow's files.
fn pinned_key(progress_key: &str) -> String {
    format!("berglake.source-schema.{progress_key}")
}

async fn external(runner: &Runner, name: &TableName) -> Result<SchemaRef> {
    let table = runner.catalog.load(&tables::ident(name)?).await?;
    schema::to_arrow(table.schema())
}

fn fits(flow: &Flow, given: &SchemaRef, declared: &SchemaRef) -> Result<()> {
    for field in given.fields() {
        if declared.column_with_name(field.name()).is_none() {
            let known: Vec<_> = declared
                .fields()
                .iter()
                .map(|f| f.name().as_str())
                .collect();
            return Err(Error::invalid(format!(
                "the flow gives a column {:?} that the table does not declare",
                field.name()
            ))
            .with("flow", &flow.name)
            .with("table", &flow.target)
            .help(format!("the table declares {}", known.join(", "))));
        }
    }
    for field in declared.fields() {
        if !field.is_nullable() && given.column_with_name(field.name()).is_none() {
            return Err(Error::invalid(format!(
                "the flow does not give the column {:?}, which is NOT NULL",
                field.name()
            ))
            .with("flow", &flow.name)
            .with("table", &flow.target));
        }
    }
    Ok(())
}
