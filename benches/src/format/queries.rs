//! Queries: on tables by berglake, and on their data files by bare DataFusion, which is the limit.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use berglake_benches::{Error, Watch, as_text};
use berglake_query::{Engine, EngineOptions};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

use crate::protocol::{Answer, Query};
use crate::tables::{Lake, NAMESPACE};

/// Where a statement names the table.
const TABLE: &str = "{table}";
/// The name of the table that bare DataFusion reads.
const FILES: &str = "files";

/// berglake's engines. Each query asks the catalog for the table's head and plans its files anew.
pub struct Queries {
    threads: usize,
    engines: HashMap<PathBuf, Engine>,
}

impl Queries {
    pub fn new(threads: usize) -> Self {
        Self {
            threads,
            engines: HashMap::new(),
        }
    }

    pub async fn query(&mut self, lake: &mut Lake, query: &Query) -> Result<Answer, Error> {
        let folder = &query.table.folder;
        let engine = match self.engines.get(folder) {
            Some(engine) => engine.clone(),
            None => {
                let options = EngineOptions {
                    partitions: Some(self.threads),
                    namespace: vec![NAMESPACE.to_string()],
                    ..EngineOptions::default()
                };
                let engine = Engine::new(lake.catalog(folder).await?, options)?;
                self.engines.insert(folder.clone(), engine.clone());
                engine
            }
        };
        let mut name = format!("{NAMESPACE}.{}", query.table.name);
        if let Some(id) = query.snapshot {
            name.push_str(&format!(" FOR VERSION AS OF {id}"));
        }
        let sql = query.sql.replace(TABLE, &name);
        let watch = Watch::start();
        let batches = engine.sql(&sql).await?.collect().await?;
        Ok(Answer {
            seconds: watch.seconds(),
            result: as_text(&batches)?,
            details: BTreeMap::new(),
        })
    }
}

/// DataFusion on the data files, with nothing around it.
pub struct Bare {
    config: SessionConfig,
    /// A session for each set of files: finding out their schema is not what is measured.
    sessions: HashMap<Vec<String>, SessionContext>,
}

impl Bare {
    pub fn new(threads: usize) -> Self {
        Self {
            config: SessionConfig::new().with_target_partitions(threads),
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
                session.register_table(FILES, rows.into_view())?;
                self.sessions.insert(files.clone(), session.clone());
                session
            }
        };
        let sql = query.sql.replace(TABLE, FILES);
        let watch = Watch::start();
        let batches = session.sql(&sql).await?.collect().await?;
        Ok(Answer {
            seconds: watch.seconds(),
            result: as_text(&batches)?,
            details: BTreeMap::new(),
        })
    }
}
