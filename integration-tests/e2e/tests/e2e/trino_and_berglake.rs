//! Trino and berglake on the same tables through berglake's REST catalog (PostgreSQL) and MinIO: what
//! one writes the other reads, row by row.

use serde_json::{Value, json};

use crate::harness::lake::Lake;
use crate::harness::run;
use crate::harness::trino::Trino;

/// Rows by berglake, in the order of the named columns.
async fn rows(lake: &Lake, columns: &[&str], statement: &str) -> Vec<Vec<Value>> {
    let rows = lake.sql(statement).await;
    rows.iter()
        .map(|row| columns.iter().map(|column| row[*column].clone()).collect())
        .collect()
}

/// Times as one text, whoever printed them.
fn plain_times(mut rows: Vec<Vec<Value>>, column: usize) -> Vec<Vec<Value>> {
    for row in &mut rows {
        if let Some(text) = row[column].as_str() {
            let text = text.replace('T', " ");
            let text = text.trim_end_matches(" UTC").trim_end_matches('Z');
            row[column] = json!(text);
        }
    }
    rows
}

#[test]
fn trino_reads_every_row_that_berglake_wrote() {
    run(async {
        let (lake, _catalog) = Lake::shared().await;
        lake.must(&[
            "sql",
            "-c",
            "CREATE NAMESPACE shop;
             CREATE TABLE shop.orders (id BIGINT NOT NULL, item STRING, price DOUBLE, paid BOOLEAN,
                 day DATE, amount DECIMAL(12, 2), at TIMESTAMP_NTZ)
               PARTITIONED BY (months(day), bucket(4, id));
             INSERT INTO shop.orders
               SELECT i, concat('item ', CAST(i % 7 AS STRING)), i / 4.0, i % 3 = 0,
                   date_add(DATE '2026-01-01', CAST(i AS INT)), CAST(i AS DECIMAL(12, 2)) / 8,
                   CASE WHEN i % 5 = 0 THEN NULL ELSE TIMESTAMP '2026-02-03 04:05:06.789012' END
               FROM (SELECT value AS i FROM generate_series(1, 200));
             INSERT INTO shop.orders VALUES (201, 'ünï ''quoted''', NULL, NULL, NULL, -0.05, NULL)",
        ])
        .await;
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;

        let columns = ["id", "item", "price", "paid", "day", "amount", "at"];
        let ours = rows(
            &lake,
            &columns,
            "SELECT id, item, price, paid, CAST(day AS STRING) AS day, CAST(amount AS STRING) AS amount,
                CAST(at AS STRING) AS at FROM shop.orders ORDER BY id",
        )
        .await;
        let theirs = trino
            .query(
                &catalog,
                "SELECT id, item, price, paid, CAST(day AS VARCHAR), CAST(amount AS VARCHAR),
                    CAST(at AS VARCHAR) FROM shop.orders ORDER BY id",
            )
            .await;
        assert_eq!(ours.len(), 201);
        assert_eq!(plain_times(ours, 6), plain_times(theirs, 6));
    });
}

