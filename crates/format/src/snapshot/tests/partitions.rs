//! Tables whose partition columns were widened, and manifests that need not be read because of their
//! partitions.

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float32Array, Int32Array, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::expr::Reference;
use iceberg::spec::{Datum, Transform, UnboundPartitionSpec};
use roaring::RoaringTreemap;

use super::*;
use crate::commit::TableChange;
use crate::properties::WriteProperties;
use crate::read::{ReadOptions, read};
use crate::rewrite::copy_rows;
use crate::write::{DataWriter, DeletedRows, write_deletes};

const VERSIONS: [FormatVersion; 2] = [FormatVersion::V2, FormatVersion::V3];

fn fields(wide: bool) -> Schema {
    let ty = |narrow, wider| Type::Primitive(if wide { wider } else { narrow });
    let decimal = |precision| PrimitiveType::Decimal {
        precision,
        scale: 2,
    };
    let fields = [
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)),
        NestedField::optional(2, "p", ty(PrimitiveType::Int, PrimitiveType::Long)),
        NestedField::optional(3, "f", ty(PrimitiveType::Float, PrimitiveType::Double)),
        NestedField::optional(4, "d", ty(decimal(9), decimal(18))),
    ];
    Schema::builder()
        .with_fields(fields.map(Arc::new))
        .build()
        .unwrap()
}

async fn partitioned(version: FormatVersion) -> Arc<MemoryCommitter> {
    let committer = MemoryCommitter::new(Storage::default(), environment());
    let mut spec = UnboundPartitionSpec::builder();
    for (source, name, transform) in [
        (2, "p", Transform::Identity),
        (2, "p_trunc", Transform::Truncate(10)),
        (2, "p_bucket", Transform::Bucket(4)),
        (3, "f", Transform::Identity),
        (4, "d", Transform::Identity),
    ] {
        spec = spec.add_partition_field(source, name, transform).unwrap();
    }
    let creation = TableCreation::builder()
        .name("t".into())
        .location("memory:///wh/db/t".into())
        .schema(fields(false))
        .partition_spec(spec.build())
        .format_version(version)
        .build();
    committer.create(ident(), creation).await.unwrap();
    Arc::new(committer)
}

/// Another engine widens the columns.
async fn widen(committer: &MemoryCommitter) {
    let change = TableChange {
        ident: ident(),
        requirements: Vec::new(),
        updates: vec![
            TableUpdate::AddSchema {
                schema: fields(true),
            },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ],
    };
    committer.commit(vec![change]).await.unwrap();
    let head = committer.load(&ident()).await.unwrap();
    let p = head.schema().field_by_name("p").unwrap();
    assert_eq!(*p.field_type, Type::Primitive(PrimitiveType::Long));
}

/// Files of the rows with these ids; the row `n` is in the partition of `n / 10`, NULL for 0.
async fn write(table: &Table, ids: &[i64]) -> Vec<WrittenFile> {
    let p = |id: &i64| Some((id / 10) as i32).filter(|p| *p != 0);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.to_vec()))),
        ("p", Arc::new(ids.iter().map(p).collect::<Int32Array>())),
        (
            "f",
            Arc::new(
                ids.iter()
                    .map(|id| p(id).map(|p| p as f32 / 2.0))
                    .collect::<Float32Array>(),
            ),
        ),
        (
            "d",
            Arc::new(
                ids.iter()
                    .map(|id| p(id).map(i128::from))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
        ),
    ];
    let mut writer = DataWriter::new(table).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, name != "id")),
    );
    writer.write(&batch.unwrap()).await.unwrap();
    writer.finish().await.unwrap()
}

async fn load(committer: &MemoryCommitter) -> Table {
    committer.load(&ident()).await.unwrap()
}

async fn add(committer: &MemoryCommitter, ids: &[i64]) {
    let files = write(&load(committer).await, ids).await;
    let notes = CommitNotes::default();
    apply(committer, Append { files, notes }).await.unwrap();
}

