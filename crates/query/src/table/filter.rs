//! Turns filters into predicates that prune manifests and files.
//!
//! A predicate may keep rows that the filter drops, never the other way round: what cannot be
//! expressed is left out. Two habits of the engine make exact translation a trap. NaN is greater than
//! every number for it (and a negative NaN smaller), while bounds in manifests know nothing of NaN; so
//! an inequality on a float keeps files that hold NaN. And NOT is pushed down here rather than left to
//! the predicate, so that this rule is applied to the comparison that is really meant.

use std::collections::HashMap;

use chrono::{DateTime, Datelike};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    Datum, NestedFieldRef, PartitionSpecRef, PrimitiveLiteral, PrimitiveType, Schema, Transform,
    Type,
};

/// Longer lists prune little and cost much per file.
const MAX_LIST: usize = 200;

/// The predicate that all filters together imply.
pub(super) fn predicate(filters: &[Expr], schema: &Schema) -> Predicate {
    filters
        .iter()
        .filter_map(|filter| convert(filter, schema, false))
        .fold(Predicate::AlwaysTrue, Predicate::and)
}

/// What a filter, or its negation, implies; nothing where that cannot be said.
fn convert(expr: &Expr, schema: &Schema, negated: bool) -> Option<Predicate> {
    match expr {
        Expr::Not(inner) => convert(inner, schema, !negated),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And | Operator::Or => {
                let both = (
                    convert(left, schema, negated),
                    convert(right, schema, negated),
                );
                // Half of a conjunction is still implied, half of a disjunction is not.
                let conjunction = (*op == Operator::And) != negated;
                match both {
                    (Some(left), Some(right)) if conjunction => Some(left.and(right)),
                    (Some(left), Some(right)) => Some(left.or(right)),
                    (Some(one), None) | (None, Some(one)) if conjunction => Some(one),
                    _ => None,
                }
            }
            _ => {
                let (column, op, literal) = match (literal(left), literal(right)) {
                    (None, Some(literal)) => (left, *op, literal),
                    (Some(literal), None) => (right, op.swap()?, literal),
                    _ => return None,
                };
                let op = if negated { op.negate()? } else { op };
                compare(&Target::of(column, schema)?, op, literal)
            }
        },
        Expr::Between(Between {
            expr,
            negated: not,
            low,
            high,
        }) => {
            let target = Target::of(expr, schema)?;
            let (low, high) = (literal(low)?, literal(high)?);
            if *not == negated {
                let low = compare(&target, Operator::GtEq, low);
                let high = compare(&target, Operator::LtEq, high);
                match (low, high) {
                    (Some(low), Some(high)) => Some(low.and(high)),
                    (one, other) => one.or(other),
                }
            } else {
                let below = compare(&target, Operator::Lt, low)?;
                let above = compare(&target, Operator::Gt, high)?;
                Some(below.or(above))
            }
        }
        Expr::InList(InList {
            expr,
            list,
            negated: not,
        }) => in_list(&Target::of(expr, schema)?, list, *not != negated),
        Expr::IsNull(inner) => null_test(&Target::of(inner, schema)?, !negated),
        Expr::IsNotNull(inner) => null_test(&Target::of(inner, schema)?, negated),
        Expr::Like(like) => starts_with(like, schema, negated),
        Expr::Column(_) => {
            // A boolean column that stands alone.
            let target = Target::of(expr, schema)?;
            (*target.primitive == PrimitiveType::Boolean)
                .then(|| target.reference().equal_to(Datum::bool(!negated)))
        }
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => Some(if *value != negated {
            Predicate::AlwaysTrue
        } else {
            Predicate::AlwaysFalse
        }),
        _ => None,
    }
}

/// The transforms by which all files of a table are partitioned: of each spec, those of each column.
#[derive(Debug)]
pub(super) struct Partitioning(Vec<HashMap<i32, Vec<Transform>>>);

