//! COUNT(*) and LIMIT over deletes of every kind. Both tempt an engine to answer without looking at rows:
//! the one from counts in metadata, the other from the first row groups that seem to be enough.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use berglake_format::plan::SnapshotSelector;
use berglake_query::{EngineOptions, IcebergTable};
use datafusion::catalog::TableProvider;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col, lit};
use datafusion::physical_plan::filter_pushdown::PushedDown;
use datafusion::physical_plan::{ExecutionPlan, collect};

use crate::support::Lake;

/// What the table should hold.
type Ids = BTreeSet<i64>;

/// Four files: three row groups of which one is deleted as a whole, one group of which every second row
/// is deleted, one file without a row left, and one that nobody touched.
async fn four_files(version: u8) -> (Lake, Ids) {
    let lake = Lake::new().await;
    lake.run(&format!(
        "CREATE TABLE t (id BIGINT, s STRING, k INT)
         TBLPROPERTIES ('format-version' = '{version}')"
    ))
    .await;
    for (from, to) in [(0, 299), (300, 399), (400, 409), (410, 419)] {
        let rows = format!(
            "SELECT value, concat('v', lpad(CAST(value AS STRING), 3, '0')), value % 7
             FROM generate_series({from}, {to})"
        );
        lake.add_in_groups("t", &rows, 100).await;
    }
    let of_first: Vec<u64> = (0..10).chain(100..200).chain(295..300).collect();
    let every_second: Vec<u64> = (0..100).step_by(2).collect();
    let all: Vec<u64> = (0..10).collect();
    lake.delete("t", &[&of_first, &every_second, &all, &[]])
        .await;
    let deleted: Ids = [(0, &of_first), (300, &every_second), (400, &all)]
        .into_iter()
        .flat_map(|(from, places)| places.iter().map(move |at| from + *at as i64))
        .collect();
    let live = (0..420).filter(|id| !deleted.contains(id)).collect();
    (lake, live)
}

fn ids(rows: &[String]) -> Vec<i64> {
    rows.iter().map(|row| row.parse().unwrap()).collect()
}

/// The rows are so many of these, each at most once.
fn assert_some_of(rows: &[String], live: &Ids, count: usize, what: &str) {
    let found = ids(rows);
    assert_eq!(found.len(), count, "{what}");
    let distinct: Ids = found.into_iter().collect();
    assert_eq!(distinct.len(), count, "{what}: a row is there twice");
    let revived: Vec<_> = distinct.difference(live).collect();
    assert!(revived.is_empty(), "{what}: {revived:?} are deleted");
}

#[tokio::test]
async fn a_limit_gives_so_many_live_rows_whatever_the_filter() {
    for version in [2, 3] {
        let (lake, live) = four_files(version).await;
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown};
                 SET datafusion.optimizer.repartition_file_min_size = 100"
            ))
            .await;
            type Holds = fn(i64) -> bool;
            let filters: [(&str, Holds); 6] = [
                ("true", |_| true),
                ("id >= 0", |_| true),
                ("s >= 'v' AND s < 'v4'", |id| id < 400),
                ("id BETWEEN 95 AND 205", |id| (95..=205).contains(&id)),
                ("k = 3", |id| id % 7 == 3),
                ("id >= 400 AND id < 410", |id| (400..410).contains(&id)),
            ];
            for (filter, holds) in filters {
                let wanted: Ids = live.iter().copied().filter(|id| holds(*id)).collect();
                for limit in [0, 1, 9, 90, 100, 250, 1_000] {
                    let sql = format!("SELECT id FROM t WHERE {filter} LIMIT {limit}");
                    let what = format!("v{version} {pushdown} {sql}");
                    let count = wanted.len().min(limit);
                    assert_some_of(&lake.rows(&sql).await, &wanted, count, &what);
                }
                let sql = format!("SELECT id FROM t WHERE {filter} LIMIT 20 OFFSET 30");
                let count = wanted.len().saturating_sub(30).min(20);
                assert_some_of(&lake.rows(&sql).await, &wanted, count, &sql);
                for (order, expected) in [
                    ("ASC", wanted.iter().take(12).copied().collect::<Vec<_>>()),
                    ("DESC", wanted.iter().rev().take(12).copied().collect()),
                ] {
                    let sql =
                        format!("SELECT id FROM t WHERE {filter} ORDER BY id {order} LIMIT 12");
                    assert_eq!(ids(&lake.rows(&sql).await), expected, "v{version} {sql}");
                }
            }
        }
    }
}