async fn ids(committer: &MemoryCommitter) -> Vec<i64> {
    let plan = load(committer).await.scan().plan().await.unwrap();
    let batches: Vec<_> = read(&plan, ReadOptions::default())
        .try_collect()
        .await
        .unwrap();
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            let ids = batch.column_by_name("id").unwrap();
            ids.as_primitive::<Int64Type>().values().to_vec()
        })
        .collect();
    ids.sort_unstable();
    ids
}

/// Deletes so many first rows of the file that has the row with this id, and appends rows.
async fn delta(committer: &MemoryCommitter, id: i64, rows: u64, new: &[i64]) -> RowDelta {
    let table = load(committer).await;
    let plan = table.scan().plan().await.unwrap();
    let mut of = None;
    for task in &plan.tasks {
        let one = crate::plan::ScanPlan {
            tasks: vec![crate::plan::ScanTask {
                position_deletes: Vec::new(),
                ..task.clone()
            }],
            ..plan.clone()
        };
        let batches: Vec<RecordBatch> = read(&one, ReadOptions::default())
            .try_collect()
            .await
            .unwrap();
        let has = |batch: &RecordBatch| {
            let ids = batch.column_by_name("id").unwrap();
            ids.as_primitive::<Int64Type>().values().contains(&id)
        };
        if batches.iter().any(has) {
            of = Some(task.clone());
        }
    }
    let task = of.unwrap();
    let deletes = DeletedRows {
        data_file: task.file.as_ref().clone(),
        spec_id: task.spec_id,
        positions: RoaringTreemap::from_iter(0..rows),
    };
    RowDelta {
        base: table.metadata().current_snapshot_id(),
        data_files: write(&table, new).await,
        delete_files: write_deletes(&table, &[deletes]).await.unwrap(),
        notes: CommitNotes::default(),
    }
}

#[tokio::test]
async fn rows_of_older_files_are_deleted_after_their_partition_column_was_widened() {
    for version in VERSIONS {
        let committer = partitioned(version).await;
        add(&committer, &[1, 2, 10, 11, 12, 20]).await;
        widen(&committer).await;
        // On version 3 the second replaces the vector of the first, in a manifest that is filtered.
        for (rows, new, left) in [
            (1, 13, vec![1, 2, 11, 12, 13, 20]),
            (2, 14, vec![1, 2, 12, 13, 14, 20]),
        ] {
            let delta = delta(&committer, 12, rows, &[new]).await;
            apply(&*committer, delta).await.unwrap();
            assert_eq!(ids(&committer).await, left, "{version}");
        }
    }
}

#[tokio::test]
async fn older_files_are_overwritten_after_their_partition_column_was_widened() {
    for version in VERSIONS {
        let committer = partitioned(version).await;
        add(&committer, &[1, 2, 10, 11, 20]).await;
        let delta = delta(&committer, 10, 1, &[]).await;
        apply(&*committer, delta).await.unwrap();
        // Written before and committed after: the files have values of the narrow type.
        let before = write(&load(&committer).await, &[30]).await;
        widen(&committer).await;
        for (filter, new, left) in [
            (
                Reference::new("p").equal_to(Datum::long(1)),
                before,
                vec![1, 2, 20, 30],
            ),
            (Reference::new("p").is_null(), Vec::new(), vec![20, 30]),
            (Predicate::AlwaysTrue, Vec::new(), Vec::new()),
        ] {
            let overwrite = Overwrite {
                filter,
                files: new,
                notes: CommitNotes::default(),
            };
            let applied = apply(&*committer, overwrite).await.unwrap();
            assert_eq!(ids(&committer).await, left, "{version}");
            let plan = applied.table().scan().plan().await.unwrap();
            let files = plan.tasks.len().to_string();
            assert_eq!(summary(applied.table())["total-data-files"], files);
        }
    }
}

