//! `read_kafka` against a real broker: each message is once a row or a dead letter, whatever becomes of
//! topic, broker and process. The lake is an embedded one, so that nothing else is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Output, Stdio};
use std::time::Duration;

use berglake_example_producer::health::{Generator, HealthOptions, SCHEMA, Truth};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::engine::engine;
use crate::harness::lake::binary;
use crate::harness::run;
use crate::harness::servers::{Coordinates, Kafka, Record};
use crate::harness::{strip, until};

/// A project with one flow from a topic, on an embedded catalog and local files.
struct Project {
    folder: TempDir,
    topic: String,
    brokers: String,
}

impl Project {
    /// A project that reads a topic whose name begins so.
    fn new(kafka: &Kafka, name: &str) -> Self {
        let topic = engine().name(name);
        let project = Self {
            folder: tempfile::tempdir().unwrap(),
            topic,
            brokers: kafka.brokers(),
        };
        project.configure("30s");
        project.flow("");
        project
    }

    fn configure(&self, timeout: &str) {
        let config = format!(
            "[project]\nname = \"kafka\"\n[connections.main]\nkind = \"kafka\"\n\
             bootstrap-servers = \"{}\"\ntimeout = \"{timeout}\"\n",
            self.brokers
        );
        std::fs::write(self.folder.path().join("berglake.toml"), config).unwrap();
    }

    /// A flow of numbers, with more arguments.
    fn flow(&self, arguments: &str) {
        self.table("n BIGINT NOT NULL", arguments, "");
    }

    fn table(&self, schema: &str, arguments: &str, properties: &str) {
        let sql = format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.t\n\
             TBLPROPERTIES ('berglake.dead-letter' = 'bronze.e'{properties})\n\
             AS SELECT * FROM STREAM read_kafka(connection => 'main', topic => '{}',\n\
             schema => '{schema}', partition => 'p', offset => 'o'{arguments});",
            self.topic
        );
        let folder = self.folder.path().join("pipelines");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("t.sql"), sql).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        strip(&mut command);
        command
            .arg("--project")
            .arg(self.folder.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        let output = tokio::time::timeout(Duration::from_secs(300), output).await;
        output.expect("it ends in time").unwrap()
    }

    /// Runs; it must succeed.
    async fn run(&self) -> String {
        self.must(&["run"]).await
    }

    async fn must(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        let text = text(&output);
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// Runs; it must fail. Gives what it says.
    async fn fails(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    }

    async fn sql(&self, statement: &str) -> Vec<Value> {
        let output = self
            .output(&["sql", "--output", "json", "-c", statement])
            .await;
        assert!(output.status.success(), "{}", text(&output));
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines = printed.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Where the rows come from and what number each has, in order.
    async fn rows(&self) -> Vec<(Coordinates, i64)> {
        let rows = self
            .sql("SELECT p, o, n FROM bronze.t ORDER BY p, o, n")
            .await;
        rows.iter()
            .map(|row| (at(row, "p", "o"), row["n"].as_i64().unwrap()))
            .collect()
    }

    async fn numbers(&self) -> Vec<i64> {
        let mut numbers: Vec<i64> = self.rows().await.into_iter().map(|(_, n)| n).collect();
        numbers.sort_unstable();
        numbers
    }

    async fn snapshots(&self) -> usize {
        self.sql("SELECT snapshot_id FROM bronze.t.snapshots")
            .await
            .len()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn at(row: &Value, partition: &str, offset: &str) -> Coordinates {
    Coordinates {
        partition: i32::try_from(row[partition].as_i64().unwrap()).unwrap(),
        offset: row[offset].as_i64().unwrap(),
    }
}

fn number(n: i64) -> Vec<u8> {
    format!("{{\"n\": {n}}}").into_bytes()
}

/// Numbers, each in the partition that is its remainder.
fn numbers(range: std::ops::Range<i64>, partitions: i64) -> Vec<Record> {
    let partition = |n: i64| i32::try_from(n % partitions).unwrap();
    range.map(|n| Record::to(partition(n), number(n))).collect()
}

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap()
}

/// Creates a topic with settings.
async fn create(kafka: &Kafka, name: &str, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    let created = admin(kafka)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    assert!(matches!(created.unwrap()[..], [Ok(_)]));
}

/// Deletes the messages before an offset, as retention does.
async fn expire(kafka: &Kafka, topic: &str, partition: i32, before: i64) {
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(topic, partition, Offset::Offset(before))
        .unwrap();
    let deleted = admin(kafka)
        .delete_records(&offsets, &AdminOptions::new())
        .await;
    assert!(deleted.unwrap().elements()[0].error().is_ok());
}

#[test]
fn every_message_is_once_a_row_or_a_dead_letter() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "health");
        project.table(SCHEMA, "", ", 'berglake.batch.max-rows' = '1500'");
        kafka.create_topic(&project.topic, 3).await;
        let options = HealthOptions {
            broken: 0.1,
            ..HealthOptions::default()
        };
        let mut samples: BTreeMap<Coordinates, String> = BTreeMap::new();
        let mut broken: BTreeMap<Coordinates, &str> = BTreeMap::new();
        let mut generator = Generator::new(7, options);
        for count in [4_000, 300] {
            let messages: Vec<_> = generator.by_ref().take(count).collect();
            let records: Vec<Record> = messages
                .iter()
                .map(|message| Record {
                    key: message.message.key.clone(),
                    payload: message.message.payload.clone(),
                    ..Record::default()
                })
                .collect();
            let places = kafka.produce(&project.topic, &records).await;
            for (place, message) in places.into_iter().zip(messages) {
                match message.truth {
                    Truth::Good(sample) => {
                        assert!(samples.insert(place, sample.sample_id).is_none());
                    }
                    Truth::Broken(how) => {
                        assert!(broken.insert(place, how.error_type()).is_none());
                    }
                }
            }
            project.run().await;
            let rows = project.sql("SELECT p, o, sample_id FROM bronze.t").await;
            let found: BTreeMap<Coordinates, String> = rows
                .iter()
                .map(|row| {
                    (
                        at(row, "p", "o"),
                        row["sample_id"].as_str().unwrap().to_owned(),
                    )
                })
                .collect();
            assert_eq!(rows.len(), found.len(), "a message is there twice");
            assert_eq!(found, samples);
            let letters = project
                .sql("SELECT kafka_topic, kafka_partition, kafka_offset, error_type FROM bronze.e")
                .await;
            let found: BTreeMap<Coordinates, &str> = letters
                .iter()
                .map(|row| {
                    assert_eq!(row["kafka_topic"], project.topic.as_str());
                    let place = at(row, "kafka_partition", "kafka_offset");
                    (place, row["error_type"].as_str().unwrap())
                })
                .collect();
            assert_eq!(letters.len(), found.len(), "a dead letter is there twice");
            assert_eq!(found, broken);
        }
        // Batches were cut by rows: three of the first run, one of the second. A broker that is slow to
        // answer has them cut by time, too.
        let before = project.snapshots().await;
        assert!(before >= 4, "{before}");
        project.run().await;
        assert_eq!(
            project.snapshots().await,
            before,
            "a run without news has committed"
        );
    });
}

