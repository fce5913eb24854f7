use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use berglake_format::commit::MemoryCommitter;
use berglake_format::storage::Storage;
use berglake_format::{Environment, ErrorKind, TableIdent};
use iceberg::TableCreation;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};

use super::*;

async fn table() -> Table {
    let optional = |id, name: &str, primitive| {
        NestedField::optional(id, name, Type::Primitive(primitive)).into()
    };
    let schema = Schema::builder()
        .with_fields(vec![
            optional(1, "k1", PrimitiveType::String),
            optional(2, "k2", PrimitiveType::Long),
            optional(3, "seq", PrimitiveType::Long),
            optional(4, "v", PrimitiveType::Long),
        ])
        .build()
        .unwrap();
    let creation = TableCreation::builder()
        .name("t".into())
        .location("memory:///wh/db/t".into())
        .schema(schema)
        .build();
    let committer = MemoryCommitter::new(Storage::default(), Environment::default());
    committer
        .create(TableIdent::from_strs(["db", "t"]).unwrap(), creation)
        .await
        .unwrap()
}

type Row = (Option<&'static str>, Option<i32>, Option<i64>, i64);

fn batch(rows: &[Row]) -> RecordBatch {
    let k1: StringArray = rows.iter().map(|row| row.0).collect();
    // An INT where the table has a BIGINT: keys are compared in the type of the table.
    let k2: Int32Array = rows.iter().map(|row| row.1).collect();
    let sequence: Int64Array = rows.iter().map(|row| row.2).collect();
    let values: Int64Array = rows.iter().map(|row| Some(row.3)).collect();
    RecordBatch::try_from_iter([
        ("k1", Arc::new(k1) as ArrayRef),
        ("k2", Arc::new(k2)),
        ("seq", Arc::new(sequence)),
        ("v", Arc::new(values)),
    ])
    .unwrap()
}

fn winners(table: &Table, batches: &[RecordBatch]) -> (Winners, Vec<i64>) {
    let keys = ["k1".to_owned(), "k2".to_owned()];
    let winners = Winners::of(table, batches, &keys, "seq").unwrap();
    let keep = vec![true; winners.len()];
    let rows = winners.rows(batches, &keep).unwrap();
    let values = rows
        .iter()
        .flat_map(|rows| rows["v"].as_primitive::<Int64Type>().values().to_vec())
        .collect();
    (winners, values)
}

#[tokio::test]
async fn the_highest_sequence_wins_and_among_equals_the_later_row() {
    let table = table().await;
    for (rows, expected) in [
        (
            vec![
                (Some("a"), Some(1), Some(1), 0),
                (Some("a"), Some(1), Some(2), 1),
            ],
            vec![1],
        ),
        (
            vec![
                (Some("a"), Some(1), Some(2), 0),
                (Some("a"), Some(1), Some(1), 1),
            ],
            vec![0],
        ),
        (
            vec![
                (Some("a"), Some(1), Some(1), 0),
                (Some("a"), Some(1), Some(1), 1),
            ],
            vec![1],
        ),
        (
            vec![
                (Some("a"), Some(1), Some(-5), 0),
                (Some("a"), Some(1), None, 1),
            ],
            vec![0],
        ),
        (
            vec![(Some("a"), Some(1), None, 0), (Some("a"), Some(1), None, 1)],
            vec![1],
        ),
        (
            vec![(None, Some(1), Some(1), 0), (None, Some(1), Some(2), 1)],
            vec![1],
        ),
        (
            vec![(None, None, Some(1), 0), (None, Some(1), Some(2), 1)],
            vec![0, 1],
        ),
        (
            vec![(Some(""), None, Some(1), 0), (None, None, Some(2), 1)],
            vec![0, 1],
        ),
        (
            vec![
                (Some("b"), Some(1), Some(1), 0),
                (Some("a"), Some(1), Some(1), 1),
                (Some("b"), Some(1), Some(3), 2),
                (Some("c"), Some(1), Some(1), 3),
                (Some("b"), Some(1), Some(2), 4),
            ],
            vec![1, 2, 3],
        ),
        (vec![], vec![]),
    ] {
        let (found, values) = winners(&table, &[batch(&rows)]);
        assert_eq!(values, expected, "{rows:?}");
        assert_eq!(found.superseded as usize, rows.len() - expected.len());
        // Where the batches are cut makes no difference.
        let parts: Vec<_> = rows
            .iter()
            .map(|row| batch(std::slice::from_ref(row)))
            .collect();
        assert_eq!(winners(&table, &parts).1, expected, "{rows:?}");
    }
}

#[tokio::test]
async fn keys_are_found_by_their_bytes() {
    let table = table().await;
    let (found, _) = winners(&table, &[batch(&[(Some("a"), None, Some(1), 0)])]);
    let stored = found
        .converter
        .convert(&batch(&[(Some("a"), None, Some(9), 7)]))
        .unwrap();
    assert_eq!(found.of_key(stored.keys.row(0).as_ref()), Some(0));
    assert!(stored.sequences.row(0).as_ref() > &*found.sequences[0]);
    let other = found
        .converter
        .convert(&batch(&[(None, None, None, 7)]))
        .unwrap();
    assert_eq!(found.of_key(other.keys.row(0).as_ref()), None);
}

#[tokio::test]
async fn columns_that_cannot_be_keys_are_errors_that_name_them() {
    let table = table().await;
    let rows = [batch(&[(Some("a"), Some(1), Some(1), 0)])];
    for (keys, sequence, wrong) in [(vec!["none"], "seq", "none"), (vec!["k1"], "none", "none")] {
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        let error = Winners::of(&table, &rows, &keys, sequence).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(wrong), "{error}");
    }
    let lacking = [rows[0].project(&[0, 1]).unwrap()];
    let error = Winners::of(&table, &lacking, &["k1".to_owned()], "seq")
        .err()
        .unwrap();
    assert!(error.to_string().contains("seq"), "{error}");
    assert!(Upsert::new(Vec::new(), Vec::<String>::new(), "seq").is_err());
    assert!(Upsert::new(Vec::new(), ["k1", "k1"], "seq").is_err());
}

