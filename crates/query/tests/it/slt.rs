//! SQL behaviour, told by the files in `slt/`.

use std::path::Path;

use async_trait::async_trait;
use berglake_format::Error;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use crate::support::{Lake, cells};

struct Database(Lake);

#[async_trait]
impl AsyncDB for Database {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        self.0.clock.advance(60_000_000);
        let output = self.0.session.sql(sql).await?;
        let columns = output.schema.fields().len();
        let batches = output.collect().await?;
        if columns == 0 {
            return Ok(DBOutput::StatementComplete(0));
        }
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows: cells(&batches),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "berglake"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_of_statements_behaves_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/slt");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failures = Vec::new();
    for file in files {
        let mut runner = Runner::new(|| async { Ok(Database(Lake::new().await)) });
        if let Err(error) = runner.run_file_async(&file).await {
            failures.push(format!("{}\n{error}", file.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