#[tokio::test]
async fn counts_are_those_of_live_rows_in_every_query_shape() {
    for version in [2, 3] {
        let (lake, live) = four_files(version).await;
        let count = |holds: &dyn Fn(i64) -> bool| live.iter().filter(|id| holds(**id)).count();
        let all = live.len();
        let sevens = (0..7)
            .map(|k| format!("{k}|{}", count(&|id| id % 7 == k)))
            .collect::<Vec<_>>();
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
            ))
            .await;
            let cases = [
                ("SELECT count(*) FROM t", all.to_string()),
                (
                    "SELECT count(1), count(id), count(s) FROM t",
                    format!("{all}|{all}|{all}"),
                ),
                ("SELECT count(DISTINCT id) FROM t", all.to_string()),
                (
                    "SELECT count(*) FROM t WHERE id IS NOT NULL",
                    all.to_string(),
                ),
                ("SELECT count(*) FROM t WHERE id IS NULL", "0".to_string()),
                (
                    "SELECT count(*) FROM t WHERE id < 100",
                    count(&|id| id < 100).to_string(),
                ),
                (
                    "SELECT count(*) FROM t WHERE id >= 100 AND id < 200",
                    "0".to_string(),
                ),
                ("SELECT count(*) FROM t WHERE s = 'v405'", "0".to_string()),
                (
                    "SELECT count(*) FILTER (WHERE k = 3), count(*) FROM t",
                    format!("{}|{all}", count(&|id| id % 7 == 3)),
                ),
                (
                    "SELECT count(*) FROM t a JOIN t b ON a.id = b.id",
                    all.to_string(),
                ),
                (
                    "SELECT count(*) FROM (SELECT * FROM t UNION ALL SELECT * FROM t) u",
                    (2 * all).to_string(),
                ),
                (
                    "SELECT max(n) FROM (SELECT count(*) OVER () AS n FROM t)",
                    all.to_string(),
                ),
                (
                    "SELECT count(*) FROM (SELECT id FROM t LIMIT 1000)",
                    all.to_string(),
                ),
                (
                    "SELECT count(*) FROM (SELECT id FROM t LIMIT 95)",
                    "95".to_string(),
                ),
                (
                    "SELECT (SELECT count(*) FROM t) AS n, count(*) FROM (VALUES (1)) v",
                    format!("{all}|1"),
                ),
            ];
            for (sql, expected) in cases {
                assert_eq!(
                    lake.rows(sql).await,
                    [expected],
                    "v{version} {pushdown} {sql}"
                );
            }
            assert_eq!(
                lake.rows("SELECT k, count(*) FROM t GROUP BY k ORDER BY k")
                    .await,
                sevens
            );
        }
    }
}

/// The scan of `t` as a plan, with a limit and a filter in it, as an optimizer may hand them down.
async fn scan_with(
    lake: &Lake,
    limit: usize,
    rows_too: bool,
    ordered: bool,
) -> Arc<dyn ExecutionPlan> {
    let table = IcebergTable::new(lake.table("t").await, SnapshotSelector::Head).unwrap();
    let state = lake.session.engine().session().state();
    let scan = table.scan(&state, None, &[], Some(limit)).await.unwrap();
    let source = scan.downcast_ref::<DataSourceExec>().unwrap().data_source();
    let source = source.with_preserve_order(ordered).unwrap();
    let schema = table.schema();
    let id = col("id", &schema).unwrap();
    let filter = binary(id, Operator::GtEq, lit(0_i64), &schema).unwrap();
    let mut options = state.config_options().as_ref().clone();
    options.execution.parquet.pushdown_filters = rows_too;
    let answer = source.try_pushdown_filters(vec![filter], &options).unwrap();
    // Whoever took the filter for done would leave it away above the scan.
    assert!(matches!(answer.filters[..], [PushedDown::No]));
    Arc::new(DataSourceExec::new(answer.updated_node.unwrap()))
}

