use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::pretty::pretty_format_batches;
use iceberg::spec::{
    BlobMetadata, DataContentType, FormatVersion, Literal, ManifestContentType, NestedField,
    NestedFieldRef, Operation, PartitionStatisticsFile, PrimitiveType, SnapshotReference,
    SnapshotRetention, StatisticsFile, Struct, Transform, Type,
};
use roaring::RoaringTreemap;

use super::*;
use crate::ErrorKind;
use crate::fixture::Fixture;
use crate::plan::SnapshotSelector::{AsOf, Head, Id, Ref};

fn fields() -> Vec<NestedFieldRef> {
    vec![
        NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
        NestedField::optional(2, "kind", Type::Primitive(PrimitiveType::String)).into(),
    ]
}

fn longs(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn kinds(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

/// Two partitions in one spec, one in the next, and a delete.
async fn fixture() -> Fixture {
    let spec = Fixture::spec(&[(2, "kind", Transform::Identity)]);
    let mut fixture = Fixture::partitioned(FormatVersion::V2, fields(), spec);
    let of_kind = |kind: &str| Struct::from_iter([Some(Literal::string(kind))]);
    let batch = fixture.batch(vec![longs(vec![1, 2]), kinds(vec!["a", "a"])]);
    let a = fixture.data_in(&batch, of_kind("a")).await;
    let batch = fixture.batch(vec![longs(vec![3]), kinds(vec!["b"])]);
    let b = fixture.data_in(&batch, of_kind("b")).await;
    fixture
        .commit(Operation::Append, vec![(0, a.clone()), (0, b)])
        .await;
    let delete = fixture.position_deletes(&[(a.file_path(), 0)], true).await;
    let delete = delete.clone().partition(of_kind("a")).build().unwrap();
    fixture.commit(Operation::Delete, vec![(0, delete)]).await;
    fixture.respec(Fixture::spec(&[(1, "id_bucket", Transform::Bucket(4))]));
    let batch = fixture.batch(vec![longs(vec![4]), kinds(vec!["a"])]);
    let bucket = Struct::from_iter([Some(Literal::int(3))]);
    let c = fixture.data_in(&batch, bucket).await;
    let spec = fixture.metadata.default_partition_spec_id();
    fixture.commit(Operation::Append, vec![(spec, c)]).await;
    fixture
}

async fn rows(fixture: &Fixture, of: MetadataTable, at: SnapshotSelector) -> RecordBatch {
    let table = fixture.table();
    let batch = of.read(&table, &at).await.unwrap();
    assert_eq!(batch.schema(), of.schema(&table).unwrap());
    batch
}

#[test]
fn metadata_tables_are_found_by_their_names_in_any_case() {
    for table in MetadataTable::ALL {
        let upper = table.name().to_uppercase();
        assert_eq!(MetadataTable::parse(&upper), Some(*table));
    }
    assert_eq!(MetadataTable::parse("all_history"), None);
}

#[tokio::test]
async fn snapshots_and_history_are_in_the_order_of_commits() {
    let fixture = fixture().await;
    let snapshots = rows(&fixture, MetadataTable::Snapshots, Head).await;
    let ids = snapshots.column(1).as_primitive::<Int64Type>();
    assert_eq!(ids.values().to_vec(), vec![1, 2, 3]);
    let parents: Vec<_> = snapshots
        .column(2)
        .as_primitive::<Int64Type>()
        .iter()
        .collect();
    assert_eq!(parents, vec![None, Some(1), Some(2)]);
    let operations: Vec<_> = snapshots
        .column(3)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert_eq!(operations, ["append", "delete", "append"]);
    let history = rows(&fixture, MetadataTable::History, Head).await;
    assert_eq!(history.num_rows(), 3);
    assert_eq!(history.column(3).as_boolean().true_count(), 3);
}

#[tokio::test]
async fn files_show_partitions_of_all_specs_and_readable_metrics() {
    let fixture = fixture().await;
    let files = rows(&fixture, MetadataTable::Files, Head).await;
    let contents = files.column_by_name("content").unwrap();
    let contents = contents.as_primitive::<Int32Type>().values().to_vec();
    assert_eq!(contents.iter().filter(|content| **content == 0).count(), 3);
    assert_eq!(contents.iter().filter(|content| **content == 1).count(), 1);
    let partition = files.column_by_name("partition").unwrap().as_struct();
    assert_eq!(partition.column_names(), ["kind", "id_bucket"]);
    let bucket = partition.column(1).as_primitive::<Int32Type>();
    assert_eq!(bucket.iter().flatten().collect::<Vec<_>>(), vec![3]);
    let metrics = files
        .column_by_name("readable_metrics")
        .unwrap()
        .as_struct();
    let id = metrics.column_by_name("id").unwrap().as_struct();
    let upper = id.column_by_name("upper_bound").unwrap();
    let upper: Vec<_> = upper.as_primitive::<Int64Type>().iter().flatten().collect();
    assert_eq!(upper.iter().max(), Some(&4));
    // An older snapshot has fewer.
    let then = rows(&fixture, MetadataTable::Files, Id(1)).await;
    assert_eq!(then.num_rows(), 2);
}

#[tokio::test]
async fn partitions_count_rows_files_and_deletes() {
    let fixture = fixture().await;
    let batch = rows(&fixture, MetadataTable::Partitions, Head).await;
    let shown = batch.project(&[0, 1, 2, 3, 5, 6, 10]).unwrap();
    assert_eq!(
        pretty_format_batches(&[shown]).unwrap().to_string(),
        "\
+------------------------+---------+--------------+------------+------------------------------+----------------------------+--------------------------+
| partition              | spec_id | record_count | file_count | position_delete_record_count | position_delete_file_count | last_updated_snapshot_id |
+------------------------+---------+--------------+------------+------------------------------+----------------------------+--------------------------+
| {kind: , id_bucket: 3} | 1       | 1            | 1          | 0                            | 0                          | 3                        |
| {kind: a, id_bucket: } | 0       | 2            | 1          | 1                            | 1                          | 2                        |
| {kind: b, id_bucket: } | 0       | 1            | 1          | 0                            | 0                          | 1                        |
+------------------------+---------+--------------+------------+------------------------------+----------------------------+--------------------------+"
    );
}

#[tokio::test]
async fn a_table_without_partitions_has_one_row() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    for _ in 0..3 {
        let batch = fixture.batch(vec![longs(vec![1, 2]), kinds(vec!["a", "a"])]);
        let file = fixture.data(&batch).await;
        fixture.commit(Operation::Append, vec![(0, file)]).await;
    }
    let batch = rows(&fixture, MetadataTable::Partitions, Head).await;
    assert_eq!(batch.num_rows(), 1);
    assert!(batch.column_by_name("partition").is_none());
    let count = batch.column_by_name("record_count").unwrap();
    assert_eq!(count.as_primitive::<Int64Type>().value(0), 6);
}

/// The values of a column as text, `|` between columns.
fn shown(batch: &RecordBatch, columns: &[&str]) -> Vec<String> {
    let options = arrow::util::display::FormatOptions::default().with_null("-");
    let formatters: Vec<_> = columns
        .iter()
        .map(|name| {
            let mut column = batch
                .column_by_name(name.split('.').next().unwrap())
                .unwrap();
            for part in name.split('.').skip(1) {
                column = column.as_struct().column_by_name(part).unwrap();
            }
            arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap()
        })
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<String> = formatters
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            cells.join("|")
        })
        .collect()
}

