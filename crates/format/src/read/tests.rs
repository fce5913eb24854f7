use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    MapArray, StringArray, StructArray, make_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use iceberg::spec::{
    DataFile, FormatVersion, ListType, Literal, MapType, NestedField, NestedFieldRef, Operation,
    PrimitiveType, Struct, StructType, Transform, Type,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use proptest::prelude::*;
use roaring::RoaringTreemap;

use super::*;
use crate::ErrorKind;
use crate::fixture::Fixture;
use crate::plan::{ScanBuilder, SnapshotSelector};
use crate::properties::SplitProperties;

mod damage;
mod metadata;
mod missing;

fn long(id: i32, name: &str) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long)).into()
}

fn text(id: i32, name: &str) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(PrimitiveType::String)).into()
}

fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

async fn read_plan(plan: &ScanPlan, options: ReadOptions) -> Result<Vec<RecordBatch>> {
    read(plan, options).try_collect().await
}

async fn read_all(fixture: &Fixture) -> Result<Vec<RecordBatch>> {
    let table = fixture.table();
    let plan = ScanBuilder::new(&table).plan().await?;
    read_plan(&plan, ReadOptions::default()).await
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

fn print(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

/// A table of ids 0..count in one file.
async fn counted(version: FormatVersion, count: i64) -> (Fixture, DataFile) {
    let mut fixture = Fixture::new(version, vec![long(1, "id"), text(2, "name")]);
    let names: Vec<String> = (0..count).map(|i| format!("n{i}")).collect();
    let batch = fixture.batch(vec![
        longs(0..count),
        Arc::new(StringArray::from(names)) as ArrayRef,
    ]);
    let file = fixture.data(&batch).await;
    fixture
        .commit(Operation::Append, vec![(0, file.clone())])
        .await;
    (fixture, file)
}

#[tokio::test]
async fn positions_are_those_of_the_file_also_behind_deletes() {
    let (mut fixture, file) = counted(FormatVersion::V2, 11).await;
    let path = file.file_path().to_string();
    let rows = [(path.as_str(), 0), (&path, 5), (&path, 6), (&path, 10)];
    let deletes = fixture.position_deletes(&rows, true).await.build().unwrap();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    let table = fixture.table();
    let plan = table.scan().select(["id"]).plan().await.unwrap();
    assert!(plan.has_deletes());
    let options = ReadOptions {
        batch_size: 3,
        positions: true,
        concurrency: 1,
        ..ReadOptions::default()
    };
    let batches = read_plan(&plan, options).await.unwrap();
    assert_eq!(ids(&batches), vec![1, 2, 3, 4, 7, 8, 9]);
    for batch in &batches {
        assert_eq!(batch.schema(), schema(&plan, options).unwrap());
        assert_eq!(batch.column(0).to_data(), batch.column(2).to_data());
        let files = batch.column(1).as_string::<i32>();
        assert!(files.iter().all(|file| file == Some(path.as_str())));
    }
    // Reading only the first batch gives live rows too.
    let first = read(&plan, options).try_next().await.unwrap().unwrap();
    assert_eq!(ids(&[first]), vec![1, 2, 3]);
}

/// A part of a file begins with row 0 for whoever counts what it reads.
#[tokio::test]
async fn positions_are_those_of_the_file_also_in_its_parts() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        // Three row groups.
        let (mut fixture, file) = counted(version, 11).await;
        let path = file.file_path().to_string();
        let gone: RoaringTreemap = [1, 4, 5, 10].into_iter().collect();
        let deletes = match version {
            FormatVersion::V3 => {
                let blob = Fixture::blob(&gone);
                fixture.vector(&path, &blob, gone.len()).await
            }
            _ => {
                let rows: Vec<_> = gone.iter().map(|at| (path.as_str(), at as i64)).collect();
                let deletes = fixture.position_deletes(&rows, true).await;
                deletes.build().unwrap()
            }
        };
        fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
        let plan = fixture.table().scan().select(["id"]).plan().await.unwrap();
        let parts = plan.splits(&SplitProperties {
            target_size: 40,
            open_file_cost: 0,
            ..SplitProperties::default()
        });
        let options = ReadOptions {
            positions: true,
            concurrency: 1,
            ..ReadOptions::default()
        };
        let mut found = Vec::new();
        let mut with_rows = 0;
        for part in parts {
            let part = ScanPlan {
                tasks: part,
                ..plan.clone()
            };
            let batches = read_plan(&part, options).await.unwrap();
            with_rows += usize::from(!batches.is_empty());
            for batch in &batches {
                assert_eq!(
                    batch[POS_COLUMN].to_data(),
                    batch["id"].to_data(),
                    "{version}"
                );
            }
            found.extend(ids(&batches));
        }
        assert_eq!(with_rows, 3, "{version}");
        found.sort_unstable();
        assert_eq!(found, vec![0, 2, 3, 6, 7, 8, 9], "{version}");
    }
}

