//! Decides from metadata alone whether rows of a manifest or a file can match a filter.
//!
//! A [`FileFilter`] is a filter bound to a schema and to a table's partition specs. It answers three
//! questions, each from whatever is known of a column (partition values, bounds, counts of NULL and
//! NaN): may a manifest hold matching rows, may a file, and what of the filter is left to be applied
//! to the file's rows. It is exact on the safe side: a manifest or file that holds a matching row is
//! never excluded, and a part of the filter is only dropped where every row fulfils it. What is not
//! known (a missing bound, a column that was added after the file was written, a NaN bound) excludes
//! nothing and proves nothing.
//!
//! The answers follow SQL's three-valued logic and hold under Iceberg's own expression semantics as
//! well; see the table in `facts.rs`.

mod facts;
mod filter;
mod project;
pub(crate) mod value;

use std::collections::HashMap;

use iceberg::expr::{Predicate, PredicateOperator};
use iceberg::spec::{
    DataFile, Datum, FieldSummary, Literal, ManifestFile, PartitionSpecRef, PrimitiveType, Schema,
    Struct, StructType, TableMetadata, Transform, Type,
};

use crate::Result;
use facts::{Facts, Share, Test};
use filter::{Leaf, Node};

/// What metadata says about a file's rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Matches {
    /// No row matches.
    None,
    /// Every row matches.
    All,
    /// Rows may match; this is left to be applied to each.
    Some(Predicate),
}

/// A filter bound to a table, ready to be evaluated on manifests and files.
#[derive(Debug, Clone)]
pub struct FileFilter {
    root: Node,
    specs: HashMap<i32, PartitionSpecRef>,
}

impl FileFilter {
    /// Binds a filter to a schema and to all partition specs of a table.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown column or a literal that does
    /// not fit its column's type.
    pub fn new(metadata: &TableMetadata, schema: &Schema, filter: &Predicate) -> Result<Self> {
        Ok(Self {
            root: Node::bind(schema, filter)?,
            specs: metadata
                .partition_specs_iter()
                .map(|spec| (spec.spec_id(), spec.clone()))
                .collect(),
        })
    }

    /// The columns that it looks at, by field id.
    pub(crate) fn columns(&self) -> impl Iterator<Item = i32> + '_ {
        self.root.leaves().map(|leaf| leaf.field_id)
    }

    /// Whether files of the manifest may hold matching rows, by its partition summaries.
    pub fn manifest_may_match(&self, manifest: &ManifestFile) -> bool {
        let summaries = manifest.partitions.as_deref().unwrap_or_default();
        self.root.may_match(&|leaf| {
            self.partitions_of(leaf, manifest.partition_spec_id).any(
                |(position, transform, test, result)| {
                    summaries.get(position).is_some_and(|summary| {
                        project::inclusive(transform, test)
                            .is_some_and(|test| summarized(summary, &result).excludes(&test))
                    })
                },
            )
        })
    }

    /// Whether rows of a partition may match. Delete files of a partition that may not are of no
    /// use to a scan.
    pub fn partition_may_match(&self, spec_id: i32, partition: &Struct) -> bool {
        self.root
            .may_match(&|leaf| self.by_partition(leaf, spec_id, partition) == Some(false))
    }

    /// What is known of the rows of a data file, by its partition, bounds and counts.
    pub fn matches(&self, spec_id: i32, file: &DataFile) -> Matches {
        if file.record_count() == 0 {
            return Matches::None;
        }
        let residual = self.root.residual(&|leaf| {
            self.by_partition(leaf, spec_id, file.partition())
                .or_else(|| by_metrics(leaf, file))
        });
        match residual {
            Predicate::AlwaysFalse => Matches::None,
            Predicate::AlwaysTrue => Matches::All,
            left => Matches::Some(left),
        }
    }

    /// The partition fields that are made of the leaf's column.
    fn partitions_of<'a>(
        &'a self,
        leaf: &'a Leaf,
        spec_id: i32,
    ) -> impl Iterator<Item = (usize, &'a Transform, &'a Test, PrimitiveType)> {
        let fields = self
            .specs
            .get(&spec_id)
            .map(|spec| spec.fields())
            .unwrap_or_default();
        fields
            .iter()
            .enumerate()
            .filter(|(_, field)| field.source_id == leaf.field_id)
            .filter_map(|(position, field)| {
                let (ty, test) = leaf.test.as_ref()?;
                let source = Type::Primitive(ty.clone());
                match field.transform.result_type(&source).ok()? {
                    Type::Primitive(result) => Some((position, &field.transform, test, result)),
                    _ => None,
                }
            })
    }

    /// Whether the test holds for all rows of the partition or for none, where that is known.
    fn by_partition(&self, leaf: &Leaf, spec_id: i32, partition: &Struct) -> Option<bool> {
        self.partitions_of(leaf, spec_id)
            .find_map(|(position, transform, test, result)| {
                let facts = match partition.fields().get(position)? {
                    None => Facts::constant(None),
                    Some(Literal::Primitive(literal)) => {
                        Facts::constant(Some(value::datum(&result, literal)?))
                    }
                    Some(_) => return None,
                };
                transformed(&facts, transform, test)
            })
    }
}