/// The end of each path in a column.
fn names(batch: &RecordBatch, column: &str) -> Vec<String> {
    let end = |path: &String| path.rsplit('/').next().unwrap().to_string();
    shown(batch, &[column]).iter().map(end).collect()
}

#[tokio::test]
async fn a_table_that_was_never_written_has_no_rows_and_all_columns() {
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        let fixture = Fixture::new(version, fields());
        for table in MetadataTable::ALL {
            let batch = rows(&fixture, *table, Head).await;
            let expected = usize::from(*table == MetadataTable::MetadataLogEntries);
            assert_eq!(batch.num_rows(), expected, "{}", table.name());
            assert!(batch.num_columns() > 1, "{}", table.name());
        }
    }
}

#[tokio::test]
async fn data_files_and_delete_files_share_out_the_files() {
    let fixture = fixture().await;
    let data = rows(&fixture, MetadataTable::DataFiles, Head).await;
    assert_eq!(shown(&data, &["content"]), ["0"; 3]);
    let deletes = rows(&fixture, MetadataTable::DeleteFiles, Head).await;
    assert_eq!(
        shown(&deletes, &["content", "record_count", "partition"]),
        ["1|1|{kind: a, id_bucket: -}"]
    );
    let before = rows(&fixture, MetadataTable::DeleteFiles, Id(1)).await;
    assert_eq!(before.num_rows(), 0);
}