/// All rows of a group match this filter by the group's bounds, and there are enough of them for the
/// limit: then `ParquetSource` reads such groups whole, whatever rows were selected in them.
#[tokio::test]
async fn groups_that_match_whole_and_suffice_for_a_limit_keep_their_deletes() {
    for version in [2, 3] {
        let (lake, live) = four_files(version).await;
        let context = lake.session.engine().session();
        for (rows_too, ordered) in [(false, false), (true, false), (true, true)] {
            for limit in [1, 95, 100, 1_000] {
                let scan = scan_with(&lake, limit, rows_too, ordered).await;
                let batches = collect(scan, context.task_ctx()).await.unwrap();
                let found: Vec<i64> = batches
                    .iter()
                    .flat_map(|batch| {
                        batch
                            .column(0)
                            .as_primitive::<Int64Type>()
                            .values()
                            .to_vec()
                    })
                    .collect();
                let what = format!("v{version} {rows_too} {ordered} LIMIT {limit}");
                // Each part of the scan stops at the limit, those above add up.
                assert!(found.len() >= limit.min(live.len()), "{what}");
                let revived: Vec<_> = found.iter().filter(|id| !live.contains(id)).collect();
                assert!(revived.is_empty(), "{what}: {revived:?} are deleted");
            }
        }
    }
}

/// What sends plans elsewhere knows a `ParquetSource` and forgets its selections; a source that it does
/// not know is an error.
#[tokio::test]
async fn a_scan_is_not_taken_for_a_plain_parquet_scan() {
    let (lake, _) = four_files(3).await;
    let scan = scan_with(&lake, 10, true, false).await;
    let scan = scan.downcast_ref::<DataSourceExec>().unwrap();
    assert!(scan.downcast_to_file_source::<ParquetSource>().is_none());
}

/// The first row group makes the second one needless for the first rows by id, and the third has them.
/// Who leaves out the second while reading must not lay its selection over the third.
#[tokio::test]
async fn groups_that_an_order_leaves_out_take_their_deletes_with_them() {
    for version in [2, 3] {
        let lake = Lake::with(EngineOptions {
            partitions: Some(1),
            batch_size: 50,
            ..EngineOptions::default()
        })
        .await;
        lake.run(&format!(
            "CREATE TABLE t (id BIGINT, s STRING) TBLPROPERTIES ('format-version' = '{version}')"
        ))
        .await;
        let rows = "SELECT CASE WHEN value < 100 THEN value + 100
                                WHEN value < 200 THEN value + 900
                                ELSE value - 200 END, concat('v', value % 3)
             FROM generate_series(0, 299)";
        lake.add_in_groups("t", rows, 100).await;
        let deleted: Vec<u64> = (100..150).chain(200..210).collect();
        lake.delete("t", &[&deleted]).await;
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
            ))
            .await;
            for (rest, expected) in [
                ("ORDER BY id LIMIT 3", ["10", "11", "12"]),
                ("WHERE s >= 'v0' ORDER BY id LIMIT 3", ["10", "11", "12"]),
                ("WHERE s = 'v0' ORDER BY id LIMIT 3", ["10", "13", "16"]),
                ("ORDER BY id DESC LIMIT 3", ["1099", "1098", "1097"]),
            ] {
                let sql = format!("SELECT id FROM t {rest}");
                assert_eq!(
                    lake.rows(&sql).await,
                    expected,
                    "v{version} {pushdown} {sql}"
                );
            }
        }
    }
}

