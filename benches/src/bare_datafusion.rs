//! The limit of a query: DataFusion on the data files of the table, with nothing around it: no
//! metadata, no deletes, no field ids.

use std::collections::HashMap;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionConfig, SessionContext};

use crate::Error;
use crate::protocol::{Answer, Outcome, Query, Setup, Watch};

/// Python's way to write a timestamp, which the other engines' answers have.
const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S";

pub struct BareDataFusion {
    config: SessionConfig,
    /// A session for each set of files: finding out their schema is not what is measured.
    sessions: HashMap<Vec<String>, SessionContext>,
}

impl BareDataFusion {
    pub fn new(setup: &Setup) -> Self {
        let config = SessionConfig::new().with_target_partitions(setup.threads);
        Self {
            config,
            sessions: HashMap::new(),
        }
    }

    pub async fn query(&mut self, query: &Query) -> Result<Answer, Error> {
        let files = &query.table.files;
        let session = match self.sessions.get(files) {
            Some(session) => session.clone(),
            None => {
                let session = SessionContext::new_with_config(self.config.clone());
                let rows = session
                    .read_parquet(files.clone(), ParquetReadOptions::default())
                    .await?;
                session.register_table("flights", rows.into_view())?;
                self.sessions.insert(files.clone(), session.clone());
                session
            }
        };
        let watch = Watch::start();
        let rows = as_text(session.sql(&query.sql).await?).await?;
        watch.stop(Outcome::Rows(rows))
    }
}

async fn as_text(frame: DataFrame) -> Result<Vec<Vec<String>>, Error> {
    let options = FormatOptions::default().with_timestamp_format(Some(TIMESTAMP));
    let mut rows = Vec::new();
    for batch in frame.collect().await? {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    Ok(rows)
}
