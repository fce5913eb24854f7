//! What is known of a column's values in a file or a manifest, and what follows from it for a test.
//!
//! A test on a column is true, false or NULL for a row; only rows for which the filter is true are
//! wanted. Two questions are answered, and a wrong "yes" to either would lose or invent rows:
//!
//! | question | "yes" claims | used for |
//! |---|---|---|
//! | [`Facts::excludes`] | the test is true for no row | skipping |
//! | [`Facts::implies`] | the test is true for every row | dropping the test, deleting whole files |
//!
//! "No" claims nothing. A missing bound or count therefore answers "no" to both.
//!
//! NULL and NaN are where it goes wrong, so the rules are written down. SQL says that `NULL <> 5` is
//! not true; Iceberg's own expressions say that it is. NaN is above all numbers for Spark and
//! DataFusion, and beside them in IEEE arithmetic. "Yes" is only said where both readings agree:
//!
//! | test | excluded needs | implied needs |
//! |---|---|---|
//! | `IS NULL` | no NULLs | NULLs only |
//! | `IS NOT NULL` | NULLs only | no NULLs |
//! | `IS NAN` | no NaNs | NaNs only |
//! | `IS NOT NAN` | NaNs only | no NULLs, no NaNs |
//! | `<`, `<=`, `=`, `IN`, `STARTS WITH` | values excluded, or NULLs only | no NULLs, no NaNs, opposite excluded |
//! | `>`, `>=` | the same, and no NaNs | the same |
//! | `<>`, `NOT IN`, `NOT STARTS WITH` | no NULLs, no NaNs, values excluded | the same |
//!
//! Zeros are the same kind of trap: `-0.0 < 0.0` is true where rows are compared in the total order and
//! false in IEEE arithmetic. A bound of zero therefore neither excludes nor implies anything about a
//! literal that is zero.

use iceberg::expr::PredicateOperator as Op;
use iceberg::spec::Datum;

use super::value::{bytes, equal, less, unequal};

/// A comparison without its column: the operator and its literals, all of the column's type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    pub(super) op: Op,
    pub(super) literals: Vec<Datum>,
}

impl Test {
    pub(super) fn new(op: Op, literals: Vec<Datum>) -> Self {
        Self { op, literals }
    }

    pub(super) fn negated(&self) -> Self {
        Self {
            op: self.op.negate(),
            literals: self.literals.clone(),
        }
    }
}

/// How many of the rows have a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    None,
    All,
    Some,
    Unknown,
}

impl Share {
    /// The share that `part` rows of `whole` are.
    pub(super) fn of(part: Option<u64>, whole: Option<u64>) -> Self {
        match (part, whole) {
            (Some(0), _) => Self::None,
            (Some(part), Some(whole)) if part >= whole => Self::All,
            (Some(_), Some(_)) => Self::Some,
            _ => Self::Unknown,
        }
    }
}

/// What is known of a column's values. Bounds hold for all values that are neither NULL nor NaN.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) nulls: Share,
    pub(super) nans: Share,
    pub(super) lower: Option<Datum>,
    pub(super) upper: Option<Datum>,
}

impl Facts {
    /// Nothing is known.
    pub(super) const UNKNOWN: Self = Self {
        nulls: Share::Unknown,
        nans: Share::Unknown,
        lower: None,
        upper: None,
    };

    /// Every row has this value.
    pub(super) fn constant(value: Option<Datum>) -> Self {
        match value {
            None => Self {
                nulls: Share::All,
                nans: Share::None,
                ..Self::UNKNOWN
            },
            Some(value) if value.is_nan() => Self {
                nulls: Share::None,
                nans: Share::All,
                ..Self::UNKNOWN
            },
            Some(value) => Self {
                nulls: Share::None,
                nans: Share::None,
                lower: Some(value.clone()),
                upper: Some(value),
            },
        }
    }

    /// Bounds that are NaN come from writers that did not leave NaN out: they bound nothing.
    pub(super) fn bounds(mut self, lower: Option<Datum>, upper: Option<Datum>) -> Self {
        self.lower = lower.filter(|bound| !bound.is_nan());
        self.upper = upper.filter(|bound| !bound.is_nan());
        self
    }

