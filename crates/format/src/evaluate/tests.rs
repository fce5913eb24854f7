use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Date32Array, Float64Array, Int32Array, RecordBatch, StringArray};
use iceberg::expr::{PredicateOperator as Op, Reference};
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, ManifestContentType,
    NestedField, NestedFieldRef, PartitionSpec, PrimitiveLiteral, StructType,
};
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::fixture::{Fixture, with_metrics};

mod zeros;

fn optional(id: i32, name: &str, ty: PrimitiveType) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(ty)).into()
}

fn schema(fields: Vec<NestedFieldRef>) -> Schema {
    Schema::builder().with_fields(fields).build().unwrap()
}

fn file(rows: u64, change: impl FnOnce(&mut DataFileBuilder)) -> DataFile {
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path("memory:///f".into())
        .file_format(DataFileFormat::Parquet)
        .record_count(rows)
        .file_size_in_bytes(1);
    change(&mut builder);
    builder.build().unwrap()
}

/// `excludes`, `implies` of a test on column 1 as one word.
fn verdict(schema: &Schema, filter: Predicate, file: &DataFile) -> &'static str {
    let root = Node::bind(schema, &filter).unwrap();
    match root.residual(&|leaf| by_metrics(leaf, file)) {
        Predicate::AlwaysTrue => "all",
        Predicate::AlwaysFalse => "none",
        _ => "some",
    }
}

fn map<V>(value: V) -> HashMap<i32, V> {
    HashMap::from([(1, value)])
}

#[test]
fn comparisons_follow_the_bounds() {
    let schema = schema(vec![optional(1, "x", PrimitiveType::Long)]);
    let between_5_and_9 = |nulls: Option<u64>| {
        file(10, |f| {
            f.lower_bounds(map(Datum::long(5)))
                .upper_bounds(map(Datum::long(9)));
            if let Some(nulls) = nulls {
                f.null_value_counts(map(nulls));
            }
        })
    };
    let x = || Reference::new("x");
    let l = Datum::long::<i64>;
    // filter, without NULLs, with NULLs (or unknown whether)
    let table = [
        (x().less_than(l(5)), "none", "none"),
        (x().less_than(l(6)), "some", "some"),
        (x().less_than(l(10)), "all", "some"),
        (x().less_than_or_equal_to(l(4)), "none", "none"),
        (x().less_than_or_equal_to(l(9)), "all", "some"),
        (x().greater_than(l(9)), "none", "none"),
        (x().greater_than(l(4)), "all", "some"),
        (x().greater_than_or_equal_to(l(10)), "none", "none"),
        (x().greater_than_or_equal_to(l(5)), "all", "some"),
        (x().equal_to(l(4)), "none", "none"),
        (x().equal_to(l(7)), "some", "some"),
        (x().equal_to(l(10)), "none", "none"),
        (x().not_equal_to(l(4)), "all", "some"),
        (x().not_equal_to(l(7)), "some", "some"),
        (x().is_in([l(1), l(10)]), "none", "none"),
        (x().is_in([l(1), l(6)]), "some", "some"),
        (x().is_not_in([l(1), l(10)]), "all", "some"),
        (x().is_not_in([l(1), l(6)]), "some", "some"),
        (x().is_null(), "none", "some"),
        (x().is_not_null(), "all", "some"),
        // NOT is pushed down, and NULL stays NULL.
        (!x().less_than(l(10)), "none", "none"),
        (!x().less_than(l(5)), "all", "some"),
        (!(x().less_than(l(5)).or(x().is_null())), "all", "some"),
        (x().less_than(l(5)).and(x().equal_to(l(7))), "none", "none"),
        (x().greater_than(l(4)).or(x().equal_to(l(7))), "all", "some"),
    ];
    for (filter, without, with) in table {
        assert_eq!(
            verdict(&schema, filter.clone(), &between_5_and_9(Some(0))),
            without,
            "{filter}"
        );
        assert_eq!(
            verdict(&schema, filter.clone(), &between_5_and_9(Some(3))),
            with,
            "{filter}"
        );
        assert_eq!(
            verdict(&schema, filter.clone(), &between_5_and_9(None)),
            with,
            "{filter}"
        );
        assert_eq!(
            verdict(&schema, filter.clone(), &file(10, |_| {})),
            "some",
            "{filter}"
        );
    }
}

