//! A stream of record batches as a table that can be read once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use berglake_format::{Error, Result};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::{from_datafusion, to_datafusion};

/// A table over a stream. It is for one query that reads it once: a second read, as in a self join,
/// is an error and not an empty result.
///
/// # Errors
/// None today; the signature leaves room for schemas that cannot be read.
pub fn stream_table(
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
) -> Result<Arc<dyn TableProvider>> {
    let partition = Once {
        schema: Arc::clone(&schema),
        batches: Mutex::new(Some(batches)),
    };
    let table =
        StreamingTable::try_new(schema, vec![Arc::new(partition)]).map_err(from_datafusion)?;
    Ok(Arc::new(table))
}

struct Once {
    schema: SchemaRef,
    batches: Mutex<Option<BoxStream<'static, Result<RecordBatch>>>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let taken = self
            .batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let batches = taken.unwrap_or_else(|| {
            let error = Error::invalid("a stream can be read only once in a query")
                .help("write its rows to a table first");
            futures::stream::iter([Err(error)]).boxed()
        });
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches.map(|batch| batch.map_err(to_datafusion)),
        ))
    }
}
