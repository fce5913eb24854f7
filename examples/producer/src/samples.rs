//! The health samples that are committed as files: by a seed, some of them broken, around two turns of a
//! year.
//!
//! Values are multiples of a quarter, so that sums of them are exact in whatever order they are
//! added, and a computation in another program can be compared without a tolerance.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, SecondsFormat, TimeZone, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::chance::Chance;

/// What is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Equal seeds give equal records.
    pub seed: u64,
    /// How many people wear a device; at least one.
    pub users: u32,
    /// About one record in so many is broken; none where this is 0.
    pub broken_one_in: u64,
    /// The days in which the samples were taken, each range with its end left out.
    pub days: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Options {
    /// Three people over two turns of a year: that of 2020, which had a week 53, and that of 2024,
    /// whose last days are of week 1 of 2025. One record in 50 is broken.
    pub fn new(seed: u64) -> Self {
        let day = |y, m, d| Utc.with_ymd_and_hms(y, m, d, 0, 0, 0).single();
        let ranges = [
            (day(2020, 12, 27), day(2021, 1, 6)),
            (day(2024, 12, 28), day(2025, 1, 4)),
        ];
        Self {
            seed,
            users: 3,
            broken_one_in: 50,
            days: ranges
                .into_iter()
                .filter_map(|(from, to)| Some((from?, to?)))
                .collect(),
        }
    }
}

/// One sample. The names are those of the table `health_data_raw`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// The device that took it.
    pub device_id: String,
    /// Who wears the device.
    pub user_id: String,
    /// The sample's own id.
    pub sample_id: String,
    /// What was measured.
    pub data_type: String,
    /// The measured value.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// When the measurement began.
    pub start_date: String,
    /// When it ended.
    pub end_date: String,
    /// The application that took it, where it is known.
    pub source_bundle: Option<String>,
    /// Whatever else the device says.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether the device has synchronised it before.
    pub is_synced: bool,
    /// When the device stored it.
    pub created_at: String,
    /// When the payload that it came in was made.
    pub payload_timestamp: String,
    /// The version of the sending application.
    pub app_version: String,
}

/// Types of data with their unit, lowest value and range, in quarters.
const TYPES: [(&str, &str, u64, u64); 4] = [
    ("heartRate", "count/min", 200, 320),
    ("steps", "count", 0, 8_000),
    ("bodyMass", "kg", 220, 160),
    ("oxygenSaturation", "%", 360, 40),
];

/// The records, without end: take as many as are wanted.
#[derive(Debug, Clone)]
pub struct Records {
    options: Options,
    chance: Chance,
    number: u64,
}

impl Records {
    /// Records by these options.
    pub fn new(options: Options) -> Self {
        let chance = Chance::new(options.seed);
        Self {
            options,
            chance,
            number: 0,
        }
    }

    fn sample(&mut self) -> Sample {
        let number = self.number;
        let chance = &mut self.chance;
        let user = chance.below(u64::from(self.options.users.max(1)));
        let (data_type, unit, lowest, range) =
            TYPES[usize::try_from(chance.below(TYPES.len() as u64)).unwrap_or(0)];
        let quarters = u32::try_from(lowest + chance.below(range)).unwrap_or(0);
        let ranges = self.options.days.len().max(1) as u64;
        let range = usize::try_from(chance.below(ranges)).unwrap_or(0);
        let (from, to) = self.options.days.get(range).copied().unwrap_or_default();
        let span = u64::try_from((to - from).num_milliseconds())
            .unwrap_or(0)
            .max(1);
        let start = from + milliseconds(chance.below(span));
        let end = start + milliseconds(chance.below(60_000));
        let created = end + milliseconds(chance.below(5_000));
        let sent = created + milliseconds(chance.below(600_000));
        let bundle = ["com.example.watch", "com.example.scale", ""];
        let bundle = bundle[usize::try_from(chance.below(3)).unwrap_or(0)];
        let metadata = match chance.below(3) {
            0 => None,
            1 => Some(BTreeMap::new()),
            _ => Some(BTreeMap::from([
                ("firmware".to_owned(), format!("2.{}", chance.below(10))),
                ("placement".to_owned(), "left wrist é".to_owned()),
            ])),
        };
        Sample {
            device_id: format!("device-{user}-{}", chance.below(2)),
            user_id: format!("user-{user}"),
            sample_id: format!("sample-{:x}-{number:06}", self.options.seed),
            data_type: data_type.to_owned(),
            value: f64::from(quarters) / 4.0,
            unit: unit.to_owned(),
            start_date: text(start),
            end_date: text(end),
            source_bundle: (!bundle.is_empty()).then(|| bundle.to_owned()),
            metadata,
            is_synced: chance.below(2) == 0,
            created_at: text(created),
            payload_timestamp: text(sent),
            app_version: format!("3.{}.0", chance.below(4)),
        }
    }
}