#[test]
fn nulls_only_match_is_null_and_nothing_else_for_sure() {
    let schema = schema(vec![optional(1, "x", PrimitiveType::Long)]);
    let nulls = file(4, |f| {
        f.null_value_counts(map(4));
    });
    let x = || Reference::new("x");
    for (filter, expected) in [
        (x().is_null(), "all"),
        (x().is_not_null(), "none"),
        (x().less_than(Datum::long(5)), "none"),
        (x().equal_to(Datum::long(5)), "none"),
        (x().is_in([Datum::long(5), Datum::long(6)]), "none"),
        // SQL says NULL, Iceberg's expressions say true.
        (x().not_equal_to(Datum::long(5)), "some"),
    ] {
        assert_eq!(
            verdict(&schema, filter.clone(), &nulls),
            expected,
            "{filter}"
        );
    }
}

#[test]
fn nan_is_outside_of_bounds() {
    let schema = schema(vec![optional(1, "x", PrimitiveType::Double)]);
    let with_nans = |nans: Option<u64>| {
        file(10, |f| {
            f.null_value_counts(map(0))
                .lower_bounds(map(Datum::double(1.0)))
                .upper_bounds(map(Datum::double(2.0)));
            if let Some(nans) = nans {
                f.nan_value_counts(map(nans));
            }
        })
    };
    let x = || Reference::new("x");
    let d = Datum::double::<f64>;
    // filter, no NaNs, some NaNs or unknown
    for (filter, without, with) in [
        (x().greater_than(d(3.0)), "none", "some"),
        (x().greater_than(d(0.0)), "all", "some"),
        (x().less_than(d(0.0)), "none", "none"),
        (x().less_than(d(3.0)), "all", "some"),
        (x().equal_to(d(3.0)), "none", "none"),
        (x().equal_to(d(f64::NAN)), "some", "some"),
        (x().not_equal_to(d(3.0)), "all", "some"),
    ] {
        assert_eq!(
            verdict(&schema, filter.clone(), &with_nans(Some(0))),
            without,
            "{filter}"
        );
        assert_eq!(
            verdict(&schema, filter.clone(), &with_nans(Some(2))),
            with,
            "{filter}"
        );
        assert_eq!(
            verdict(&schema, filter.clone(), &with_nans(None)),
            with,
            "{filter}"
        );
    }
    assert_eq!(verdict(&schema, x().is_nan(), &with_nans(Some(0))), "none");
    assert_eq!(verdict(&schema, x().is_nan(), &with_nans(Some(10))), "all");
    assert_eq!(
        verdict(&schema, x().is_not_nan(), &with_nans(Some(0))),
        "all"
    );
    assert_eq!(
        verdict(&schema, x().is_not_nan(), &with_nans(Some(10))),
        "none"
    );
    assert_eq!(verdict(&schema, x().is_nan(), &with_nans(None)), "some");

    // Bounds that are NaN bound nothing.
    let nan_bounds = file(3, |f| {
        f.null_value_counts(map(0))
            .nan_value_counts(map(0))
            .lower_bounds(map(Datum::double(f64::NAN)))
            .upper_bounds(map(Datum::double(f64::NAN)));
    });
    assert_eq!(verdict(&schema, x().less_than(d(0.0)), &nan_bounds), "some");
}