#[test]
fn what_a_message_carries_becomes_columns() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "columns");
        project.flow(
            ", key => 'k', headers => 'h', timestamp => 't', topic_column => 'name', \
             tombstones => 'dead_letter'",
        );
        kafka.create_topic(&project.topic, 1).await;
        let full = Record {
            key: Some(b"key".to_vec()),
            headers: vec![("a".into(), b"1".to_vec()), ("a".into(), b"2".to_vec())],
            timestamp: Some(1_767_225_600_000),
            ..Record::of(number(1))
        };
        let tombstone = Record {
            key: Some(b"key".to_vec()),
            ..Record::default()
        };
        kafka.produce(&project.topic, &[full, tombstone]).await;
        project.run().await;
        let rows = project
            .sql("SELECT k, h['a'] AS a, CAST(t AS STRING) AS t, name, p, o, n FROM bronze.t")
            .await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["k"], "key");
        assert_eq!(rows[0]["name"], project.topic.as_str());
        assert!(
            rows[0]["t"].as_str().unwrap().starts_with("2026-01-01"),
            "{rows:?}"
        );
        assert!(rows[0]["a"].to_string().contains('2'), "{rows:?}");
        let letters = project.sql("SELECT error_type FROM bronze.e").await;
        assert_eq!(letters[0]["error_type"], "tombstone");
    });
}

#[test]
fn partitions_that_are_added_are_read_from_their_start() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "added");
        // Where a flow begins says nothing about partitions that come later.
        project.flow(", starting => 'latest'");
        kafka.create_topic(&project.topic, 1).await;
        kafka.produce(&project.topic, &numbers(0..5, 1)).await;
        project.run().await;
        assert!(project.numbers().await.is_empty());
        kafka.add_partitions(&project.topic, 3).await;
        kafka.produce(&project.topic, &numbers(5..35, 3)).await;
        project.run().await;
        assert_eq!(project.numbers().await, (5..35).collect::<Vec<_>>());
    });
}

