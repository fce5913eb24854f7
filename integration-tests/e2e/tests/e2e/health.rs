//! The health example on Kafka: every message is once a sample or an error with its coordinates, and the
//! daily, weekly and monthly aggregates are computed here again from what was produced.

use std::collections::BTreeMap;

use berglake_example_producer::health::{Generator, HealthOptions, Sample, Truth};
use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use serde_json::{Value, json};

use crate::example;
use crate::harness::engine::engine;
use crate::harness::lake::Lake;
use crate::harness::run;
use crate::harness::servers::{Coordinates, Kafka, Record};
use crate::harness::trino::Trino;

/// The first day of the window that a day lies in.
type WindowOf = fn(NaiveDate) -> NaiveDate;

/// What was produced.
#[derive(Default)]
struct Produced {
    samples: Vec<Sample>,
    broken: Vec<(Coordinates, Option<Vec<u8>>, &'static str)>,
}

impl Produced {
    async fn add(&mut self, kafka: &Kafka, topic: &str, seed: u64, count: usize) {
        let options = HealthOptions {
            users: 3,
            broken: 0.03,
            ..HealthOptions::default()
        };
        let made: Vec<_> = Generator::new(seed, options).take(count).collect();
        let messages: Vec<Record> = made
            .iter()
            .map(|made| Record {
                key: made.message.key.clone(),
                payload: made.message.payload.clone(),
                ..Record::default()
            })
            .collect();
        let places = kafka.produce(topic, &messages).await;
        for (made, at) in made.into_iter().zip(places) {
            match made.truth {
                Truth::Good(sample) => self.samples.push(*sample),
                Truth::Broken(how) => {
                    self.broken
                        .push((at, made.message.payload, how.error_type()));
                }
            }
        }
    }

    /// The errors as the table has them: coordinates, type, payload.
    fn errors(&self) -> Vec<Vec<Value>> {
        let mut rows: Vec<_> = self
            .broken
            .iter()
            .map(|(at, payload, error_type)| {
                let bytes = payload.as_deref().unwrap_or_default();
                let text = match std::str::from_utf8(bytes) {
                    Ok(text) => format!("text {text}"),
                    Err(_) => {
                        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
                        format!("bytes {hex}")
                    }
                };
                vec![
                    json!(at.partition),
                    json!(at.offset),
                    json!(error_type),
                    json!(text),
                ]
            })
            .collect();
        rows.sort_by_key(|row| (row[0].as_i64(), row[1].as_i64()));
        rows
    }
}

/// Statistics of one group.
#[derive(Debug)]
struct Group<'a> {
    samples: Vec<&'a Sample>,
}

impl Group<'_> {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| sample.value)
    }

    fn sum(&self) -> f64 {
        self.values().sum()
    }

    fn mean(&self) -> f64 {
        self.sum() / self.samples.len() as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.values().map(|value| (value - mean).powi(2)).sum();
        (squares / self.samples.len() as f64).sqrt()
    }

    fn mean_of_daily_means(&self) -> f64 {
        let days = grouped(self.samples.iter().copied(), |day| day);
        days.values().map(Group::mean).sum::<f64>() / days.len() as f64
    }
}

type Key = (String, String, NaiveDate);

fn grouped<'a>(
    samples: impl Iterator<Item = &'a Sample>,
    window: impl Fn(NaiveDate) -> NaiveDate,
) -> BTreeMap<Key, Group<'a>> {
    let mut groups: BTreeMap<Key, Group<'a>> = BTreeMap::new();
    for sample in samples {
        let start = window(sample.start_date.date_naive());
        let key = (sample.user_id.clone(), sample.data_type.clone(), start);
        let group = groups.entry(key).or_insert_with(|| Group {
            samples: Vec::new(),
        });
        group.samples.push(sample);
    }
    for group in groups.values_mut() {
        group
            .samples
            .sort_by_key(|sample| (sample.start_date, sample.sample_id.clone()));
    }
    groups
}

fn monday(day: NaiveDate) -> NaiveDate {
    day - Days::new(u64::from(day.weekday().num_days_from_monday()))
}

fn first_of_month(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap()
}

/// The same numbers, but for the order in which they were added.
#[track_caller]
fn assert_close(place: &Key, what: &str, found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    let most = 1e-9 * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() <= most,
        "{what} of {place:?}: {found}, not {expected}"
    );
}