/// `contains_nan` is younger than the format, and summaries as a whole may be left away.
#[tokio::test]
async fn a_summary_that_does_not_say_where_nan_is_excludes_none() {
    let spec = Fixture::spec(&[(4, "x", Transform::Identity)]);
    let mut fixture = Fixture::partitioned(FormatVersion::V2, columns(), spec);
    let mut writer = fixture.manifest_writer(1, 0, ManifestContentType::Data);
    let one = file(1, |f| {
        f.partition(Struct::from_iter([Some(Literal::double(1.0))]));
    });
    writer.add_file(one, -1).unwrap();
    let written = writer.write_manifest_file().await.unwrap();
    let x = || Reference::new("x");
    let d = Datum::double::<f64>;
    let filters = [
        // Whether the number that is summarized may match, and whether NaN may.
        (x().greater_than(d(5.0)), false, true),
        (x().greater_than_or_equal_to(d(1.0)), true, true),
        (!x().less_than(d(5.0)), false, true),
        (!x().less_than_or_equal_to(d(5.0)), false, true),
        (x().is_nan(), false, true),
        (x().less_than(d(0.0)), false, false),
        (x().is_null(), false, false),
    ];
    for (said, nan) in [(Some(false), false), (Some(true), true), (None, true)] {
        let mut manifest = written.clone();
        manifest.partitions.as_mut().unwrap()[0].contains_nan = said;
        for (filter, number, of_nan) in &filters {
            let schema = fixture.metadata.current_schema();
            let evaluator = FileFilter::new(&fixture.metadata, schema, filter).unwrap();
            let may = evaluator.manifest_may_match(&manifest);
            assert_eq!(may, *number || (nan && *of_nan), "{said:?} {filter}");
        }
    }
    let mut manifest = written;
    for summaries in [None, Some(Vec::new())] {
        manifest.partitions = summaries;
        for (filter, _, _) in &filters {
            let schema = fixture.metadata.current_schema();
            let evaluator = FileFilter::new(&fixture.metadata, schema, filter).unwrap();
            assert!(evaluator.manifest_may_match(&manifest), "{filter}");
        }
    }
}

#[test]
fn bounds_of_an_older_type_are_promoted() {
    let x = || Reference::new("x");
    let int_bounds = file(2, |f| {
        f.null_value_counts(map(0))
            .lower_bounds(map(Datum::int(1)))
            .upper_bounds(map(Datum::int(3)));
    });
    let long = schema(vec![optional(1, "x", PrimitiveType::Long)]);
    assert_eq!(
        verdict(&long, x().greater_than(Datum::long(3)), &int_bounds),
        "none"
    );
    assert_eq!(
        verdict(&long, x().less_than(Datum::long(4)), &int_bounds),
        "all"
    );
    let float_bounds = file(2, |f| {
        f.null_value_counts(map(0))
            .nan_value_counts(map(0))
            .lower_bounds(map(Datum::float(1.5)))
            .upper_bounds(map(Datum::float(2.5)));
    });
    let double = schema(vec![optional(1, "x", PrimitiveType::Double)]);
    assert_eq!(
        verdict(&double, x().greater_than(Datum::double(2.5)), &float_bounds),
        "none"
    );
    // A type that was never a promotion proves nothing.
    let text = schema(vec![optional(1, "x", PrimitiveType::String)]);
    assert_eq!(
        verdict(&text, x().equal_to(Datum::string("a")), &int_bounds),
        "some"
    );
}

#[test]
fn literals_are_fitted_to_the_column_or_refused() {
    let int = schema(vec![optional(1, "x", PrimitiveType::Int)]);
    let some = file(2, |f| {
        f.null_value_counts(map(0))
            .lower_bounds(map(Datum::int(1)))
            .upper_bounds(map(Datum::int(3)));
    });
    let x = || Reference::new("x");
    let huge = || Datum::long(1i64 << 40);
    assert_eq!(verdict(&int, x().less_than(huge()), &some), "all");
    assert_eq!(verdict(&int, x().greater_than(huge()), &some), "none");
    assert_eq!(verdict(&int, x().equal_to(huge()), &some), "none");
    assert_eq!(
        verdict(&int, x().is_in([huge(), Datum::long(9)]), &some),
        "none"
    );
    assert_eq!(
        verdict(&int, x().is_in([huge(), Datum::long(2)]), &some),
        "some"
    );
    let double = schema(vec![optional(1, "x", PrimitiveType::Double)]);
    assert!(Node::bind(&double, &x().less_than(Datum::int(1))).is_ok());
    for wrong in [
        x().less_than(Datum::string("a")),
        x().is_nan(),
        x().starts_with(Datum::string("a")),
        Reference::new("y").is_null(),
    ] {
        let error = Node::bind(&int, &wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong}");
        assert!(error.to_string().contains("column"), "{error}");
    }
}