#[test]
fn a_flow_begins_where_it_is_told() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "starting");
        project.flow(", starting => '2026-01-01T00:00:00Z'");
        kafka.create_topic(&project.topic, 1).await;
        let hour = 3_600_000;
        let records: Vec<Record> = (0..10)
            .map(|n| Record {
                timestamp: Some(1_767_225_600_000 + (n - 4) * hour),
                ..Record::to(0, number(n))
            })
            .collect();
        kafka.produce(&project.topic, &records).await;
        project.run().await;
        assert_eq!(project.numbers().await, (4..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_topic_that_was_made_anew_stops_the_flow_until_somebody_decides() {
    run(async {
        let kafka = Kafka::shared().await;
        // Shorter than what was read, and longer: then only the messages themselves tell.
        for (again, why) in [(3, "ends at offset"), (50, "another message")] {
            for (decision, expected) in [
                (vec!["run", "--resume", "replay"], [0..10, 100..100 + again]),
                (vec!["run", "--resume", "skip"], [0..10, 0..0]),
                (
                    vec!["run", "--full-refresh", "bronze.t"],
                    [100..100 + again, 0..0],
                ),
            ] {
                let project = Project::new(kafka, "anew");
                kafka.create_topic(&project.topic, 1).await;
                kafka.produce(&project.topic, &numbers(0..10, 1)).await;
                project.run().await;
                kafka.delete_topic(&project.topic).await;
                kafka.create_topic(&project.topic, 1).await;
                let more = numbers(100..100 + again, 1);
                kafka.produce(&project.topic, &more).await;
                let said = project.fails(&["run"]).await;
                for part in [
                    why,
                    "partition 0",
                    &project.topic,
                    "--full-refresh",
                    "--resume",
                ] {
                    assert!(said.contains(part), "{part}: {said}");
                }
                assert_eq!(project.numbers().await.len(), 10, "nothing is taken before");
                project.must(&decision).await;
                let mut wanted: Vec<i64> = expected.into_iter().flatten().collect();
                assert_eq!(project.numbers().await, wanted, "{decision:?}");
                // It goes on from there without being asked again.
                kafka
                    .produce(&project.topic, &numbers(1_000..1_005, 1))
                    .await;
                project.run().await;
                wanted.extend(1_000..1_005);
                assert_eq!(project.numbers().await, wanted, "{decision:?}");
            }
        }
    });
}

#[test]
fn messages_that_were_deleted_before_they_were_read_are_named() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "expired");
        kafka.create_topic(&project.topic, 1).await;
        kafka.produce(&project.topic, &numbers(0..10, 1)).await;
        project.run().await;
        kafka.produce(&project.topic, &numbers(10..30, 1)).await;
        // What is deleted after it was read is no loss.
        expire(kafka, &project.topic, 0, 10).await;
        project.must(&["plan"]).await;
        expire(kafka, &project.topic, 0, 20).await;
        let said = project.fails(&["run"]).await;
        for part in [&project.topic, "partition 0", "10 to 19", "on_data_loss"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        project.flow(", on_data_loss => 'continue'");
        let said = project.run().await;
        assert!(said.contains("10 to 19"), "the loss is not told: {said}");
        let wanted: Vec<i64> = (0..10).chain(20..30).collect();
        assert_eq!(project.numbers().await, wanted);
    });
}

/// Longer than the broker takes to begin or end a transaction on a busy machine.
const TRANSACTION: Duration = Duration::from_secs(120);

/// A producer of transactions.
fn transactional(kafka: &Kafka, topic: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("transactional.id", topic)
        // Longer than any pause of a busy machine: the broker aborts what takes longer.
        .set("transaction.timeout.ms", "600000")
        .create()
        .unwrap();
    producer.init_transactions(TRANSACTION).unwrap();
    producer
}