impl Partitioning {
    /// Of a table with these specs.
    pub(super) fn of<'a>(specs: impl Iterator<Item = &'a PartitionSpecRef>) -> Self {
        let of_spec = |spec: &PartitionSpecRef| {
            let mut transforms: HashMap<i32, Vec<Transform>> = HashMap::new();
            for field in spec.fields() {
                let of_column = transforms.entry(field.source_id).or_default();
                of_column.push(field.transform);
            }
            transforms
        };
        Self(specs.map(of_spec).collect())
    }

    /// Whether a filter holds for all rows of a partition or for none, in every spec. The predicate that
    /// [`predicate`] makes of it says the same then as the filter, and the partition of a file decides it.
    pub(super) fn decides(&self, expr: &Expr, schema: &Schema) -> bool {
        let target = |expr| partitioned(expr, schema);
        let identity = |target: &Target<'_>| {
            self.every_spec(target, |transform| *transform == Transform::Identity)
        };
        let at = |target: &Target<'_>, expr: &Expr| literal(expr).and_then(|at| place(at, target));
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And | Operator::Or => {
                    self.decides(left, schema) && self.decides(right, schema)
                }
                _ => {
                    let decided = |column: &Expr, op: Operator, literal: &Expr| {
                        let Some(target) = partitioned(column, schema) else {
                            return false;
                        };
                        let Some(at) = at(&target, literal) else {
                            return false;
                        };
                        self.every_spec(&target, |transform| begins(transform, &target, op, &at))
                            || (identity(&target)
                                // For Iceberg, NULL is unequal to a value.
                                && op != Operator::NotEq
                                && convert(expr, schema, false).is_some())
                    };
                    decided(left, *op, right)
                        || op.swap().is_some_and(|op| decided(right, op, left))
                }
            },
            Expr::Between(between) => {
                !between.negated
                    && target(&between.expr).is_some_and(|target| {
                        let bounds = [&between.low, &between.high];
                        identity(&target) && bounds.iter().all(|bound| at(&target, bound).is_some())
                    })
            }
            Expr::InList(list) => {
                !list.negated
                    && list.list.len() <= MAX_LIST
                    && target(&list.expr).is_some_and(|target| {
                        identity(&target)
                            && list.list.iter().all(|item| at(&target, item).is_some())
                    })
            }
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => {
                target(inner).is_some_and(|target| identity(&target))
            }
            _ => false,
        }
    }

    /// Whether every spec has a field of this column with such a transform.
    fn every_spec(&self, target: &Target<'_>, is: impl Fn(&Transform) -> bool) -> bool {
        let mut specs = self.0.iter();
        specs.all(|spec| {
            spec.get(&target.field.id)
                .is_some_and(|all| all.iter().any(&is))
        })
    }
}

/// A column that a partition may decide about. Floats have NaN, and types that are left out here are not
/// partitioned by in practice.
fn partitioned<'a>(expr: &'a Expr, schema: &'a Schema) -> Option<Target<'a>> {
    Target::of(expr, schema).filter(|target| {
        matches!(
            target.primitive,
            PrimitiveType::Int
                | PrimitiveType::Long
                | PrimitiveType::String
                | PrimitiveType::Date
                | PrimitiveType::Timestamp
                | PrimitiveType::Timestamptz
        )
    })
}

/// Whether a partition of this transform begins at a time, so that all of it is before the time or none
/// of it is: then its partition decides `column < time` and `column >= time`.
fn begins(transform: &Transform, target: &Target<'_>, op: Operator, at: &Place) -> bool {
    const HOUR: i64 = 3_600_000_000;
    let (Operator::Lt | Operator::GtEq, Place::At(datum)) = (op, at) else {
        return false;
    };
    let micros = match (target.primitive, datum.literal()) {
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => i64::from(*days) * 24 * HOUR,
        (PrimitiveType::Timestamp | PrimitiveType::Timestamptz, PrimitiveLiteral::Long(micros)) => {
            *micros
        }
        _ => return false,
    };
    // Older versions of other engines have put times before 1970 into the partition behind theirs.
    let Some(time) = DateTime::from_timestamp_micros(micros).filter(|_| micros > 0) else {
        return false;
    };
    let midnight = micros.rem_euclid(24 * HOUR) == 0;
    match transform {
        Transform::Hour => micros.rem_euclid(HOUR) == 0,
        Transform::Day => midnight,
        Transform::Month => midnight && time.day() == 1,
        Transform::Year => midnight && time.ordinal() == 1,
        _ => false,
    }
}

/// A top-level column of a primitive type, bare or in a cast that changes neither a value nor the
/// order of values.
struct Target<'a> {
    field: &'a NestedFieldRef,
    primitive: &'a PrimitiveType,
}

impl<'a> Target<'a> {
    fn of(expr: &'a Expr, schema: &'a Schema) -> Option<Self> {
        let (column, widened) = match expr {
            Expr::Column(column) => (column, None),
            Expr::Cast(cast) => match cast.expr.as_ref() {
                Expr::Column(column) => (column, Some(cast.field.data_type())),
                _ => return None,
            },
            Expr::TryCast(cast) => match cast.expr.as_ref() {
                Expr::Column(column) => (column, Some(cast.field.data_type())),
                _ => return None,
            },
            _ => return None,
        };
        let field = schema
            .as_struct()
            .fields()
            .iter()
            .find(|field| field.name == *column.name())?;
        let Type::Primitive(primitive) = field.field_type.as_ref() else {
            return None;
        };
        if let Some(to) = widened
            && !is_widening(primitive, to)
        {
            return None;
        }
        // A name with a dot could be taken for a path into a nested column.
        if field.name.contains('.') {
            return None;
        }
        Some(Self { field, primitive })
    }

