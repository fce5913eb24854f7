//! What is recorded of the columns of a file.

use super::*;

type MetricRow = (
    Option<i32>,
    Option<f64>,
    Option<String>,
    Option<i128>,
    Option<Vec<u8>>,
    Option<Option<f32>>,
    Option<Vec<Option<f32>>>,
);

fn metric_fields() -> Vec<NestedField> {
    let inner = StructType::new(vec![optional(8, "inner", P::Float).into()]);
    let element = NestedField::list_element(9, Type::Primitive(P::Float), false);
    vec![
        optional(1, "i", P::Int),
        optional(2, "f", P::Double),
        optional(3, "s", P::String),
        optional(
            4,
            "d",
            P::Decimal {
                precision: 20,
                scale: 2,
            },
        ),
        optional(5, "b", P::Binary),
        NestedField::optional(6, "n", Type::Struct(inner)),
        NestedField::optional(7, "l", Type::List(ListType::new(element.into()))),
    ]
}

fn metric_batch(rows: &[MetricRow]) -> RecordBatch {
    let decimals: Decimal128Array = rows.iter().map(|r| r.3).collect();
    // A NULL struct over a NaN: nobody sees that NaN, so it must not be counted.
    let inner: Float32Array = rows
        .iter()
        .map(|r| match r.5 {
            None => Some(f32::NAN),
            Some(value) => value,
        })
        .collect();
    let valid: Vec<bool> = rows.iter().map(|r| r.5.is_some()).collect();
    let fields = Fields::from(vec![Field::new("inner", DataType::Float32, true)]);
    let nested = StructArray::new(fields, vec![Arc::new(inner)], Some(valid.into()));
    let lists = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(
        rows.iter().map(|r| r.6.clone()),
    );
    batch(vec![
        (
            "i",
            Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()) as ArrayRef,
        ),
        (
            "f",
            Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()),
        ),
        (
            "s",
            Arc::new(rows.iter().map(|r| r.2.as_deref()).collect::<StringArray>()),
        ),
        (
            "d",
            Arc::new(decimals.with_precision_and_scale(20, 2).unwrap()),
        ),
        (
            "b",
            Arc::new(rows.iter().map(|r| r.4.as_deref()).collect::<BinaryArray>()),
        ),
        ("n", Arc::new(nested)),
        ("l", Arc::new(lists)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn metrics_are_those_computed_naively(
        rows in prop::collection::vec(
            (
                prop::option::of(any::<i32>()),
                prop::option::of(prop::sample::select(vec![
                    -1.5, -0.0, 0.0, 2.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY,
                ])),
                prop::option::of("[a-cä\u{10FFFF}]{0,20}"),
                prop::option::of(-1000_i128..1000),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..6)),
                prop::option::of(prop::option::of(any::<f32>())),
                prop::option::of(prop::collection::vec(prop::option::of(prop::num::f32::ANY), 0..3)),
            ),
            1..300,
        ),
        size in 1_usize..100,
    ) {
        let table = Spec {
            fields: metric_fields(),
            properties: &[
                // Small enough for several row groups, whose statistics must be merged.
                ("write.parquet.row-group-size-bytes", "2000"),
                ("write.metadata.metrics.column.b", "truncate(2)"),
            ],
            ..Spec::default()
        }
        .table();
        let batches: Vec<_> = rows.chunks(size).map(metric_batch).collect();
        runtime().block_on(async {
            let files = write_all(&table, &batches).await;
            assert_eq!(files.len(), 1);
            let file = &files[0].file;
            let n = rows.len() as u64;
            let nulls = |missing: usize| missing as u64;
            assert_eq!(file.null_value_counts()[&1], nulls(rows.iter().filter(|r| r.0.is_none()).count()));
            let inner: Vec<Option<f32>> = rows.iter().map(|r| r.5.flatten()).collect();
            assert_eq!(file.null_value_counts()[&8], nulls(inner.iter().filter(|v| v.is_none()).count()));
            for id in [1, 2, 3, 4, 5, 8] {
                assert_eq!(file.value_counts()[&id], n, "column {id}");
                assert!(file.column_sizes()[&id] > 0);
            }
            let floats: Vec<f64> = rows.iter().filter_map(|r| r.1).collect();
            assert_eq!(file.nan_value_counts()[&2], floats.iter().filter(|v| v.is_nan()).count() as u64);
            let nested = inner.iter().flatten().filter(|v| v.is_nan()).count();
            assert_eq!(file.nan_value_counts()[&8], nested as u64);
            let listed: Vec<f32> = rows.iter().filter_map(|r| r.6.clone()).flatten().flatten().collect();
            assert_eq!(file.nan_value_counts()[&9], listed.iter().filter(|v| v.is_nan()).count() as u64);

            let ints = rows.iter().filter_map(|r| r.0);
            assert_eq!(file.lower_bounds().get(&1), ints.clone().min().map(Datum::int).as_ref());
            assert_eq!(file.upper_bounds().get(&1), ints.max().map(Datum::int).as_ref());
            let numbers = || floats.iter().copied().filter(|v| !v.is_nan());
            let lower = numbers().reduce(f64::min).map(|v| if v == 0.0 { -0.0 } else { v });
            let upper = numbers().reduce(f64::max).map(|v| if v == 0.0 { 0.0 } else { v });
            for (bound, expected) in [(file.lower_bounds(), lower), (file.upper_bounds(), upper)] {
                let bits = bound.get(&2).map(|datum| match datum.literal() {
                    PrimitiveLiteral::Double(v) => v.0.to_bits(),
                    other => panic!("{other:?} is no double"),
                });
                assert_eq!(bits, expected.map(f64::to_bits));
            }
            let decimals = rows.iter().filter_map(|r| r.3);
            let unscaled = |datum: Option<&Datum>| datum.map(|datum| match datum.literal() {
                PrimitiveLiteral::Int128(v) => *v,
                other => panic!("{other:?} is no decimal"),
            });
            assert_eq!(unscaled(file.lower_bounds().get(&4)), decimals.clone().min());
            assert_eq!(unscaled(file.upper_bounds().get(&4)), decimals.max());

            // Cut bounds: a lower one is a prefix, an upper one is not below any value.
            let texts = || rows.iter().filter_map(|r| r.2.as_deref());
            let cut = texts().min().map(|text| Datum::string(text.chars().take(16).collect::<String>()));
            assert_eq!(file.lower_bounds().get(&3), cut.as_ref());
            match (file.upper_bounds().get(&3).map(Datum::literal), texts().max()) {
                (Some(PrimitiveLiteral::String(bound)), Some(max)) => {
                    assert!(bound.as_str() >= max && bound.chars().count() <= 16);
                }
                (None, None) => {}
                (None, Some(max)) => assert!(max.chars().take(16).all(|c| c == '\u{10FFFF}')),
                other => panic!("{other:?}"),
            }
            let blobs = || rows.iter().filter_map(|r| r.4.as_deref());
            match (file.upper_bounds().get(&5).map(Datum::literal), blobs().max()) {
                (Some(PrimitiveLiteral::Binary(bound)), Some(max)) => {
                    assert!(bound.as_slice() >= max && bound.len() <= 2);
                }
                (None, None) => {}
                (None, Some(max)) => assert!(max.len() > 2 && max[..2] == [255, 255]),
                other => panic!("{other:?}"),
            }
            // Inside a list there are counts and no bounds.
            assert!(file.value_counts().contains_key(&9));
            assert!(!file.lower_bounds().contains_key(&9) && !file.upper_bounds().contains_key(&9));
            let offsets = file.split_offsets().unwrap();
            assert!(offsets.is_sorted() && offsets[0] == 4);
            assert_eq!(read(&table, &files[0]).await.num_rows(), rows.len());
        });
    }
}

