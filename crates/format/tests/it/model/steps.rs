//! The operations, each on the table and on the model.

mod evolution;
mod files;
mod nested;
mod refs;

use std::collections::{BTreeMap, BTreeSet};

use berglake_format::commit::Applied;
use berglake_format::deletes::DeleteLoader;
use berglake_format::plan::ScanTask;
use berglake_format::properties::{HistoryProperties, WriteProperties};
use berglake_format::rewrite::copy_rows;
use berglake_format::snapshot::{
    Append, CommitNotes, ExpireSnapshots, Overwrite, RewriteFiles, RowDelta,
};
use berglake_format::write::{DataWriter, DeletedRows, WrittenFile, write_deletes};
use berglake_format::{Error, ErrorKind};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, FormatVersion, Schema};
use roaring::RoaringTreemap;

use super::Dice;
use super::lake::{Lake, Placed, selector};
use super::rows::{Row, batch, make as make_row};
use nested::Nested;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Append,
    Upsert,
    Delete,
    OverwriteAll,
    OverwritePartition,
    Rewrite,
    Expire,
    Branch,
    Tag,
    DropRef,
    Rollback,
    SetCurrent,
    CherryPick,
    FastForward,
    FastAppend,
    ReplacePartitions,
    DeleteFiles,
    RewriteManifests,
    EqualityDelete,
    Sequence,
    AddColumn,
    DropColumn,
    RenameColumn,
    MoveColumn,
    WidenColumn,
    LoosenColumn,
    AddPartitionField,
    DropPartitionField,
    SortOrder,
    Upgrade,
    Nested(Nested),
}

use Step as S;

/// The steps of all sequences.
pub const ALL: [Step; 30] = [
    S::Append,
    S::Upsert,
    S::Delete,
    S::OverwriteAll,
    S::OverwritePartition,
    S::Rewrite,
    S::Expire,
    S::Branch,
    S::Tag,
    S::DropRef,
    S::Rollback,
    S::SetCurrent,
    S::CherryPick,
    S::FastForward,
    S::FastAppend,
    S::ReplacePartitions,
    S::DeleteFiles,
    S::RewriteManifests,
    S::EqualityDelete,
    S::Sequence,
    S::AddColumn,
    S::DropColumn,
    S::RenameColumn,
    S::MoveColumn,
    S::WidenColumn,
    S::LoosenColumn,
    S::AddPartitionField,
    S::DropPartitionField,
    S::SortOrder,
    S::Upgrade,
];

impl Step {
    pub fn name(self) -> &'static str {
        match self {
            S::Append => "append",
            S::Upsert => "row delta with rows",
            S::Delete => "row delta of deletes",
            S::OverwriteAll => "overwrite of everything",
            S::OverwritePartition => "overwrite by filter",
            S::Rewrite => "rewrite of files",
            S::Expire => "expiry of snapshots",
            S::Branch => "new branch",
            S::Tag => "new tag",
            S::DropRef => "dropped ref",
            S::Rollback => "rollback",
            S::SetCurrent => "set current snapshot",
            S::CherryPick => "cherry-pick",
            S::FastForward => "fast-forward",
            S::FastAppend => "fast append",
            S::ReplacePartitions => "replaced partitions",
            S::DeleteFiles => "removed files",
            S::RewriteManifests => "rewrite of manifests",
            S::EqualityDelete => "equality delete",
            S::Sequence => "sequence in one commit",
            S::AddColumn => "column added",
            S::DropColumn => "column dropped",
            S::RenameColumn => "columns renamed",
            S::MoveColumn => "column moved",
            S::WidenColumn => "column widened",
            S::LoosenColumn => "column made optional",
            S::AddPartitionField => "partition field added",
            S::DropPartitionField => "partition field dropped",
            S::SortOrder => "sort order",
            S::Upgrade => "upgrade to version 3",
            S::Nested(step) => step.name(),
        }
    }
}

/// All steps, with those that only sequences with nested columns make.
pub fn every() -> impl Iterator<Item = Step> {
    ALL.into_iter().chain(nested::ALL.map(S::Nested))
}

/// The next step; those that make the table grow come more often.
pub fn choose(dice: &mut Dice, number: usize, nested: bool) -> Step {
    if number >= 2 && nested && dice.below(5) < 2 {
        return S::Nested(*dice.pick(&nested::ALL).unwrap());
    }
    if number < 2 || dice.one_in(8) {
        return S::Append;
    }
    if dice.one_in(8) {
        return S::Upsert;
    }
    *dice.pick(&ALL).unwrap()
}

