//! The procedures that move branches between snapshots, with Spark's names, parameters and columns.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange};
use berglake_format::plan::SnapshotSelector;
use berglake_format::snapshot::{
    CherryPick, FastForward, RollbackTo, RollbackToTimestamp, SetCurrentSnapshot,
};
use berglake_format::{Error, Result, Table};

use super::{Arguments, Parameter, Procedure};
use crate::output::QueryOutput;
use crate::session::Session;
use crate::statements::commit;

pub(super) fn all() -> Vec<Arc<dyn Procedure>> {
    [
        Kind::RollbackToSnapshot,
        Kind::RollbackToTimestamp,
        Kind::SetCurrentSnapshot,
        Kind::CherrypickSnapshot,
        Kind::FastForward,
        Kind::AncestorsOf,
    ]
    .map(|kind| Arc::new(kind) as Arc<dyn Procedure>)
    .to_vec()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    RollbackToSnapshot,
    RollbackToTimestamp,
    SetCurrentSnapshot,
    CherrypickSnapshot,
    FastForward,
    AncestorsOf,
}

#[async_trait]
impl Procedure for Kind {
    fn name(&self) -> &str {
        match self {
            Self::RollbackToSnapshot => "rollback_to_snapshot",
            Self::RollbackToTimestamp => "rollback_to_timestamp",
            Self::SetCurrentSnapshot => "set_current_snapshot",
            Self::CherrypickSnapshot => "cherrypick_snapshot",
            Self::FastForward => "fast_forward",
            Self::AncestorsOf => "ancestors_of",
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        let table = Parameter::required("table", DataType::Utf8);
        let snapshot = || Parameter::required("snapshot_id", DataType::Int64);
        let some_snapshot = || Parameter::optional("snapshot_id", DataType::Int64);
        let text = |name| Parameter::required(name, DataType::Utf8);
        match self {
            Self::RollbackToSnapshot | Self::CherrypickSnapshot => vec![table, snapshot()],
            Self::RollbackToTimestamp => {
                let time = Parameter::required("timestamp", Parameter::instant());
                vec![table, time]
            }
            Self::SetCurrentSnapshot => {
                let reference = Parameter::optional("ref", DataType::Utf8);
                vec![table, some_snapshot(), reference]
            }
            Self::FastForward => vec![table, text("branch"), text("to")],
            Self::AncestorsOf => vec![table, some_snapshot()],
        }
    }

    async fn call(&self, session: &Session, arguments: &Arguments) -> Result<QueryOutput> {
        let name = arguments.need("table", arguments.text("table"))?;
        if matches!(self, Self::AncestorsOf) {
            return ancestors_of(&session.table(name).await?, arguments);
        }
        let table = session.writable_table(name).await?;
        let snapshot = || arguments.need("snapshot_id", arguments.long("snapshot_id"));
        match self {
            Self::RollbackToSnapshot => moved(session, &table, RollbackTo::new(snapshot()?)).await,
            Self::RollbackToTimestamp => {
                let time = arguments.need("timestamp", arguments.instant_ms("timestamp"))?;
                moved(session, &table, RollbackToTimestamp::new(time)).await
            }
            Self::SetCurrentSnapshot => {
                let to = match (arguments.long("snapshot_id"), arguments.text("ref")) {
                    (Some(id), None) => SnapshotSelector::Id(id),
                    (None, Some(name)) => SnapshotSelector::Ref(name.to_string()),
                    _ => {
                        return Err(Error::invalid(
                            "set_current_snapshot takes a snapshot_id or a ref, and not both",
                        ));
                    }
                };
                moved(session, &table, SetCurrentSnapshot::new(to)).await
            }
            Self::CherrypickSnapshot => {
                let source = snapshot()?;
                let pick = CherryPick {
                    snapshot_id: source,
                    branch: None,
                };
                let table = commit(session, &table, pick).await?;
                one_row(&[
                    ("source_snapshot_id", Cell::Id(Some(source))),
                    ("current_snapshot_id", Cell::Id(head(&table, None)?)),
                ])
            }
            Self::FastForward => {
                let branch = arguments.need("branch", arguments.text("branch"))?;
                let to = arguments.need("to", arguments.text("to"))?;
                let operation = FastForward {
                    branch: branch.to_string(),
                    to: to.to_string(),
                };
                let (before, table) = noted(session, &table, Some(branch), operation).await?;
                one_row(&[
                    ("branch_updated", Cell::Text(branch)),
                    ("previous_ref", Cell::Id(before)),
                    ("updated_ref", Cell::Id(head(&table, Some(branch))?)),
                ])
            }
            Self::AncestorsOf => Err(Error::internal("this changes nothing")),
        }
    }
}

/// Moves `main`, and tells from where to where.
async fn moved(
    session: &Session,
    table: &Table,
    operation: impl Operation + 'static,
) -> Result<QueryOutput> {
    let (before, table) = noted(session, table, None, operation).await?;
    one_row(&[
        ("previous_snapshot_id", Cell::Id(before)),
        ("current_snapshot_id", Cell::Id(head(&table, None)?)),
    ])
}

/// Commits, and gives the head of the branch as it was when the commit was planned.
async fn noted(
    session: &Session,
    table: &Table,
    branch: Option<&str>,
    operation: impl Operation + 'static,
) -> Result<(Option<i64>, Table)> {
    let before = Arc::new(Mutex::new(None));
    let noting = Noting {
        operation,
        branch: branch.map(str::to_string),
        before: Arc::clone(&before),
    };
    let table = commit(session, table, noting).await?;
    let before = *before.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((before, table))
}

/// Keeps in mind where a branch was.
struct Noting<O> {
    operation: O,
    branch: Option<String>,
    before: Arc<Mutex<Option<i64>>>,
}

#[async_trait]
impl<O: Operation> Operation for Noting<O> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let planned = self.operation.plan(base).await?;
        let now = head(base, self.branch.as_deref())?;
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(planned)
    }
}

