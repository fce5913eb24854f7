//! The sales example: its statement as it stands, by Trino and by berglake, and the same rows, pruning and
//! history through both.

use std::fs;

use serde_json::{Value, json};

use crate::example;
use crate::harness::lake::Lake;
use crate::harness::run;
use crate::harness::trino::Trino;

const DAYS: [(&str, i64); 3] = [("2024-01-15", 40), ("2024-01-16", 35), ("2024-01-17", 45)];

fn statement(name: &str) -> String {
    let text = fs::read_to_string(example::path("sales/sql").join(name)).unwrap();
    text.trim().trim_end_matches(';').to_string()
}

fn number(rows: &[Vec<Value>]) -> i64 {
    rows[0][0].as_i64().unwrap()
}

#[test]
fn the_statement_is_taken_by_trino_and_berglake_and_the_days_are_loaded_once() {
    run(async {
        let (mut lake, _catalog) = Lake::shared().await;
        let trino = Trino::shared().await;
        let iceberg = trino.attach_as(&lake, "iceberg").await;
        // The statements are Trino's and repeatable; berglake takes the same text.
        for _ in 0..2 {
            trino.query(&iceberg, &statement("schema.sql")).await;
            trino.query(&iceberg, &statement("create.sql")).await;
        }
        example::install(&mut lake, "sales");
        let days = lake.folder().join("delivered");
        lake.set("BERGLAKE_VARIABLES__DATA", days.to_str().unwrap());
        lake.must(&["sql", "-f", "sql/schema.sql"]).await;
        lake.must(&["sql", "-f", "sql/create.sql"]).await;

        let mut total = 0;
        let mut snapshots = Vec::new();
        for (day, orders) in DAYS {
            let file = format!("sales_{day}.csv");
            fs::create_dir_all(&days).unwrap();
            fs::copy(example::path("sales/data").join(&file), days.join(&file)).unwrap();
            // Loading a day twice changes nothing.
            for _ in 0..2 {
                lake.must(&["run"]).await;
            }
            total += orders;
            let count = "SELECT count(*) FROM iceberg.lakehouse.sales";
            assert_eq!(number(&trino.query(&iceberg, count).await), total);
            let id = "SELECT snapshot_id FROM iceberg.lakehouse.\"sales$refs\" WHERE name = 'main'";
            snapshots.push((number(&trino.query(&iceberg, id).await), total));
        }
        let known = trino
            .query(
                &iceberg,
                "SELECT count(*) FROM lakehouse.\"sales$snapshots\" WHERE operation = 'append'",
            )
            .await;
        assert!(
            number(&known) <= 4,
            "three days, and what Trino made: {known:?}"
        );

        // Each state can be read again, by both.
        for (id, rows) in &snapshots {
            let versions =
                format!("SELECT count(*) AS n FROM lakehouse.sales FOR VERSION AS OF {id}");
            assert_eq!(number(&trino.query(&iceberg, &versions).await), *rows);
            assert_eq!(lake.sql(&versions).await, [json!({"n": rows})]);
        }
        // A filter on the day reads one file of three, whoever asks.
        let day = "SELECT count(*), CAST(sum(amount) AS VARCHAR) FROM lakehouse.sales
            WHERE ingestion_date = DATE '2024-01-15'";
        let explained = format!("EXPLAIN (TYPE IO, FORMAT JSON) {day}");
        let plan = trino.query(&iceberg, &explained).await[0][0].to_string();
        assert!(plan.contains("2024-01-15"), "{plan}");
        let files =
            "SELECT count(*) FROM lakehouse.\"sales$files\" WHERE file_path LIKE '%.parquet'";
        assert_eq!(number(&trino.query(&iceberg, files).await), 3);
        let ours = lake.must(&["sql", "-c", &format!("EXPLAIN {day}")]).await;
        assert!(ours.contains("files=1/3"), "{ours}");
        // And the same rows.
        let columns = "order_id, customer_id, CAST(amount AS VARCHAR) AS amount, country,
            CAST(ingestion_date AS VARCHAR) AS day";
        let all = format!("SELECT {columns} FROM lakehouse.sales ORDER BY order_id");
        let theirs = trino.query(&iceberg, &all).await;
        let ours: Vec<Vec<Value>> = lake
            .sql(&all)
            .await
            .iter()
            .map(|row| {
                ["order_id", "customer_id", "amount", "country", "day"]
                    .map(|column| row[column].clone())
                    .to_vec()
            })
            .collect();
        assert_eq!(ours, theirs);
        assert_eq!(theirs.len(), 120);
    });
}
