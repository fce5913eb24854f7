//! A stream of events through all layers, and what every table must hold in the end, computed from what
//! was produced and from nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::harness::lake::{Lake, Role};
use crate::harness::servers::{Coordinates, Kafka, Record, produce_with};
use crate::harness::trino::Trino;
use crate::harness::until;

const PIPELINE: &str = "
CREATE OR REFRESH STREAMING TABLE bronze.events_raw
  TBLPROPERTIES ('berglake.dead-letter' = 'bronze.events_errors')
  AS SELECT * FROM STREAM read_kafka(connection => 'main', topic => 'TOPIC', format => 'json',
    schema => 'k BIGINT, seq BIGINT NOT NULL, v BIGINT, region STRING',
    partition => 'source_partition', offset => 'source_offset');

CREATE OR REFRESH STREAMING TABLE silver.events (
  CONSTRAINT has_key EXPECT (k IS NOT NULL) ON VIOLATION DROP ROW)
  PARTITIONED BY (region);
CREATE FLOW events_upsert AS AUTO CDC INTO silver.events
  FROM STREAM(bronze.events_raw) KEYS (k) SEQUENCE BY seq
  COLUMNS (k, seq, v, region) STORED AS SCD TYPE 1;

CREATE OR REFRESH MATERIALIZED VIEW gold.by_region AS
  SELECT region, count(*) AS events, sum(v) AS total FROM silver.events GROUP BY 1;
";

/// How many keys there are: few enough that most records change a row that is there.
const KEYS: u64 = 400;
const REGIONS: [&str; 3] = ["north", "south", "west"];

/// One good record.
#[derive(Debug, Clone)]
struct Event {
    k: Option<u64>,
    seq: u64,
    v: u64,
    region: &'static str,
}

impl Event {
    /// The record of this number. No two have the same `seq`.
    fn numbered(number: u64) -> Self {
        let chance = mix(number);
        Self {
            k: (!chance.is_multiple_of(37)).then_some(chance % KEYS),
            seq: number,
            v: chance >> 40,
            // A key moves between partitions of silver now and then.
            region: REGIONS[usize::try_from((chance >> 20) % 3).unwrap()],
        }
    }

    fn json(&self) -> Value {
        json!({"k": self.k, "seq": self.seq, "v": self.v, "region": self.region})
    }
}

/// A number that looks like chance and is the same for the same number (splitmix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What was produced.
#[derive(Debug, Default)]
struct Produced {
    good: Vec<(Coordinates, Event)>,
    broken: Vec<(Coordinates, Vec<u8>)>,
}

/// A topic that is being filled, and the lake that it goes to.
#[derive(Debug)]
pub struct Load {
    topic: String,
    produced: Arc<Mutex<Produced>>,
    stop: Arc<AtomicBool>,
    producer: Option<JoinHandle<()>>,
}

impl Load {
    /// Writes the pipeline into the lake's project and makes the topic.
    pub async fn prepare(lake: &mut Lake, kafka: &Kafka) -> Self {
        let load = Self::prepare_without_topic(lake, kafka);
        load.create_topic(kafka).await;
        load
    }

    /// As [`prepare`](Self::prepare), and the topic does not exist.
    pub fn prepare_without_topic(lake: &mut Lake, kafka: &Kafka) -> Self {
        let topic = format!("events-{}", lake.name());
        lake.connect(kafka);
        lake.write("pipelines/events.sql", &PIPELINE.replace("TOPIC", &topic));
        Self {
            topic,
            produced: Arc::default(),
            stop: Arc::default(),
            producer: None,
        }
    }

    /// Makes the topic.
    pub async fn create_topic(&self, kafka: &Kafka) {
        kafka.create_topic(&self.topic, 3).await;
    }