#[tokio::test]
async fn rows_that_are_deleted_twice_are_counted_once() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT);
         INSERT INTO t SELECT value FROM generate_series(0, 99);
         INSERT INTO t SELECT value FROM generate_series(100, 199)",
    )
    .await;
    let plan = lake.table("t").await.scan().plan().await.unwrap();
    let paths: Vec<&str> = plan
        .tasks
        .iter()
        .map(|task| task.file.file_path())
        .collect();
    let mut live: Ids = (0..200).collect();
    // Two files that name the same row, one that names a row twice and rows of both data files.
    lake.delete("t", &[&[1, 2, 3], &[]]).await;
    lake.delete("t", &[&[2, 3, 4], &[]]).await;
    let mut shared = [
        (paths[0], 4),
        (paths[0], 4),
        (paths[0], 5),
        (paths[1], 0),
        (paths[1], 0),
    ];
    shared.sort_unstable();
    lake.delete_by_shared_file("t", &shared).await;
    for id in [1, 2, 3, 4, 5, 100] {
        live.remove(&id);
    }
    assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["194"]);
    assert_eq!(
        lake.rows("SELECT count(*) FROM t WHERE id < 100").await,
        ["95"]
    );
    for limit in [94, 95, 194, 195] {
        let sql = format!("SELECT id FROM t LIMIT {limit}");
        assert_some_of(&lake.rows(&sql).await, &live, limit.min(194), &sql);
    }
}

/// A vector holds all that was deleted before, and several stand in one Puffin file: replacing one leaves
/// the others.
#[tokio::test]
async fn a_count_adds_up_vectors_that_were_replaced_and_those_that_share_their_file() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT) TBLPROPERTIES ('format-version' = '3');
         INSERT INTO t SELECT value FROM generate_series(0, 99);
         INSERT INTO t SELECT value FROM generate_series(100, 199);
         INSERT INTO t SELECT value FROM generate_series(200, 299)",
    )
    .await;
    let mut live: Ids = (0..300).collect();
    let steps: [&[&[u64]]; 4] = [
        &[&[0, 1, 2], &[0], &[0, 99]],
        &[&[2, 3], &[], &[]],
        &[&[], &[0], &[50]],
        &[&[98], &[98], &[98]],
    ];
    for (step, places) in steps.into_iter().enumerate() {
        lake.delete("t", places).await;
        for (file, places) in places.iter().enumerate() {
            for place in *places {
                live.remove(&(file as i64 * 100 + *place as i64));
            }
        }
        let count = live.len();
        let what = format!("step {step}");
        assert_eq!(
            lake.rows("SELECT count(*) FROM t").await,
            [count.to_string()],
            "{what}"
        );
        let plan = lake.rows("EXPLAIN SELECT count(*) FROM t").await.join("\n");
        assert!(!plan.contains("DataSourceExec: file_groups"), "{plan}");
        let rows = lake.rows("SELECT id FROM t LIMIT 1000").await;
        assert_some_of(&rows, &live, count, &what);
        let plan = lake.table("t").await.scan().plan().await.unwrap();
        assert!(
            plan.tasks
                .iter()
                .all(|task| task.position_deletes.len() == 1),
            "{what}"
        );
    }
}

#[tokio::test]
async fn deletes_from_before_an_upgrade_and_vectors_after_it_are_counted_together() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT);
         INSERT INTO t SELECT value FROM generate_series(0, 99);
         INSERT INTO t SELECT value FROM generate_series(100, 199)",
    )
    .await;
    lake.delete("t", &[&[0, 1, 2], &[0]]).await;
    lake.run("ALTER TABLE t SET TBLPROPERTIES ('format-version' = '3')")
        .await;
    assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["196"]);
    // The first file gets a vector, which has its older deletes too; the second keeps what it has.
    lake.delete("t", &[&[2, 3], &[]]).await;
    let live: Ids = (4..100).chain(101..200).collect();
    assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["195"]);
    for limit in [1, 96, 97, 195, 196] {
        let sql = format!("SELECT id FROM t LIMIT {limit}");
        assert_some_of(&lake.rows(&sql).await, &live, limit.min(195), &sql);
    }
}

