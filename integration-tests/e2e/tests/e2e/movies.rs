//! The movies example on Kafka, by the services: every record is once in bronze or in dead letters, and
//! silver and gold are what the same records come to as files.

use std::collections::BTreeSet;
use std::time::Duration;

use berglake_example_producer::{key_of, records};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::example;
use crate::harness::engine::engine;
use crate::harness::lake::{Lake, binary};
use crate::harness::servers::{Coordinates, Kafka, Record};
use crate::harness::trino::Trino;
use crate::harness::{run, strip, until};

/// What both variants must agree on. Means are rounded: numbers are added in another order.
const SILVER: &str = "SELECT * FROM silver.movies_clean ORDER BY title, release_date";
const GOLD: [&str; 2] = [
    "SELECT year, genre, movie_count, round(avg_rating, 9) AS avg_rating, total_revenue
     FROM gold.movies_by_year_genre ORDER BY year, genre",
    "SELECT * FROM gold.top_movies ORDER BY genre, place",
];

/// The example on files and an embedded catalog, after both deliveries.
struct OnFiles(tempfile::TempDir);

impl OnFiles {
    async fn after_both_deliveries() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        let folder = project.0.path();
        example::copy(&example::path("movies"), folder);
        project.call(&["run"]).await;
        let corrections = "movies_corrections.json";
        let data = folder.join("data");
        std::fs::copy(
            data.join("updates").join(corrections),
            data.join(corrections),
        )
        .unwrap();
        project.call(&["run"]).await;
        project
    }

    async fn call(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary());
        strip(&mut command);
        command.arg("--project").arg(self.0.path()).args(arguments);
        let output = command.output().await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn rows(&self, statement: &str) -> Vec<Value> {
        let text = self
            .call(&["sql", "--output", "json", "-c", statement])
            .await;
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn places(rows: &[Vec<Value>]) -> Vec<Coordinates> {
    rows.iter()
        .map(|row| Coordinates {
            partition: i32::try_from(row[0].as_i64().unwrap()).unwrap(),
            offset: row[1].as_i64().unwrap(),
        })
        .collect()
}

#[test]
fn movies_from_kafka_come_to_what_they_come_to_as_files() {
    run(async {
        let (mut lake, _catalog) = Lake::shared().await;
        let (kafka, trino) = tokio::join!(Kafka::shared(), Trino::shared());
        let topic = engine().name("movies");
        kafka.create_topic(&topic, 3).await;
        example::install_on(&mut lake, "movies-kafka", kafka, &topic);
        let (bronze, silver, gold) = tokio::join!(
            lake.serve("bronze"),
            lake.serve("silver"),
            lake.serve("gold")
        );

        let mut produced = Vec::new();
        for file in ["movies.json", "updates/movies_corrections.json"] {
            let path = example::path("movies").join("data").join(file);
            let messages: Vec<Record> = records(&path)
                .unwrap()
                .into_iter()
                .map(|record| Record {
                    // By title, so that what is said of a film keeps its order.
                    key: key_of(&record, "Title").map(String::into_bytes),
                    ..Record::of(record)
                })
                .collect();
            let at = kafka.produce(&topic, &messages).await;
            produced.extend(at.into_iter().zip(messages));
        }
        assert_eq!(produced.len(), 3201 + 11);

        let catalog = trino.attach(&lake).await;
        let count = "SELECT (SELECT count(*) FROM bronze.movies_raw),
            (SELECT count(*) FROM bronze.movies_errors),
            (SELECT sum(movie_count) FROM gold.movies_by_year_genre)";
        until(
            "gold has every film",
            Duration::from_secs(240),
            async || {
                let rows = trino.try_query(&catalog, count).await;
                rows.is_ok_and(|rows| rows == [[json!(3211), json!(1), json!(3201)]])
            },
        )
        .await;
        let files = OnFiles::after_both_deliveries().await;
        // Gold may have been computed before silver had the last record of a film.
        let mut wanted = Vec::new();
        for statement in [SILVER].into_iter().chain(GOLD) {
            wanted.push((statement, files.rows(statement).await));
        }
        until(
            "silver and gold are complete",
            Duration::from_secs(120),
            async || {
                for (statement, rows) in &wanted {
                    if lake.sql(statement).await != *rows {
                        return false;
                    }
                }
                true
            },
        )
        .await;
        for role in [&bronze, &silver, &gold] {
            let status = role.terminate().await;
            assert!(status.success(), "a role ended with {status}");
        }

        let rows = "SELECT message_partition, message_offset FROM bronze.movies_raw";
        let errors = "SELECT kafka_partition, kafka_offset FROM bronze.movies_errors";
        let mut taken = places(&trino.query(&catalog, rows).await);
        let dead = places(&trino.query(&catalog, errors).await);
        taken.extend(&dead);
        assert_eq!(taken.len(), produced.len());
        let sent: BTreeSet<Coordinates> = produced.iter().map(|(at, _)| *at).collect();
        assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), sent);
        // The dead letter is the line that is cut off, byte by byte.
        let (_, broken) = produced.iter().find(|(at, _)| *at == dead[0]).unwrap();
        let raw = trino
            .query(&catalog, "SELECT from_utf8(raw) FROM bronze.movies_errors")
            .await;
        let text = String::from_utf8(broken.payload.clone().unwrap()).unwrap();
        assert_eq!(raw, [[json!(text)]]);
    });
}