/// Whether the test on `x` holds for all rows or for none, where this is known of `transform(x)`.
fn transformed(facts: &Facts, transform: &Transform, test: &Test) -> Option<bool> {
    let projected = project::inclusive(transform, test)?;
    if facts.excludes(&projected) {
        return Some(false);
    }
    let exact = *transform == Transform::Identity
        || matches!(
            test.op,
            PredicateOperator::IsNull | PredicateOperator::NotNull
        );
    let implied = if exact {
        facts.implies(test)
    } else {
        facts.nulls == Share::None
            && project::inclusive(transform, &test.negated())
                .is_some_and(|opposite| facts.excludes(&opposite))
    };
    implied.then_some(true)
}

/// Whether the test holds for all rows of the file or for none, where bounds and counts tell.
fn by_metrics(leaf: &Leaf, file: &DataFile) -> Option<bool> {
    let (ty, test) = leaf.test.as_ref()?;
    let id = leaf.field_id;
    let rows = Some(file.record_count());
    let mut nulls = Share::of(file.null_value_counts().get(&id).copied(), rows);
    if leaf.required {
        nulls = Share::None;
    } else if leaf.in_optional && nulls == Share::None {
        nulls = Share::Unknown;
    }
    let nans = if is_float(ty) {
        Share::of(file.nan_value_counts().get(&id).copied(), rows)
    } else {
        Share::None
    };
    let bound = |bounds: &HashMap<i32, Datum>| value::promote(bounds.get(&id)?, ty);
    let facts = Facts {
        nulls,
        nans,
        ..Facts::UNKNOWN
    }
    .bounds(bound(file.lower_bounds()), bound(file.upper_bounds()));
    if facts.excludes(test) {
        Some(false)
    } else {
        facts.implies(test).then_some(true)
    }
}

/// What a manifest's summary says about the values of a partition field.
fn summarized(summary: &FieldSummary, ty: &PrimitiveType) -> Facts {
    let bound = |bytes: Option<&[u8]>| Datum::try_from_bytes(bytes?, ty.clone()).ok();
    let nans = match summary.contains_nan {
        Some(false) => Share::None,
        _ if !is_float(ty) => Share::None,
        _ => Share::Unknown,
    };
    let lower = summary.lower_bound.as_ref().map(|b| b.as_slice());
    let upper = summary.upper_bound.as_ref().map(|b| b.as_slice());
    let nulls = match summary.contains_null {
        false => Share::None,
        true if lower.is_none() && upper.is_none() && nans == Share::None => Share::All,
        true => Share::Unknown,
    };
    Facts {
        nulls,
        nans,
        ..Facts::UNKNOWN
    }
    .bounds(bound(lower), bound(upper))
}

/// Whether a manifest of this spec may name files of this partition, by its partition summaries.
/// `types` are those of the spec's fields.
pub(crate) fn may_hold(manifest: &ManifestFile, types: &StructType, partition: &Struct) -> bool {
    let summaries = manifest.partitions.as_deref().unwrap_or_default();
    let fields = types.fields().iter().zip(summaries).zip(partition.iter());
    !fields.into_iter().any(|((field, summary), value)| {
        let Type::Primitive(ty) = field.field_type.as_ref() else {
            return false;
        };
        let test = match value {
            None => Some(Test::new(PredicateOperator::IsNull, Vec::new())),
            Some(Literal::Primitive(value)) => {
                value::datum(ty, value).map(|value| Test::new(PredicateOperator::Eq, vec![value]))
            }
            Some(_) => None,
        };
        test.is_some_and(|test| summarized(summary, ty).excludes(&test))
    })
}

fn is_float(ty: &PrimitiveType) -> bool {
    matches!(ty, PrimitiveType::Float | PrimitiveType::Double)
}

#[cfg(test)]
mod tests;
