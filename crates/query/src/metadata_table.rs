//! Metadata tables (`t$snapshots`, `t.files`, …) for DataFusion.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use berglake_format::inspect::MetadataTable;
use berglake_format::plan::SnapshotSelector;
use berglake_format::{Result, Table};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::to_datafusion;

/// What a table's metadata says, as a table.
#[derive(Debug, Clone)]
pub struct MetadataTableProvider {
    kind: MetadataTable,
    table: Table,
    selector: SnapshotSelector,
    schema: SchemaRef,
}

impl MetadataTableProvider {
    /// A metadata table at a snapshot; those that are about the whole table look at all of it, or
    /// refuse a snapshot when they are read.
    ///
    /// # Errors
    /// [`Unsupported`](berglake_format::ErrorKind::Unsupported) for partition types without Arrow
    /// form.
    pub fn new(kind: MetadataTable, table: Table, selector: SnapshotSelector) -> Result<Self> {
        let schema = kind.schema(&table)?;
        Ok(Self {
            kind,
            table,
            selector,
            schema,
        })
    }
}

#[async_trait]
impl TableProvider for MetadataTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        // Columns that nobody asks for are dropped while manifests are read, not afterwards.
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let batches = self
            .kind
            .batches(&self.table, &self.selector, projection.map(Vec::as_slice))
            .await
            .map_err(to_datafusion)?;
        let plan = MemorySourceConfig::try_new_exec(&[batches], schema, None)?;
        Ok(plan)
    }
}