#[tokio::test]
async fn a_deletion_vector_deletes_and_supersedes_position_deletes() {
    let (mut fixture, file) = counted(FormatVersion::V3, 9).await;
    let path = file.file_path().to_string();
    let old = fixture
        .position_deletes(&[(&path, 1)], true)
        .await
        .build()
        .unwrap();
    let positions: RoaringTreemap = [1, 4, 8].into_iter().collect();
    let vector = fixture
        .vector(&path, &Fixture::blob(&positions), positions.len())
        .await;
    fixture
        .commit(Operation::Delete, vec![(0, old), (0, vector)])
        .await;
    let plan = fixture.table().scan().plan().await.unwrap();
    assert_eq!(plan.tasks[0].position_deletes.len(), 1);
    assert_eq!(plan.metrics.delete_files, 1);
    let batches = read_plan(&plan, ReadOptions::default()).await.unwrap();
    assert_eq!(ids(&batches), vec![0, 2, 3, 5, 6, 7]);
}

#[tokio::test]
async fn no_columns_still_give_the_live_rows() {
    let (mut fixture, file) = counted(FormatVersion::V2, 9).await;
    let path = file.file_path().to_string();
    let deletes = fixture
        .position_deletes(&[(&path, 3)], true)
        .await
        .build()
        .unwrap();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    let none: [&str; 0] = [];
    let plan = fixture.table().scan().select(none).plan().await.unwrap();
    let batches = read_plan(&plan, ReadOptions::default()).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 8);
}

#[tokio::test]
async fn equality_deletes_apply_to_older_rows_by_id_and_null_equals_null() {
    let mut fixture = Fixture::new(
        FormatVersion::V2,
        vec![long(1, "id"), text(2, "name"), long(3, "extra")],
    );
    let rows = |fixture: &Fixture| {
        fixture.batch(vec![
            longs([1, 2, 3, 4]),
            texts(&[Some("a"), None, Some("c"), None]),
            longs([1, 1, 1, 2]),
        ])
    };
    let first = fixture.data(&rows(&fixture)).await;
    fixture.commit(Operation::Append, vec![(0, first)]).await;
    // Deletes (NULL, 1) and ("c", 1), key columns in another order than in the table.
    let keys = fixture.batch(vec![
        longs([9, 9]),
        texts(&[None, Some("c")]),
        longs([1, 1]),
    ]);
    let keys = keys.project(&[2, 1]).unwrap();
    let deletes = fixture
        .equality_deletes(&[3, 2], &keys, Struct::empty())
        .await;
    // Rows of the same commit are not deleted by it.
    let second = fixture.data(&rows(&fixture)).await;
    fixture
        .commit(Operation::Overwrite, vec![(0, second), (0, deletes)])
        .await;
    // The key columns are renamed and one is dropped; neither is read.
    fixture.evolve(vec![long(1, "id"), text(2, "title")]);
    let table = fixture.table();
    let plan = table.scan().select(["id"]).plan().await.unwrap();
    let batches = read_plan(&plan, ReadOptions::default()).await.unwrap();
    assert_eq!(ids(&batches), vec![1, 4, 1, 2, 3, 4]);
}