impl Iterator for Records {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let sample = self.sample();
        self.number += 1;
        let whole = serde_json::to_vec(&sample).unwrap_or_default();
        let is_broken =
            self.options.broken_one_in > 0 && self.chance.below(self.options.broken_one_in) == 0;
        Some(match is_broken {
            true => broken(&sample, whole, self.chance.below(6)),
            false => whole,
        })
    }
}

/// A record as faulty senders make them.
fn broken(sample: &Sample, whole: Vec<u8>, how: u64) -> Vec<u8> {
    // Sorted by name, whatever order the library keeps objects in.
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, Value>>(&whole) else {
        return whole;
    };
    match how {
        // Cut off in the middle.
        0 => return whole[..whole.len() / 2].to_vec(),
        // No JSON at all.
        1 => return format!("{};{}", sample.sample_id, sample.value).into_bytes(),
        // Bytes that are no text.
        2 => {
            let mut bytes = whole;
            let place = bytes.len() / 3;
            bytes[place] = 0xff;
            return bytes;
        }
        3 => fields.insert("value".to_owned(), "high".into()),
        4 => fields.remove("user_id"),
        _ => fields.insert("start_date".to_owned(), "yesterday".into()),
    };
    serde_json::to_vec(&fields).unwrap_or(whole)
}

fn milliseconds(number: u64) -> Duration {
    Duration::milliseconds(i64::try_from(number).unwrap_or(0))
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The records of a committed file, each on a line.
    fn lines(seed: u64, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in Records::new(Options::new(seed)).take(count) {
            bytes.extend_from_slice(&record);
            bytes.push(b'\n');
        }
        bytes
    }

    /// `UPDATE_SAMPLES=1 cargo test -p berglake-example-producer` writes them anew.
    #[test]
    fn the_committed_samples_are_those_of_their_seeds() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../health/data");
        for (name, seed, count) in [("health-1.ndjson", 1, 600), ("late/health-2.ndjson", 2, 60)] {
            let (path, made) = (data.join(name), lines(seed, count));
            if std::env::var_os("UPDATE_SAMPLES").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &made).unwrap();
            }
            assert!(std::fs::read(&path).unwrap() == made, "{}", path.display());
        }
    }

    #[test]
    fn some_records_are_broken_in_each_way_and_the_others_are_samples() {
        let all: Vec<Vec<u8>> = Records::new(Options::new(3)).take(5_000).collect();
        let is_whole = |record: &&Vec<u8>| {
            let Ok(value) = serde_json::from_slice::<Value>(record) else {
                return false;
            };
            value["value"].is_number()
                && value["user_id"].is_string()
                && value["start_date"] != "yesterday"
        };
        let broken = all.len() - all.iter().filter(is_whole).count();
        assert!((60..140).contains(&broken), "{broken}");
        assert!(
            all.iter()
                .any(|record| std::str::from_utf8(record).is_err())
        );
        assert!(all.iter().all(|record| !record.contains(&b'\n')));
    }

    #[test]
    fn no_record_is_broken_where_none_is_asked_for() {
        let mut options = Options::new(4);
        options.broken_one_in = 0;
        for record in Records::new(options).take(1_000) {
            let value: Value = serde_json::from_slice(&record).unwrap();
            assert!(value["value"].is_number());
        }
    }
}
