//! Time travel by every way to name a snapshot.

use std::time::Duration;

use berglake_format::{Clock, SystemClock};

use crate::support::{Lake, TICK, rows};

async fn three_snapshots() -> (Lake, Vec<(String, String)>) {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT);
         INSERT INTO t VALUES (1);
         INSERT INTO t VALUES (2);
         INSERT INTO t VALUES (3)",
    )
    .await;
    let log = lake
        .rows(
            "SELECT snapshot_id, date_format(made_current_at, 'yyyy-MM-dd HH:mm:ss.SSS')
             FROM t$history ORDER BY made_current_at",
        )
        .await;
    let log = log
        .iter()
        .map(|row| row.split_once('|').unwrap())
        .map(|(id, time)| (id.to_string(), time.to_string()))
        .collect();
    (lake, log)
}

#[tokio::test]
async fn a_snapshot_is_found_by_its_id_and_by_any_time_up_to_the_next() {
    let (lake, log) = three_snapshots().await;
    assert_eq!(log.len(), 3);
    for (place, (id, time)) in log.iter().enumerate() {
        let expected = [(place + 1).to_string()];
        for clause in [
            format!("VERSION AS OF {id}"),
            format!("FOR VERSION AS OF '{id}'"),
            format!("FOR SYSTEM_VERSION AS OF {id}"),
            format!("TIMESTAMP AS OF '{time}'"),
            format!("FOR TIMESTAMP AS OF TIMESTAMP '{time}'"),
            format!("TIMESTAMP AS OF '{time}Z'"),
            format!("FOR SYSTEM_TIME AS OF to_timestamp('{time}') + INTERVAL '50 milliseconds'"),
            format!("TIMESTAMP AS OF (TIMESTAMP '{time}' + INTERVAL '0.05' SECOND)"),
        ] {
            let sql = format!("SELECT count(*) FROM t {clause}");
            assert_eq!(lake.rows(&sql).await, expected, "{clause}");
        }
    }
    let (_, time) = &log[0];
    let before =
        format!("SELECT * FROM t TIMESTAMP AS OF (TIMESTAMP '{time}' - INTERVAL 1 MINUTE)");
    assert!(
        lake.error(&before)
            .await
            .contains("no snapshot at this time")
    );
}

/// What a table was at a time stands in its history: after a rollback an older snapshot is the table again,
/// and a snapshot of a branch is as old as others without ever having been the table.
#[tokio::test]
async fn a_time_is_looked_up_in_the_history_and_not_among_the_snapshots() {
    let (lake, log) = three_snapshots().await;
    // A rollback is dated by the system's clock, which must have passed the lake's.
    let behind = || lake.clock.now_micros() - SystemClock.now_micros() + TICK;
    while behind() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lake.run(&format!(
        "CALL system.rollback_to_snapshot('t', {})",
        log[0].0
    ))
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    lake.clock
        .advance(SystemClock.now_micros() - lake.clock.now_micros());
    lake.run(
        "ALTER TABLE t CREATE BRANCH side;
         INSERT INTO t.branch_side VALUES (4), (5), (6);
         INSERT INTO t VALUES (7)",
    )
    .await;
    let times = lake
        .rows(
            "SELECT date_format(made_current_at, 'yyyy-MM-dd HH:mm:ss.SSS') FROM t$history
             ORDER BY made_current_at",
        )
        .await;
    let expected = ["1", "1,2", "1,2,3", "1", "1,7"];
    assert_eq!(times.len(), expected.len(), "{times:?}");
    let as_of = async |time: &str| {
        let sql = format!(
            "SELECT array_to_string(array_agg(id ORDER BY id), ',') FROM t TIMESTAMP AS OF '{time}'"
        );
        lake.rows(&sql).await
    };
    for (time, ids) in times.iter().zip(expected) {
        assert_eq!(as_of(time).await, [ids], "{time}");
    }
    let aside = lake
        .rows(
            "SELECT date_format(s.committed_at, 'yyyy-MM-dd HH:mm:ss.SSS')
             FROM t$snapshots s JOIN t$refs r ON s.snapshot_id = r.snapshot_id
             WHERE r.name = 'side'",
        )
        .await;
    assert!(times[3] < aside[0] && aside[0] < times[4], "{aside:?}");
    assert_eq!(as_of(&aside[0]).await, ["1"]);
}