#[tokio::test]
async fn a_limit_is_not_cut_off_below_deletes_by_key_or_before_they_meet_deletes_by_position() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (id BIGINT, s STRING) TBLPROPERTIES ('format-version' = '{version}');
             INSERT INTO t SELECT value, concat('v', value) FROM generate_series(0, 99);
             INSERT INTO t VALUES (NULL, 'none'), (100, 'last')"
        ))
        .await;
        lake.delete_by_equality("t", &[Some(0), Some(1), Some(2), Some(50), None])
            .await;
        // 2 is deleted by both. Row 0 of the second file is the one without an id.
        lake.delete("t", &[&[2, 3, 99], &[0]]).await;
        lake.run("INSERT INTO t VALUES (1, 'again'), (NULL, 'again')")
            .await;
        let live: Ids = (1..101).filter(|id| ![2, 3, 50, 99].contains(id)).collect();
        let all = live.len() + 1;
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
            ))
            .await;
            assert_eq!(
                lake.rows("SELECT count(*), count(id) FROM t").await,
                [format!("{all}|{}", live.len())]
            );
            assert_eq!(lake.rows("SELECT count(*) FROM t").await, [all.to_string()]);
            assert_eq!(
                lake.rows("SELECT s FROM t WHERE id = 1 OR id IS NULL ORDER BY s, id")
                    .await,
                ["again", "again"]
            );
            for limit in [1, 2, 3, 94, 96, 97, 200] {
                let sql = format!("SELECT id FROM t WHERE id >= 0 LIMIT {limit}");
                let what = format!("v{version} {pushdown} {sql}");
                let count = limit.min(live.len());
                assert_some_of(&lake.rows(&sql).await, &live, count, &what);
                let sql = format!("SELECT count(*) FROM (SELECT s FROM t LIMIT {limit})");
                assert_eq!(
                    lake.rows(&sql).await,
                    [limit.min(all).to_string()],
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn each_snapshot_branch_and_partition_has_its_own_count() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (id BIGINT, p INT) PARTITIONED BY (p)
             TBLPROPERTIES ('format-version' = '{version}');
             INSERT INTO t SELECT value, CAST(value % 2 AS INT) FROM generate_series(0, 19)"
        ))
        .await;
        lake.run("ALTER TABLE t CREATE BRANCH kept; ALTER TABLE t CREATE TAG whole")
            .await;
        let first = lake.table("t").await.metadata().current_snapshot_id();
        let first = first.unwrap();
        // The files of a commit are in no promised order: as many rows of each.
        lake.delete("t", &[&[0, 1], &[0, 1]]).await;
        let second = lake.table("t").await.metadata().current_snapshot_id();
        let second = second.unwrap();
        lake.delete("t", &[&[9], &[9]]).await;
        for (from, count) in [
            ("t".to_string(), 14),
            (format!("t VERSION AS OF {second}"), 16),
            (format!("t VERSION AS OF {first}"), 20),
            ("t VERSION AS OF whole".to_string(), 20),
            ("t VERSION AS OF kept".to_string(), 20),
            ("t.branch_kept".to_string(), 20),
        ] {
            let sql = format!("SELECT count(*) FROM {from}");
            assert_eq!(
                lake.rows(&sql).await,
                [count.to_string()],
                "v{version} {sql}"
            );
            let sql = format!("SELECT p, count(*) FROM {from} GROUP BY p ORDER BY p");
            let half = count / 2;
            let expected = [format!("0|{half}"), format!("1|{half}")];
            assert_eq!(lake.rows(&sql).await, expected, "v{version} {sql}");
            let sql = format!("SELECT count(*) FROM {from} WHERE p = 1");
            assert_eq!(
                lake.rows(&sql).await,
                [half.to_string()],
                "v{version} {sql}"
            );
            let sql = format!("SELECT count(*) FROM (SELECT id FROM {from} WHERE p = 1 LIMIT 8)");
            let limited = half.min(8);
            assert_eq!(
                lake.rows(&sql).await,
                [limited.to_string()],
                "v{version} {sql}"
            );
        }
    }
}

