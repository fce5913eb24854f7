use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, MapArray, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Fields, Int32Type, Int64Type};
use iceberg::metadata_columns::RESERVED_FIELD_ID_ROW_ID;
use iceberg::spec::{
    DataFile, FormatVersion, ListType, MapType, NestedField, NestedFieldRef, Operation,
    PrimitiveType, Schema as IcebergSchema, Struct, StructType, Type,
};
use roaring::RoaringTreemap;

use super::*;
use crate::ErrorKind;
use crate::fixture::Fixture;
use crate::plan::changed_rows;

mod model;

fn fields() -> Vec<NestedFieldRef> {
    let optional = |id, name, ty| NestedField::optional(id, name, Type::Primitive(ty)).into();
    vec![
        optional(1, "id", PrimitiveType::Long),
        optional(2, "name", PrimitiveType::String),
    ]
}

type Named<'a> = (i64, Option<&'a str>);

/// Rows with names a, b, c, … in their order.
const ABC: [Named<'_>; 4] = [
    (1, Some("a")),
    (2, Some("b")),
    (3, Some("c")),
    (4, Some("d")),
];

fn batch(fixture: &Fixture, rows: &[Named<'_>]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id));
    let names: StringArray = rows.iter().map(|(_, name)| *name).collect();
    fixture.batch(vec![Arc::new(ids), Arc::new(names)])
}

async fn data(fixture: &mut Fixture, rows: &[Named<'_>]) -> DataFile {
    let batch = batch(fixture, rows);
    fixture.data(&batch).await
}

async fn append(fixture: &mut Fixture, rows: &[Named<'_>]) -> (i64, DataFile) {
    let file = data(fixture, rows).await;
    let added = vec![(0, file.clone())];
    (fixture.commit(Operation::Append, added).await, file)
}

async fn vector(fixture: &mut Fixture, file: &DataFile, positions: &[u64]) -> DataFile {
    let positions: RoaringTreemap = positions.iter().copied().collect();
    let blob = Fixture::blob(&positions);
    fixture
        .vector(file.file_path(), &blob, positions.len())
        .await
}

/// Deletes of these positions in the form of the table's version.
async fn deletes(fixture: &mut Fixture, file: &DataFile, positions: &[u64]) -> DataFile {
    if fixture.metadata.format_version() >= FormatVersion::V3 {
        return vector(fixture, file, positions).await;
    }
    let rows = positions.iter().map(|at| (file.file_path(), *at as i64));
    let rows: Vec<_> = rows.collect();
    fixture.position_deletes(&rows, true).await.build().unwrap()
}

async fn try_changes(
    fixture: &Fixture,
    from: Option<i64>,
    to: i64,
    options: ChangeOptions,
) -> Result<Vec<RecordBatch>> {
    let table = fixture.table();
    let plan = changed_rows(&table, from, to, None).await?;
    let batches: Vec<RecordBatch> = read_changes(&plan, options).try_collect().await?;
    let schema = change_schema(&plan)?;
    assert!(batches.iter().all(|batch| batch.schema() == schema));
    Ok(batches)
}

/// Changes as lines: ordinal, kind, values.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = |array: &ArrayRef, row| {
        let shown = arrow::util::display::array_value_to_string(array, row).unwrap();
        match array.is_null(row) {
            true => "NULL".to_string(),
            false => shown,
        }
    };
    let mut lines = Vec::new();
    for batch in batches {
        let columns = batch.num_columns() - 3;
        let kinds = batch[CHANGE_TYPE_COLUMN].as_string::<i32>();
        let ordinals = batch[CHANGE_ORDINAL_COLUMN].as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            let values = batch.columns()[..columns]
                .iter()
                .map(|array| text(array, row));
            let values: Vec<String> = values.collect();
            lines.push(format!(
                "{} {} {}",
                ordinals.value(row),
                kinds.value(row),
                values.join(" ")
            ));
        }
    }
    lines
}

async fn changes(fixture: &Fixture, from: Option<i64>, to: i64) -> Vec<String> {
    let options = ChangeOptions::default();
    lines(&try_changes(fixture, from, to, options).await.unwrap())
}

