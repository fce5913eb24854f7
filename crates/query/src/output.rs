//! What a statement gives.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use berglake_format::Result;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

/// The rows of a statement. Statements that change something give what they did: `INSERT` one row
/// with a `count`, DDL no rows.
pub struct QueryOutput {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows. Dropping the stream cancels the query.
    pub stream: BoxStream<'static, Result<RecordBatch>>,
}

impl fmt::Debug for QueryOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryOutput")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl QueryOutput {
    /// One batch of rows.
    pub fn of(batch: RecordBatch) -> Self {
        Self {
            schema: batch.schema(),
            stream: futures::stream::iter([Ok(batch)]).boxed(),
        }
    }

    pub(crate) fn nothing() -> Self {
        Self {
            schema: Arc::new(Schema::empty()),
            stream: futures::stream::empty().boxed(),
        }
    }

    /// Text columns, row by row.
    pub(crate) fn texts(columns: &[&str], rows: &[Vec<String>]) -> Result<Self> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, false))
            .collect();
        let arrays = (0..columns.len())
            .map(|place| {
                let values = rows
                    .iter()
                    .map(|row| row.get(place).map_or("", String::as_str));
                Arc::new(StringArray::from_iter_values(values)) as ArrayRef
            })
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        Ok(Self::of(batch))
    }

    /// All rows.
    ///
    /// # Errors
    /// The first error that the query meets.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.stream.try_collect().await
    }
}
