//! Names of partition fields.

use iceberg::spec::Transform;

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

/// Whether a partition field of this name can be written. The name becomes that of an Avro field in
/// manifests, and the `iceberg` crate writes it there as it is: any other name would make manifests
/// that nobody can read.
pub fn is_field_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

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
