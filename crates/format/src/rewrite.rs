//! Writing the rows of data files into new files, deletes applied, and remembering where each went.
//!
//! [`copy_rows`] reads files one after the other and writes what is left of them in the same order.
//! Where all rows go to one partition, the new files are one sequence of rows, and the place of a row
//! in it is arithmetic: the rows copied before its file, plus the rows of its file that were copied
//! before it. That is how a delete that was committed meanwhile finds its row again
//! ([ADR 0016](https://github.com/berglake/berglake/blob/main/docs/adr/0016-deletes-are-carried-over-by-arithmetic.md)).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::StreamExt;
use iceberg::spec::{DataFile, FormatVersion};
use roaring::RoaringTreemap;

use crate::deletes::DeleteLoader;
use crate::plan::{ScanPlan, ScanTask};
use crate::properties::WriteProperties;
use crate::read::{self, FILE_COLUMN, POS_COLUMN, ReadOptions};
use crate::storage::normalize;
use crate::write::{DataWriter, WrittenFile};
use crate::{Error, Result, failpoint};

/// A data file whose rows were copied.
#[derive(Debug, Clone)]
pub struct CopiedFile {
    /// The file.
    pub file: Arc<DataFile>,
    /// The partition spec that it was written with.
    pub spec_id: i32,
    /// The positions of the rows that were copied.
    pub(crate) copied: RoaringTreemap,
    /// The positions of rows that equality deletes had deleted.
    pub(crate) deleted_by_key: RoaringTreemap,
    /// The equality-delete files that were applied, in the normal spelling of their paths.
    pub(crate) equality_deletes: HashSet<String>,
    /// The place of its first copied row among all copied rows.
    pub(crate) start: u64,
}

/// Files whose live rows stand in new files.
#[derive(Debug, Clone)]
pub struct CopiedRows {
    /// The files that were read.
    pub inputs: Vec<CopiedFile>,
    /// The files that were written, in the order of their rows.
    pub outputs: Vec<WrittenFile>,
}

impl CopiedRows {
    /// Whether the outputs hold the rows in the order in which they were read.
    pub(crate) fn in_order(&self) -> bool {
        let mut partitions = self.outputs.iter().map(|file| file.file.partition());
        let first = partitions.next();
        partitions.all(|partition| Some(partition) == first)
    }

    /// Where the row at this position of an input is now: the output, and the position in it.
    pub(crate) fn place(&self, input: &CopiedFile, position: u64) -> Option<(usize, u64)> {
        if !input.copied.contains(position) {
            return None;
        }
        let mut at = input.start + input.copied.rank(position) - 1;
        for (i, output) in self.outputs.iter().enumerate() {
            match at.checked_sub(output.file.record_count()) {
                Some(rest) => at = rest,
                None => return Some((i, at)),
            }
        }
        None
    }

    /// Whether every output has the partition spec and the partition of this input, so that equality
    /// deletes that apply to the one apply to the others.
    pub(crate) fn stays_in_partition(&self, input: &CopiedFile) -> bool {
        self.outputs.iter().all(|output| {
            output.spec_id == input.spec_id && output.file.partition() == input.file.partition()
        })
    }
}

/// Copies the live rows of these tasks of a plan, file after file, into new files of the table's
/// default partition spec. Nothing is committed.
///
/// On format version 3 rows keep their lineage. The plan must be one of all columns and without a
/// filter: what it leaves out would be lost.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a plan of some columns or rows,
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a file that the table has twice, and whatever reading
/// and writing meet. Files that were written are deleted then.
pub async fn copy_rows(
    plan: &ScanPlan,
    tasks: &[ScanTask],
    properties: &WriteProperties,
    memory_limit: usize,
) -> Result<CopiedRows> {
    let table = &plan.table;
    check(plan, tasks).map_err(|error| error.with("table", table.ident()))?;
    let lineage = table.metadata().format_version() >= FormatVersion::V3;
    let plan = ScanPlan {
        tasks: tasks.to_vec(),
        ..plan.clone()
    };
    let mut inputs: Vec<CopiedFile> = tasks.iter().map(copied_file).collect();
    let writer = match lineage {
        true => DataWriter::with_lineage(table, properties)?,
        false => DataWriter::with_properties(table, properties)?,
    };
    let mut writer = writer.memory_limit(memory_limit);
    let options = ReadOptions {
        positions: true,
        lineage,
        ..ReadOptions::default()
    };
    if let Err(error) = copy(&plan, options, &mut inputs, &mut writer).await {
        writer.abort().await;
        return Err(error);
    }
    let rows = writer.rows();
    let outputs = writer.finish().await?;
    failpoint::hit(failpoint::ROWS_COPIED);
    let copied = CopiedRows { inputs, outputs };
    let written: u64 = copied.outputs.iter().map(|f| f.file.record_count()).sum();
    let taken: u64 = copied.inputs.iter().map(|input| input.copied.len()).sum();
    if written != rows || taken != rows {
        crate::write::discard(table, &copied.outputs).await;
        return Err(Error::internal("rows were lost or doubled while copying")
            .with("table", table.ident())
            .with("read", taken)
            .with("written", written));
    }
    Ok(copied)
}