#[tokio::test]
async fn older_files_are_rewritten_after_their_partition_column_was_widened() {
    for version in VERSIONS {
        let committer = partitioned(version).await;
        add(&committer, &[1, 10, 11, 20]).await;
        add(&committer, &[2, 12, 21]).await;
        let first = delta(&committer, 11, 1, &[]).await;
        apply(&*committer, first).await.unwrap();
        widen(&committer).await;
        let plan = load(&committer).await.scan().plan().await.unwrap();
        let p = |task: &crate::plan::ScanTask| task.file.partition()[0].clone();
        let tasks: Vec<_> = plan
            .tasks
            .iter()
            .filter(|task| p(task) == Some(iceberg::spec::Literal::int(1)))
            .cloned()
            .collect();
        assert_eq!(tasks.len(), 2);
        let properties = WriteProperties::of(plan.table.metadata()).unwrap();
        let copies = copy_rows(&plan, &tasks, &properties, 1 << 20)
            .await
            .unwrap();
        // A row that is deleted meanwhile is deleted in the new file, whose partition is the wide one.
        let meanwhile = delta(&committer, 12, 1, &[]).await;
        apply(&*committer, meanwhile).await.unwrap();
        let rewrite = RewriteFiles::new(&plan, vec![copies]).unwrap();
        apply(&*committer, rewrite).await.unwrap();
        assert_eq!(ids(&committer).await, [1, 2, 11, 20, 21], "{version}");
        let plan = load(&committer).await.scan().plan().await.unwrap();
        assert_eq!(plan.tasks.len(), 5);
    }
}

/// The manifests of the head that name live files of this content, by what they name.
async fn manifests(table: &Table, content: ManifestContentType) -> Vec<(String, Vec<String>)> {
    let head = table.current_snapshot().unwrap();
    let mut found = Vec::new();
    for manifest in load_list(table.storage(), table.metadata(), head)
        .await
        .unwrap()
    {
        if manifest.content != content {
            continue;
        }
        let entries = load_entries(&table.storage().file_io(), &manifest)
            .await
            .unwrap();
        let files = entries.iter().filter(|entry| entry.is_alive());
        let folders = files.map(|entry| format!("{:?}", entry.data_file().partition()));
        found.push((manifest.manifest_path.clone(), folders.collect()));
    }
    found
}

#[tokio::test]
async fn manifests_of_other_partitions_are_not_read_to_replace_a_vector() {
    let committer = partitioned(FormatVersion::V3).await;
    add(&committer, &[10, 11, 12]).await;
    add(&committer, &[1, 2, 3]).await;
    for id in [10, 1] {
        let delta = delta(&committer, id, 1, &[]).await;
        apply(&*committer, delta).await.unwrap();
    }
    let delta = delta(&committer, 11, 2, &[]).await;
    let table = load(&committer).await;
    let deletes = manifests(&table, ManifestContentType::Deletes).await;
    assert_eq!(deletes.len(), 2);
    let partition = format!("{:?}", delta.delete_files[0].file.partition());
    for (path, partitions) in &deletes {
        if !partitions.contains(&partition) {
            let location = Location::parse(path).unwrap();
            table.storage().delete(&location).await.unwrap();
        }
    }
    // It would fail if the manifest that is gone were read.
    let applied = apply(&*committer, delta).await.unwrap();
    assert_eq!(summary(applied.table()).get("removed-dvs").unwrap(), "1");
    assert_eq!(
        summary(applied.table()).get("total-delete-files").unwrap(),
        "2"
    );
}

#[tokio::test]
async fn a_damaged_manifest_is_an_error_of_the_commit_and_never_a_panic() {
    let committer = partitioned(FormatVersion::V3).await;
    add(&committer, &[1, 10, 20]).await;
    let table = load(&committer).await;
    let list = table
        .current_snapshot()
        .unwrap()
        .manifest_list()
        .to_string();
    let manifests = manifests(&table, ManifestContentType::Data).await;
    for path in [&list, &manifests[0].0] {
        let location = Location::parse(path).unwrap();
        let whole = table.storage().read(&location).await.unwrap();
        // The header ends with the sync mark; behind it is what is decoded by hand.
        for at in (0..whole.len()).rev().step_by(11).take(60) {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0xFF;
            let storage = table.storage();
            storage.write(&location, damaged.into()).await.unwrap();
            let overwrite = Overwrite {
                filter: Predicate::AlwaysTrue,
                files: Vec::new(),
                notes: CommitNotes::default(),
            };
            if let Err(error) = overwrite.plan(&table).await {
                assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
            }
        }
        table.storage().write(&location, whole).await.unwrap();
    }
}