fn send(producer: &BaseProducer, topic: &str, range: std::ops::Range<i64>) {
    for n in range {
        let payload = number(n);
        let record = BaseRecord::<[u8], [u8]>::to(topic)
            .partition(0)
            .payload(&payload);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(TRANSACTION).unwrap();
}

#[test]
fn only_committed_messages_are_read() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "transactions");
        kafka.create_topic(&project.topic, 1).await;
        let (brokers, topic) = (kafka, project.topic.clone());
        let producer = tokio::task::block_in_place(|| transactional(brokers, &topic));
        let mut wanted: Vec<i64> = Vec::new();
        for round in 0..6 {
            let range = round * 10..round * 10 + 10;
            tokio::task::block_in_place(|| {
                producer.begin_transaction().unwrap();
                send(&producer, &topic, range.clone());
            });
            // The end of the topic is now an open transaction, and before it a control record.
            project.run().await;
            assert_eq!(project.numbers().await, wanted, "round {round}, open");
            tokio::task::block_in_place(|| {
                if round % 2 == 0 {
                    producer.commit_transaction(TRANSACTION).unwrap();
                    wanted.extend(range);
                } else {
                    producer.abort_transaction(TRANSACTION).unwrap();
                }
            });
            // The broker answers before it has written where the transaction ends, and until then the
            // messages cannot be read.
            let what = format!("round {round} is read as it ended");
            until(&what, Duration::from_secs(120), async || {
                project.run().await;
                project.numbers().await == wanted
            })
            .await;
        }
        // In the end nothing but a control record is left behind the last message: no run commits for it.
        until("no run commits", Duration::from_secs(120), async || {
            let before = project.snapshots().await;
            project.run().await;
            project.snapshots().await == before
        })
        .await;
    });
}

#[test]
fn a_range_of_aborted_messages_alone_is_passed_over() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "aborted");
        kafka.create_topic(&project.topic, 1).await;
        let wait = Duration::from_secs(30);
        let topic = project.topic.clone();
        let (first, second) = tokio::task::block_in_place(|| {
            let first = transactional(kafka, &topic);
            let second = transactional(kafka, &format!("{topic}-second"));
            first.begin_transaction().unwrap();
            send(&first, &topic, 0..10);
            second.begin_transaction().unwrap();
            send(&second, &topic, 10..20);
            first.abort_transaction(wait).unwrap();
            (first, second)
        });
        // What can be read ends where the second transaction begins, and before it is nothing but what
        // was aborted: not even the record that says so.
        project.run().await;
        assert!(project.numbers().await.is_empty());
        tokio::task::block_in_place(|| second.commit_transaction(wait).unwrap());
        drop(first);
        // As above, the broker may not have written the end of the transaction yet.
        until(
            "the second transaction",
            Duration::from_secs(120),
            async || {
                project.run().await;
                project.numbers().await == (10..20).collect::<Vec<_>>()
            },
        )
        .await;
    });
}

#[test]
fn a_compacted_topic_is_read_over_its_gaps() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "compacted");
        project.flow(", key => 'k', tombstones => 'skip'");
        let settings = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("segment.ms", "200"),
            ("delete.retention.ms", "1"),
            ("min.compaction.lag.ms", "0"),
        ];
        create(kafka, &project.topic, &settings).await;
        let update = |n: i64| Record {
            key: Some(format!("k{}", n % 7).into_bytes()),
            ..Record::to(0, number(n))
        };
        let mut last = 0;
        for round in 0..4 {
            let records: Vec<Record> = (round * 300..round * 300 + 300).map(update).collect();
            kafka.produce(&project.topic, &records).await;
            last = round * 300 + 299;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // The cleaner has been there when a reader from the start no longer finds all.
        until(
            "the topic is compacted",
            Duration::from_secs(120),
            async || {
                kafka.produce(&project.topic, &[update(last + 1)]).await;
                last += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let probe = Project::new(kafka, "probe");
                let probe = Project {
                    topic: project.topic.clone(),
                    ..probe
                };
                probe.flow(", key => 'k', tombstones => 'skip'");
                probe.run().await;
                probe.numbers().await.len() < 1_000
            },
        )
        .await;
        project.run().await;
        let first = project.numbers().await;
        assert!(first.len() < 1_000, "{} rows", first.len());
        // The newest record of each key is always there, and none is there twice.
        let found: BTreeSet<i64> = first.iter().copied().collect();
        assert_eq!(found.len(), first.len());
        assert!((last - 6..=last).all(|n| found.contains(&n)), "{found:?}");
        kafka.produce(&project.topic, &[update(last + 1)]).await;
        project.run().await;
        assert_eq!(project.numbers().await.len(), first.len() + 1);
    });
}

