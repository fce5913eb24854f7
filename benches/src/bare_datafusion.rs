//! The limit of a query: DataFusion on the data files of the table, with nothing around it: no
//! metadata, no deletes, no field ids.

use std::collections::HashMap;

use berglake_benches::{Error, Watch, as_text};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

use crate::protocol::{Answer, Outcome, Query, Setup};

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
        let batches = session.sql(&query.sql).await?.collect().await?;
        Ok(Answer::after(&watch, Outcome::Rows(as_text(&batches)?)))
    }
}