#[tokio::test]
async fn manifests_have_counts_by_kind_and_bounds_as_text() {
    let fixture = fixture().await;
    let manifests = rows(&fixture, MetadataTable::Manifests, Head).await;
    assert_eq!(
        shown(
            &manifests,
            &[
                "content",
                "partition_spec_id",
                "added_snapshot_id",
                "added_data_files_count",
                "added_delete_files_count",
                "existing_data_files_count",
                "deleted_delete_files_count",
                "partition_summaries",
            ]
        ),
        [
            "0|1|3|1|0|0|0|[{contains_null: false, contains_nan: false, lower_bound: 3, upper_bound: 3}]",
            "1|0|2|0|1|0|0|[{contains_null: false, contains_nan: false, lower_bound: a, upper_bound: a}]",
            "0|0|1|2|0|0|0|[{contains_null: false, contains_nan: false, lower_bound: a, upper_bound: b}]",
        ]
    );
    let list = fixture.manifests().await;
    let lengths: Vec<String> = list.iter().map(|m| m.manifest_length.to_string()).collect();
    assert_eq!(shown(&manifests, &["length"]), lengths);
    let then = rows(&fixture, MetadataTable::Manifests, Id(1)).await;
    assert_eq!(names(&then, "path"), names(&manifests, "path")[2..]);
}

#[tokio::test]
async fn summaries_of_null_have_no_bounds_and_those_of_months_are_months() {
    let mut fields = fields();
    fields.push(NestedField::optional(3, "day", Type::Primitive(PrimitiveType::Date)).into());
    let spec = Fixture::spec(&[
        (2, "kind", Transform::Identity),
        (3, "day_month", Transform::Month),
    ]);
    let mut fixture = Fixture::partitioned(FormatVersion::V2, fields, spec);
    let days: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![20_000]));
    let batch = fixture.batch(vec![longs(vec![1]), kinds(vec!["a"]), days]);
    let partition = Struct::from_iter([None, Some(Literal::int(657))]);
    let file = fixture.data_in(&batch, partition).await;
    fixture.commit(Operation::Append, vec![(0, file)]).await;
    let manifests = rows(&fixture, MetadataTable::Manifests, Head).await;
    assert_eq!(
        shown(&manifests, &["partition_summaries"]),
        [
            "[{contains_null: true, contains_nan: false, lower_bound: -, upper_bound: -}, \
           {contains_null: false, contains_nan: false, lower_bound: 2024-10, upper_bound: 2024-10}]"
        ]
    );
}

/// A table whose second snapshot rewrote the manifest of the first and removed one of its files.
async fn rewritten(version: FormatVersion) -> Fixture {
    let mut fixture = Fixture::new(version, fields());
    let mut added = Vec::new();
    for id in [1, 2] {
        let batch = fixture.batch(vec![longs(vec![id]), kinds(vec!["a"])]);
        added.push((0, fixture.data(&batch).await));
    }
    fixture.commit(Operation::Append, added).await;
    let table = fixture.table();
    let loaded = crate::plan::load_manifests(&table, fixture.manifests().await)
        .await
        .unwrap();
    let mut writer = fixture.manifest_writer(2, 0, ManifestContentType::Data);
    let entries = &loaded[0].1;
    let kept = entries[0].data_file.clone();
    writer.add_existing_file(kept, 1, 1, Some(1)).unwrap();
    let removed = entries[1].data_file.clone();
    writer.add_delete_file(removed, 1, Some(1)).unwrap();
    let manifest = writer.write_manifest_file().await.unwrap();
    fixture
        .commit_manifests(Operation::Delete, vec![manifest])
        .await;
    fixture
}

#[tokio::test]
async fn entries_tell_what_was_removed_and_by_which_snapshot() {
    let fixture = rewritten(FormatVersion::V2).await;
    let of = [
        "status",
        "snapshot_id",
        "sequence_number",
        "file_sequence_number",
    ];
    let entries = rows(&fixture, MetadataTable::Entries, Head).await;
    assert_eq!(shown(&entries, &of), ["0|1|1|1", "2|2|1|1"]);
    assert_eq!(
        shown(
            &entries,
            &[
                "data_file.content",
                "data_file.record_count",
                "readable_metrics.id.lower_bound",
            ]
        ),
        ["0|1|1", "0|1|2"]
    );
    let first = rows(&fixture, MetadataTable::Entries, Id(1)).await;
    assert_eq!(shown(&first, &of), ["1|1|1|1", "1|1|1|1"]);
    let all = rows(&fixture, MetadataTable::AllEntries, Head).await;
    assert_eq!(
        shown(&all, &of),
        ["0|1|1|1", "2|2|1|1", "1|1|1|1", "1|1|1|1"]
    );
}