async fn with(
    fixture: &Fixture,
    from: Option<i64>,
    to: i64,
    options: ChangeOptions,
) -> Vec<String> {
    lines(&try_changes(fixture, from, to, options).await.unwrap())
}

fn by(columns: &[&str]) -> ChangeOptions {
    let names = columns.iter().map(|name| (*name).to_string()).collect();
    ChangeOptions {
        updates: UpdateImages::Columns(names),
        ..ChangeOptions::default()
    }
}

const BOTH: [FormatVersion; 2] = [FormatVersion::V2, FormatVersion::V3];

#[tokio::test]
async fn appends_are_inserts_with_ordinal_and_snapshot_and_compaction_is_nothing() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let (s1, one) = append(&mut fixture, &ABC[..2]).await;
        let (_, two) = append(&mut fixture, &ABC[2..]).await;
        let whole = data(&mut fixture, &ABC).await;
        let added = vec![(0, whole)];
        let replaced = fixture
            .exchange(Operation::Replace, added, &[one, two], false)
            .await;
        let (s4, _) = append(&mut fixture, &[(5, None)]).await;

        let options = ChangeOptions {
            concurrency: 2,
            ..ChangeOptions::default()
        };
        let batches = try_changes(&fixture, None, s4, options).await.unwrap();
        assert_eq!(
            lines(&batches),
            [
                "0 insert 1 a",
                "0 insert 2 b",
                "1 insert 3 c",
                "1 insert 4 d",
                "2 insert 5 NULL"
            ]
        );
        let last = batches.last().unwrap();
        let ids = last[COMMIT_SNAPSHOT_ID_COLUMN].as_primitive::<Int64Type>();
        assert_eq!(ids.values(), &[s4]);
        assert_eq!(
            changes(&fixture, Some(s1), replaced).await,
            ["0 insert 3 c", "0 insert 4 d"]
        );
        assert!(changes(&fixture, Some(s4), s4).await.is_empty());
    }
}

#[tokio::test]
async fn deletes_by_position_are_the_rows_that_they_newly_delete() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let (s1, file) = append(&mut fixture, &ABC).await;
        let first = deletes(&mut fixture, &file, &[1]).await;
        let s2 = fixture
            .commit(Operation::Delete, vec![(0, first.clone())])
            .await;
        // The second deletes the same row again. A vector replaces the one before.
        let second = deletes(&mut fixture, &file, &[0, 1, 3]).await;
        let gone = match version {
            FormatVersion::V3 => vec![first],
            _ => Vec::new(),
        };
        let added = vec![(0, second)];
        let s3 = fixture
            .exchange(Operation::Delete, added, &gone, false)
            .await;
        assert_eq!(changes(&fixture, Some(s1), s2).await, ["0 delete 2 b"]);
        assert_eq!(
            changes(&fixture, Some(s1), s3).await,
            ["0 delete 2 b", "1 delete 1 a", "1 delete 4 d"]
        );
        // What a file that is removed had lost already is no change.
        let s4 = fixture
            .exchange(Operation::Delete, Vec::new(), &[file], false)
            .await;
        assert_eq!(changes(&fixture, Some(s3), s4).await, ["0 delete 3 c"]);
    }
}

#[tokio::test]
async fn rows_that_are_deleted_in_the_commit_that_adds_them_were_never_there() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let (s1, old) = append(&mut fixture, &ABC[..1]).await;
        let file = data(&mut fixture, &ABC[1..]).await;
        let own = deletes(&mut fixture, &file, &[1]).await;
        let others = deletes(&mut fixture, &old, &[0]).await;
        let added = vec![(0, file), (0, own), (0, others)];
        let s2 = fixture.commit(Operation::Overwrite, added).await;
        assert_eq!(
            changes(&fixture, Some(s1), s2).await,
            ["0 delete 1 a", "0 insert 2 b", "0 insert 4 d"]
        );
    }
}