#[test]
fn berglake_reads_what_trino_created_inserted_updated_merged_deleted_and_altered() {
    run(async {
        let (lake, _catalog) = Lake::shared().await;
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;
        let by_trino = async |statement: &str| trino.query(&catalog, statement).await;

        by_trino("CREATE SCHEMA shop").await;
        by_trino(
            "CREATE TABLE shop.stock (id BIGINT, name VARCHAR, pieces INTEGER, day DATE)
             WITH (format = 'PARQUET', partitioning = ARRAY['month(day)', 'bucket(id, 2)'])",
        )
        .await;
        by_trino(
            "INSERT INTO shop.stock
             SELECT n, 'part ' || CAST(n AS VARCHAR), CAST(n * 10 AS INTEGER),
                 DATE '2026-01-01' + INTERVAL '1' DAY * n
             FROM UNNEST(sequence(1, 60)) AS t (n)",
        )
        .await;
        let columns = ["id", "name", "pieces", "day"];
        let select =
            "SELECT id, name, pieces, CAST(day AS VARCHAR) AS day FROM shop.stock ORDER BY id";
        let same = async |rows_then: usize| {
            let ours = rows(&lake, &columns, select).await;
            assert_eq!(ours, by_trino(select).await);
            assert_eq!(ours.len(), rows_then);
            ours
        };
        same(60).await;

        by_trino("UPDATE shop.stock SET pieces = 0, name = name || '!' WHERE id % 3 = 0").await;
        let ours = same(60).await;
        assert_eq!(ours[2][..3], [json!(3), json!("part 3!"), json!(0)]);

        by_trino("DELETE FROM shop.stock WHERE day >= DATE '2026-02-20'").await;
        same(49).await;

        by_trino(
            "MERGE INTO shop.stock AS s
             USING (VALUES (1, 'first', 7), (2, 'gone', 0), (99, 'new', 5)) AS u (id, name, pieces)
             ON s.id = u.id
             WHEN MATCHED AND u.name = 'gone' THEN DELETE
             WHEN MATCHED THEN UPDATE SET name = u.name, pieces = u.pieces
             WHEN NOT MATCHED THEN INSERT (id, name, pieces, day)
                 VALUES (u.id, u.name, u.pieces, DATE '2026-03-01')",
        )
        .await;
        let ours = same(49).await;
        assert_eq!(ours[0][..3], [json!(1), json!("first"), json!(7)]);
        assert_eq!(ours[48][..2], [json!(99), json!("new")]);

        for statement in [
            "ALTER TABLE shop.stock ADD COLUMN shelf VARCHAR",
            "ALTER TABLE shop.stock RENAME COLUMN name TO title",
            "ALTER TABLE shop.stock ALTER COLUMN pieces SET DATA TYPE BIGINT",
            "INSERT INTO shop.stock VALUES (100, 'wide', 5000000000, DATE '2026-03-02', 'A1')",
        ] {
            by_trino(statement).await;
        }
        let select = "SELECT id, title, pieces, shelf FROM shop.stock ORDER BY id";
        let ours = rows(&lake, &["id", "title", "pieces", "shelf"], select).await;
        assert_eq!(ours, by_trino(select).await);
        assert_eq!(ours[0], [json!(1), json!("first"), json!(7), json!(null)]);
        assert_eq!(
            ours[49],
            [
                json!(100),
                json!("wide"),
                json!(5_000_000_000_i64),
                json!("A1")
            ]
        );

        by_trino("ALTER TABLE shop.stock DROP COLUMN shelf").await;
        by_trino("ALTER TABLE shop.stock SET PROPERTIES partitioning = ARRAY['day(day)']").await;
        by_trino("INSERT INTO shop.stock VALUES (101, 'other spec', 1, DATE '2026-03-03')").await;
        let select = "SELECT id, title, pieces FROM shop.stock ORDER BY id";
        let ours = rows(&lake, &["id", "title", "pieces"], select).await;
        assert_eq!(ours, by_trino(select).await);
        assert_eq!(ours.len(), 51);

        // What berglake adds to Trino's table is there for Trino.
        lake.must(&[
            "sql",
            "-c",
            "INSERT INTO shop.stock VALUES (102, 'ours', 2, DATE '2026-03-04')",
        ])
        .await;
        let theirs = by_trino("SELECT id, title FROM shop.stock WHERE id > 101").await;
        assert_eq!(theirs, [[json!(102), json!("ours")]]);

        by_trino("ALTER TABLE shop.stock RENAME TO shop.store").await;
        assert_eq!(
            rows(&lake, &["n"], "SELECT count(*) AS n FROM shop.store").await,
            [[json!(52)]]
        );
        by_trino("DROP TABLE shop.store").await;
        by_trino("DROP SCHEMA shop").await;
        assert!(lake.sql("SHOW NAMESPACES").await.is_empty());
    });
}

#[test]
fn trino_travels_in_time_and_sees_the_same_snapshots() {
    run(async {
        let (lake, _catalog) = Lake::shared().await;
        lake.must(&[
            "sql",
            "-c",
            "CREATE NAMESPACE n; CREATE TABLE n.t (id BIGINT);
             INSERT INTO n.t VALUES (1); INSERT INTO n.t VALUES (2); INSERT INTO n.t VALUES (3)",
        ])
        .await;
        let trino = Trino::shared().await;
        let catalog = trino.attach(&lake).await;

        // Two commits can be of the same millisecond, so time does not tell their order.
        let order = "ORDER BY CAST(summary['total-records'] AS BIGINT)";
        let theirs = format!("SELECT snapshot_id FROM n.\"t$snapshots\" {order}");
        let snapshots = trino.query(&catalog, &theirs).await;
        let ours = rows(
            &lake,
            &["snapshot_id"],
            &format!("SELECT snapshot_id FROM n.t$snapshots {order}"),
        )
        .await;
        assert_eq!(snapshots, ours);
        assert_eq!(snapshots.len(), 3);
        for (i, snapshot) in snapshots.iter().enumerate() {
            let statement = format!("SELECT count(*) FROM n.t FOR VERSION AS OF {}", snapshot[0]);
            assert_eq!(
                trino.query(&catalog, &statement).await,
                [[json!(i + 1)]],
                "{statement}"
            );
        }
    });
}