#[tokio::test]
async fn the_file_of_an_entry_is_a_row_of_files() {
    let fixture = fixture().await;
    let entries = rows(&fixture, MetadataTable::Entries, Head).await;
    let files = rows(&fixture, MetadataTable::Files, Head).await;
    let of_entries = entries.column_by_name("data_file").unwrap().as_struct();
    for (name, column) in of_entries.column_names().iter().zip(of_entries.columns()) {
        assert_eq!(column, files.column_by_name(name).unwrap(), "{name}");
    }
    assert_eq!(
        entries.column_by_name("readable_metrics"),
        files.column_by_name("readable_metrics")
    );
}

#[tokio::test]
async fn tables_of_all_snapshots_show_each_file_and_each_manifest_once() {
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        let fixture = rewritten(version).await;
        let files = rows(&fixture, MetadataTable::AllFiles, Head).await;
        assert_eq!(
            names(&files, "file_path"),
            ["001-data.parquet", "002-data.parquet"]
        );
        let head = rows(&fixture, MetadataTable::Files, Head).await;
        assert_eq!(names(&head, "file_path"), ["001-data.parquet"]);
        let manifests = rows(&fixture, MetadataTable::AllManifests, Head).await;
        assert_eq!(shown(&manifests, &["reference_snapshot_id"]), ["1", "2"]);
    }
    let fixture = fixture().await;
    let manifests = rows(&fixture, MetadataTable::AllManifests, Head).await;
    assert_eq!(
        shown(&manifests, &["reference_snapshot_id", "added_snapshot_id"]),
        ["1|1", "2|2", "2|1", "3|3", "3|2", "3|1"]
    );
    let entries = rows(&fixture, MetadataTable::AllEntries, Head).await;
    assert_eq!(entries.num_rows(), 4);
    for (table, expected) in [
        (MetadataTable::AllFiles, 4),
        (MetadataTable::AllDataFiles, 3),
        (MetadataTable::AllDeleteFiles, 1),
    ] {
        let files = rows(&fixture, table, Head).await;
        assert_eq!(files.num_rows(), expected, "{}", table.name());
    }
}

#[tokio::test]
async fn vectors_in_one_puffin_file_are_files_of_their_own() {
    let mut fixture = Fixture::new(FormatVersion::V3, fields());
    let mut data = Vec::new();
    for id in [1, 2] {
        let batch = fixture.batch(vec![longs(vec![id, id + 10]), kinds(vec!["a", "b"])]);
        data.push(fixture.data(&batch).await);
    }
    let added = data.iter().map(|file| (0, file.clone())).collect();
    fixture.commit(Operation::Append, added).await;
    let blob = Fixture::blob(&RoaringTreemap::from_iter([0]));
    let first = fixture.vector(data[0].file_path(), &blob, 1).await;
    let mut second = iceberg::spec::DataFileBuilder::default();
    second
        .content(DataContentType::PositionDeletes)
        .file_path(first.file_path().to_string())
        .file_format(first.file_format())
        .partition(Struct::empty())
        .record_count(1)
        .file_size_in_bytes(first.file_size_in_bytes())
        .referenced_data_file(Some(data[1].file_path().to_string()))
        .content_offset(Some(100))
        .content_size_in_bytes(Some(42));
    let second = second.build().unwrap();
    fixture
        .commit(Operation::Delete, vec![(0, first), (0, second)])
        .await;
    for table in [MetadataTable::DeleteFiles, MetadataTable::AllDeleteFiles] {
        let files = rows(&fixture, table, Head).await;
        assert_eq!(
            shown(&files, &["content", "file_format", "content_offset"]),
            ["1|PUFFIN|4", "1|PUFFIN|100"]
        );
        assert_eq!(
            names(&files, "referenced_data_file"),
            ["001-data.parquet", "002-data.parquet"]
        );
    }
    let files = rows(&fixture, MetadataTable::DataFiles, Head).await;
    assert_eq!(shown(&files, &["first_row_id"]), ["0", "2"]);
}