#[tokio::test]
async fn equality_deletes_give_the_rows_that_they_hit_and_spare_those_of_their_own_commit() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let rows = [(1, Some("a")), (2, None), (3, None), (1, Some("e"))];
        let (s1, file) = append(&mut fixture, &rows).await;
        let by_position = deletes(&mut fixture, &file, &[3]).await;
        let s2 = fixture
            .commit(Operation::Delete, vec![(0, by_position)])
            .await;
        // Keys: name NULL with id 2, and id 1.
        let keys = batch(&fixture, &[(2, None)]);
        let null = fixture
            .equality_deletes(&[1, 2], &keys, Struct::empty())
            .await;
        let keys = batch(&fixture, &[(1, Some("x"))]).project(&[0]).unwrap();
        let id = fixture.equality_deletes(&[1], &keys, Struct::empty()).await;
        let new = data(&mut fixture, &[(1, Some("n"))]).await;
        let added = vec![(0, null), (0, id), (0, new)];
        let s3 = fixture.commit(Operation::Overwrite, added).await;
        assert_eq!(changes(&fixture, Some(s1), s2).await, ["0 delete 1 e"]);
        assert_eq!(
            changes(&fixture, Some(s2), s3).await,
            ["0 delete 1 a", "0 delete 2 NULL", "0 insert 1 n"]
        );
        // The key need not be selected.
        let table = fixture.table();
        let plan = changed_rows(&table, Some(s2), s3, Some(vec!["name".into()]))
            .await
            .unwrap();
        let batches = read_changes(&plan, by(&["id"])).try_collect::<Vec<_>>();
        assert_eq!(
            lines(&batches.await.unwrap()),
            ["0 delete NULL", "0 update_before a", "0 update_after n"]
        );
    }
}

#[tokio::test]
async fn rows_that_copy_on_write_took_along_cancel_out_as_often_as_they_are_there() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let twice = [
            (1, None),
            (1, None),
            (1, None),
            (2, Some("b")),
            (3, Some("c")),
        ];
        let (s1, old) = append(&mut fixture, &twice).await;
        let rows = [(3, Some("c")), (2, Some("B")), (1, None), (4, Some("d"))];
        let new = data(&mut fixture, &rows).await;
        let added = vec![(0, new)];
        let s2 = fixture
            .exchange(Operation::Overwrite, added, &[old], false)
            .await;
        assert_eq!(
            changes(&fixture, Some(s1), s2).await,
            [
                "0 delete 1 NULL",
                "0 delete 1 NULL",
                "0 delete 2 b",
                "0 insert 2 B",
                "0 insert 4 d"
            ]
        );
        // What is not selected is compared all the same.
        let table = fixture.table();
        let plan = changed_rows(&table, Some(s1), s2, Some(vec!["id".into()]))
            .await
            .unwrap();
        let options = ChangeOptions {
            batch_size: 2,
            ..ChangeOptions::default()
        };
        let batches: Vec<_> = read_changes(&plan, options).try_collect().await.unwrap();
        assert!(batches.iter().all(|batch| batch.num_rows() <= 2));
        assert_eq!(
            lines(&batches),
            [
                "0 delete 1",
                "0 delete 1",
                "0 delete 2",
                "0 insert 2",
                "0 insert 4"
            ]
        );
    }
}

#[tokio::test]
async fn a_delete_and_an_insert_of_one_key_are_an_update() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let (s1, old) = append(&mut fixture, &ABC).await;
        let rows = [(2, Some("b")), (4, Some("D")), (1, None), (5, Some("e"))];
        let new = data(&mut fixture, &rows).await;
        let added = vec![(0, new)];
        let s2 = fixture
            .exchange(Operation::Overwrite, added, &[old], false)
            .await;
        let expected = [
            "0 delete 3 c",
            "0 update_before 1 a",
            "0 update_after 1 NULL",
            "0 update_before 4 d",
            "0 update_after 4 D",
            "0 insert 5 e",
        ];
        assert_eq!(with(&fixture, Some(s1), s2, by(&["id"])).await, expected);

        let identified = ChangeOptions {
            updates: UpdateImages::IdentifierFields,
            ..ChangeOptions::default()
        };
        let error = try_changes(&fixture, Some(s1), s2, identified.clone()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("identifier fields"), "{error}");
        let mut required = fields();
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        required[0] = id.into();
        let schema = IcebergSchema::builder()
            .with_fields(required)
            .with_identifier_field_ids([1])
            .build()
            .unwrap();
        fixture.change(|builder| builder.add_current_schema(schema).unwrap());
        assert_eq!(with(&fixture, Some(s1), s2, identified).await, expected);
    }
}

