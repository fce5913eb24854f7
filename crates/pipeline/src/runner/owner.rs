//! Whose a table is. A pipeline keeps the tables that it made, and those that it has taken over; rows
//! that others have put into a table are not its to remove.

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange};
use berglake_format::{Error, Result, Table};
use iceberg::TableUpdate;

/// The property that says which pipeline writes a table.
pub const PIPELINE_PROPERTY: &str = "berglake.pipeline";

/// Whether a pipeline may write a table.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if it belongs to another pipeline.
pub(super) fn may_write(table: &Table, pipeline: &str) -> Result<()> {
    match table.metadata().properties().get(PIPELINE_PROPERTY) {
        Some(owner) if owner != pipeline => {
            Err(Error::invalid("the table belongs to another pipeline")
                .with("table", table.ident())
                .with("pipeline", owner)
                .help("write to another table, or drop this one"))
        }
        _ => Ok(()),
    }
}

/// Whether a flow may remove what a table holds: nobody has said that rows of a table without an owner
/// can go.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if the table belongs to another pipeline,
/// or to none and holds rows.
pub(super) fn may_empty(table: &Table, pipeline: &str, flow: &str) -> Result<()> {
    may_write(table, pipeline)?;
    let properties = table.metadata().properties();
    if properties.contains_key(PIPELINE_PROPERTY) || !holds_rows(table) {
        return Ok(());
    }
    Err(Error::invalid(
        "the table holds rows that are not the pipeline's, and the flow would remove them",
    )
    .with("table", table.ident())
    .with("flow", flow)
    .help(format!(
        "drop or rename the table, or give it to the pipeline with its rows by setting its \
                 property '{PIPELINE_PROPERTY}' to '{pipeline}'"
    )))
}

/// Whether there may be rows in a table.
fn holds_rows(table: &Table) -> bool {
    table.current_snapshot().is_some_and(|head| {
        let records = head.summary().additional_properties.get("total-records");
        records.is_none_or(|records| records != "0")
    })
}

/// A change of a flow, which takes the table over if it has no owner.
pub(super) struct Owning<O> {
    operation: O,
    pipeline: String,
}

impl<O> Owning<O> {
    /// This change, made by this pipeline.
    pub(super) fn new(operation: O, pipeline: &str) -> Self {
        Self {
            operation,
            pipeline: pipeline.to_owned(),
        }
    }
}

#[async_trait]
impl<O: Operation> Operation for Owning<O> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        may_write(base, &self.pipeline)?;
        let mut planned = self.operation.plan(base).await?;
        let properties = base.metadata().properties();
        if let (Some(planned), false) = (&mut planned, properties.contains_key(PIPELINE_PROPERTY)) {
            planned.change.updates.push(TableUpdate::SetProperties {
                updates: [(PIPELINE_PROPERTY.to_owned(), self.pipeline.clone())].into(),
            });
        }
        Ok(planned)
    }
}