/// Compares one aggregate, whose rows are key, window, exact numbers, then sums.
async fn compare(
    trino: &Trino,
    catalog: &str,
    produced: &Produced,
    (table, start, window): (&str, &str, fn(NaiveDate) -> NaiveDate),
) {
    let mean_of_means = match table {
        "daily" => "avg_value",
        _ => "daily_avg_of_avg",
    };
    let rows = trino
        .query(
            catalog,
            &format!(
                "SELECT user_id, data_type, {start}, to_unixtime(window_start),
                   min_value, max_value, count, record_count,
                   sum_value, avg_value, stddev_value, {mean_of_means}
                 FROM gold.health_data_{table}_agg"
            ),
        )
        .await;
    let groups = grouped(produced.samples.iter(), window);
    assert_eq!(rows.len(), groups.len(), "{table}");
    for row in &rows {
        let text = |at: usize| row[at].as_str().unwrap().to_string();
        let day: NaiveDate = text(2).parse().unwrap();
        let key = (text(0), text(1), day);
        let group = groups
            .get(&key)
            .unwrap_or_else(|| panic!("{table}: {key:?} is too much"));
        let instant: DateTime<Utc> = day.and_hms_opt(0, 0, 0).unwrap().and_utc();
        assert_close(&key, "window_start", &row[3], instant.timestamp() as f64);
        let count = group.samples.len();
        assert_eq!(row[6], json!(count), "{table} {key:?}");
        assert_eq!(row[7], json!(count), "{table} {key:?}");
        // One value is what it is, whatever the order.
        assert_eq!(row[4].as_f64(), group.values().reduce(f64::min), "{key:?}");
        assert_eq!(row[5].as_f64(), group.values().reduce(f64::max), "{key:?}");
        assert_close(&key, "sum", &row[8], group.sum());
        assert_close(&key, "mean", &row[9], group.mean());
        assert_close(&key, "deviation", &row[10], group.deviation());
        assert_close(&key, "mean of means", &row[11], group.mean_of_daily_means());
    }
}

async fn verify(lake: &Lake, trino: &Trino, catalog: &str, produced: &Produced) {
    let rows = trino
        .query(
            catalog,
            "SELECT sample_id, user_id, data_type, value FROM bronze.health_data_raw ORDER BY 1",
        )
        .await;
    let mut samples: Vec<Vec<Value>> = produced
        .samples
        .iter()
        .map(|s| {
            vec![
                json!(s.sample_id),
                json!(s.user_id),
                json!(s.data_type),
                json!(s.value),
            ]
        })
        .collect();
    samples.sort_by_key(|row| row[0].to_string());
    assert_eq!(rows, samples);

    let errors = trino
        .query(
            catalog,
            "SELECT kafka_partition, kafka_offset, error_type,
               CASE WHEN raw_payload LIKE 'base64:%'
                 THEN 'bytes ' || to_hex(from_base64(substr(raw_payload, 8)))
                 ELSE 'text ' || raw_payload END
             FROM bronze.health_data_errors ORDER BY 1, 2",
        )
        .await;
    assert_eq!(errors, produced.errors());
    let ids = "SELECT count(*) - count(DISTINCT error_id) AS n FROM bronze.health_data_errors";
    assert_eq!(lake.sql(ids).await, [json!({"n": 0})]);

    let aggregates: [(&str, &str, WindowOf); 3] = [
        ("daily", "aggregation_date", |day| day),
        ("weekly", "week_start_date", monday),
        ("monthly", "month_start_date", first_of_month),
    ];
    for aggregate in aggregates {
        compare(trino, catalog, produced, aggregate).await;
    }
    let ends = trino
        .query(
            catalog,
            "SELECT user_id, data_type, aggregation_date, first_value, last_value
             FROM gold.health_data_daily_agg",
        )
        .await;
    let days = grouped(produced.samples.iter(), |day| day);
    for row in ends {
        let text = |at: usize| row[at].as_str().unwrap().to_string();
        let group = &days[&(text(0), text(1), text(2).parse().unwrap())];
        let values: Vec<f64> = group.values().collect();
        assert_eq!(row[3].as_f64(), values.first().copied());
        assert_eq!(row[4].as_f64(), values.last().copied());
    }
    let week = trino
        .query(
            catalog,
            "SELECT DISTINCT year, week_of_year FROM gold.health_data_weekly_agg
             WHERE week_start_date = '2025-12-29'",
        )
        .await;
    assert_eq!(week, [[json!(2026), json!(1)]]);
}

#[test]
fn health_data_from_kafka_is_complete_and_its_aggregates_are_those_of_the_samples() {
    run(async {
        let (mut lake, _catalog) = Lake::shared().await;
        let (kafka, trino) = tokio::join!(Kafka::shared(), Trino::shared());
        let topic = engine().name("health");
        kafka.create_topic(&topic, 3).await;
        example::install_on(&mut lake, "health-kafka", kafka, &topic);
        let mut produced = Produced::default();
        produced.add(kafka, &topic, 11, 900).await;
        lake.must(&["run"]).await;
        let catalog = trino.attach(&lake).await;
        verify(&lake, trino, &catalog, &produced).await;
        // Late samples of the same days.
        produced.add(kafka, &topic, 12, 200).await;
        lake.must(&["run"]).await;
        verify(&lake, trino, &catalog, &produced).await;
    });
}
