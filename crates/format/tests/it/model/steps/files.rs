//! Operations on whole files, manifests and keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berglake_format::ErrorKind;
use berglake_format::commit::Sequence;
use berglake_format::evolve::SetProperties;
use berglake_format::plan::ScanTask;
use berglake_format::snapshot::{
    Append, CreateRef, DeleteFiles, Existing, FastAppend, RefKind, RefRetention, ReplacePartitions,
    RewriteManifests, RowDelta,
};
use berglake_format::write::{DeleteScope, write_equality_deletes};
use iceberg::expr::Reference;
use iceberg::spec::{Datum, PrimitiveType, Struct, Type};

use super::{line, must, new_rows, notes, write};
use crate::model::lake::{Lake, Placed};
use crate::model::rows::{Value, batch_of, value_of};

/// Appends without merging manifests.
pub async fn fast_append(lake: &mut Lake) -> bool {
    let line = line(lake);
    let schema = lake.table().await.schema().clone();
    let rows = new_rows(lake, &schema, 4);
    let operation = FastAppend {
        files: write(lake, &rows).await,
        notes: notes(&line),
    };
    let applied = lake.commit(operation).await;
    let applied = must(lake, applied);
    let mut all = lake.lines[&line].rows.clone();
    all.extend(rows.iter().cloned());
    let snapshot = lake.moved(&line, &applied, all);
    lake.then(snapshot).appended = Some(rows);
    true
}

/// Replaces the partitions that new rows are in.
pub async fn replace_partitions(lake: &mut Lake) -> bool {
    let line = line(lake);
    let (plan, placed) = lake.placed(&line).await;
    let metadata = plan.table.metadata().clone();
    let new = new_rows(lake, &plan.schema, 2);
    let files = write(lake, &new).await;
    let spec = metadata.default_partition_spec();
    // Older files have them in the type that the column had then.
    let values = |partition: &Struct| -> Vec<Option<Value>> {
        let values = partition.iter();
        values.map(|value| value.map(value_of)).collect()
    };
    let gone = |task: &ScanTask| {
        let replaced = files
            .iter()
            .any(|new| values(new.file.partition()) == values(task.file.partition()));
        spec.is_unpartitioned() || (task.spec_id == spec.spec_id() && replaced)
    };
    let gone: BTreeSet<&str> = plan
        .tasks
        .iter()
        .filter(|task| gone(task))
        .map(|task| task.file.file_path())
        .collect();
    let gone: Vec<&Placed> = placed
        .iter()
        .filter(|row| gone.contains(row.file.as_str()))
        .collect();
    let (mut rows, removed) = lake.apart(&line, &plan.schema, &gone);
    rows.extend(new.iter().cloned());
    let operation = ReplacePartitions {
        files: files.clone(),
        notes: notes(&line),
    };
    let applied = lake.commit(operation).await;
    let applied = must(lake, applied);
    let snapshot = lake.moved(&line, &applied, rows);
    lake.then(snapshot).replaced = Some((removed, new));
    true
}

/// Removes some files, by path or by a filter that follows a partition.
pub async fn delete_files(lake: &mut Lake) -> bool {
    let line = line(lake);
    let (plan, placed) = lake.placed(&line).await;
    let (mut operation, gone): (_, Vec<&Placed>) = if lake.dice.one_in(2) {
        let Some(task) = lake.dice.pick(&plan.tasks) else {
            return false;
        };
        let path = task.file.file_path();
        let of = placed.iter().filter(|row| row.file == path);
        (DeleteFiles::paths([path]), of.collect())
    } else {
        let fields = plan.schema.as_struct().fields().iter();
        let Some(column) = fields.clone().position(|field| field.name == "p") else {
            return false;
        };
        let value = ["a", "b", "c"][lake.dice.below(3)];
        let text = Value::Text(value.to_string());
        let of = placed.iter().filter(|row| row.seen[column] == text);
        let filter = Reference::new("p").equal_to(Datum::string(value));
        (DeleteFiles::matching(filter), of.collect())
    };
    operation.notes = notes(&line);
    let (rows, _) = lake.apart(&line, &plan.schema, &gone);
    let before = lake.lines[&line].snapshot;
    match lake.commit(operation).await {
        Ok(applied) if applied.snapshot_id().is_some() => {
            lake.moved(&line, &applied, rows);
            true
        }
        Ok(_) if gone.is_empty() => false,
        Ok(_) => lake.fail("files were not removed"),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            lake.note(&error);
            let head = lake.table().await;
            let head = head.head(notes(&line).branch.as_deref()).unwrap();
            assert_eq!(head.map(|head| head.snapshot_id()), before);
            false
        }
        Err(error) => lake.fail(&format!("{error:?}")),
    }
}