#[test]
fn cut_text_bounds_and_prefixes() {
    let schema = schema(vec![optional(1, "x", PrimitiveType::String)]);
    let bounds = |lower: &str, upper: &str| {
        file(5, |f| {
            f.null_value_counts(map(0))
                .lower_bounds(map(Datum::string(lower)))
                .upper_bounds(map(Datum::string(upper)));
        })
    };
    let starts = |p: &str| Reference::new("x").starts_with(Datum::string(p));
    let not = |p: &str| Reference::new("x").not_starts_with(Datum::string(p));
    // Values abc… to abx…, bounds cut to two and raised: ab, ac.
    let cut = bounds("ab", "ac");
    assert_eq!(verdict(&schema, starts("abcdef"), &cut), "some");
    assert_eq!(verdict(&schema, starts("aa"), &cut), "none");
    assert_eq!(verdict(&schema, starts("ad"), &cut), "none");
    assert_eq!(verdict(&schema, starts("acx"), &cut), "none");
    assert_eq!(verdict(&schema, starts("a"), &cut), "all");
    assert_eq!(verdict(&schema, starts("ab"), &cut), "some");
    assert_eq!(verdict(&schema, not("a"), &cut), "none");
    assert_eq!(verdict(&schema, not("b"), &cut), "all");
    assert_eq!(verdict(&schema, starts(""), &cut), "all");
    assert_eq!(verdict(&schema, starts("zé"), &bounds("zé", "zö")), "some");
}

#[test]
fn nested_required_fields_are_null_where_their_struct_is() {
    let inner = NestedField::required(2, "a", Type::Primitive(PrimitiveType::Long));
    let s = Type::Struct(StructType::new(vec![inner.into()]));
    let schema = schema(vec![NestedField::optional(1, "s", s).into()]);
    let data = file(3, |f| {
        f.null_value_counts(HashMap::from([(2, 0)]))
            .lower_bounds(HashMap::from([(2, Datum::long(1))]))
            .upper_bounds(HashMap::from([(2, Datum::long(1))]));
    });
    let a = || Reference::new("s.a");
    assert_eq!(verdict(&schema, a().is_null(), &data), "some");
    assert_eq!(
        verdict(&schema, a().equal_to(Datum::long(1)), &data),
        "some"
    );
    assert_eq!(
        verdict(&schema, a().equal_to(Datum::long(2)), &data),
        "none"
    );
    assert_eq!(
        verdict(&schema, Reference::new("s").is_null(), &data),
        "some"
    );
}

#[test]
fn uuids_are_only_compared_for_equality() {
    let schema = schema(vec![optional(1, "x", PrimitiveType::Uuid)]);
    let id = |n| Datum::uuid(uuid::Uuid::from_u128(n));
    let one = file(1, |f| {
        f.null_value_counts(map(0))
            .lower_bounds(map(id(1)))
            .upper_bounds(map(id(u128::MAX)));
    });
    let x = || Reference::new("x");
    assert_eq!(verdict(&schema, x().equal_to(id(0)), &one), "some");
    let partition = Facts::constant(Some(id(7)));
    assert!(partition.excludes(&Test::new(Op::Eq, vec![id(8)])));
    assert!(partition.implies(&Test::new(Op::Eq, vec![id(7)])));
    assert!(!partition.excludes(&Test::new(Op::LessThan, vec![id(6)])));
}