#[tokio::test]
async fn equality_deletes_by_a_nested_field_see_null_structs() {
    let inner = StructType::new(vec![long(3, "a"), long(4, "b")]);
    let s = NestedField::optional(2, "s", Type::Struct(inner));
    let mut fixture = Fixture::new(FormatVersion::V2, vec![long(1, "id"), s.into()]);
    let structs = |fixture: &Fixture, a: &[i64], valid: &[bool]| -> ArrayRef {
        let arrow = crate::schema::to_arrow(fixture.metadata.current_schema()).unwrap();
        let DataType::Struct(fields) = arrow.field(1).data_type().clone() else {
            unreachable!()
        };
        let columns = vec![longs(a.to_vec()), longs(a.to_vec())];
        Arc::new(StructArray::new(
            fields,
            columns,
            Some(NullBuffer::from(valid.to_vec())),
        ))
    };
    let s = structs(&fixture, &[7, 7, 8], &[true, false, true]);
    let batch = fixture.batch(vec![longs([1, 2, 3]), s]);
    let data = fixture.data(&batch).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    let s = structs(&fixture, &[7], &[true]);
    let keys = fixture.batch(vec![longs([0]), s]);
    let deletes = fixture.equality_deletes(&[3], &keys, Struct::empty()).await;
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    assert_eq!(ids(&read_all(&fixture).await.unwrap()), vec![2, 3]);
}

/// The ids that are left after an equality delete with these key columns and values of `n`, `added` and
/// `given`. Older files have `n` as an int and lack the other two; `given` has the initial default 7.
async fn left_after(keys: &[i32], values: [Option<i64>; 3]) -> Vec<i64> {
    let n = |ty| NestedField::optional(2, "n", Type::Primitive(ty)).into();
    let columns = vec![long(1, "id"), n(PrimitiveType::Int)];
    let mut fixture = Fixture::new(FormatVersion::V3, columns);
    let ints = Int32Array::from(vec![Some(0), Some(1), Some(2), None]);
    let older = fixture.batch(vec![longs([0, 1, 2, 3]), Arc::new(ints)]);
    let older = fixture.data(&older).await;
    fixture.commit(Operation::Append, vec![(0, older)]).await;
    // A delete file may be older than the column's type, too.
    let int = Int32Array::from(vec![0]);
    let key = fixture.batch(vec![longs([0]), Arc::new(int)]);
    let key = key.project(&[1]).unwrap();
    let narrow = fixture.equality_deletes(&[2], &key, Struct::empty()).await;
    fixture.commit(Operation::Delete, vec![(0, narrow)]).await;
    let given = NestedField::optional(4, "given", Type::Primitive(PrimitiveType::Long));
    fixture.evolve(vec![
        long(1, "id"),
        n(PrimitiveType::Long),
        long(3, "added"),
        given.with_initial_default(Literal::long(7)).into(),
    ]);
    let some = |values: &[Option<i64>]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let newer = fixture.batch(vec![
        longs([4, 5]),
        some(&[Some(2), Some(5_000_000_000)]),
        some(&[None, Some(5)]),
        some(&[Some(7), None]),
    ]);
    let newer = fixture.data(&newer).await;
    fixture.commit(Operation::Append, vec![(0, newer)]).await;
    let [n, added, given] = values.map(|value| some(&[value]));
    let key = fixture.batch(vec![longs([0]), n, added, given]);
    let places: Vec<usize> = keys.iter().map(|id| *id as usize - 1).collect();
    let key = key.project(&places).unwrap();
    let deletes = fixture.equality_deletes(keys, &key, Struct::empty()).await;
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    let plan = fixture.table().scan().select(["id"]).plan().await.unwrap();
    ids(&read_plan(&plan, ReadOptions::default()).await.unwrap())
}

