//! `CREATE TABLE … AS SELECT` beside others who want the same name.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use berglake_catalog::Catalog;
use berglake_format::{Error, ErrorKind, Result, TableIdent};
use berglake_query::{Session, stream_table};
use futures::{StreamExt, stream};
use tokio::sync::oneshot;

use crate::support::Lake;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

fn batch() -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![7]))]).unwrap()
}

/// A session with a table `s` that does this when it is read.
fn reading(
    lake: &Lake,
    what: impl Future<Output = Result<RecordBatch>> + Send + 'static,
) -> Session {
    let table = stream_table(schema(), stream::once(what).boxed()).unwrap();
    lake.session
        .engine()
        .connect_with(vec![("s".to_string(), table)])
}

/// Makes the table that a statement is about to make, in another session, with rows in it.
async fn come_first(other: Session, catalog: Arc<dyn Catalog>) {
    let ident = TableIdent::from_strs(["default", "c"]).unwrap();
    assert!(
        !catalog.table_exists(&ident).await.unwrap(),
        "a table is seen before it has its rows"
    );
    for statement in [
        "CREATE TABLE c (id BIGINT)",
        "INSERT INTO c VALUES (1), (2)",
    ] {
        other.sql(statement).await.unwrap();
    }
}

#[tokio::test]
async fn a_table_that_others_made_meanwhile_keeps_its_rows_whatever_becomes_of_the_query() {
    for (statement, fails, kind) in [
        (
            "CREATE TABLE c AS SELECT * FROM s",
            true,
            Some(ErrorKind::InvalidInput),
        ),
        (
            "CREATE TABLE c AS SELECT * FROM s",
            false,
            Some(ErrorKind::AlreadyExists),
        ),
        (
            "CREATE TABLE IF NOT EXISTS c AS SELECT * FROM s",
            false,
            None,
        ),
    ] {
        let lake = Lake::new().await;
        let other = lake.session.engine().connect();
        let catalog: Arc<dyn Catalog> = lake.catalog.clone();
        let session = reading(&lake, async move {
            come_first(other, catalog).await;
            match fails {
                true => Err(Error::invalid("no more rows")),
                false => Ok(batch()),
            }
        });
        let outcome = session.sql(statement).await;
        assert_eq!(outcome.err().map(|error| error.kind()), kind, "{statement}");
        assert_eq!(
            lake.rows("SELECT id FROM c ORDER BY id").await,
            ["1", "2"],
            "{statement}"
        );
        assert_eq!(lake.rows("SHOW TABLES").await, ["default|c"], "{statement}");
    }
}

#[tokio::test]
async fn a_table_is_seen_with_all_its_rows_or_not_at_all() {
    let lake = Lake::new().await;
    let catalog = lake.catalog.clone();
    let ident = TableIdent::from_strs(["default", "c"]).unwrap();
    let session = reading(&lake, async move {
        assert!(!catalog.table_exists(&ident).await.unwrap());
        Ok(batch())
    });
    session
        .sql("CREATE TABLE c AS SELECT * FROM s")
        .await
        .unwrap();
    assert_eq!(lake.rows("SELECT * FROM c").await, ["7"]);
    assert_eq!(lake.rows("SHOW TABLES").await, ["default|c"]);
    assert_eq!(lake.rows("SELECT count(*) FROM c$snapshots").await, ["1"]);
    let error = lake.error("CREATE TABLE c AS SELECT 1 AS id").await;
    assert!(error.contains("default.c exists"), "{error}");
    lake.run("CREATE TABLE IF NOT EXISTS c AS SELECT 8 AS id")
        .await;
    assert_eq!(lake.rows("SELECT * FROM c").await, ["7"]);
    // A query without rows makes a table without rows.
    lake.run("CREATE TABLE e AS SELECT * FROM c WHERE false")
        .await;
    assert_eq!(lake.rows("SELECT count(*) FROM e").await, ["0"]);
}

#[tokio::test]
async fn a_statement_that_is_given_up_leaves_no_table() {
    let lake = Lake::new().await;
    let (begun, begins) = oneshot::channel();
    let session = reading(&lake, async move {
        begun.send(()).unwrap();
        std::future::pending().await
    });
    tokio::select! {
        _ = session.sql("CREATE TABLE c AS SELECT * FROM s") => panic!("it cannot end"),
        begun = begins => begun.unwrap(),
    }
    // What is left is removed by a task, which gets its turns while others wait.
    while !lake.rows("SHOW TABLES").await.is_empty() {
        tokio::task::yield_now().await;
    }
}
