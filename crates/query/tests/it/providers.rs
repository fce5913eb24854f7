//! What pipelines use: tables of their own in a session, pinned plans, streams.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use berglake_format::plan::{SnapshotSelector, appended_rows};
use berglake_query::{IcebergTable, stream_table};
use futures::StreamExt;

use crate::support::{Lake, rows};

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(Int64Array::from_iter_values(range))],
    )
    .unwrap()
}

#[tokio::test]
async fn a_pinned_plan_gives_its_rows_whatever_is_committed_meanwhile() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (id INT); INSERT INTO t VALUES (1)")
        .await;
    let table = lake.table("t").await;
    let first = table.metadata().current_snapshot_id();
    lake.run("INSERT INTO t VALUES (2), (3)").await;
    let table = lake.table("t").await;
    let to = table.metadata().current_snapshot_id().unwrap();
    let all = IcebergTable::from_plan(table.scan().plan().await.unwrap()).unwrap();
    let new = appended_rows(&table, first, to, None).await.unwrap();
    let new = IcebergTable::from_plan(new).unwrap();
    lake.run("INSERT INTO t VALUES (4)").await;
    let session = lake.session.engine().connect_with(vec![
        ("pinned".to_string(), Arc::new(all)),
        ("stream.new".to_string(), Arc::new(new)),
    ]);
    let output = session
        .sql("SELECT (SELECT sum(id) FROM pinned), (SELECT sum(Id) FROM stream.new WHERE ID < 10), count(*) FROM t")
        .await
        .unwrap();
    assert_eq!(rows(&output.collect().await.unwrap()), ["6|5|4"]);
}

#[tokio::test]
async fn a_stream_is_read_once() {
    let lake = Lake::new().await;
    let batches = futures::stream::iter([Ok(numbers(0..5)), Ok(numbers(5..9))]).boxed();
    let table = stream_table(numbers(0..0).schema(), batches).unwrap();
    let session = lake
        .session
        .engine()
        .connect_with(vec![("s".to_string(), table)]);
    let output = session.sql("SELECT sum(n) FROM s").await.unwrap();
    assert_eq!(rows(&output.collect().await.unwrap()), ["36"]);
    let output = session.sql("SELECT sum(n) FROM s").await.unwrap();
    let error = output.collect().await.unwrap_err();
    assert!(error.to_string().contains("only once"), "{error}");
}

#[tokio::test]
async fn an_ordered_session_keeps_the_order_of_files_and_rows() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (id INT)").await;
    for part in [3, 1, 4, 1, 5, 9, 2, 6] {
        lake.run(&format!(
            "INSERT INTO t SELECT value FROM generate_series({part}000, {part}000 + {part} * 100)"
        ))
        .await;
    }
    let table = lake.table("t").await;
    let plan = table.scan().plan().await.unwrap();
    let table = IcebergTable::from_plan(plan).unwrap();
    let context = lake.session.engine().ordered_session();
    context.register_table("source", Arc::new(table)).unwrap();
    let frame = context
        .sql("SELECT id / 1000 AS part, id FROM source WHERE id % 2 = 0")
        .await
        .unwrap();
    let found = rows(&frame.collect().await.unwrap());
    let mut parts: Vec<&str> = found.iter().map(|row| &row[..1]).collect();
    parts.dedup();
    assert_eq!(parts, ["3", "1", "4", "1", "5", "9", "2", "6"]);
    context.deregister_table("source").unwrap();
    assert!(context.sql("SELECT * FROM source").await.is_err());
}

#[tokio::test]
async fn datafusions_own_context_reads_the_catalog() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (id INT); INSERT INTO t VALUES (1), (2)")
        .await;
    let context = lake.session.engine().session();
    let frame = context
        .sql("SELECT max(id) FROM lake.default.t")
        .await
        .unwrap();
    assert_eq!(rows(&frame.collect().await.unwrap()), ["2"]);
    let table = lake.table("t").await;
    let plain = datafusion::prelude::SessionContext::new();
    let table = IcebergTable::new(table, SnapshotSelector::Head).unwrap();
    plain.register_table("t", Arc::new(table)).unwrap();
    let frame = plain
        .sql("SELECT count(*) FROM t WHERE id > 1")
        .await
        .unwrap();
    assert_eq!(rows(&frame.collect().await.unwrap()), ["1"]);
}

#[tokio::test]
async fn a_sort_that_does_not_fit_into_memory_goes_to_disk() {
    let lake = Lake::with(berglake_query::EngineOptions {
        memory_limit: Some(24 * 1024 * 1024),
        partitions: Some(1),
        ..Default::default()
    })
    .await;
    let batches = (0..200).map(|part| Ok(numbers(part * 10_000..(part + 1) * 10_000)));
    let batches = futures::stream::iter(batches.collect::<Vec<_>>()).boxed();
    let table = stream_table(numbers(0..0).schema(), batches).unwrap();
    let session = lake
        .session
        .engine()
        .connect_with(vec![("s".to_string(), table)]);
    let output = session
        .sql("SELECT n, concat('text that makes the row longer ', n) AS t FROM s ORDER BY n DESC")
        .await
        .unwrap();
    let batches = output.collect().await.unwrap();
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(count, 2_000_000);
}