#[tokio::test]
async fn keys_are_what_the_columns_are_now_whatever_older_files_hold() {
    for (keys, values, left) in [
        // Widened: the older rows are ints.
        (&[2][..], [Some(2), None, None], vec![1, 3, 5]),
        (&[2], [None, None, None], vec![1, 2, 4, 5]),
        (&[2], [Some(5_000_000_000), None, None], vec![1, 2, 3, 4]),
        // Added: NULL in the older rows.
        (&[3], [None, None, None], vec![5]),
        (&[3], [None, Some(5), None], vec![1, 2, 3, 4]),
        // Added with a default: 7 in the older rows, and not NULL.
        (&[4], [None, None, Some(7)], vec![5]),
        (&[4], [None, None, None], vec![1, 2, 3, 4]),
        (&[4, 2], [Some(2), None, Some(7)], vec![1, 3, 5]),
        (&[2, 3, 4], [Some(1), None, Some(7)], vec![2, 3, 4, 5]),
    ] {
        assert_eq!(left_after(keys, values).await, left, "{keys:?} {values:?}");
    }
}

/// Files that came from folders named after their values have the column of the partition nowhere else.
#[tokio::test]
async fn a_key_that_only_the_partition_has_is_found() {
    let spec = Fixture::spec(&[(2, "kind", Transform::Identity)]);
    let columns = vec![long(1, "id"), text(2, "kind")];
    let mut fixture = Fixture::partitioned(FormatVersion::V2, columns, spec);
    let kind = |name| Struct::from_iter([Some(Literal::string(name))]);
    let mut files = Vec::new();
    for (id, name) in [(1, "film"), (2, "book"), (3, "song")] {
        let rows = fixture.batch(vec![longs([id]), texts(&[None])]);
        let rows = rows.project(&[0]).unwrap();
        files.push((0, fixture.data_in(&rows, kind(name)).await));
    }
    fixture.commit(Operation::Append, files).await;
    let mut deletes = Vec::new();
    for (key, partition) in [
        (Some("film"), "film"),
        (Some("film"), "book"),
        (None, "song"),
    ] {
        let keys = fixture.batch(vec![longs([0]), texts(&[key])]);
        let keys = keys.project(&[1]).unwrap();
        let file = fixture.equality_deletes(&[2], &keys, kind(partition)).await;
        deletes.push((0, file));
    }
    fixture.commit(Operation::Delete, deletes).await;
    let mut left = ids(&read_all(&fixture).await.unwrap());
    left.sort_unstable();
    assert_eq!(left, vec![2, 3]);
}

#[tokio::test]
async fn nested_fields_are_found_by_id_when_names_are_swapped() {
    let inner = |a: &str, b: &str| {
        let fields = StructType::new(vec![long(4, a), long(5, b)]);
        NestedField::optional(2, "s", Type::Struct(fields)).into()
    };
    let list = |name: &str| {
        let element = StructType::new(vec![long(7, name)]);
        let element = NestedField::list_element(6, Type::Struct(element), false);
        NestedField::optional(3, "l", Type::List(ListType::new(element.into()))).into()
    };
    let mut fixture = Fixture::new(
        FormatVersion::V2,
        vec![long(1, "id"), inner("a", "b"), list("x")],
    );
    let arrow = crate::schema::to_arrow(fixture.metadata.current_schema()).unwrap();
    let DataType::Struct(fields) = arrow.field(1).data_type().clone() else {
        unreachable!()
    };
    let structs = StructArray::new(
        fields,
        vec![longs([1, 0]), longs([10, 0])],
        Some(NullBuffer::from(vec![true, false])),
    );
    let DataType::List(element) = arrow.field(2).data_type().clone() else {
        unreachable!()
    };
    let DataType::Struct(element_fields) = element.data_type().clone() else {
        unreachable!()
    };
    let elements = StructArray::new(element_fields, vec![longs([100, 200])], None);
    let lists = ListArray::new(
        element,
        OffsetBuffer::from_lengths([2, 0]),
        Arc::new(elements),
        Some(NullBuffer::from(vec![true, false])),
    );
    let batch = fixture.batch(vec![longs([1, 2]), Arc::new(structs), Arc::new(lists)]);
    let data = fixture.data(&batch).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;

    // b and a change names, c is new with a default, x becomes y.
    let c = NestedField::optional(8, "c", Type::Primitive(PrimitiveType::Long))
        .with_initial_default(Literal::long(42));
    let s = StructType::new(vec![long(4, "b"), c.into(), long(5, "a")]);
    let s = NestedField::optional(2, "s", Type::Struct(s));
    fixture.evolve(vec![list("y"), long(1, "id"), s.into()]);
    let batches = read_all(&fixture).await.unwrap();
    assert_eq!(
        print(&batches),
        "\
+----------------------+----+----------------------+
| l                    | id | s                    |
+----------------------+----+----------------------+
| [{y: 100}, {y: 200}] | 1  | {b: 1, c: 42, a: 10} |
|                      | 2  |                      |
+----------------------+----+----------------------+"
    );
}