/// What Parquet says of a row group is cut for long values, and then is not exact; the bounds of a file
/// need it all the same.
#[tokio::test]
async fn bounds_that_were_cut_are_merged_over_row_groups() {
    let table = Spec {
        fields: vec![
            optional(1, "n", P::Long),
            optional(2, "t", P::String),
            optional(3, "b", P::Binary),
            optional(4, "f", P::Double),
        ],
        properties: &[("write.parquet.row-group-size-bytes", "2000")],
        ..Spec::default()
    }
    .table();
    // The least and the greatest values are neither in the first rows nor in the last.
    let part = |(letter, base): (char, i64)| {
        let number = |i: i64| (i != 50).then_some(base * 1000 + i);
        let texts = (0..100).map(|i| format!("{letter}{i:03}-{}", "ä".repeat(200)));
        let blobs = (0..100_u8).map(|i| [vec![letter as u8, i], vec![0xff; 300]].concat());
        batch(vec![
            ("n", Arc::new(Int64Array::from_iter((0..100).map(number)))),
            ("t", Arc::new(StringArray::from_iter_values(texts))),
            ("b", Arc::new(BinaryArray::from_iter_values(blobs))),
            (
                "f",
                Arc::new(Float64Array::from_iter(
                    (0..100).map(|i| number(i).map(|n| n as f64)),
                )),
            ),
        ])
    };
    let parts = [('m', 50), ('c', 10), ('x', 90), ('k', 40)];
    let files = write_all(&table, &parts.map(part)).await;
    let file = &files[0].file;
    let groups = file.split_offsets().map_or(0, <[i64]>::len);
    assert!(groups >= 4, "{groups} row groups are too few to be merged");
    assert_eq!((files.len(), file.record_count()), (1, 400));
    assert_eq!(file.null_value_counts()[&1], 4);
    let bounds = [
        (1, Datum::long(10_000), Datum::long(90_099)),
        (
            2,
            Datum::string(format!("c000-{}", "ä".repeat(11))),
            Datum::string(format!("x099-{}å", "ä".repeat(10))),
        ),
        (4, Datum::double(10_000.0), Datum::double(90_099.0)),
    ];
    for (id, lower, upper) in bounds {
        assert_eq!(file.lower_bounds()[&id], lower, "column {id}");
        assert_eq!(file.upper_bounds()[&id], upper, "column {id}");
    }
    let lower = [&[b'c', 0][..], &[0xff; 14]].concat();
    assert_eq!(file.lower_bounds()[&3], Datum::binary(lower));
    // Cut by Parquet and by us, each with the next greater value.
    let PrimitiveLiteral::Binary(upper) = file.upper_bounds()[&3].literal() else {
        panic!("a bound of bytes is bytes")
    };
    assert!(
        upper.len() <= 16 && upper.starts_with(&[b'x', 100]),
        "{upper:?}"
    );
}