#[tokio::test]
async fn the_range_of_keys_is_a_filter_of_the_columns_own_types() {
    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Float64Array, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    };
    let fields = [
        ("int", PrimitiveType::Int),
        ("long", PrimitiveType::Long),
        ("text", PrimitiveType::String),
        ("date", PrimitiveType::Date),
        ("time", PrimitiveType::Time),
        ("local", PrimitiveType::Timestamp),
        ("instant", PrimitiveType::Timestamptz),
        (
            "price",
            PrimitiveType::Decimal {
                precision: 9,
                scale: 2,
            },
        ),
        ("float", PrimitiveType::Double),
        ("flag", PrimitiveType::Boolean),
        ("seq", PrimitiveType::Long),
    ];
    let columns = fields.iter().zip(1..).map(|((name, primitive), id)| {
        NestedField::optional(id, *name, Type::Primitive(primitive.clone())).into()
    });
    let schema = Schema::builder().with_fields(columns).build().unwrap();
    let creation = TableCreation::builder()
        .name("t".into())
        .location("memory:///wh/db/t".into())
        .schema(schema)
        .build();
    let committer = MemoryCommitter::new(Storage::default(), Environment::default());
    let ident = TableIdent::from_strs(["db", "t"]).unwrap();
    let table = committer.create(ident, creation).await.unwrap();

    let price = Decimal128Array::from(vec![-250, 125])
        .with_precision_and_scale(9, 2)
        .unwrap();
    let instants = TimestampMicrosecondArray::from(vec![0, 1_000_000]).with_timezone("+00:00");
    let rows = RecordBatch::try_from_iter_with_nullable([
        (
            "int",
            Arc::new(Int32Array::from(vec![Some(-2), None])) as ArrayRef,
            true,
        ),
        ("long", Arc::new(Int64Array::from(vec![9, 3])), true),
        ("text", Arc::new(StringArray::from(vec!["b", "a"])), true),
        ("date", Arc::new(Date32Array::from(vec![0, 1])), true),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![0, 1])),
            true,
        ),
        (
            "local",
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1])),
            true,
        ),
        ("instant", Arc::new(instants), true),
        ("price", Arc::new(price), true),
        (
            "float",
            Arc::new(Float64Array::from(vec![1.0, f64::NAN])),
            true,
        ),
        (
            "flag",
            Arc::new(BooleanArray::from(vec![true, false])),
            true,
        ),
        ("seq", Arc::new(Int64Array::from(vec![1, 1])), true),
    ])
    .unwrap();
    for (column, expected) in [
        ("int", "((int >= -2) AND (int <= -2)) OR (int IS NULL)"),
        ("long", "(long >= 3) AND (long <= 9)"),
        ("text", "(text >= \"a\") AND (text <= \"b\")"),
        ("date", "(date >= 1970-01-01) AND (date <= 1970-01-02)"),
        ("price", "(price >= -2.50) AND (price <= 1.25)"),
        ("float", "TRUE"),
        ("flag", "TRUE"),
    ] {
        let winners = Winners::of(
            &table,
            std::slice::from_ref(&rows),
            &[column.to_owned()],
            "seq",
        )
        .unwrap();
        let range = lookup::key_range(&table, &winners.key_columns).unwrap();
        assert_eq!(range.to_string(), expected, "{column}");
    }
    // All types give a filter that binds to the table's columns.
    for (column, _) in &fields {
        let winners = Winners::of(
            &table,
            std::slice::from_ref(&rows),
            &[(*column).to_owned()],
            "seq",
        )
        .unwrap();
        let range = lookup::key_range(&table, &winners.key_columns).unwrap();
        iceberg::expr::Bind::bind(&range, table.schema().clone(), true).unwrap();
    }
    let nulls = rows.slice(1, 1);
    let winners = Winners::of(&table, &[nulls], &["int".to_owned()], "seq").unwrap();
    let range = lookup::key_range(&table, &winners.key_columns).unwrap();
    assert_eq!(range.to_string(), "int IS NULL");
}