#[tokio::test]
async fn a_struct_of_which_no_field_is_left_keeps_its_nulls() {
    let inner = |field| NestedField::optional(2, "s", Type::Struct(StructType::new(vec![field])));
    let mut fixture = Fixture::new(
        FormatVersion::V2,
        vec![long(1, "id"), inner(long(3, "a")).into()],
    );
    let arrow = crate::schema::to_arrow(fixture.metadata.current_schema()).unwrap();
    let DataType::Struct(fields) = arrow.field(1).data_type().clone() else {
        unreachable!()
    };
    let nulls = NullBuffer::from(vec![true, false]);
    let structs = StructArray::new(fields, vec![longs([1, 1])], Some(nulls));
    let batch = fixture.batch(vec![longs([1, 2]), Arc::new(structs)]);
    let data = fixture.data(&batch).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    fixture.evolve(vec![long(1, "id"), inner(text(4, "b")).into()]);
    let batches = read_all(&fixture).await.unwrap();
    let s = batches[0].column(1).as_struct();
    assert!(s.is_valid(0) && s.is_null(1));
    assert!(s.column(0).is_null(0));
}

#[tokio::test]
async fn maps_are_reshaped_by_the_ids_of_their_values() {
    let map = |name: &str, more: bool| {
        let mut fields = vec![long(5, name)];
        if more {
            fields.insert(0, text(6, "new"));
        }
        let key = NestedField::map_key_element(3, Type::Primitive(PrimitiveType::String));
        let value = Type::Struct(StructType::new(fields));
        let value = NestedField::map_value_element(4, value, false);
        let map = MapType::new(key.into(), value.into());
        NestedField::optional(2, "m", Type::Map(map)).into()
    };
    let mut fixture = Fixture::new(FormatVersion::V2, vec![long(1, "id"), map("v", false)]);
    let arrow = crate::schema::to_arrow(fixture.metadata.current_schema()).unwrap();
    let DataType::Map(entries, _) = arrow.field(1).data_type().clone() else {
        unreachable!()
    };
    let DataType::Struct(pair) = entries.data_type().clone() else {
        unreachable!()
    };
    let DataType::Struct(value_fields) = pair[1].data_type().clone() else {
        unreachable!()
    };
    let values = StructArray::new(value_fields, vec![longs([7, 8])], None);
    let pairs = StructArray::new(
        pair,
        vec![texts(&[Some("k"), Some("l")]), Arc::new(values)],
        None,
    );
    let maps = MapArray::new(
        entries,
        OffsetBuffer::from_lengths([1, 1]),
        pairs,
        None,
        false,
    );
    let batch = fixture.batch(vec![longs([1, 2]), Arc::new(maps)]);
    let data = fixture.data(&batch).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    fixture.evolve(vec![long(1, "id"), map("w", true)]);
    let batches = read_all(&fixture).await.unwrap();
    let printed = print(&batches);
    assert!(printed.contains("{k: {new: , w: 7}}"), "{printed}");
    assert!(printed.contains("{l: {new: , w: 8}}"), "{printed}");
}