#[tokio::test]
async fn metrics_modes_are_obeyed() {
    let names = ["none", "counts", "short", "full"];
    let table = Spec {
        fields: names
            .iter()
            .zip(1..)
            .map(|(name, id)| optional(id, name, P::String))
            .collect(),
        properties: &[
            ("write.metadata.metrics.column.none", "none"),
            ("write.metadata.metrics.column.counts", "counts"),
            ("write.metadata.metrics.column.short", "truncate(3)"),
            ("write.metadata.metrics.column.full", "full"),
        ],
        ..Spec::default()
    }
    .table();
    let long = "äbc".repeat(1000);
    let column: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
    let files = write_all(
        &table,
        &[batch(names.map(|n| (n, column.clone())).to_vec())],
    )
    .await;
    let file = &files[0].file;
    assert_eq!(
        file.value_counts(),
        &HashMap::from([(2, 1), (3, 1), (4, 1)])
    );
    let bounds = |lower: &str, upper: &str| (Datum::string(lower), Datum::string(upper));
    for (id, expected) in [
        (1, None),
        (2, None),
        (3, Some(bounds("äbc", "äbd"))),
        (4, Some(bounds(&long, &long))),
    ] {
        let found = file
            .lower_bounds()
            .get(&id)
            .cloned()
            .zip(file.upper_bounds().get(&id).cloned());
        assert_eq!(found, expected, "column {id}");
    }
}