#[tokio::test]
async fn a_branch_and_a_time_choose_the_snapshot() {
    let mut fixture = rewritten(FormatVersion::V2).await;
    let branch = SnapshotReference::new(1, SnapshotRetention::branch(None, None, None));
    fixture.change(|builder| builder.set_ref("old", branch).unwrap());
    let first = fixture.metadata.snapshot_by_id(1).unwrap().timestamp_ms();
    for table in [
        MetadataTable::Manifests,
        MetadataTable::Entries,
        MetadataTable::Files,
        MetadataTable::DataFiles,
        MetadataTable::DeleteFiles,
        MetadataTable::Partitions,
    ] {
        let then = rows(&fixture, table, Id(1)).await;
        for other in [Ref("old".into()), AsOf(first), AsOf(first + 999)] {
            assert_eq!(rows(&fixture, table, other).await, then);
        }
        if table != MetadataTable::DeleteFiles {
            assert_ne!(rows(&fixture, table, Head).await, then, "{}", table.name());
        }
        let unknown = table.read(&fixture.table(), &Id(77)).await.unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
    }
    for table in MetadataTable::ALL {
        let read = table.read(&fixture.table(), &Id(1)).await;
        if table.name().starts_with("all_") {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let help = format!("${}", table.name().trim_start_matches("all_"));
            assert!(error.to_string().contains(&help), "{error}");
        } else {
            read.unwrap();
        }
    }
}

#[tokio::test]
async fn refs_show_branches_and_tags_with_their_retention() {
    let mut fixture = fixture().await;
    let branch = SnapshotReference::new(2, SnapshotRetention::branch(Some(5), Some(60), Some(70)));
    let tag = SnapshotReference::new(
        1,
        SnapshotRetention::Tag {
            max_ref_age_ms: Some(80),
        },
    );
    fixture.change(|builder| {
        let builder = builder.set_ref("audit", branch).unwrap();
        builder.set_ref("v1", tag).unwrap()
    });
    let refs = rows(&fixture, MetadataTable::Refs, Head).await;
    assert_eq!(
        shown(
            &refs,
            &[
                "name",
                "type",
                "snapshot_id",
                "max_reference_age_in_ms",
                "min_snapshots_to_keep",
                "max_snapshot_age_in_ms",
            ]
        ),
        [
            "audit|BRANCH|2|70|5|60",
            "main|BRANCH|3|-|-|-",
            "v1|TAG|1|80|-|-"
        ]
    );
}

#[tokio::test]
async fn the_metadata_log_ends_with_the_current_file_and_knows_the_snapshot_of_then() {
    let mut fixture = rewritten(FormatVersion::V2).await;
    let first = fixture.metadata.snapshot_by_id(1).unwrap().timestamp_ms();
    let now = fixture.metadata.last_updated_ms();
    let mut json = serde_json::to_value(&fixture.metadata).unwrap();
    json["metadata-log"] = serde_json::json!([
        {"metadata-file": "memory:///wh/t/metadata/v0.json", "timestamp-ms": first - 1},
        {"metadata-file": "memory:///wh/t/metadata/v1.json", "timestamp-ms": first},
    ]);
    fixture.metadata = serde_json::from_value(json).unwrap();
    let log = rows(&fixture, MetadataTable::MetadataLogEntries, Head).await;
    assert_eq!(names(&log, "file"), ["v0.json", "v1.json", "v.json"]);
    let timestamps = log.column(0).as_primitive::<TimestampMicrosecondType>();
    let times: Vec<i64> = timestamps
        .values()
        .iter()
        .map(|time| time / 1_000)
        .collect();
    assert_eq!(times, [first - 1, first, now]);
    assert_eq!(
        shown(
            &log,
            &[
                "latest_snapshot_id",
                "latest_schema_id",
                "latest_sequence_number"
            ]
        ),
        ["-|-|-", "1|0|1", "2|0|2"]
    );
}

#[tokio::test]
async fn properties_are_in_the_order_of_their_keys() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    fixture.set("write.parquet.compression-codec", "zstd");
    fixture.set("comment", "films");
    let properties = rows(&fixture, MetadataTable::Properties, Head).await;
    assert_eq!(
        shown(&properties, &["key", "value"]),
        ["comment|films", "write.parquet.compression-codec|zstd"]
    );
}

