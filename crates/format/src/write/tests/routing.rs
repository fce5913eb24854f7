//! Each row lands once, in the partition that its transforms say.

use super::*;

/// One row of the routing test: a text, a number, a time in µs, a day, and a number in a struct.
type Row = (
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i32>,
    Option<Option<i32>>,
);

fn rows_batch(from: usize, rows: &[Row]) -> RecordBatch {
    let inner: Int32Array = rows.iter().map(|r| r.4.flatten()).collect();
    let outer = rows.iter().map(|r| r.4.is_some()).collect::<Vec<_>>();
    let fields = Fields::from(vec![Field::new("inner", DataType::Int32, true)]);
    let nested = StructArray::new(fields, vec![Arc::new(inner)], Some(outer.into()));
    let time: TimestampMicrosecondArray = rows.iter().map(|r| r.2).collect();
    batch(vec![
        // Another order than the table's: columns are found by name.
        ("nested", Arc::new(nested) as ArrayRef),
        (
            "day",
            Arc::new(rows.iter().map(|r| r.3).collect::<Date32Array>()),
        ),
        ("time", Arc::new(time.with_timezone("UTC"))),
        (
            "number",
            Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        ),
        (
            "text",
            Arc::new(rows.iter().map(|r| r.0.as_deref()).collect::<StringArray>()),
        ),
        (
            "id",
            Arc::new(Int64Array::from_iter_values(
                from as i64..(from + rows.len()) as i64,
            )),
        ),
    ])
}

fn rows_fields() -> Vec<NestedField> {
    vec![
        required(1, "id", P::Long),
        optional(2, "text", P::String),
        optional(3, "number", P::Long),
        optional(4, "time", P::Timestamptz),
        optional(5, "day", P::Date),
        NestedField::optional(
            6,
            "nested",
            Type::Struct(StructType::new(vec![optional(7, "inner", P::Int).into()])),
        ),
    ]
}

/// The transform of a row, computed without Arrow and without the specification's crate.
fn expected(row: &Row, source: i32, transform: Transform) -> Option<PrimitiveLiteral> {
    use PrimitiveLiteral as L;
    const HOUR: i64 = 3_600_000_000;
    let days = |row: &Row| match source {
        4 => row.2.map(|micros| micros.div_euclid(24 * HOUR)),
        _ => row.3.map(i64::from),
    };
    let date = |days: i64| {
        chrono::DateTime::from_timestamp(days * 86_400, 0)
            .unwrap()
            .date_naive()
    };
    use chrono::Datelike;
    match (transform, source) {
        (Transform::Void, _) => None,
        (Transform::Identity, 2) => row.0.clone().map(L::String),
        (Transform::Identity, 3) => row.1.map(L::Long),
        (Transform::Identity, 7) => row.4.flatten().map(L::Int),
        (Transform::Truncate(n), 2) => row
            .0
            .as_ref()
            .map(|text| L::String(text.chars().take(n as usize).collect())),
        (Transform::Truncate(n), 3) => {
            let n = i64::from(n);
            row.1.map(|v| L::Long(v - (((v % n) + n) % n)))
        }
        (Transform::Bucket(n), 3) => row.1.map(|v| {
            let hash = murmur3(&v.to_le_bytes());
            L::Int((hash & i32::MAX) % n as i32)
        }),
        (Transform::Year, _) => days(row).map(|d| L::Int(date(d).year() - 1970)),
        (Transform::Month, _) => {
            days(row).map(|d| L::Int((date(d).year() - 1970) * 12 + date(d).month0() as i32))
        }
        (Transform::Day, _) => days(row).map(|d| L::Int(d as i32)),
        (Transform::Hour, _) => row.2.map(|micros| L::Int(micros.div_euclid(HOUR) as i32)),
        other => panic!("no expectation for {other:?}"),
    }
}