fn check(plan: &ScanPlan, tasks: &[ScanTask]) -> Result<()> {
    if plan.schema.as_struct() != plan.table.schema().as_struct() {
        return Err(Error::invalid("rows can only be copied with all columns"));
    }
    let mut seen = HashSet::new();
    for task in tasks {
        if task.residual != iceberg::expr::Predicate::AlwaysTrue {
            return Err(Error::invalid("rows can only be copied without a filter"));
        }
        if !seen.insert(normalize(task.file.file_path())) {
            return Err(Error::corrupt("a data file is in the table twice")
                .with("path", task.file.file_path()));
        }
    }
    Ok(())
}

fn copied_file(task: &ScanTask) -> CopiedFile {
    let paths = task.equality_deletes.iter();
    CopiedFile {
        file: task.file.clone(),
        spec_id: task.spec_id,
        copied: RoaringTreemap::new(),
        deleted_by_key: RoaringTreemap::new(),
        equality_deletes: paths.map(|d| normalize(d.file.file_path())).collect(),
        start: 0,
    }
}

async fn copy(
    plan: &ScanPlan,
    options: ReadOptions,
    inputs: &mut [CopiedFile],
    writer: &mut DataWriter,
) -> Result<()> {
    let mut current = 0;
    let mut batches = read::read(plan, options);
    while let Some(batch) = batches.next().await {
        let (path, positions, rows) = apart(&batch?)?;
        while inputs
            .get(current)
            .is_some_and(|input| input.file.file_path() != path)
        {
            current += 1;
        }
        let input = inputs
            .get_mut(current)
            .ok_or_else(|| Error::internal("files were read in another order than planned"))?;
        for position in positions {
            let position = u64::try_from(position)
                .map_err(|_| Error::internal("a row has a negative position"))?;
            input.copied.insert(position);
        }
        writer.write(&rows).await?;
    }
    let loader = DeleteLoader::new(plan.table.storage().clone());
    let mut start = 0;
    for (input, task) in inputs.iter_mut().zip(&plan.tasks) {
        input.start = start;
        start += input.copied.len();
        if !task.equality_deletes.is_empty() {
            let mut rest = RoaringTreemap::new();
            rest.insert_range(0..task.file.record_count());
            rest -= &input.copied;
            if let Some(by_position) = loader.positions(task).await? {
                rest -= by_position.as_ref();
            }
            input.deleted_by_key = rest;
        }
    }
    Ok(())
}

/// The file of a batch, the positions of its rows, and the batch without these two columns.
fn apart(batch: &RecordBatch) -> Result<(String, Vec<i64>, RecordBatch)> {
    let missing = || Error::internal("a batch was read without positions");
    let schema = batch.schema();
    let file = schema.index_of(FILE_COLUMN).map_err(|_| missing())?;
    let position = schema.index_of(POS_COLUMN).map_err(|_| missing())?;
    // They stand behind all other columns, and no table has columns of these names.
    if file + 2 != batch.num_columns() || position != file + 1 || batch.num_rows() == 0 {
        return Err(missing());
    }
    let path = batch
        .column(file)
        .as_string_opt::<i32>()
        .ok_or_else(missing)?
        .value(0)
        .to_string();
    let positions = batch
        .column(position)
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(missing)?;
    let columns: Vec<usize> = (0..file).collect();
    Ok((path, positions.values().to_vec(), batch.project(&columns)?))
}