#[tokio::test]
async fn old_and_new_rows_meet_in_one_query() {
    let (lake, log) = three_snapshots().await;
    let sql = format!(
        "SELECT t.id FROM t LEFT JOIN t VERSION AS OF {} old ON t.id = old.id WHERE old.id IS NULL",
        log[1].0
    );
    assert_eq!(lake.rows(&sql).await, ["3"]);
    let sql = format!(
        "SELECT T.ID FROM t VERSION AS OF {} WHERE t.id > 0",
        log[0].0
    );
    assert_eq!(lake.rows(&sql).await, ["1"]);
}

#[tokio::test]
async fn what_is_fixed_has_the_columns_of_then_and_what_moves_those_of_now() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT, name STRING, gone INT);
         INSERT INTO t VALUES (1, 'a', 7), (2, 'b', 8);
         ALTER TABLE t CREATE BRANCH kept;
         ALTER TABLE t CREATE TAG v1",
    )
    .await;
    let first = lake.table("t").await.metadata().current_snapshot_id();
    let first = first.unwrap();
    // The two names change places, one column goes and one comes.
    lake.run(
        "ALTER TABLE t DROP COLUMN gone;
         ALTER TABLE t RENAME COLUMN id TO old;
         ALTER TABLE t RENAME COLUMN name TO id;
         ALTER TABLE t RENAME COLUMN old TO name;
         ALTER TABLE t ADD COLUMN gone STRING",
    )
    .await;
    let log = lake.rows("SELECT made_current_at FROM t$history").await;
    let then = ["id|name|gone", "1|a|7", "2|b|8"];
    let now = ["name|id|gone", "1|a|NULL", "2|b|NULL"];
    for (from, expected) in [
        (format!("t VERSION AS OF {first}"), then),
        (format!("t TIMESTAMP AS OF '{}'", log[0]), then),
        ("t VERSION AS OF v1".to_string(), then),
        ("t".to_string(), now),
        ("t VERSION AS OF kept".to_string(), now),
        ("t VERSION AS OF main".to_string(), now),
    ] {
        let sql = format!("SELECT * FROM {from} ORDER BY 1");
        let output = lake.session.sql(&sql).await.unwrap();
        let names: Vec<_> = output
            .schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect();
        let mut found = vec![names.join("|")];
        found.extend(rows(&output.collect().await.unwrap()));
        assert_eq!(found, expected, "{sql}");
        // Filters and bounds are of those columns, too.
        let (id, other) = if expected == then {
            ("id", "name")
        } else {
            ("name", "id")
        };
        let sql = format!("SELECT {other} FROM {from} WHERE {id} > 1");
        assert_eq!(lake.rows(&sql).await, ["b"], "{sql}");
        let sql = format!("SELECT count(*) FROM {from} WHERE gone IS NULL");
        let nulls = if expected == then { "0" } else { "2" };
        assert_eq!(lake.rows(&sql).await, [nulls], "{sql}");
    }
}

#[tokio::test]
async fn metadata_tables_look_back_too() {
    let (lake, log) = three_snapshots().await;
    let sql = format!(
        "SELECT count(*) FROM t$files FOR VERSION AS OF {}",
        log[1].0
    );
    assert_eq!(lake.rows(&sql).await, ["2"]);
    let sql = format!(
        "SELECT sum(record_count) FROM default.t.files VERSION AS OF {}",
        log[0].0
    );
    assert_eq!(lake.rows(&sql).await, ["1"]);
}

#[tokio::test]
async fn a_query_in_place_of_a_time_is_refused_and_takes_no_other_tables_place() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT); INSERT INTO t VALUES (1);
         CREATE TABLE u (id INT); INSERT INTO u VALUES (2);
         CREATE TABLE v (id INT); INSERT INTO v VALUES (3)",
    )
    .await;
    for clause in [
        "FOR TIMESTAMP AS OF (SELECT current_timestamp() FROM u)",
        "FOR SYSTEM_TIME AS OF CASE WHEN EXISTS (SELECT 1 FROM u) THEN now() END",
        "TIMESTAMP AS OF now() - (SELECT INTERVAL '1' DAY)",
    ] {
        let error = lake.error(&format!("SELECT * FROM t {clause}, v")).await;
        assert!(error.contains("constant expression"), "{clause}: {error}");
    }
    let of_a_cte = "WITH c AS (SELECT * FROM t) SELECT * FROM c FOR TIMESTAMP AS OF now()";
    assert!(lake.error(of_a_cte).await.contains("has no history"));
}