/// The 32-bit Murmur3 hash with seed 0 of a multiple of four bytes.
fn murmur3(bytes: &[u8]) -> i32 {
    let mut hash = 0_u32;
    for word in bytes.chunks(4) {
        let word = u32::from_le_bytes(word.try_into().unwrap());
        hash ^= word
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    (hash ^ (hash >> 16)) as i32
}

const CHOICES: &[&[(i32, &str, Transform)]] = &[
    &[],
    &[(2, "p", Transform::Identity)],
    &[(3, "p", Transform::Bucket(5))],
    &[
        (2, "p", Transform::Truncate(1)),
        (3, "q", Transform::Truncate(7)),
    ],
    &[(4, "p", Transform::Month)],
    &[(4, "p", Transform::Day), (7, "q", Transform::Identity)],
    &[(4, "p", Transform::Hour)],
    &[(5, "p", Transform::Year), (2, "q", Transform::Void)],
    &[(5, "p", Transform::Day)],
    &[(3, "p", Transform::Identity), (5, "q", Transform::Month)],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_row_lands_once_in_the_partition_of_its_transforms(
        rows in prop::collection::vec(
            (
                prop::option::of("[aä/. ]{0,3}"),
                prop::option::of(-20_i64..20),
                prop::option::of(-200_000_000_000_000_i64..200_000_000_000_000),
                prop::option::of(-1000_i32..1000),
                prop::option::of(prop::option::of(0_i32..3)),
            ),
            1..60,
        ),
        sorted in any::<bool>(),
        choice in 0..CHOICES.len(),
        size in 1_usize..40,
    ) {
        let mut rows: Vec<Row> = rows;
        if sorted {
            rows.sort();
        }
        let partition = CHOICES[choice];
        let table = Spec { fields: rows_fields(), partition, ..Spec::default() }.table();
        let batches: Vec<_> = rows
            .chunks(size)
            .enumerate()
            .map(|(i, chunk)| rows_batch(i * size, chunk))
            .collect();
        runtime().block_on(async {
            let files = write_all(&table, &batches).await;
            let mut seen = Vec::new();
            for file in &files {
                assert_eq!(file.spec_id, table.metadata().default_partition_spec_id());
                let data = read(&table, file).await;
                for id in data.column(0).as_primitive::<Int64Type>().values() {
                    seen.push(*id as usize);
                    for (at, (source, _, transform)) in partition.iter().enumerate() {
                        let expected = expected(&rows[*id as usize], *source, *transform);
                        assert_eq!(primitive(file, at), expected);
                    }
                }
                // Rows of one file keep the order in which they came.
                assert!(seen[seen.len() - data.num_rows()..].is_sorted());
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..rows.len()).collect::<Vec<_>>());
        });
    }
}

#[tokio::test]
async fn both_zeros_and_all_nans_are_one_partition_each() {
    let table = Spec {
        fields: vec![optional(1, "f", P::Double)],
        partition: &[(1, "f", Transform::Identity)],
        ..Spec::default()
    }
    .table();
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let values = vec![
        Some(0.0),
        Some(f64::NAN),
        Some(-0.0),
        Some(other_nan),
        Some(-f64::NAN),
        None,
    ];
    let files = write_all(
        &table,
        &[batch(vec![("f", Arc::new(Float64Array::from(values)))])],
    )
    .await;
    let mut rows: Vec<_> = files
        .iter()
        .map(|file| {
            (
                format!("{:?}", primitive(file, 0)),
                file.file.record_count(),
            )
        })
        .collect();
    rows.sort();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows.iter().map(|(_, n)| n).sum::<u64>(), 6);
    let nan = files.iter().find(|f| f.file.record_count() == 3).unwrap();
    assert_eq!(nan.file.nan_value_counts()[&1], 3);
    assert!(nan.file.lower_bounds().is_empty() && nan.file.upper_bounds().is_empty());
}

#[tokio::test]
async fn a_partition_by_a_uuid_is_written_and_read() {
    let table = Spec {
        fields: vec![optional(1, "u", P::Uuid)],
        partition: &[
            (1, "p", Transform::Identity),
            (1, "b", Transform::Bucket(4)),
        ],
        ..Spec::default()
    }
    .table();
    let uuids = [Some([7_u8; 16]), None, Some([0xF7; 16]), Some([7; 16])];
    let column =
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids.into_iter(), 16).unwrap();
    let files = write_all(&table, &[batch(vec![("u", Arc::new(column))])]).await;
    let mut found: Vec<_> = files
        .iter()
        .map(|file| (primitive(file, 0), file.file.record_count()))
        .collect();
    found.sort_by_key(|(value, _)| format!("{value:?}"));
    let mut expected = [
        (
            Some(PrimitiveLiteral::UInt128(u128::from_be_bytes([7; 16]))),
            2,
        ),
        (
            Some(PrimitiveLiteral::UInt128(u128::from_be_bytes([0xF7; 16]))),
            1,
        ),
        (None, 1),
    ];
    expected.sort_by_key(|(value, _)| format!("{value:?}"));
    assert_eq!(found, expected);
}
