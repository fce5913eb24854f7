//! Time travel by every way to name a snapshot.

use crate::support::Lake;

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