    /// Whether the test is certainly true for no row.
    pub(super) fn excludes(&self, test: &Test) -> bool {
        let no_nulls = self.nulls == Share::None;
        let no_nans = self.nans == Share::None;
        let only_nulls = self.nulls == Share::All;
        match test.op {
            Op::IsNull => no_nulls,
            Op::NotNull => only_nulls,
            Op::IsNan => no_nans,
            Op::NotNan => self.nans == Share::All,
            Op::LessThan | Op::LessThanOrEq | Op::Eq | Op::In | Op::StartsWith => {
                let asks_for_nan = test.literals.iter().any(Datum::is_nan);
                only_nulls || (self.excludes_values(test) && (no_nans || !asks_for_nan))
            }
            Op::GreaterThan | Op::GreaterThanOrEq => {
                only_nulls || (no_nans && self.excludes_values(test))
            }
            Op::NotEq | Op::NotIn | Op::NotStartsWith => {
                no_nulls && no_nans && self.excludes_values(test)
            }
            _ => false,
        }
    }

    /// Whether the test is certainly true for every row.
    pub(super) fn implies(&self, test: &Test) -> bool {
        let no_nulls = self.nulls == Share::None;
        let no_nans = self.nans == Share::None;
        match test.op {
            Op::IsNull => self.nulls == Share::All,
            Op::NotNull => no_nulls,
            Op::IsNan => self.nans == Share::All,
            Op::NotNan => no_nulls && no_nans,
            // What is neither NULL nor NaN fulfils either a comparison or its opposite.
            _ => no_nulls && no_nans && self.excludes_values(&test.negated()),
        }
    }

    /// Whether the test is certainly false for all values that are neither NULL nor NaN.
    fn excludes_values(&self, test: &Test) -> bool {
        let above = |value: &Datum| self.lower.as_ref().is_some_and(|lower| less(value, lower));
        let below = |value: &Datum| self.upper.as_ref().is_some_and(|upper| less(upper, value));
        // Both bounds alike: there is one value, and bounds cannot be cut ones.
        let constant = match (&self.lower, &self.upper) {
            (Some(lower), Some(upper)) if equal(lower, upper) => Some(lower),
            _ => None,
        };
        let absent = |value: &Datum| {
            above(value) || below(value) || constant.is_some_and(|c| unequal(c, value))
        };
        let Some(first) = test.literals.first() else {
            // `IN ()` is true for nothing, `NOT IN ()` for everything.
            return test.op == Op::In;
        };
        match test.op {
            Op::LessThan => {
                above(first) || self.lower.as_ref().is_some_and(|lower| equal(lower, first))
            }
            Op::LessThanOrEq => above(first),
            Op::GreaterThan => {
                below(first) || self.upper.as_ref().is_some_and(|upper| equal(upper, first))
            }
            Op::GreaterThanOrEq => below(first),
            Op::Eq => absent(first),
            Op::In => test.literals.iter().all(absent),
            Op::NotEq => constant.is_some_and(|c| equal(c, first)),
            Op::NotIn => constant.is_some_and(|c| test.literals.iter().any(|l| equal(c, l))),
            Op::StartsWith => self.excludes_prefix(first),
            Op::NotStartsWith => self.implies_prefix(first),
            _ => false,
        }
    }

    /// Bounds may be cut, so an upper bound may be longer or shorter than any value.
    fn excludes_prefix(&self, prefix: &Datum) -> bool {
        let Some(prefix) = bytes(prefix) else {
            return false;
        };
        let below = self
            .upper
            .as_ref()
            .and_then(bytes)
            .is_some_and(|upper| upper < prefix);
        // A lower bound above the prefix and not beginning with it is above all that begins with it.
        let above = self
            .lower
            .as_ref()
            .and_then(bytes)
            .is_some_and(|lower| lower > prefix && !lower.starts_with(prefix));
        below || above
    }

    /// What lies between two texts that begin alike begins like them.
    fn implies_prefix(&self, prefix: &Datum) -> bool {
        let begins = |bound: &Option<Datum>| {
            bytes(prefix).is_some_and(|prefix| {
                bound
                    .as_ref()
                    .and_then(bytes)
                    .is_some_and(|bound| bound.starts_with(prefix))
            })
        };
        begins(&self.lower) && begins(&self.upper)
    }
}