/// Makes a step; whether it changed something.
pub async fn make(lake: &mut Lake, step: Step) -> bool {
    match step {
        S::Append => append(lake).await,
        S::Upsert => row_delta(lake, true).await,
        S::Delete => row_delta(lake, false).await,
        S::OverwriteAll => overwrite_all(lake).await,
        S::OverwritePartition => overwrite_partition(lake).await,
        S::Rewrite => rewrite(lake).await,
        S::Expire => expire(lake).await,
        S::Branch => refs::branch(lake).await,
        S::Tag => refs::tag(lake).await,
        S::DropRef => refs::drop_ref(lake).await,
        S::Rollback => refs::rollback(lake).await,
        S::SetCurrent => refs::set_current(lake).await,
        S::CherryPick => refs::cherry_pick(lake).await,
        S::FastForward => refs::fast_forward(lake).await,
        S::FastAppend => files::fast_append(lake).await,
        S::ReplacePartitions => files::replace_partitions(lake).await,
        S::DeleteFiles => files::delete_files(lake).await,
        S::RewriteManifests => files::rewrite_manifests(lake).await,
        S::EqualityDelete => files::equality_delete(lake).await,
        S::Sequence => files::sequence(lake).await,
        S::AddColumn => evolution::add_column(lake).await,
        S::DropColumn => evolution::drop_column(lake).await,
        S::RenameColumn => evolution::rename_column(lake).await,
        S::MoveColumn => evolution::move_column(lake).await,
        S::WidenColumn => evolution::widen_column(lake).await,
        S::LoosenColumn => evolution::loosen_column(lake).await,
        S::AddPartitionField => evolution::add_partition_field(lake).await,
        S::DropPartitionField => evolution::drop_partition_field(lake).await,
        S::SortOrder => evolution::sort_order(lake).await,
        S::Upgrade => evolution::upgrade(lake).await,
        S::Nested(step) => nested::make(lake, step).await,
    }
}

/// A branch, most often `main`.
fn line(lake: &mut Lake) -> String {
    let name = if lake.dice.one_in(3) {
        let names: Vec<String> = lake.lines.keys().cloned().collect();
        lake.dice.pick(&names).unwrap().clone()
    } else {
        "main".to_string()
    };
    lake.tell(&format!("on {name}"));
    name
}

fn notes(line: &str) -> CommitNotes {
    CommitNotes {
        branch: (line != "main").then(|| line.to_string()),
        ..CommitNotes::default()
    }
}

fn new_rows(lake: &mut Lake, schema: &Schema, most: usize) -> Vec<Row> {
    let count = 1 + lake.dice.below(most);
    (0..count)
        .map(|_| {
            lake.next_key += 1;
            make_row(lake.next_key, schema, &mut lake.dice)
        })
        .collect()
}

async fn write(lake: &Lake, rows: &[Row]) -> Vec<WrittenFile> {
    let table = lake.table().await;
    let mut writer = DataWriter::new(&table).unwrap();
    writer.write(&batch(rows, table.schema())).await.unwrap();
    writer.finish().await.unwrap()
}

/// What must succeed.
fn must(lake: &Lake, result: Result<Applied, Error>) -> Applied {
    result.unwrap_or_else(|error| lake.fail(&format!("{error:?}")))
}

async fn append(lake: &mut Lake) -> bool {
    let line = line(lake);
    let schema = lake.table().await.schema().clone();
    let rows = new_rows(lake, &schema, 12);
    let files = write(lake, &rows).await;
    let notes = notes(&line);
    let applied = lake.commit(Append { files, notes }).await;
    let applied = must(lake, applied);
    let mut all = lake.lines[&line].rows.clone();
    all.extend(rows.iter().cloned());
    let snapshot = lake.moved(&line, &applied, all);
    lake.then(snapshot).appended = Some(rows);
    true
}

/// Deletes some rows by position; an upsert adds others in the same commit.
async fn row_delta(lake: &mut Lake, upsert: bool) -> bool {
    let line = line(lake);
    let (plan, placed) = lake.placed(&line).await;
    let mut chosen: Vec<&Placed> = Vec::new();
    for row in &placed {
        if lake.dice.one_in(4) {
            chosen.push(row);
        }
    }
    if chosen.is_empty() {
        return false;
    }
    let table = plan.table.clone();
    let loader = DeleteLoader::new(table.storage().clone());
    let mut by_file: BTreeMap<&str, RoaringTreemap> = BTreeMap::new();
    for row in &chosen {
        by_file
            .entry(row.file.as_str())
            .or_default()
            .insert(row.position);
    }
    let mut deletes = Vec::new();
    for (file, mut positions) in by_file {
        let task = plan
            .tasks
            .iter()
            .find(|task: &&ScanTask| task.file.file_path() == file)
            .unwrap();
        if table.metadata().format_version() >= FormatVersion::V3 {
            // Position deletes from before an upgrade are merged into the vector, too.
            if let Some(older) = loader.positions(task).await.unwrap() {
                positions |= older.as_ref();
            }
        }
        deletes.push(DeletedRows {
            data_file: task.file.as_ref().clone(),
            spec_id: task.spec_id,
            positions,
        });
    }
    let (mut rows, _) = lake.apart(&line, &plan.schema, &chosen);
    let mut data_files = Vec::new();
    if upsert {
        let new = new_rows(lake, &plan.schema, 5);
        data_files = write(lake, &new).await;
        rows.extend(new);
    }
    let delta = RowDelta {
        base: lake.lines[&line].snapshot,
        data_files,
        delete_files: write_deletes(&table, &deletes).await.unwrap(),
        notes: notes(&line),
    };
    let applied = lake.commit(delta).await;
    let applied = must(lake, applied);
    lake.moved(&line, &applied, rows);
    true
}

