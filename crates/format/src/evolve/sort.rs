//! The order in which writers sort rows.

use std::collections::HashSet;

use async_trait::async_trait;
use iceberg::spec::{NullOrder, SortDirection, SortField, SortOrder, Transform};
use iceberg::{TableRequirement, TableUpdate};

use super::columns::{check_transform, source};
use crate::commit::{Operation, PlannedChange};
use crate::{Error, Result, Table};

/// Sets the default sort order (specification, "Sorting"). Files that are there stay as they are.
///
/// An order that the table had before keeps its id. A concurrent change of the sort order or of the
/// schema is a conflict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetSortOrder {
    /// By what rows are sorted, the first above the second; nothing for a table that is not sorted.
    pub fields: Vec<SortTerm>,
}

/// One field of a sort order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortTerm {
    /// The path of the column, its parts as they are stored. It may be in structs.
    pub source: Vec<String>,
    /// What of the column is compared.
    pub transform: Transform,
    /// From the least on or from the greatest on.
    pub direction: SortDirection,
    /// Where NULLs stand.
    pub null_order: NullOrder,
}

#[async_trait]
impl Operation for SetSortOrder {
    /// Plans the new order.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) with the column for one that does not exist or
    /// cannot be sorted like this, or that stands in the order twice.
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.change(base)
            .map_err(|error| error.with("table", base.ident()))
    }
}

impl SetSortOrder {
    fn change(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let metadata = base.metadata();
        let fields = self.bound(base)?;
        if metadata.default_sort_order().fields == fields {
            return Ok(None);
        }
        let known = metadata
            .sort_orders_iter()
            .find(|order| order.fields == fields);
        let updates = match known {
            Some(order) => vec![TableUpdate::SetDefaultSortOrder {
                sort_order_id: order.order_id,
            }],
            None => {
                let last = metadata.sort_orders_iter().map(|order| order.order_id);
                let order_id = match fields.is_empty() {
                    true => SortOrder::unsorted_order().order_id,
                    false => last.max().unwrap_or_default().max(0).saturating_add(1),
                };
                vec![
                    TableUpdate::AddSortOrder {
                        sort_order: SortOrder { order_id, fields },
                    },
                    TableUpdate::SetDefaultSortOrder {
                        sort_order_id: i64::from(super::LAST_ADDED),
                    },
                ]
            }
        };
        let requirements = vec![
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: metadata.current_schema_id(),
            },
            TableRequirement::DefaultSortOrderIdMatch {
                default_sort_order_id: metadata.default_sort_order_id(),
            },
        ];
        Ok(Some(PlannedChange::of_metadata(
            base,
            requirements,
            updates,
        )))
    }

    fn bound(&self, base: &Table) -> Result<Vec<SortField>> {
        let mut seen = HashSet::new();
        let mut fields = Vec::with_capacity(self.fields.len());
        for term in &self.fields {
            let column = source(base.schema(), &term.source)?;
            let path = term.source.join(".");
            check_transform(column, term.transform, &path)?;
            if !seen.insert((column.id, term.transform)) {
                return Err(Error::invalid("a column stands in the sort order twice")
                    .with("column", path)
                    .with("transform", term.transform));
            }
            fields.push(SortField {
                source_id: column.id,
                transform: term.transform,
                direction: term.direction,
                null_order: term.null_order,
            });
        }
        Ok(fields)
    }
}