#[tokio::test]
async fn keys_that_do_not_tell_rows_apart_are_refused_where_it_matters() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let rows = [(1, Some("a")), (1, Some("b")), (2, Some("c"))];
    let (s1, old) = append(&mut fixture, &rows).await;
    // Two rows of a key that only go are two deletes.
    let new = data(&mut fixture, &[(2, Some("C")), (3, None), (3, None)]).await;
    let added = vec![(0, new.clone())];
    let s2 = fixture
        .exchange(Operation::Overwrite, added, &[old], false)
        .await;
    assert_eq!(
        with(&fixture, Some(s1), s2, by(&["id"])).await,
        [
            "0 delete 1 a",
            "0 delete 1 b",
            "0 update_before 2 c",
            "0 update_after 2 C",
            "0 insert 3 NULL",
            "0 insert 3 NULL"
        ]
    );
    let one = data(&mut fixture, &[(3, Some("x"))]).await;
    let s3 = fixture
        .exchange(Operation::Overwrite, vec![(0, one.clone())], &[new], false)
        .await;
    let many = data(&mut fixture, &[(3, Some("y")), (3, Some("z"))]).await;
    let s4 = fixture
        .exchange(Operation::Overwrite, vec![(0, many)], &[one], false)
        .await;
    for (from, to) in [(s2, s3), (s3, s4)] {
        let error = try_changes(&fixture, Some(from), to, by(&["id"])).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        for part in ["db.t".to_string(), "id".into(), format!("snapshot: {to}")] {
            assert!(text.contains(&part), "{text}");
        }
        let both = with(&fixture, Some(from), to, by(&["id", "name"])).await;
        assert_eq!(both, changes(&fixture, Some(from), to).await);
    }
}

#[tokio::test]
async fn keys_and_columns_that_are_not_there_are_refused() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let (s1, _) = append(&mut fixture, &ABC).await;
    let by_row_id = ChangeOptions {
        updates: UpdateImages::RowId,
        ..ChangeOptions::default()
    };
    for (options, part) in [
        (by(&["nope"]), "nope"),
        (by(&[]), "no columns"),
        (by_row_id, "format version 3"),
    ] {
        let error = try_changes(&fixture, None, s1, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("db.t"), "{error}");
    }
    let mut renamed = fields();
    let name = NestedField::optional(2, "_change_type", Type::Primitive(PrimitiveType::String));
    renamed[1] = name.into();
    fixture.evolve(renamed);
    let error = try_changes(&fixture, None, s1, ChangeOptions::default()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("_change_type"), "{error}");
}

#[tokio::test]
async fn row_ids_tell_updates_apart_where_values_do_not() {
    let mut fixture = Fixture::new(FormatVersion::V3, fields());
    let (s1, old) = append(&mut fixture, &[(1, None), (1, None), (1, None)]).await;
    let first = first_row_id(&fixture).await;
    // The first row is changed, the second goes, the third is taken along; one is new.
    let rows = batch(
        &fixture,
        &[(1, Some("new")), (1, Some("changed")), (1, None)],
    );
    let id = metadata_column("_row_id", DataType::Int64, RESERVED_FIELD_ID_ROW_ID, true);
    let ids = Int64Array::from(vec![None, Some(first), Some(first + 2)]);
    let schema = rows.schema();
    let columns = schema.fields().iter().cloned().chain([id]);
    let arrays = rows.columns().iter().cloned();
    let arrays: Vec<ArrayRef> = arrays.chain([Arc::new(ids) as ArrayRef]).collect();
    let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
    let rows = RecordBatch::try_new(schema, arrays).unwrap();
    let new = fixture.data(&rows).await;
    let s2 = fixture
        .exchange(Operation::Overwrite, vec![(0, new)], &[old], false)
        .await;
    for net in [false, true] {
        let options = ChangeOptions {
            updates: UpdateImages::RowId,
            net,
            ..ChangeOptions::default()
        };
        assert_eq!(
            with(&fixture, Some(s1), s2, options).await,
            [
                "0 delete 1 NULL",
                "0 update_before 1 NULL",
                "0 update_after 1 changed",
                "0 insert 1 new"
            ]
            .map(String::from)
            .to_vec(),
        );
    }
}