    /// Produces about this many records per second from now on, a few of them broken.
    pub fn start(&mut self, kafka: &Kafka, per_second: u64) {
        let (topic, produced, stop) =
            (self.topic.clone(), self.produced.clone(), self.stop.clone());
        stop.store(false, Ordering::Relaxed);
        let producer = kafka.producer();
        let running = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            while !stop.load(Ordering::Relaxed) {
                tick.tick().await;
                // Held until all are delivered: what is compared is what Kafka has acknowledged.
                let mut produced = produced.lock().await;
                produce(&producer, &topic, &mut produced, per_second / 10).await;
            }
        });
        assert!(self.producer.replace(running).is_none(), "it was producing");
    }

    /// Produces this many records.
    pub async fn add(&self, kafka: &Kafka, records: u64) {
        let mut produced = self.produced.lock().await;
        produce(&kafka.producer(), &self.topic, &mut produced, records).await;
    }

    /// Stops producing; all that was begun is delivered.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(producer) = self.producer.take() {
            producer.await.expect("the producer ended well");
        }
    }

    /// How many records there are so far.
    pub async fn len(&self) -> usize {
        let produced = self.produced.lock().await;
        produced.good.len() + produced.broken.len()
    }

    /// Waits until all that was produced is in bronze or in its dead letters.
    pub async fn is_in_bronze(&self, trino: &Trino, catalog: &str) {
        let produced = self.produced.lock().await;
        let want = [[json!(produced.good.len()), json!(produced.broken.len())]];
        until(
            "all records are in bronze",
            Duration::from_secs(180),
            async || {
                let rows = trino
                    .try_query(
                        catalog,
                        "SELECT (SELECT count(*) FROM bronze.events_raw),
                        (SELECT count(*) FROM bronze.events_errors)",
                    )
                    .await;
                rows.is_ok_and(|rows| rows == want)
            },
        )
        .await;
    }

    /// Waits until the tables have caught up, and compares each with what was produced, row by row, as
    /// Trino reads them. Then ends the roles in good order and compares again.
    pub async fn verify(&mut self, trino: &Trino, catalog: &str, roles: &[&Role]) {
        self.stop().await;
        let (want, len) = {
            let produced = self.produced.lock().await;
            (Tables::expected(&produced), produced.good.len())
        };
        assert!(len > 0, "nothing was produced");
        let started = tokio::time::Instant::now();
        loop {
            let have = Tables::read(trino, catalog).await;
            if have.as_ref().is_ok_and(|have| *have == want) {
                break;
            }
            if started.elapsed() > Duration::from_secs(180) {
                have.expect("the tables can be read").explain(&want);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        for role in roles {
            let status = role.terminate().await;
            assert!(status.success(), "a role ended with {status}");
        }
        let have = Tables::read(trino, catalog).await;
        have.expect("the tables can be read").explain(&want);
    }
}

async fn produce(
    producer: &rdkafka::producer::FutureProducer,
    topic: &str,
    produced: &mut Produced,
    records: u64,
) {
    let first = (produced.good.len() + produced.broken.len()) as u64;
    let numbers = first..first + records;
    let broken = |number: u64| (number % 29 == 11).then(|| damaged(number));
    let messages: Vec<Record> = numbers
        .clone()
        .map(|number| {
            let event = Event::numbered(number);
            let payload = broken(number).unwrap_or_else(|| event.json().to_string().into_bytes());
            // By key, as CDC needs it: what belongs to one row is in one partition, in order.
            Record::to(
                i32::try_from(event.k.unwrap_or(number) % 3).unwrap(),
                payload,
            )
        })
        .collect();
    let coordinates = produce_with(producer, topic, &messages).await;
    for ((number, message), coordinates) in numbers.zip(messages).zip(coordinates) {
        if broken(number).is_some() {
            let payload = message.payload.expect("it has one");
            produced.broken.push((coordinates, payload));
        } else {
            produced.good.push((coordinates, Event::numbered(number)));
        }
    }
}

/// A record that is none, in one of several ways.
fn damaged(number: u64) -> Vec<u8> {
    match mix(number) % 4 {
        0 => format!(r#"{{"k": {number}, "seq": "#).into_bytes(),
        1 => format!(r#"{{"k": 1, "seq": "number {number}", "v": 1, "region": "north"}}"#)
            .into_bytes(),
        2 => format!(r#"{{"k": {number}, "v": 1, "region": "north"}}"#).into_bytes(),
        _ => vec![0xff, 0xfe, b'{', u8::try_from(number % 251).unwrap()],
    }
}

/// All rows of all tables.
#[derive(Debug, PartialEq)]
struct Tables {
    bronze: Vec<String>,
    errors: Vec<String>,
    silver: Vec<String>,
    gold: Vec<String>,
}

impl Tables {
    fn expected(produced: &Produced) -> Self {
        let bronze = produced.good.iter().map(|(at, event)| {
            let Event { k, seq, v, region } = event;
            row(&[
                json!(at.partition),
                json!(at.offset),
                json!(k),
                json!(seq),
                json!(v),
                json!(region),
            ])
        });
        let errors = produced.broken.iter().map(|(at, payload)| {
            let hex: String = payload.iter().map(|byte| format!("{byte:02X}")).collect();
            row(&[json!(at.partition), json!(at.offset), json!(hex)])
        });
        let mut newest: BTreeMap<u64, &Event> = BTreeMap::new();
        for (_, event) in &produced.good {
            if let Some(k) = event.k {
                let known = newest.entry(k).or_insert(event);
                if known.seq < event.seq {
                    *known = event;
                }
            }
        }
        let silver = newest.iter().map(|(k, event)| {
            row(&[
                json!(k),
                json!(event.seq),
                json!(event.v),
                json!(event.region),
            ])
        });
        let mut regions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for event in newest.values() {
            let (events, total) = regions.entry(event.region).or_default();
            *events += 1;
            *total += event.v;
        }
        let gold = regions
            .iter()
            .map(|(region, (events, total))| row(&[json!(region), json!(events), json!(total)]));
        Self {
            bronze: sorted(bronze),
            errors: sorted(errors),
            silver: sorted(silver),
            gold: sorted(gold),
        }
    }

    async fn read(trino: &Trino, catalog: &str) -> Result<Self, String> {
        let read = async |statement| {
            let rows = trino.try_query(catalog, statement).await?;
            Ok::<_, String>(sorted(rows.iter().map(|values| row(values))))
        };
        Ok(Self {
            bronze: read(
                "SELECT source_partition, source_offset, k, seq, v, region FROM bronze.events_raw",
            )
            .await?,
            errors: read(
                "SELECT kafka_partition, kafka_offset, to_hex(raw) FROM bronze.events_errors",
            )
            .await?,
            silver: read("SELECT k, seq, v, region FROM silver.events").await?,
            gold: read("SELECT region, events, total FROM gold.by_region").await?,
        })
    }

    /// Fails unless it is what is wanted, and says what is lost and what is too much.
    fn explain(&self, want: &Self) {
        let tables = [
            ("bronze", &self.bronze, &want.bronze),
            ("dead letters", &self.errors, &want.errors),
            ("silver", &self.silver, &want.silver),
            ("gold", &self.gold, &want.gold),
        ];
        let mut wrong = String::new();
        for (name, have, want) in tables {
            if have == want {
                continue;
            }
            let (there, wanted) = (have.iter().collect(), want.iter().collect::<BTreeSet<_>>());
            let lost: Vec<_> = wanted.difference(&there).collect();
            let extra: Vec<_> = there.difference(&wanted).collect();
            let doubled = have.len() - there.len();
            wrong.push_str(&format!(
                "\n{name}: {} rows instead of {}; {} lost {:?}, {} too many {:?}, {doubled} doubled",
                have.len(),
                want.len(),
                lost.len(),
                &lost[..lost.len().min(5)],
                extra.len(),
                &extra[..extra.len().min(5)],
            ));
        }
        assert!(
            wrong.is_empty(),
            "the tables are not what was produced:{wrong}"
        );
    }
}

fn row(values: &[Value]) -> String {
    let values: Vec<String> = values.iter().map(Value::to_string).collect();
    values.join(" ")
}

fn sorted(rows: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: Vec<String> = rows.collect();
    rows.sort_unstable();
    rows
}