#[test]
fn a_run_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "killed");
        project.table(
            "n BIGINT NOT NULL",
            "",
            ", 'berglake.batch.max-rows' = '500'",
        );
        kafka.create_topic(&project.topic, 3).await;
        let mut produced: BTreeMap<Coordinates, i64> = BTreeMap::new();
        let mut next = 0;
        for round in 0..12_u64 {
            let records = numbers(next..next + 3_000, 3);
            let places = kafka.produce(&project.topic, &records).await;
            produced.extend(places.into_iter().zip(next..next + 3_000));
            next += 3_000;
            let mut running = project.command(&["run"]).spawn().unwrap();
            // From before the first batch to after the last.
            let moment = Duration::from_millis(50 + 170 * round);
            if tokio::time::timeout(moment, running.wait()).await.is_err() {
                running.kill().await.unwrap();
            }
        }
        project.run().await;
        let rows = project.rows().await;
        let found: BTreeMap<Coordinates, i64> = rows.iter().copied().collect();
        assert_eq!(rows.len(), found.len(), "a message is there twice");
        assert!(
            found == produced,
            "{} of {} messages",
            found.len(),
            produced.len()
        );
    });
}

#[test]
fn two_runs_at_once_take_nothing_twice() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "two");
        project.table(
            "n BIGINT NOT NULL",
            "",
            ", 'berglake.batch.max-rows' = '700'",
        );
        kafka.create_topic(&project.topic, 2).await;
        let mut next = 0;
        for _ in 0..4 {
            kafka
                .produce(&project.topic, &numbers(next..next + 4_000, 2))
                .await;
            next += 4_000;
            let (one, two) = tokio::join!(project.output(&["run"]), project.output(&["run"]));
            for output in [one, two] {
                if output.status.success() {
                    continue;
                }
                let text = text(&output);
                assert_eq!(output.status.code(), Some(4), "{text}");
                // The second is said where both make the tables.
                assert!(
                    text.contains("another run of this flow has committed")
                        || text.contains("another writer changed the table"),
                    "{text}"
                );
            }
        }
        project.run().await;
        assert_eq!(project.numbers().await, (0..next).collect::<Vec<_>>());
    });
}

#[test]
fn a_broker_that_goes_away_is_waited_for() {
    run(async {
        let kafka = Kafka::start().await;
        let project = Project::new(&kafka, "away");
        project.configure("120s");
        kafka.create_topic(&project.topic, 2).await;
        kafka.produce(&project.topic, &numbers(0..2_000, 2)).await;
        project.run().await;
        kafka
            .produce(&project.topic, &numbers(2_000..9_000, 2))
            .await;
        for away in [true, false] {
            if away {
                kafka.server.kill().await;
            } else {
                kafka.server.pause().await;
            }
            let mut running = project.command(&["run"]);
            let mut running = running.stdout(Stdio::null()).spawn().unwrap();
            let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
            let mut said = String::new();
            let mut is_back = false;
            let ended = tokio::time::timeout(Duration::from_secs(300), async {
                while let Some(line) = lines.next_line().await.unwrap() {
                    let waits = line.contains("waiting for the brokers");
                    said.push_str(&line);
                    said.push('\n');
                    if waits && !is_back {
                        is_back = true;
                        match away {
                            true => kafka.server.start().await,
                            false => kafka.server.unpause().await,
                        }
                    }
                }
                running.wait().await.unwrap()
            });
            let ended = ended.await.expect("it ends in time");
            assert!(ended.success(), "{said}");
            assert!(is_back, "it has not waited: {said}");
        }
        assert_eq!(project.numbers().await, (0..9_000).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_wrong_with_a_connection_is_said_in_bounded_time() {
    run(async {
        let kafka = Kafka::shared().await;
        let project = Project::new(kafka, "missing");
        let started = tokio::time::Instant::now();
        let said = project.fails(&["run"]).await;
        for part in ["no topic", &project.topic, &kafka.brokers()] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let away = Project {
            brokers: "127.0.0.1:1".into(),
            ..Project::new(kafka, "away")
        };
        away.configure("3s");
        let said = away.fails(&["run"]).await;
        for part in ["did not answer", "127.0.0.1:1", "check the address"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let unknown = Project {
            brokers: "no-such-host.invalid:9092".into(),
            ..Project::new(kafka, "unknown")
        };
        unknown.configure("3s");
        let said = unknown.fails(&["run"]).await;
        assert!(said.contains("no-such-host.invalid"), "{said}");
        // Three runs, each of which waits for as long as it is told to and not for ever.
        assert!(started.elapsed() < Duration::from_secs(240));
    });
}