#[test]
fn projections_survive_the_ends_of_types() {
    let transforms = [
        Transform::Year,
        Transform::Month,
        Transform::Day,
        Transform::Hour,
        Transform::Truncate(7),
        Transform::Bucket(5),
    ];
    let ends = [
        Datum::int(i32::MIN),
        Datum::int(i32::MAX),
        Datum::long(i64::MIN),
        Datum::long(i64::MAX),
        Datum::date(i32::MIN),
        Datum::date(i32::MAX),
        Datum::timestamp_micros(i64::MIN),
        Datum::timestamptz_micros(i64::MAX),
        Datum::timestamp_nanos(i64::MIN),
        Datum::string(""),
        Datum::double(f64::NAN),
    ];
    for transform in transforms {
        for end in &ends {
            for op in [
                Op::LessThan,
                Op::GreaterThan,
                Op::Eq,
                Op::NotEq,
                Op::StartsWith,
            ] {
                project::inclusive(&transform, &Test::new(op, vec![end.clone()]));
            }
        }
    }
}

#[test]
fn calendar_transforms_agree_with_the_specification() {
    let at = |text: &str| Datum::timestamptz_from_str(text).unwrap();
    let cases = [
        ("1970-01-01T00:00:00+00:00", 0, 0, 0, 0),
        ("1969-12-31T23:59:59.999999+00:00", -1, -1, -1, -1),
        ("2017-11-16T22:31:08+00:00", 47, 574, 17_486, 419_686),
        ("2000-02-29T00:00:00+00:00", 30, 361, 11_016, 264_384),
        (
            "1600-03-01T00:00:00+00:00",
            -370,
            -4_438,
            -135_080,
            -3_241_920,
        ),
    ];
    for (text, year, month, day, hour) in cases {
        let value = at(text);
        let of = |transform| match project::apply(&transform, &value).unwrap().literal() {
            PrimitiveLiteral::Int(v) => *v,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(Transform::Year), year, "{text}");
        assert_eq!(of(Transform::Month), month, "{text}");
        assert_eq!(of(Transform::Day), day, "{text}");
        assert_eq!(of(Transform::Hour), hour, "{text}");
    }
}

// ---- random files and filters against rows looked at one by one

/// A row of (n int, t string, d date, x double).
type Row = (Option<i32>, Option<String>, Option<i32>, Option<f64>);

fn texts() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "", "a", "ab", "abc", "abd", "b", "bé", "béc", "ü", "日本",
    ])
    .prop_map(str::to_string)
}

fn doubles() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![-1.0, -0.0, 0.0, 1.0, 2.5, f64::NAN, f64::INFINITY])
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::weighted(0.8, -6i32..6),
        prop::option::weighted(0.8, texts()),
        prop::option::weighted(0.8, -70i32..70),
        prop::option::weighted(0.8, doubles()),
    );
    prop::collection::vec(row, 1..5)
}

fn leaves() -> impl Strategy<Value = Predicate> {
    fn compare(column: &'static str, op: usize, values: Vec<Datum>) -> Predicate {
        let c = Reference::new(column);
        let v = values[0].clone();
        match op {
            0 => c.less_than(v),
            1 => c.less_than_or_equal_to(v),
            2 => c.greater_than(v),
            3 => c.greater_than_or_equal_to(v),
            4 => c.equal_to(v),
            5 => c.not_equal_to(v),
            6 => c.is_in(values),
            7 => c.is_not_in(values),
            8 => c.is_null(),
            9 => c.is_not_null(),
            10 if column == "t" => c.starts_with(v),
            11 if column == "t" => c.not_starts_with(v),
            10 if column == "x" => c.is_nan(),
            11 if column == "x" => c.is_not_nan(),
            _ => c.is_null(),
        }
    }
    let values = |one: BoxedStrategy<Datum>| prop::collection::vec(one, 1..4);
    prop_oneof![
        (0usize..12, values((-7i32..7).prop_map(Datum::int).boxed()))
            .prop_map(|(op, v)| compare("n", op, v)),
        (0usize..12, values(texts().prop_map(Datum::string).boxed()))
            .prop_map(|(op, v)| compare("t", op, v)),
        (
            0usize..12,
            values((-75i32..75).prop_map(Datum::date).boxed())
        )
            .prop_map(|(op, v)| compare("d", op, v)),
        (
            0usize..12,
            values(doubles().prop_map(Datum::double).boxed())
        )
            .prop_map(|(op, v)| compare("x", op, v)),
    ]
}

