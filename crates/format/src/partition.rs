//! Names of partition fields, and values as transforms make them.

use iceberg::spec::{
    Literal, PrimitiveLiteral, PrimitiveType, Struct, StructType, Transform, Type,
};

/// The name of a partition field where nobody gave one: that of its column and its transform, as other
/// engines build it, in letters that [`is_field_name`] admits.
pub fn field_name(column: &str, transform: Transform) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = column.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    let suffix = match transform {
        Transform::Bucket(_) => "_bucket",
        Transform::Truncate(_) => "_trunc",
        Transform::Year => "_year",
        Transform::Month => "_month",
        Transform::Day => "_day",
        Transform::Hour => "_hour",
        Transform::Void => "_null",
        Transform::Identity | Transform::Unknown => "",
    };
    name + suffix
}

/// Whether new partition fields are given such a name. It becomes that of an Avro field in manifests, where
/// other names have to be written in another way, and not every engine does.
pub fn is_field_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Partition values in the types that the fields have now; none where they are that already.
///
/// A column can be widened, from int to long and from float to double, and the values in older
/// manifests are those of the narrow type. The `iceberg` crate writes them into no newer manifest.
/// Decimals of more digits are the same literals.
pub(crate) fn widened(partition: &Struct, types: &StructType) -> Option<Struct> {
    let wider = |value: &Literal, ty: &Type| match (value, ty) {
        (Literal::Primitive(PrimitiveLiteral::Int(v)), Type::Primitive(PrimitiveType::Long)) => {
            Some(Literal::long(i64::from(*v)))
        }
        (
            Literal::Primitive(PrimitiveLiteral::Float(v)),
            Type::Primitive(PrimitiveType::Double),
        ) => Some(Literal::double(f64::from(v.0))),
        _ => None,
    };
    let mut changed = false;
    let values: Struct = partition
        .iter()
        .enumerate()
        .map(|(at, value)| {
            let value = value?;
            let field = types.fields().get(at);
            let wide = field.and_then(|field| wider(value, &field.field_type));
            changed |= wide.is_some();
            Some(wide.unwrap_or_else(|| value.clone()))
        })
        .collect();
    changed.then_some(values)
}

/// Months since January 1970 of a day since 1970-01-01, in the proleptic Gregorian calendar; none for
/// a day that is beyond all calendars.
///
/// Years are counted from March, so that the leap day is the last one; four hundred of them have
/// 146,097 days, whichever they are.
pub(crate) fn months(day: i64) -> Option<i64> {
    const DAYS_FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let day = day.checked_add(DAYS_FROM_MARCH_OF_YEAR_0)?;
    let (cycle, day) = (
        day.div_euclid(DAYS_OF_400_YEARS),
        day.rem_euclid(DAYS_OF_400_YEARS),
    );
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    Some((cycle * 400 + year - 1970) * 12 + month_from_march + 2)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate, TimeDelta};

    use super::*;

    #[test]
    fn months_and_years_are_those_of_the_calendar() {
        for day in (-800_000..800_000).step_by(13).chain(-800..800) {
            let date = NaiveDate::default() + TimeDelta::days(day);
            let expected = (i64::from(date.year()) - 1970) * 12 + i64::from(date.month0());
            assert_eq!(months(day), Some(expected), "{date}");
        }
        assert_eq!(months(i64::MAX), None);
        assert!(months(i64::MIN).is_some());
    }

    #[test]
    fn names_that_are_made_can_be_written() {
        for (column, transform, expected) in [
            ("genre", Transform::Identity, "genre"),
            ("Major Genre", Transform::Identity, "Major_Genre"),
            ("release_date", Transform::Month, "release_date_month"),
            ("1st", Transform::Bucket(4), "_1st_bucket"),
            ("größe", Transform::Truncate(3), "gr__e_trunc"),
            ("a.b", Transform::Day, "a_b_day"),
        ] {
            let name = field_name(column, transform);
            assert_eq!(name, expected);
            assert!(is_field_name(&name), "{name}");
        }
        for other in ["", "Major Genre", "1st", "größe", "a-b"] {
            assert!(!is_field_name(other), "{other}");
        }
    }
}