async fn first_row_id(fixture: &Fixture) -> i64 {
    let table = fixture.table();
    let plan = table.scan().plan().await.unwrap();
    plan.tasks[0].file.first_row_id().unwrap()
}

#[tokio::test]
async fn net_changes_are_the_difference_of_the_ends() {
    for version in BOTH {
        let mut fixture = Fixture::new(version, fields());
        let (s1, one) = append(&mut fixture, &ABC[..2]).await;
        // 3 comes and goes, 1 goes and comes back, 2 is changed twice, 4 comes.
        let (_, two) = append(&mut fixture, &[(3, Some("c"))]).await;
        let three = data(&mut fixture, &[(2, Some("x"))]).await;
        fixture
            .exchange(
                Operation::Overwrite,
                vec![(0, three.clone())],
                &[one, two],
                true,
            )
            .await;
        let four = data(&mut fixture, &[(2, Some("y")), (1, Some("a")), (4, None)]).await;
        let to = fixture
            .exchange(Operation::Overwrite, vec![(0, four)], &[three], false)
            .await;
        let net = ChangeOptions {
            net: true,
            ..ChangeOptions::default()
        };
        assert_eq!(
            with(&fixture, Some(s1), to, net.clone()).await,
            ["1 delete 2 b", "2 insert 2 y", "2 insert 4 NULL"]
        );
        let net = ChangeOptions {
            net: true,
            ..by(&["id"])
        };
        assert_eq!(
            with(&fixture, Some(s1), to, net).await,
            [
                "1 update_before 2 b",
                "2 update_after 2 y",
                "2 insert 4 NULL"
            ]
        );
    }
}

#[tokio::test]
async fn deletes_that_are_taken_back_are_inserts() {
    let mut fixture = Fixture::new(FormatVersion::V3, fields());
    let (_, file) = append(&mut fixture, &ABC).await;
    let more = vector(&mut fixture, &file, &[0, 1]).await;
    let s2 = fixture
        .commit(Operation::Delete, vec![(0, more.clone())])
        .await;
    let less = vector(&mut fixture, &file, &[1, 2]).await;
    let s3 = fixture
        .exchange(Operation::Overwrite, vec![(0, less)], &[more], false)
        .await;
    assert_eq!(
        changes(&fixture, Some(s2), s3).await,
        ["0 delete 3 c", "0 insert 1 a"]
    );
}

#[tokio::test]
async fn rows_of_all_snapshots_have_the_columns_of_now() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let (s1, old) = append(&mut fixture, &ABC[..2]).await;
    let optional = |id, name, ty| NestedField::optional(id, name, Type::Primitive(ty)).into();
    fixture.evolve(vec![
        optional(3, "extra", PrimitiveType::Long),
        optional(1, "key", PrimitiveType::Long),
    ]);
    let rows = fixture.batch(vec![
        Arc::new(Int64Array::from(vec![None, Some(7)])),
        Arc::new(Int64Array::from(vec![1, 2])),
    ]);
    let new = fixture.data(&rows).await;
    let s2 = fixture
        .exchange(Operation::Overwrite, vec![(0, new)], &[old], false)
        .await;
    // Row 1 is as it was, but for the column that was dropped.
    assert_eq!(
        with(&fixture, None, s2, by(&["key"])).await,
        [
            "0 insert NULL 1",
            "0 insert NULL 2",
            "1 update_before NULL 2",
            "1 update_after 7 2"
        ]
    );
    assert_eq!(changes(&fixture, None, s1).await.len(), 2);
}