fn filters() -> impl Strategy<Value = Predicate> {
    leaves().prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.and(b)),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| a.or(b)),
            inner.prop_map(|a| !a),
        ]
    })
}

fn value_of(row: &Row, column: &str) -> Option<Datum> {
    match column {
        "n" => row.0.map(Datum::int),
        "t" => row.1.as_ref().map(Datum::string),
        "d" => row.2.map(Datum::date),
        _ => row.3.map(Datum::double),
    }
}

/// How a reader orders values.
type Order = fn(&Datum, &Datum) -> Ordering;

const ORDERS: [Order; 2] = [numeric_order, total_order];

/// The order of values as Spark has it: NaN above all numbers and equal to itself, zeros equal.
fn numeric_order(a: &Datum, b: &Datum) -> Ordering {
    match (a.literal(), b.literal()) {
        (PrimitiveLiteral::Float(a), PrimitiveLiteral::Float(b)) => a.cmp(b),
        (PrimitiveLiteral::Double(a), PrimitiveLiteral::Double(b)) => a.cmp(b),
        _ => a.partial_cmp(b).unwrap(),
    }
}

/// The order of values as Arrow and DataFusion have it: -0.0 is before +0.0.
fn total_order(a: &Datum, b: &Datum) -> Ordering {
    match (a.literal(), b.literal()) {
        (PrimitiveLiteral::Float(a), PrimitiveLiteral::Float(b)) => a.0.total_cmp(&b.0),
        (PrimitiveLiteral::Double(a), PrimitiveLiteral::Double(b)) => a.0.total_cmp(&b.0),
        _ => a.partial_cmp(b).unwrap(),
    }
}

/// SQL's answer for a row: true, false or NULL.
fn truth(row: &Row, filter: &Predicate, order: Order) -> Option<bool> {
    match filter {
        Predicate::AlwaysTrue => Some(true),
        Predicate::AlwaysFalse => Some(false),
        Predicate::And(both) => {
            let [a, b] = both.inputs().map(|input| truth(row, input, order));
            match (a, b) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }
        }
        Predicate::Or(either) => {
            let [a, b] = either.inputs().map(|input| truth(row, input, order));
            match (a, b) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }
        }
        Predicate::Not(inner) => truth(row, inner.inputs()[0], order).map(|t| !t),
        Predicate::Unary(unary) => {
            let value = value_of(row, unary.term().name());
            match unary.op() {
                Op::IsNull => Some(value.is_none()),
                Op::NotNull => Some(value.is_some()),
                Op::IsNan => value.map(|v| v.is_nan()),
                _ => value.map(|v| !v.is_nan()),
            }
        }
        Predicate::Binary(binary) => {
            let value = value_of(row, binary.term().name())?;
            let order = order(&value, binary.literal());
            let starts = || {
                let (v, p) = (value.to_human_string(), binary.literal().to_human_string());
                v.starts_with(&p)
            };
            Some(match binary.op() {
                Op::LessThan => order.is_lt(),
                Op::LessThanOrEq => order.is_le(),
                Op::GreaterThan => order.is_gt(),
                Op::GreaterThanOrEq => order.is_ge(),
                Op::Eq => order.is_eq(),
                Op::NotEq => order.is_ne(),
                Op::StartsWith => starts(),
                _ => !starts(),
            })
        }
        Predicate::Set(set) => {
            let value = value_of(row, set.term().name())?;
            let found = set.literals().iter().any(|l| order(&value, l).is_eq());
            Some(found == (set.op() == Op::In))
        }
    }
}

fn columns() -> Vec<NestedFieldRef> {
    vec![
        optional(1, "n", PrimitiveType::Int),
        optional(2, "t", PrimitiveType::String),
        optional(3, "d", PrimitiveType::Date),
        optional(4, "x", PrimitiveType::Double),
    ]
}

fn batch(fixture: &Fixture, rows: &[Row]) -> RecordBatch {
    fixture.batch(vec![
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1.clone()))),
        Arc::new(Date32Array::from_iter(rows.iter().map(|r| r.2))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.3))),
    ])
}

