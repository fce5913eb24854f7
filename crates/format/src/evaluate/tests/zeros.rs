//! Zeros of both signs: readers and writers disagree whether they are one value, so nothing is claimed
//! that is wrong for any of them.

use super::*;

const OPERATORS: [Op; 8] = [
    Op::LessThan,
    Op::LessThanOrEq,
    Op::GreaterThan,
    Op::GreaterThanOrEq,
    Op::Eq,
    Op::NotEq,
    Op::In,
    Op::NotIn,
];

fn holds(op: Op, order: Ordering) -> bool {
    match op {
        Op::LessThan => order.is_lt(),
        Op::LessThanOrEq => order.is_le(),
        Op::GreaterThan => order.is_gt(),
        Op::GreaterThanOrEq => order.is_ge(),
        Op::Eq | Op::In => order.is_eq(),
        _ => order.is_ne(),
    }
}

fn predicate(op: Op, value: Datum) -> Predicate {
    let x = Reference::new("x");
    match op {
        Op::LessThan => x.less_than(value),
        Op::LessThanOrEq => x.less_than_or_equal_to(value),
        Op::GreaterThan => x.greater_than(value),
        Op::GreaterThanOrEq => x.greater_than_or_equal_to(value),
        Op::Eq => x.equal_to(value),
        Op::NotEq => x.not_equal_to(value),
        Op::In => x.is_in([value]),
        _ => x.is_not_in([value]),
    }
}

/// What metadata with these bounds claims about a test: by the file's bounds, by an identity
/// partition and by a manifest's summary.
fn claims(ty: &PrimitiveType, op: Op, literal: &Datum, lower: &Datum, upper: &Datum) -> Claims {
    let filter = predicate(op, literal.clone());
    let fields = vec![optional(1, "x", ty.clone())];
    let spec = Fixture::spec(&[(1, "x", Transform::Identity)]);
    let fixture = Fixture::partitioned(FormatVersion::V2, fields, spec);
    let schema = fixture.metadata.current_schema();
    let bounded = file(2, |f| {
        f.null_value_counts(map(0))
            .nan_value_counts(map(0))
            .lower_bounds(map(lower.clone()))
            .upper_bounds(map(upper.clone()));
    });
    let evaluator = FileFilter::new(&fixture.metadata, schema, &filter).unwrap();
    let partition = Struct::from_iter([Some(Literal::from(lower.clone()))]);
    let in_partition = file(2, |f| {
        f.partition(partition.clone());
    });
    let bytes = |bound: &Datum| Some(bound.to_bytes().unwrap());
    let summary = FieldSummary {
        contains_null: false,
        contains_nan: Some(false),
        lower_bound: bytes(lower),
        upper_bound: bytes(upper),
    };
    let summarized = summarized(&summary, ty);
    let test = Test::new(op, vec![literal.clone()]);
    let by_bounds = verdict(schema, filter.clone(), &bounded);
    let by_partition = evaluator.matches(0, &in_partition);
    Claims {
        none: by_bounds == "none"
            || by_partition == Matches::None
            || !evaluator.partition_may_match(0, &partition)
            || summarized.excludes(&test),
        all: by_bounds == "all" || by_partition == Matches::All || summarized.implies(&test),
    }
}

struct Claims {
    none: bool,
    all: bool,
}

fn values(zeros: bool) -> Vec<(PrimitiveType, Vec<Datum>)> {
    let of: &[f64] = if zeros { &[-0.0, 0.0] } else { &[-1.0, 1.0] };
    let floats = of.iter().map(|v| Datum::float(*v as f32));
    let doubles = of.iter().map(|v| Datum::double(*v));
    vec![
        (PrimitiveType::Float, floats.collect()),
        (PrimitiveType::Double, doubles.collect()),
    ]
}

#[test]
fn a_bound_of_zero_stands_for_zeros_of_both_signs() {
    for (ty, zeros) in values(true) {
        for op in OPERATORS {
            for (literal, lower, upper) in itertools::iproduct!(&zeros, &zeros, &zeros) {
                let claims = claims(&ty, op, literal, lower, upper);
                for (row, order) in itertools::iproduct!(&zeros, ORDERS) {
                    let kept = holds(op, order(row, literal));
                    let what = format!("{ty} {row} {op} {literal} in [{lower}, {upper}]");
                    assert!(!kept || !claims.none, "lost a row: {what}");
                    assert!(kept || !claims.all, "kept a row: {what}");
                }
            }
        }
    }
}

#[test]
fn zeros_are_still_told_from_other_numbers() {
    for ((ty, zeros), (_, ones)) in values(true).into_iter().zip(values(false)) {
        for op in OPERATORS {
            for (literal, zero) in itertools::iproduct!(&ones, &zeros) {
                let claims = claims(&ty, op, literal, zero, zero);
                let kept = holds(op, numeric_order(zero, literal));
                assert_eq!((claims.none, claims.all), (!kept, kept), "{op} {literal}");
            }
        }
    }
}