#[tokio::test]
async fn nested_values_are_compared_with_maps_among_them() {
    let long = || Type::Primitive(PrimitiveType::Long);
    let pair = MapType {
        key_field: NestedField::map_key_element(5, long()).into(),
        value_field: NestedField::map_value_element(6, long(), false).into(),
    };
    let list = ListType {
        element_field: NestedField::list_element(4, Type::Map(pair), false).into(),
    };
    let inner = StructType::new(vec![
        NestedField::optional(2, "id", long()).into(),
        NestedField::optional(3, "maps", Type::List(list)).into(),
    ]);
    let columns = vec![NestedField::optional(1, "s", Type::Struct(inner)).into()];
    let mut fixture = Fixture::new(FormatVersion::V2, columns);
    let schema = crate::schema::to_arrow(fixture.metadata.current_schema()).unwrap();
    let rows = |ids: Vec<i64>, values: Vec<Option<i64>>, null: usize| -> ArrayRef {
        let DataType::Struct(fields) = schema.field(0).data_type() else {
            unreachable!()
        };
        let DataType::List(element) = fields[1].data_type() else {
            unreachable!()
        };
        let DataType::Map(entries, sorted) = element.data_type() else {
            unreachable!()
        };
        let DataType::Struct(pair) = entries.data_type() else {
            unreachable!()
        };
        let count = ids.len();
        let pairs: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![9; count])),
            Arc::new(Int64Array::from(values)),
        ];
        let pairs = StructArray::new(Fields::clone(pair), pairs, None);
        let one_each = || OffsetBuffer::from_lengths(vec![1; count]);
        let maps = MapArray::new(entries.clone(), one_each(), pairs, None, *sorted);
        let lists = ListArray::new(element.clone(), one_each(), Arc::new(maps), None);
        let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(lists)];
        let nulls = NullBuffer::from_iter((0..count).map(|at| at != null));
        Arc::new(StructArray::new(fields.clone(), columns, Some(nulls)))
    };
    let old = rows(vec![1, 2, 3, 4], vec![Some(1), None, Some(3), Some(4)], 3);
    let old = fixture.batch(vec![old]);
    let old = fixture.data(&old).await;
    let s1 = fixture
        .commit(Operation::Append, vec![(0, old.clone())])
        .await;
    let new = rows(vec![9, 1, 3, 2], vec![Some(7), Some(1), Some(5), None], 0);
    let new = fixture.batch(vec![new]);
    let new = fixture.data(&new).await;
    let s2 = fixture
        .exchange(Operation::Overwrite, vec![(0, new)], &[old], false)
        .await;
    assert_eq!(
        with(&fixture, Some(s1), s2, by(&["s.id"])).await,
        [
            "0 update_before {id: 3, maps: [{9: 3}]}",
            "0 update_after {id: 3, maps: [{9: 5}]}"
        ]
    );
    let error = try_changes(&fixture, Some(s1), s2, by(&["s.maps.element.key"])).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("list or map"), "{error}");
}

#[tokio::test]
async fn a_missing_file_is_named_and_ends_the_stream() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    append(&mut fixture, &ABC).await;
    let mut lost = data(&mut fixture, &ABC).await;
    let path = format!("{}x", lost.file_path());
    lost = crate::manifest::rebuild(&lost, 0, |file| {
        file.file_path(path.clone());
    })
    .unwrap();
    let s2 = fixture.commit(Operation::Append, vec![(0, lost)]).await;
    let table = fixture.table();
    let plan = changed_rows(&table, None, s2, None).await.unwrap();
    let mut batches = read_changes(&plan, ChangeOptions::default());
    assert!(batches.next().await.unwrap().is_ok());
    let error = batches.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(&path), "{error}");
    assert!(batches.next().await.is_none());
}