fn specs() -> Vec<Vec<(i32, &'static str, Transform)>> {
    vec![
        vec![],
        vec![
            (1, "n_bucket", Transform::Bucket(3)),
            (2, "t_trunc", Transform::Truncate(2)),
        ],
        vec![
            (1, "n_trunc", Transform::Truncate(4)),
            (3, "d_month", Transform::Month),
        ],
        vec![
            (2, "t", Transform::Identity),
            (3, "d_year", Transform::Year),
        ],
        vec![(4, "x", Transform::Identity), (3, "d_day", Transform::Day)],
        vec![
            (1, "n", Transform::Identity),
            (2, "t_void", Transform::Void),
        ],
    ]
}

fn partition_of(spec: &PartitionSpec, row: &Row) -> Struct {
    let names = ["", "n", "t", "d", "x"];
    spec.fields()
        .iter()
        .map(|field| {
            let value = value_of(row, names[field.source_id as usize])?;
            project::apply(&field.transform, &value).map(Literal::from)
        })
        .collect()
}

/// Rows of one partition make one file; all files make one manifest.
async fn holds(spec: usize, rows: &[Row], filters: &[Predicate], with_bounds: bool) {
    let mut fixture =
        Fixture::partitioned(FormatVersion::V2, columns(), Fixture::spec(&specs()[spec]));
    let spec = fixture.metadata.default_partition_spec().clone();
    let mut partitions: Vec<(Struct, Vec<Row>)> = Vec::new();
    for row in rows {
        let partition = partition_of(&spec, row);
        match partitions.iter_mut().find(|(p, _)| *p == partition) {
            Some((_, rows)) => rows.push(row.clone()),
            None => partitions.push((partition, vec![row.clone()])),
        }
    }
    let mut writer = fixture.manifest_writer(1, 0, ManifestContentType::Data);
    let mut files = Vec::new();
    for (partition, rows) in partitions {
        let file = file(rows.len() as u64, |f| {
            if with_bounds {
                with_metrics(f, &batch(&fixture, &rows));
            }
            f.partition(partition);
        });
        writer.add_file(file.clone(), -1).unwrap();
        files.push((file, rows));
    }
    let manifest = writer.write_manifest_file().await.unwrap();
    for filter in filters {
        let schema = fixture.metadata.current_schema();
        let evaluator = FileFilter::new(&fixture.metadata, schema, filter).unwrap();
        for (file, rows) in &files {
            for order in ORDERS {
                judge(&evaluator, filter, file, rows, order);
            }
        }
        for order in ORDERS {
            if rows
                .iter()
                .any(|row| truth(row, filter, order) == Some(true))
            {
                assert!(evaluator.manifest_may_match(&manifest), "{filter} {rows:?}");
            }
        }
    }
}

/// What the evaluator says of a file must agree with its rows.
fn judge(evaluator: &FileFilter, filter: &Predicate, file: &DataFile, rows: &[Row], order: Order) {
    let matching = |filter: &Predicate| -> Vec<bool> {
        let truths = rows
            .iter()
            .map(|row| truth(row, filter, order) == Some(true));
        truths.collect()
    };
    let wanted = matching(filter);
    match evaluator.matches(0, file) {
        Matches::None => assert!(!wanted.contains(&true), "lost a row: {filter} {rows:?}"),
        Matches::All => assert!(!wanted.contains(&false), "kept a row: {filter} {rows:?}"),
        Matches::Some(residual) => {
            let left = matching(&residual);
            assert_eq!(left, wanted, "{filter} became {residual} {rows:?}");
        }
    }
    if wanted.contains(&true) {
        assert!(evaluator.partition_may_match(0, file.partition()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn no_matching_row_is_excluded_and_no_other_is_claimed(
        rows in rows(),
        simple in prop::collection::vec(leaves(), 40),
        compound in prop::collection::vec(filters(), 20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let filters = [simple, compound].concat();
        for spec in 0..specs().len() {
            runtime.block_on(holds(spec, &rows, &filters, spec % 2 == rows.len() % 2));
        }
    }
}