#[tokio::test]
async fn promoted_types_and_added_columns_are_read_from_old_files() {
    let field = |id, name: &str, ty| NestedField::optional(id, name, Type::Primitive(ty)).into();
    let mut fixture = Fixture::new(
        FormatVersion::V3,
        vec![
            long(1, "id"),
            field(2, "i", PrimitiveType::Int),
            field(3, "f", PrimitiveType::Float),
            field(
                4,
                "d",
                PrimitiveType::Decimal {
                    precision: 5,
                    scale: 2,
                },
            ),
        ],
    );
    let decimals = arrow::array::Decimal128Array::from(vec![Some(12345), None])
        .with_precision_and_scale(5, 2)
        .unwrap();
    let batch = fixture.batch(vec![
        longs([1, 2]),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None])),
        Arc::new(Float32Array::from(vec![Some(1.5), None])),
        Arc::new(decimals),
    ]);
    let data = fixture.data(&batch).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    let defaulted = NestedField::optional(5, "e", Type::Primitive(PrimitiveType::String))
        .with_initial_default(Literal::string("old"));
    let required = NestedField::required(6, "r", Type::Primitive(PrimitiveType::Date))
        .with_initial_default(Literal::date(1));
    fixture.evolve(vec![
        long(1, "id"),
        field(2, "i", PrimitiveType::Long),
        field(3, "f", PrimitiveType::Double),
        field(
            4,
            "d",
            PrimitiveType::Decimal {
                precision: 20,
                scale: 2,
            },
        ),
        defaulted.into(),
        required.into(),
        text(7, "n"),
    ]);
    assert_eq!(
        print(&read_all(&fixture).await.unwrap()),
        "\
+----+-------------+-----+--------+-----+------------+---+
| id | i           | f   | d      | e   | r          | n |
+----+-------------+-----+--------+-----+------------+---+
| 1  | -2147483648 | 1.5 | 123.45 | old | 1970-01-02 |   |
| 2  |             |     |        | old | 1970-01-02 |   |
+----+-------------+-----+--------+-----+------------+---+"
    );
}

fn without_ids(batch: &RecordBatch) -> RecordBatch {
    fn plain(field: &Field) -> Field {
        let ty = match field.data_type() {
            DataType::Struct(inner) => {
                DataType::Struct(inner.iter().map(|f| plain(f)).collect::<Fields>())
            }
            other => other.clone(),
        };
        Field::new(field.name(), ty, field.is_nullable())
    }
    let fields: Vec<Field> = batch.schema().fields().iter().map(|f| plain(f)).collect();
    let columns = batch
        .columns()
        .iter()
        .zip(&fields)
        .map(|(column, field)| {
            let data = column.to_data().into_builder();
            make_array(data.data_type(field.data_type().clone()).build().unwrap())
        })
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[tokio::test]
async fn files_without_ids_are_read_by_name_mapping_and_refused_without() {
    let inner = StructType::new(vec![long(3, "a")]);
    let s = NestedField::optional(2, "s", Type::Struct(inner));
    let mut fixture = Fixture::new(FormatVersion::V2, vec![long(1, "id"), s.into()]);
    let arrow = crate::schema::to_arrow(fixture.metadata.current_schema()).unwrap();
    let DataType::Struct(fields) = arrow.field(1).data_type().clone() else {
        unreachable!()
    };
    let structs = StructArray::new(fields, vec![longs([5, 6])], None);
    let batch = fixture.batch(vec![longs([1, 2]), Arc::new(structs)]);
    let data = fixture.data(&without_ids(&batch)).await;
    fixture
        .commit(Operation::Append, vec![(0, data.clone())])
        .await;
    let error = read_all(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(data.file_path()), "{error}");
    assert!(
        error.to_string().contains("schema.name-mapping.default"),
        "{error}"
    );

    fixture.set(
        "schema.name-mapping.default",
        r#"[{"field-id": 1, "names": ["ID", "id"]},
            {"field-id": 2, "names": ["s"], "fields": [{"field-id": 3, "names": ["a"]}]}]"#,
    );
    let batches = read_all(&fixture).await.unwrap();
    assert_eq!(ids(&batches), vec![1, 2]);
    let s = batches[0].column(1).as_struct();
    assert_eq!(
        s.column(0).as_primitive::<Int64Type>().values().to_vec(),
        vec![5, 6]
    );

    fixture.set("schema.name-mapping.default", "{");
    let error = read_all(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn time_travel_reads_with_the_schema_of_then_and_the_head_with_the_current_one() {
    let (mut fixture, _) = counted(FormatVersion::V2, 2).await;
    let old = fixture.metadata.current_snapshot_id().unwrap();
    fixture.evolve(vec![text(2, "title"), long(1, "id"), long(3, "added")]);
    let names = |plan: &ScanPlan| {
        let schema = schema(plan, ReadOptions::default()).unwrap();
        schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect::<Vec<_>>()
    };
    let table = fixture.table();
    let head = table.scan().plan().await.unwrap();
    assert_eq!(names(&head), ["title", "id", "added"]);
    let then = table
        .scan()
        .snapshot(SnapshotSelector::Id(old))
        .plan()
        .await
        .unwrap();
    assert_eq!(names(&then), ["id", "name"]);
    let batches = read_plan(&then, ReadOptions::default()).await.unwrap();
    assert_eq!(ids(&batches), vec![0, 1]);
}

#[tokio::test]
async fn tasks_that_share_a_loader_load_a_delete_file_once() {
    let (mut fixture, _) = counted(FormatVersion::V2, 3).await;
    let more = fixture.batch(vec![longs([1, 9]), texts(&[None, None])]);
    let more = fixture.data(&more).await;
    fixture.commit(Operation::Append, vec![(0, more)]).await;
    let keys = fixture.batch(vec![longs([1]), texts(&[None])]);
    let keys = keys.project(&[0]).unwrap();
    let deletes = fixture.equality_deletes(&[1], &keys, Struct::empty()).await;
    let path = deletes.file_path().to_string();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let [first, second] = &plan.tasks[..] else {
        panic!("one task per file")
    };
    let options = ReadOptions::default();
    let loader = DeleteLoader::new(fixture.storage.clone());
    let read = async |task| {
        let batches: Vec<_> = read_task_with(&plan, task, options, &loader)
            .try_collect()
            .await
            .unwrap();
        ids(&batches)
    };
    assert_eq!(read(first).await, vec![0, 2]);
    let location = crate::storage::Location::parse(&path).unwrap();
    fixture.storage.delete(&location).await.unwrap();
    assert_eq!(read(second).await, vec![9]);
    let error = read_task(&plan, second, options)
        .try_collect::<Vec<_>>()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&path), "{error}");
}