    fn reference(&self) -> Reference {
        Reference::new(self.field.name.as_str())
    }

    fn is_float(&self) -> bool {
        matches!(self.primitive, PrimitiveType::Float | PrimitiveType::Double)
    }
}

/// Whether casting a column of this type changes no value and no order.
fn is_widening(from: &PrimitiveType, to: &DataType) -> bool {
    match from {
        PrimitiveType::Int => matches!(to, DataType::Int32 | DataType::Int64 | DataType::Float64),
        PrimitiveType::Long => matches!(to, DataType::Int64),
        PrimitiveType::Float => matches!(to, DataType::Float32 | DataType::Float64),
        PrimitiveType::Double => matches!(to, DataType::Float64),
        PrimitiveType::String => matches!(
            to,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ),
        PrimitiveType::Binary => matches!(
            to,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        ),
        PrimitiveType::Timestamp | PrimitiveType::TimestampNs => matches!(
            to,
            DataType::Timestamp(
                arrow::datatypes::TimeUnit::Microsecond | arrow::datatypes::TimeUnit::Nanosecond,
                None
            )
        ),
        PrimitiveType::Timestamptz | PrimitiveType::TimestamptzNs => matches!(
            to,
            DataType::Timestamp(
                arrow::datatypes::TimeUnit::Microsecond | arrow::datatypes::TimeUnit::Nanosecond,
                Some(_)
            )
        ),
        PrimitiveType::Date => matches!(to, DataType::Date32),
        PrimitiveType::Boolean => matches!(to, DataType::Boolean),
        _ => false,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn compare(target: &Target<'_>, op: Operator, literal: &ScalarValue) -> Option<Predicate> {
    if literal.is_null() {
        // A comparison with NULL is true for no row.
        return Some(Predicate::AlwaysFalse);
    }
    let place = place(literal, target)?;
    let column = target.reference();
    let inequality = match (op, place) {
        (Operator::Eq, Place::At(datum)) => return Some(column.equal_to(datum)),
        (Operator::Eq, Place::Above(_)) => return Some(Predicate::AlwaysFalse),
        (Operator::NotEq, Place::At(datum)) => return Some(column.not_equal_to(datum)),
        (Operator::Lt, Place::At(datum)) => column.less_than(datum),
        (Operator::LtEq, Place::At(datum)) => column.less_than_or_equal_to(datum),
        (Operator::Gt, Place::At(datum)) => column.greater_than(datum),
        (Operator::GtEq, Place::At(datum)) => column.greater_than_or_equal_to(datum),
        (Operator::Lt | Operator::LtEq, Place::Above(datum)) => column.less_than_or_equal_to(datum),
        (Operator::Gt | Operator::GtEq, Place::Above(datum)) => column.greater_than(datum),
        _ => return None,
    };
    Some(if target.is_float() {
        inequality.or(target.reference().is_nan())
    } else {
        inequality
    })
}

fn in_list(target: &Target<'_>, list: &[Expr], not: bool) -> Option<Predicate> {
    if list.len() > MAX_LIST {
        return None;
    }
    let mut values = Vec::with_capacity(list.len());
    for item in list {
        let value = literal(item)?;
        if value.is_null() {
            if not {
                // `x NOT IN (…, NULL)` is true for no row.
                return Some(Predicate::AlwaysFalse);
            }
            continue;
        }
        match place(value, target)? {
            Place::At(datum) => values.push(datum),
            Place::Above(_) => {}
        }
    }
    match (values.is_empty(), not) {
        (true, true) => None,
        (true, false) => Some(Predicate::AlwaysFalse),
        (false, true) => Some(target.reference().is_not_in(values)),
        (false, false) => Some(target.reference().is_in(values)),
    }
}

fn null_test(target: &Target<'_>, null: bool) -> Option<Predicate> {
    let column = target.reference();
    Some(if null {
        column.is_null()
    } else {
        column.is_not_null()
    })
}

fn starts_with(like: &Like, schema: &Schema, negated: bool) -> Option<Predicate> {
    let target = Target::of(&like.expr, schema)?;
    if *target.primitive != PrimitiveType::String || like.case_insensitive {
        return None;
    }
    let pattern = literal(&like.pattern)?.try_as_str()??;
    let escape = like.escape_char.unwrap_or('\\');
    let wild = pattern.find(['%', '_', escape])?;
    let prefix = &pattern[..wild];
    if prefix.is_empty() {
        return None;
    }
    let column = target.reference();
    if like.negated != negated {
        // Only `prefix%` as a whole can be negated.
        (&pattern[wild..] == "%").then(|| column.not_starts_with(Datum::string(prefix)))
    } else {
        Some(column.starts_with(Datum::string(prefix)))
    }
}

/// Where a literal lies among the values of a column's type.
enum Place {
    /// It is one of them.
    At(Datum),
    /// It lies between this value and the next.
    Above(Datum),
}

fn place(literal: &ScalarValue, target: &Target<'_>) -> Option<Place> {
    use ScalarValue as S;
    let at = |datum| Some(Place::At(datum));
    match target.primitive {
        PrimitiveType::Boolean => match literal {
            S::Boolean(Some(value)) => at(Datum::bool(*value)),
            _ => None,
        },
        PrimitiveType::Int => at(Datum::int(i32::try_from(integer(literal)?).ok()?)),
        PrimitiveType::Long => at(Datum::long(i64::try_from(integer(literal)?).ok()?)),
        PrimitiveType::Float => {
            let value = float(literal)?;
            let narrow = value as f32;
            (f64::from(narrow) == value && !value.is_nan()).then(|| Place::At(Datum::float(narrow)))
        }
        PrimitiveType::Double => {
            let value = float(literal)?;
            (!value.is_nan()).then(|| Place::At(Datum::double(value)))
        }
        PrimitiveType::String => match literal {
            S::Utf8(Some(text)) | S::LargeUtf8(Some(text)) | S::Utf8View(Some(text)) => {
                at(Datum::string(text))
            }
            _ => None,
        },
        PrimitiveType::Binary => match literal {
            S::Binary(Some(bytes)) | S::LargeBinary(Some(bytes)) | S::BinaryView(Some(bytes)) => {
                at(Datum::binary(bytes.iter().copied()))
            }
            _ => None,
        },
        PrimitiveType::Date => match literal {
            S::Date32(Some(days)) => at(Datum::date(*days)),
            _ => None,
        },
        PrimitiveType::Timestamp => instant(literal, false, 1_000, Datum::timestamp_micros),
        PrimitiveType::Timestamptz => instant(literal, true, 1_000, Datum::timestamptz_micros),
        PrimitiveType::TimestampNs => instant(literal, false, 1, Datum::timestamp_nanos),
        PrimitiveType::TimestamptzNs => instant(literal, true, 1, Datum::timestamptz_nanos),
        PrimitiveType::Decimal { precision, scale } => match literal {
            S::Decimal128(Some(unscaled), _, literal_scale)
                if u32::try_from(*literal_scale).is_ok_and(|s| s == *scale) =>
            {
                let ty = PrimitiveType::Decimal {
                    precision: *precision,
                    scale: *scale,
                };
                at(Datum::try_from_bytes(&unscaled.to_be_bytes(), ty).ok()?)
            }
            _ => None,
        },
        _ => None,
    }
}

fn integer(literal: &ScalarValue) -> Option<i128> {
    use ScalarValue as S;
    Some(match literal {
        S::Int8(Some(value)) => i128::from(*value),
        S::Int16(Some(value)) => i128::from(*value),
        S::Int32(Some(value)) => i128::from(*value),
        S::Int64(Some(value)) => i128::from(*value),
        S::UInt8(Some(value)) => i128::from(*value),
        S::UInt16(Some(value)) => i128::from(*value),
        S::UInt32(Some(value)) => i128::from(*value),
        S::UInt64(Some(value)) => i128::from(*value),
        _ => return None,
    })
}

fn float(literal: &ScalarValue) -> Option<f64> {
    Some(match literal {
        ScalarValue::Float32(Some(value)) => f64::from(*value),
        ScalarValue::Float64(Some(value)) => *value,
        _ => return None,
    })
}

/// A timestamp literal in units of `nanos` nanoseconds. Literals without zone are compared with
/// columns without zone only: what else they would mean depends on the session.
fn instant(
    literal: &ScalarValue,
    zoned: bool,
    nanos: i128,
    datum: fn(i64) -> Datum,
) -> Option<Place> {
    use ScalarValue as S;
    let (value, unit, zone) = match literal {
        S::TimestampSecond(Some(value), zone) => (*value, 1_000_000_000, zone),
        S::TimestampMillisecond(Some(value), zone) => (*value, 1_000_000, zone),
        S::TimestampMicrosecond(Some(value), zone) => (*value, 1_000, zone),
        S::TimestampNanosecond(Some(value), zone) => (*value, 1, zone),
        _ => return None,
    };
    if zone.is_some() != zoned {
        return None;
    }
    let total = i128::from(value) * unit;
    let floor = datum(i64::try_from(total.div_euclid(nanos)).ok()?);
    Some(if total.rem_euclid(nanos) == 0 {
        Place::At(floor)
    } else {
        Place::Above(floor)
    })
}