async fn overwrite_all(lake: &mut Lake) -> bool {
    if !lake.dice.one_in(2) {
        return false;
    }
    let line = line(lake);
    let schema = lake.table().await.schema().clone();
    let rows = new_rows(lake, &schema, 8);
    let overwrite = Overwrite {
        filter: Predicate::AlwaysTrue,
        files: write(lake, &rows).await,
        notes: notes(&line),
    };
    let applied = lake.commit(overwrite).await;
    let applied = must(lake, applied);
    lake.moved(&line, &applied, rows);
    true
}

/// Overwrites by a filter that follows a partition where the files do, and is refused where not.
async fn overwrite_partition(lake: &mut Lake) -> bool {
    let line = line(lake);
    let table = lake.table().await;
    let schema = table.schema().clone();
    let Some(column) = schema.field_by_name("p") else {
        return false;
    };
    let value = ["a", "b", "c"][lake.dice.below(3)];
    let is_of = |row: &Row| {
        let id = column.id;
        row.get(&id) == Some(&super::rows::Value::Text(value.to_string()))
    };
    let mut new = new_rows(lake, &schema, 5);
    for row in &mut new {
        row.insert(column.id, super::rows::Value::Text(value.to_string()));
    }
    let overwrite = Overwrite {
        filter: Reference::new("p").equal_to(Datum::string(value)),
        files: write(lake, &new).await,
        notes: notes(&line),
    };
    match lake.commit(overwrite).await {
        Ok(applied) => {
            let mut rows = lake.lines[&line].rows.clone();
            rows.retain(|row| !is_of(row));
            rows.extend(new);
            lake.moved(&line, &applied, rows);
            true
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            lake.note(&error);
            false
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    }
}

/// Compacts some files, sometimes while rows are deleted from them.
async fn rewrite(lake: &mut Lake) -> bool {
    let line = line(lake);
    let plan = lake.plan(selector(&line)).await;
    let mut groups: BTreeMap<String, Vec<ScanTask>> = BTreeMap::new();
    for task in &plan.tasks {
        let group = format!("{}/{:?}", task.spec_id, task.file.partition());
        groups.entry(group).or_default().push(task.clone());
    }
    let groups: Vec<Vec<ScanTask>> = groups.into_values().collect();
    let Some(tasks) = lake.dice.pick(&groups).cloned() else {
        return false;
    };
    let properties = WriteProperties::of(plan.table.metadata()).unwrap();
    let copied = match copy_rows(&plan, &tasks, &properties, 1 << 26).await {
        Ok(copied) => copied,
        Err(error) => lake.fail(&format!("{error:?}")),
    };
    let mut operation = RewriteFiles::new(&plan, vec![copied]).unwrap();
    operation.notes = notes(&line);
    let between = lake.dice.one_in(2) && row_delta(lake, false).await;
    let before = lake.lineage(&line).await;
    match lake.commit(operation).await {
        Ok(applied) => {
            let rows = lake.lines[&line].rows.clone();
            lake.moved(&line, &applied, rows);
            lake.same_lineage(&line, &before).await;
            true
        }
        Err(error) if between && error.kind() == ErrorKind::Conflict => {
            lake.note(&error);
            false
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    }
}

async fn expire(lake: &mut Lake) -> bool {
    let operation = ExpireSnapshots {
        defaults: HistoryProperties {
            min_snapshots_to_keep: Some(1 + lake.dice.below(4) as u32),
            max_snapshot_age_ms: Some(1),
            max_ref_age_ms: None,
        },
        ..ExpireSnapshots::default()
    };
    let applied = lake.commit(operation).await;
    let applied = must(lake, applied);
    let metadata = applied.table().metadata();
    let before = lake.snapshots.len();
    let heads: BTreeSet<i64> = lake
        .lines
        .values()
        .filter_map(|line| line.snapshot)
        .collect();
    let kept: BTreeSet<i64> = heads
        .iter()
        .copied()
        .chain(lake.tags.values().copied())
        .collect();
    for id in &kept {
        if metadata.snapshot_by_id(*id).is_none() {
            lake.fail(&format!("the snapshot {id} of a ref has expired"));
        }
    }
    lake.snapshots
        .retain(|id, _| metadata.snapshot_by_id(*id).is_some());
    lake.snapshots.len() < before
}