#[tokio::test]
async fn other_formats_are_refused_by_name() {
    let (mut fixture, _) = counted(FormatVersion::V2, 1).await;
    let mut file = iceberg::spec::DataFileBuilder::default();
    let file = file
        .content(iceberg::spec::DataContentType::Data)
        .file_path("memory:///wh/t/data/x.orc".to_string())
        .file_format(iceberg::spec::DataFileFormat::Orc)
        .record_count(1)
        .file_size_in_bytes(1)
        .build()
        .unwrap();
    fixture.commit(Operation::Append, vec![(0, file)]).await;
    let error = read_all(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("x.orc"), "{error}");
}

#[tokio::test]
async fn concurrency_reads_the_same_rows() {
    let mut fixture = Fixture::new(FormatVersion::V2, vec![long(1, "id")]);
    let mut files = Vec::new();
    for start in 0..20 {
        let batch = fixture.batch(vec![longs(start * 10..start * 10 + 10)]);
        files.push((0, fixture.data(&batch).await));
    }
    fixture.commit(Operation::Append, files).await;
    let plan = fixture.table().scan().plan().await.unwrap();
    for concurrency in [1, 4] {
        let options = ReadOptions {
            batch_size: 7,
            concurrency,
            positions: false,
            ..ReadOptions::default()
        };
        let mut read = ids(&read_plan(&plan, options).await.unwrap());
        if concurrency > 1 {
            read.sort_unstable();
        }
        assert_eq!(read, (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn types_that_cannot_become_the_columns_are_refused() {
    let from = Field::new("c", DataType::Int64, true);
    let to = Field::new("c", DataType::Int32, true);
    let error = reshape(&longs([1]), &from, &to).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("column: c"), "{error}");
    let array: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let from = Field::new("c", DataType::Float64, true);
    let to = Field::new("c", DataType::Utf8, true);
    assert!(reshape(&array, &from, &to).is_err());
    let small: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let from = Field::new("c", DataType::Int32, true);
    let to = Field::new("c", DataType::Int64, true);
    let wide = reshape(&small, &from, &to).unwrap();
    assert_eq!(wide.as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(small.as_primitive::<Int32Type>().value(0), 1);
}

#[derive(Debug, Clone)]
struct Model {
    files: Vec<i64>,
    /// Commits of deletes: (file, position, through a shared delete file).
    deletes: Vec<Vec<(usize, i64, bool)>>,
    group: usize,
    batch: usize,
}

fn models() -> impl Strategy<Value = Model> {
    let files = prop::collection::vec(1i64..20, 1..4);
    (files, 1usize..6, 1usize..9).prop_flat_map(|(files, group, batch)| {
        let count = files.len();
        let one = (0..count, 0i64..20, any::<bool>());
        let deletes = prop::collection::vec(prop::collection::vec(one, 1..12), 0..3);
        deletes.prop_map(move |deletes| Model {
            files: files.clone(),
            deletes,
            group,
            batch,
        })
    })
}

/// What is left is what was written without what was deleted: by V2 files of one and of many data
/// files, and by vectors.
async fn check(model: &Model, version: FormatVersion) {
    let mut fixture = Fixture::new(version, vec![long(1, "id")]);
    fixture.group = model.group;
    let mut expected: BTreeSet<(usize, i64)> = BTreeSet::new();
    let mut files = Vec::new();
    for (number, rows) in model.files.iter().enumerate() {
        let base = number as i64 * 1_000;
        let batch = fixture.batch(vec![longs(base..base + rows)]);
        files.push(fixture.data(&batch).await);
        expected.extend((0..*rows).map(|row| (number, row)));
    }
    let added = files.iter().map(|file| (0, file.clone())).collect();
    fixture.commit(Operation::Append, added).await;
    let mut vectors: Vec<RoaringTreemap> = vec![RoaringTreemap::new(); files.len()];
    for commit in &model.deletes {
        let mut added = Vec::new();
        for (file, position, _) in commit {
            expected.remove(&(*file, *position));
            vectors[*file].insert(*position as u64);
        }
        if version == FormatVersion::V2 {
            let mut shared: Vec<(&str, i64)> = Vec::new();
            for (file, position, together) in commit {
                let row = (files[*file].file_path(), *position);
                if *together {
                    shared.push(row);
                } else {
                    let own = fixture.position_deletes(&[row], true).await;
                    added.push((0, own.build().unwrap()));
                }
            }
            shared.sort_unstable();
            if !shared.is_empty() {
                let own = fixture.position_deletes(&shared, false).await;
                added.push((0, own.build().unwrap()));
            }
            fixture.commit(Operation::Delete, added).await;
        }
    }
    if version == FormatVersion::V3 {
        let mut added = Vec::new();
        for (file, vector) in files.iter().zip(&vectors) {
            if !vector.is_empty() {
                let blob = Fixture::blob(vector);
                added.push((
                    0,
                    fixture.vector(file.file_path(), &blob, vector.len()).await,
                ));
            }
        }
        fixture.commit(Operation::Delete, added).await;
    }
    let plan = fixture.table().scan().plan().await.unwrap();
    let options = ReadOptions {
        batch_size: model.batch,
        positions: true,
        concurrency: 1,
        ..ReadOptions::default()
    };
    let batches = read_plan(&plan, options).await.unwrap();
    let mut found = BTreeSet::new();
    for batch in &batches {
        assert!(batch.num_rows() > 0 && batch.num_rows() <= model.batch);
        for row in 0..batch.num_rows() {
            let id = batch.column(0).as_primitive::<Int64Type>().value(row);
            let path = batch.column(1).as_string::<i32>().value(row);
            let position = batch.column(2).as_primitive::<Int64Type>().value(row);
            let number = files.iter().position(|f| f.file_path() == path).unwrap();
            assert_eq!(id, number as i64 * 1_000 + position);
            assert!(found.insert((number, position)), "a row was read twice");
        }
    }
    assert_eq!(found, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_read_is_what_was_not_deleted(model in models(), v3 in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let version = if v3 { FormatVersion::V3 } else { FormatVersion::V2 };
        runtime.block_on(check(&model, version));
    }
}