/// Writes manifests anew. No row changes, and on version 3 none its lineage.
pub async fn rewrite_manifests(lake: &mut Lake) -> bool {
    let line = line(lake);
    let before = lake.lineage(&line).await;
    let operation = RewriteManifests {
        spec_id: None,
        deletes: lake.dice.one_in(2),
        notes: notes(&line),
    };
    let applied = lake.commit(operation).await;
    let applied = must(lake, applied);
    if applied.snapshot_id().is_none() {
        return false;
    }
    let rows = lake.lines[&line].rows.clone();
    lake.moved(&line, &applied, rows);
    lake.same_lineage(&line, &before).await;
    true
}

/// Deletes all rows with one value of one column: in the table, where it has a spec without fields,
/// else in one partition.
pub async fn equality_delete(lake: &mut Lake) -> bool {
    let line = line(lake);
    let (plan, placed) = lake.placed(&line).await;
    let fields = plan.schema.as_struct().fields();
    let keys: Vec<usize> = (0..fields.len())
        .filter(|at| match fields[*at].field_type.as_ref() {
            Type::Primitive(ty) => !matches!(ty, PrimitiveType::Float | PrimitiveType::Double),
            _ => false,
        })
        .collect();
    let (Some(key), Some(row)) = (lake.dice.pick(&keys).copied(), lake.dice.pick(&placed)) else {
        return false;
    };
    let metadata = plan.table.metadata();
    let global = metadata
        .partition_specs_iter()
        .any(|spec| spec.fields().is_empty());
    let tasks: BTreeMap<&str, &ScanTask> = plan
        .tasks
        .iter()
        .map(|task| (task.file.file_path(), task))
        .collect();
    let own = tasks[row.file.as_str()];
    let scope = match global {
        true => DeleteScope::Table,
        false => DeleteScope::Partition {
            spec_id: own.spec_id,
            values: own.file.partition().clone(),
        },
    };
    let in_scope = |other: &Placed| {
        let task = tasks[other.file.as_str()];
        global || (task.spec_id == own.spec_id && task.file.partition() == own.file.partition())
    };
    let gone: Vec<&Placed> = placed
        .iter()
        .filter(|other| other.seen[key] == row.seen[key] && in_scope(other))
        .collect();
    let (rows, _) = lake.apart(&line, &plan.schema, &gone);
    let (name, value) = (&fields[key].name, &row.seen[key]);
    lake.tell(&format!("of {name} = {value:?} in {scope:?}"));
    let keys = batch_of(&fields[key], std::slice::from_ref(&row.seen[key]));
    let delete = write_equality_deletes(&plan.table, &keys, &scope)
        .await
        .unwrap();
    let operation = RowDelta {
        base: lake.lines[&line].snapshot,
        data_files: Vec::new(),
        delete_files: vec![delete],
        notes: notes(&line),
    };
    let applied = lake.commit(operation).await;
    let applied = must(lake, applied);
    lake.moved(&line, &applied, rows);
    true
}

/// Two appends, a tag between them and a property, in one commit.
pub async fn sequence(lake: &mut Lake) -> bool {
    let schema = lake.table().await.schema().clone();
    let (first, second) = (new_rows(lake, &schema, 3), new_rows(lake, &schema, 3));
    let append = |files| {
        Arc::new(Append {
            files,
            notes: notes("main"),
        })
    };
    let operation = Sequence::new(vec![
        append(write(lake, &first).await),
        Arc::new(CreateRef {
            name: "between".into(),
            kind: RefKind::Tag,
            snapshot_id: None,
            retention: RefRetention::default(),
            existing: Existing::Replace,
        }),
        append(write(lake, &second).await),
        Arc::new(SetProperties {
            set: [("model.key".to_string(), lake.next_key.to_string())].into(),
            remove: BTreeSet::new(),
        }),
    ]);
    let applied = lake.commit(operation).await;
    let applied = must(lake, applied);
    let table = applied.table().clone();
    let head = table.current_snapshot().unwrap();
    let between = head.parent_snapshot_id().unwrap();
    let mut rows = lake.lines["main"].rows.clone();
    rows.extend(first.iter().cloned());
    lake.at("main", between, &table, rows.clone());
    lake.then(between).appended = Some(first);
    lake.tags.insert("between".into(), between);
    rows.extend(second.iter().cloned());
    lake.at("main", head.snapshot_id(), &table, rows);
    lake.then(head.snapshot_id()).appended = Some(second);
    let key = table.metadata().properties().get("model.key");
    assert_eq!(key, Some(&lake.next_key.to_string()));
    true
}
