//! The columns of every table of a pipeline, found by planning its queries without reading rows.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{Field, Schema, SchemaRef};
use berglake_format::{Error, ErrorKind, Result, schema};
use berglake_ingest::dead_letter;
use iceberg::spec::Type;

use super::dataflow::{self, Providers};
use super::expectations::Checks;
use super::files::FileInput;
use super::kafka::{KAFKA, KafkaCall};
use super::tables::{self, Wanted};
use super::types::{can_be_written, table_schema};
use super::{Runner, progress_key, upsert};
use crate::language::{Flow, SourceRef, Table, TableName};

/// The columns of each table, and those of each inferred source.
pub(crate) struct Schemas {
    tables: HashMap<TableName, SchemaRef>,
    /// Why a table was not planned.
    failed: HashMap<TableName, Error>,
    /// Columns of `read_files` by source id, without the columns that the call adds.
    files: HashMap<String, SchemaRef>,
    /// The properties that keep inferred columns, of each table.
    pins: HashMap<TableName, HashMap<String, String>>,
}

impl Schemas {
    /// Plans what these flows need: the flows into their tables and into all tables before them, in
    /// order. What is wrong with one table, [`wanted`](Self::wanted) says of it and of those that read
    /// it, and it does not matter to others.
    pub(super) async fn of<'a>(runner: &Runner, flows: impl Iterator<Item = &'a Flow>) -> Self {
        let mut needed: HashSet<TableName> = flows.map(|flow| flow.target.clone()).collect();
        let mut left: Vec<TableName> = needed.iter().cloned().collect();
        while let Some(name) = left.pop() {
            let table = runner.pipeline.table(&name);
            for upstream in table.into_iter().flat_map(|table| &table.upstream) {
                if needed.insert(upstream.clone()) {
                    left.push(upstream.clone());
                }
            }
        }
        let mut schemas = Self {
            tables: HashMap::new(),
            failed: HashMap::new(),
            files: HashMap::new(),
            pins: HashMap::new(),
        };
        let tables = runner.pipeline.tables().iter();
        for table in tables.filter(|table| needed.contains(table.name())) {
            let name = table.name();
            let mut upstream = table.upstream.iter();
            let planned = match upstream.find_map(|upstream| schemas.failed.get(upstream)) {
                Some(error) => Err(again(error).with("needed by", name)),
                None => schemas.columns(runner, table).await,
            };
            match planned {
                Ok(columns) => {
                    schemas.tables.insert(name.clone(), columns);
                }
                Err(error) => {
                    schemas.failed.insert(name.clone(), error);
                }
            }
        }
        schemas
    }

    /// Plans what one flow needs.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for queries that do not plan, unknown tables, flows
    /// that do not fit their table's declared columns.
    pub(crate) async fn for_flow(runner: &Runner, flow: &Flow) -> Result<Self> {
        let mut schemas = Self::of(runner, std::iter::once(flow)).await;
        match schemas.failed.remove(&flow.target) {
            Some(error) => Err(error),
            None => Ok(schemas),
        }
    }

    /// The columns of a table, as declared or as its flows give them; all of its flows are planned.
    async fn columns(&mut self, runner: &Runner, table: &Table) -> Result<SchemaRef> {
        let mut columns = tables::declared_columns(&table.definition);
        for flow in runner.pipeline.flows_into(table.name()) {
            let given = self.plan(runner, flow).await?;
            match &columns {
                Some(declared) => fits(flow, &given, declared)?,
                None => columns = Some(given),
            }
        }
        columns.ok_or_else(|| {
            Error::invalid("nothing says what columns the table has").with("table", table.name())
        })
    }

    /// What the table should be.
    ///
    /// # Errors
    /// As [`for_flow`](Self::for_flow).
    pub(super) fn wanted<'a>(&'a self, table: &'a Table) -> Result<Wanted<'a>> {
        let columns = self.tables.get(table.name()).ok_or_else(|| {
            let failed = self.failed.get(table.name()).map(again);
            failed.unwrap_or_else(|| {
                Error::internal("a table of the pipeline was not planned")
                    .with("table", table.name())
            })
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

/// An error that more than one table has met.
fn again(error: &Error) -> Error {
    let mut again = Error::new(error.kind(), error.message());
    for (key, value) in error.context() {
        again = again.with(key, value);
    }
    if let Some(cause) = std::error::Error::source(error) {
        again = again.source_error(cause.to_string());
    }
    match error.advice() {
        Some(advice) => again.help(advice),
        None => again,
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

/// The type of a column as tables name it.
fn shown(column: &Field) -> String {
    let table = schema::from_arrow(&Schema::new(vec![column.clone()]));
    let fields = table.as_ref().map(|table| table.as_struct().fields());
    match fields {
        Ok([field]) => type_name(&field.field_type),
        _ => column.data_type().to_string(),
    }
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::List(list) => format!("list<{}>", type_name(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "map<{}, {}>",
            type_name(&map.key_field.field_type),
            type_name(&map.value_field.field_type)
        ),
        Type::Struct(record) => {
            let fields = record.fields().iter();
            let fields =
                fields.map(|field| format!("{}: {}", field.name, type_name(&field.field_type)));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

fn fits(flow: &Flow, given: &SchemaRef, declared: &SchemaRef) -> Result<()> {
    for field in given.fields() {
        let found = declared.column_with_name(field.name());
        if let Some((_, column)) = found
            && !can_be_written(field.data_type(), column.data_type())
        {
            return Err(Error::invalid(format!(
                "the flow gives the column {:?} as {}, and the table declares it as {}",
                field.name(),
                shown(field),
                shown(column),
            ))
            .with("flow", &flow.name)
            .with("table", &flow.target)
            .help("CAST it in the query, or declare the column as it is"));
        }
        if found.is_none() {
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
