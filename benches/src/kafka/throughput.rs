//! How many records per second become rows, against the bare consumer.

use std::path::Path;
use std::process::Command;

use berglake_example_producer::{Message, Producer, Rate};
use tokio::time::Instant;

use crate::{Error, bare, project};

/// The partitions of the topic.
const PARTITIONS: i32 = 4;
/// How often each is measured, in turn.
const ROUNDS: usize = 3;
/// The columns of a record, of which about 270 bytes are made.
const SCHEMA: &str = "device_id STRING, user_id STRING, sample_id STRING, data_type STRING, \
    value DOUBLE, unit STRING, start_date TIMESTAMP, end_date TIMESTAMP, is_synced BOOLEAN, \
    app STRING, seq BIGINT, q INT";

pub async fn measure(brokers: &str, berglake: &Path, records: u64) -> Result<(), Error> {
    let topic = format!("bench-{}", std::process::id());
    let producer = Producer::new(brokers, [("compression.type", "lz4")])?;
    producer.create_topic(&topic, PARTITIONS).await?;
    let bytes: usize = (0..1_000).map(|n| record(n).len()).sum();
    println!(
        "{records} records of {} bytes in {PARTITIONS} partitions",
        bytes / 1_000
    );
    let messages = (0..records).map(|n| Message::new(record(n)));
    producer
        .send(&topic, messages, Rate::Unlimited, |_| {})
        .await?;

    let folder = tempfile::tempdir()?;
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let file = folder.path().join(format!("bare-{round}.parquet"));
        let started = Instant::now();
        let read = bare::consume(brokers, &topic, PARTITIONS, &file)?;
        let bare = per_second(read, started);
        if read != records {
            return Err(format!("the bare consumer has read {read} of {records} records").into());
        }
        let project = folder.path().join(format!("project-{round}"));
        let pipeline = format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.samples \
             TBLPROPERTIES ('berglake.dead-letter' = 'bronze.errors') \
             AS SELECT * FROM STREAM read_kafka(connection => 'main', topic => '{topic}', \
             schema => '{SCHEMA}');\n"
        );
        project::write(&project, brokers, &pipeline)?;
        let started = Instant::now();
        let output = Command::new(berglake)
            .arg("--project")
            .arg(&project)
            .args(["run", "--output", "json"])
            .output()?;
        let ours = per_second(records, started);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if report["flows"][0]["rows_inserted"].as_u64() != Some(records) {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("berglake did not take all records: {report} {errors}").into());
        }
        println!(
            "bare consumer {bare:>9.0} records/s · berglake, whole process {ours:>9.0} records/s · \
             ratio {:.2}",
            ours / bare
        );
        ratios.push(ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}

fn per_second(records: u64, started: Instant) -> f64 {
    records as f64 / started.elapsed().as_secs_f64()
}

fn record(n: u64) -> Vec<u8> {
    // A number that looks like chance and is the same for the same record (splitmix64).
    let mut chance = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    chance = (chance ^ (chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    chance ^= chance >> 27;
    let (minute, second) = (chance % 60, (chance >> 8) % 60);
    format!(
        "{{\"device_id\":\"device-{}\",\"user_id\":\"user-{}\",\"sample_id\":\"{chance:016x}-{n:08}\",\
         \"data_type\":\"heartRate\",\"value\":{}.{:03},\"unit\":\"count/min\",\
         \"start_date\":\"2026-01-{:02}T12:{minute:02}:{second:02}.000Z\",\
         \"end_date\":\"2026-01-{:02}T13:{minute:02}:{second:02}.000Z\",\"is_synced\":{},\
         \"app\":\"1.{}.0\",\"seq\":{n},\"q\":{}}}",
        chance % 300_000,
        chance % 100_000,
        40 + chance % 140,
        (chance >> 16) % 1_000,
        1 + (chance >> 24) % 28,
        1 + (chance >> 24) % 28,
        chance.is_multiple_of(2),
        chance % 5,
        chance % 4,
    )
    .into_bytes()
}
