use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use iceberg::spec::{
    FormatVersion, Literal, NestedField, NestedFieldRef, Operation, PrimitiveType, Struct,
    Transform, Type,
};

use super::*;
use crate::fixture::Fixture;

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

#[tokio::test]
async fn an_empty_table_has_empty_metadata_tables() {
    let fixture = Fixture::new(FormatVersion::V2, fields());
    for table in MetadataTable::ALL {
        let batch = rows(&fixture, *table, SnapshotSelector::Head).await;
        assert_eq!(batch.num_rows(), 0);
        assert_eq!(
            MetadataTable::parse(&table.name().to_uppercase()),
            Some(*table)
        );
    }
}

#[tokio::test]
async fn snapshots_and_history_are_in_the_order_of_commits() {
    let fixture = fixture().await;
    let snapshots = rows(&fixture, MetadataTable::Snapshots, SnapshotSelector::Head).await;
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
    let history = rows(&fixture, MetadataTable::History, SnapshotSelector::Head).await;
    assert_eq!(history.num_rows(), 3);
    assert_eq!(history.column(3).as_boolean().true_count(), 3);
}

#[tokio::test]
async fn files_show_partitions_of_all_specs_and_readable_metrics() {
    let fixture = fixture().await;
    let files = rows(&fixture, MetadataTable::Files, SnapshotSelector::Head).await;
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
    let then = rows(&fixture, MetadataTable::Files, SnapshotSelector::Id(1)).await;
    assert_eq!(then.num_rows(), 2);
}

#[tokio::test]
async fn partitions_count_rows_files_and_deletes() {
    let fixture = fixture().await;
    let batch = rows(&fixture, MetadataTable::Partitions, SnapshotSelector::Head).await;
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
    let batch = rows(&fixture, MetadataTable::Partitions, SnapshotSelector::Head).await;
    assert_eq!(batch.num_rows(), 1);
    assert!(batch.column_by_name("partition").is_none());
    let count = batch.column_by_name("record_count").unwrap();
    assert_eq!(count.as_primitive::<Int64Type>().value(0), 6);
}