/// The snapshot of a branch, if it is there.
fn head(table: &Table, branch: Option<&str>) -> Result<Option<i64>> {
    let branch = branch.unwrap_or(iceberg::spec::MAIN_BRANCH);
    Ok(table
        .refs()?
        .get(branch)
        .map(|reference| reference.snapshot_id))
}

fn ancestors_of(table: &Table, arguments: &Arguments) -> Result<QueryOutput> {
    let of = match arguments.long("snapshot_id") {
        Some(id) => Some(table.snapshot(id)?.snapshot_id()),
        None => head(table, None)?,
    };
    let (ids, times): (Vec<i64>, Vec<i64>) = table
        .ancestors(of)
        .map(|snapshot| (snapshot.snapshot_id(), snapshot.timestamp_ms()))
        .unzip();
    let schema = Schema::new(vec![
        Field::new("snapshot_id", DataType::Int64, false),
        Field::new("timestamp", DataType::Int64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(Int64Array::from(times)),
    ];
    Ok(QueryOutput::of(RecordBatch::try_new(
        Arc::new(schema),
        columns,
    )?))
}

enum Cell<'a> {
    Id(Option<i64>),
    Text(&'a str),
}

fn one_row(cells: &[(&str, Cell<'_>)]) -> Result<QueryOutput> {
    let mut fields = Vec::with_capacity(cells.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(cells.len());
    for (name, cell) in cells {
        match cell {
            Cell::Id(id) => {
                fields.push(Field::new(*name, DataType::Int64, true));
                columns.push(Arc::new(Int64Array::from(vec![*id])));
            }
            Cell::Text(text) => {
                fields.push(Field::new(*name, DataType::Utf8, false));
                columns.push(Arc::new(StringArray::from(vec![*text])));
            }
        }
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    Ok(QueryOutput::of(batch))
}