#[tokio::test]
async fn statistics_files_are_shown_with_their_blobs() {
    let mut fixture = fixture().await;
    let blob = |fields: Vec<i32>, ndv: &str| BlobMetadata {
        r#type: "apache-datasketches-theta-v1".into(),
        snapshot_id: 1,
        sequence_number: 1,
        fields,
        properties: [("ndv".to_string(), ndv.to_string())].into(),
    };
    let statistics = |snapshot_id, blob_metadata| StatisticsFile {
        snapshot_id,
        statistics_path: format!("memory:///wh/t/metadata/{snapshot_id}.stats"),
        file_size_in_bytes: 413,
        file_footer_size_in_bytes: 42,
        key_metadata: None,
        blob_metadata,
    };
    fixture.change(|builder| {
        builder
            .set_statistics(statistics(2, Vec::new()))
            .set_statistics(statistics(
                1,
                vec![blob(vec![1], "4"), blob(vec![1, 2], "5")],
            ))
            .set_partition_statistics(PartitionStatisticsFile {
                snapshot_id: 3,
                statistics_path: "memory:///wh/t/metadata/p.parquet".into(),
                file_size_in_bytes: 43,
            })
    });
    let files = rows(&fixture, MetadataTable::Statistics, Head).await;
    assert_eq!(
        shown(
            &files,
            &[
                "snapshot_id",
                "file_size_in_bytes",
                "file_footer_size_in_bytes",
                "key_metadata"
            ]
        ),
        ["1|413|42|-", "2|413|42|-"]
    );
    let blobs = files.column_by_name("blob_metadata").unwrap();
    let blobs = blobs.as_list::<i32>();
    assert_eq!((blobs.value_length(0), blobs.value_length(1)), (2, 0));
    let first = RecordBatch::from(blobs.value(0).as_struct());
    assert_eq!(
        shown(&first, &["type", "snapshot_id", "fields", "properties"]),
        [
            "apache-datasketches-theta-v1|1|[1]|{ndv: 4}",
            "apache-datasketches-theta-v1|1|[1, 2]|{ndv: 5}"
        ]
    );
    let files = rows(&fixture, MetadataTable::PartitionStatistics, Head).await;
    assert_eq!(
        shown(
            &files,
            &["snapshot_id", "statistics_path", "file_size_in_bytes"]
        ),
        ["3|memory:///wh/t/metadata/p.parquet|43"]
    );
}

#[tokio::test]
async fn only_the_columns_that_are_asked_for_are_kept() {
    let fixture = fixture().await;
    let table = fixture.table();
    for kind in [MetadataTable::AllFiles, MetadataTable::Snapshots] {
        let whole = kind.read(&table, &Head).await.unwrap();
        let batches = kind.batches(&table, &Head, Some(&[1])).await.unwrap();
        let schema = batches[0].schema();
        assert_eq!(schema.fields().len(), 1);
        let some = concat_batches(&schema, &batches).unwrap();
        assert_eq!(some, whole.project(&[1]).unwrap());
        let none = kind.batches(&table, &Head, Some(&[])).await.unwrap();
        let counted: usize = none.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(counted, whole.num_rows());
    }
    // Manifests are read one after the other here.
    let batches = MetadataTable::AllFiles.batches(&table, &Head, None).await;
    assert_eq!(batches.unwrap().len(), 3);
}

#[tokio::test]
async fn a_bound_that_is_no_value_is_named_with_its_manifest() {
    let spec = Fixture::spec(&[(1, "id", Transform::Identity)]);
    let mut fixture = Fixture::partitioned(FormatVersion::V2, fields(), spec);
    let batch = fixture.batch(vec![longs(vec![1]), kinds(vec!["a"])]);
    let partition = Struct::from_iter([Some(Literal::long(1))]);
    let file = fixture.data_in(&batch, partition).await;
    fixture.commit(Operation::Append, vec![(0, file)]).await;
    let mut manifests = fixture.manifests().await;
    let summary = &mut manifests[0].partitions.as_mut().unwrap()[0];
    summary.lower_bound.as_mut().unwrap().truncate(3);
    fixture
        .commit_manifests(Operation::Append, manifests.clone())
        .await;
    let error = MetadataTable::Manifests
        .read(&fixture.table(), &Head)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&manifests[0].manifest_path));
}