/// Many small runs are left, in row groups of which each may be read in a part of its own.
#[tokio::test]
async fn deletes_that_are_strewn_over_row_groups_are_applied_to_each_part() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (id BIGINT, s STRING, k INT)
             TBLPROPERTIES ('format-version' = '{version}')"
        ))
        .await;
        let rows = "SELECT value, concat('v', lpad(CAST(value AS STRING), 5, '0')), value % 7
                    FROM generate_series(0, 2999)";
        lake.add_in_groups("t", rows, 500).await;
        // A tenth of all, the whole of the third group, and the last row.
        let deleted: Vec<u64> = (0..3_000)
            .filter(|at| at * 7 % 10 == 3 || (1_000..1_500).contains(at) || *at == 2_999)
            .collect();
        lake.delete("t", &[&deleted]).await;
        let gone: BTreeSet<u64> = deleted.into_iter().collect();
        let live: Vec<i64> = (0..3_000)
            .filter(|at| !gone.contains(at))
            .map(u64::cast_signed)
            .collect();
        let texts = |ids: &[i64]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        for smallest_part in [100, 100_000_000] {
            lake.run(&format!(
                "SET datafusion.optimizer.repartition_file_min_size = {smallest_part}"
            ))
            .await;
            let what = format!("version {version}, parts of {smallest_part} bytes");
            let mut found = ids(&lake.rows("SELECT id FROM t").await);
            found.sort_unstable();
            assert_eq!(found, live, "{what}");
            let falling: Vec<i64> = live.iter().rev().copied().collect();
            let count = live.len();
            let sum: i64 = live.iter().sum();
            for (query, expected) in [
                ("SELECT count(*) FROM t", vec![count.to_string()]),
                ("SELECT sum(id) FROM t", vec![sum.to_string()]),
                ("SELECT id FROM t ORDER BY id", texts(&live)),
                ("SELECT id FROM t ORDER BY id DESC", texts(&falling)),
                (
                    "SELECT id FROM t ORDER BY id DESC LIMIT 5",
                    texts(&falling[..5]),
                ),
                ("SELECT id FROM t ORDER BY s LIMIT 700", texts(&live[..700])),
                (
                    "SELECT count(DISTINCT s), count(k + 1), min(concat(s, 'x')) FROM t",
                    vec![format!("{count}|{count}|v00000x")],
                ),
            ] {
                assert_eq!(lake.rows(query).await, expected, "{what}: {query}");
            }
            for limit in [1, 449, 450, 451, 3_000] {
                let found = lake.rows(&format!("SELECT id FROM t LIMIT {limit}")).await;
                let all = live.iter().copied().collect();
                assert_some_of(&found, &all, limit.min(count), &what);
            }
        }
    }
}

/// A scan may compute what is selected, which fails for rows that are gone.
#[tokio::test]
async fn nothing_is_computed_for_deleted_rows() {
    for version in [2, 3] {
        for partitions in [1, 2] {
            let lake = Lake::with(EngineOptions {
                partitions: Some(partitions),
                ..EngineOptions::default()
            })
            .await;
            lake.run(&format!(
                "CREATE TABLE t (s STRING, n INT) TBLPROPERTIES ('format-version' = '{version}');
                 INSERT INTO t VALUES ('1', 1), ('oops', 0), ('3', 3)"
            ))
            .await;
            lake.delete("t", &[&[1]]).await;
            for (query, expected) in [
                ("SELECT CAST(s AS INT) FROM t", ["1", "3"]),
                ("SELECT 6 / n FROM t", ["6", "2"]),
            ] {
                assert_eq!(lake.rows(query).await, expected, "{version}, {partitions}");
            }
        }
    }
}
