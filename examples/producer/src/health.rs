//! Health samples from a seed: the same seed gives the same messages, good and broken ones, and each
//! says which it is.

use chrono::{DateTime, Duration, SecondsFormat, TimeZone, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::Message;

/// The columns of a message with one sample, as `schema => '…'` declares them.
pub const SCHEMA: &str = "device_id STRING NOT NULL, user_id STRING NOT NULL, \
    sample_id STRING NOT NULL, data_type STRING NOT NULL, value DOUBLE NOT NULL, \
    unit STRING NOT NULL, start_date TIMESTAMP NOT NULL, end_date TIMESTAMP NOT NULL, \
    source_bundle STRING, metadata MAP<STRING, STRING>, is_synced BOOLEAN NOT NULL, \
    created_at TIMESTAMP NOT NULL, payload_timestamp TIMESTAMP NOT NULL, \
    app_version STRING NOT NULL";

/// The kinds of samples: name, unit, lowest and highest value.
const KINDS: &[(&str, &str, f64, f64)] = &[
    ("heartRate", "count/min", 45.0, 180.0),
    ("steps", "count", 0.0, 400.0),
    ("bloodOxygen", "%", 90.0, 100.0),
    ("bodyTemperature", "degC", 35.5, 40.0),
    ("activeEnergyBurned", "kcal", 0.0, 60.0),
];

/// One sample, as a good message has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Sample {
    pub device_id: String,
    pub user_id: String,
    /// Unique in all that one seed gives.
    pub sample_id: String,
    pub data_type: String,
    pub value: f64,
    pub unit: String,
    #[serde(serialize_with = "time")]
    pub start_date: DateTime<Utc>,
    #[serde(serialize_with = "time")]
    pub end_date: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_bundle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    pub is_synced: bool,
    #[serde(serialize_with = "time")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "time")]
    pub payload_timestamp: DateTime<Utc>,
    pub app_version: String,
}

fn time<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// How a message is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broken {
    /// The JSON ends in the middle.
    CutOff,
    /// It is no JSON at all.
    NoJson,
    /// There is not a byte in it.
    Empty,
    /// A byte is no UTF-8.
    NoUtf8,
    /// `user_id` is not there.
    NoUser,
    /// `value` is a string.
    ValueIsText,
    /// `value` is beyond what a DOUBLE holds.
    ValueTooLarge,
    /// There is no payload.
    Tombstone,
}

impl Broken {
    /// All ways.
    pub const ALL: [Self; 8] = [
        Self::CutOff,
        Self::NoJson,
        Self::Empty,
        Self::NoUtf8,
        Self::NoUser,
        Self::ValueIsText,
        Self::ValueTooLarge,
        Self::Tombstone,
    ];

    /// The `error_type` of its dead letter.
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::CutOff | Self::NoJson | Self::Empty => "malformed",
            Self::NoUtf8 => "invalid_utf8",
            Self::NoUser => "missing_required",
            Self::ValueIsText => "type_mismatch",
            Self::ValueTooLarge => "out_of_range",
            Self::Tombstone => "tombstone",
        }
    }
}

/// What a message holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// A row.
    Good(Box<Sample>),
    /// A dead letter.
    Broken(Broken),
}

/// A message and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthMessage {
    /// The message, with the user as its key.
    pub message: Message,
    /// What it holds.
    pub truth: Truth,
}

/// What is generated.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthOptions {
    /// How many users there are; each has up to three devices.
    pub users: u32,
    /// The share of broken messages, from 0 to 1.
    pub broken: f64,
    /// The first day of the samples.
    pub from: DateTime<Utc>,
    /// Over how many days they spread.
    pub days: u32,
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            users: 20,
            broken: 0.01,
            // Two weeks around a turn of the year whose ISO week belongs to the year before.
            from: Utc
                .with_ymd_and_hms(2025, 12, 25, 0, 0, 0)
                .single()
                .unwrap_or_default(),
            days: 14,
        }
    }
}

/// Messages without end, from a seed.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    random: StdRng,
    options: HealthOptions,
    next: u64,
}

impl Generator {
    /// Messages of this seed.
    pub fn new(seed: u64, options: HealthOptions) -> Self {
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            options,
            next: 0,
        }
    }

    fn sample(&mut self) -> Sample {
        let random = &mut self.random;
        let user = random.random_range(0..self.options.users.max(1));
        let device = random.random_range(0..3_u32);
        let (data_type, unit, low, high) = KINDS[random.random_range(0..KINDS.len())];
        // Three decimal places, so that what is written and read is the same number.
        let value = (random.random_range(low..high) * 1000.0).round() / 1000.0;
        let seconds = i64::from(self.options.days.max(1)) * 86_400;
        let start =
            self.options.from + Duration::milliseconds(random.random_range(0..seconds * 1000));
        let end = start + Duration::seconds(random.random_range(0..600));
        let created = end + Duration::seconds(random.random_range(1..60));
        let metadata = random.random_bool(0.3).then(|| {
            BTreeMap::from([
                ("context".to_owned(), "workout".to_owned()),
                ("device_os".to_owned(), format!("{}.0", 15 + user % 3)),
            ])
        });
        let sample = Sample {
            device_id: format!("device-{user}-{device}"),
            user_id: format!("user-{user}"),
            sample_id: format!("{:x}-{:08}", self.seed, self.next),
            data_type: data_type.to_owned(),
            value,
            unit: unit.to_owned(),
            start_date: start,
            end_date: end,
            source_bundle: random
                .random_bool(0.8)
                .then(|| format!("com.example.{data_type}")),
            metadata,
            is_synced: random.random_bool(0.5),
            created_at: created,
            payload_timestamp: created + Duration::seconds(random.random_range(0..30)),
            app_version: format!("1.{}.0", random.random_range(0..5)),
        };
        self.next += 1;
        sample
    }
}

impl Iterator for Generator {
    type Item = HealthMessage;

    fn next(&mut self) -> Option<HealthMessage> {
        let sample = self.sample();
        let text = serde_json::to_string(&sample).ok()?;
        let is_broken = self.random.random_bool(self.options.broken.clamp(0.0, 1.0));
        let key = sample.user_id.clone().into_bytes();
        let (payload, truth) = if is_broken {
            let how = Broken::ALL[self.random.random_range(0..Broken::ALL.len())];
            (damaged(&text, &sample, how), Truth::Broken(how))
        } else {
            (Some(text.into_bytes()), Truth::Good(Box::new(sample)))
        };
        Some(HealthMessage {
            message: Message {
                key: Some(key),
                payload,
                ..Message::default()
            },
            truth,
        })
    }
}

fn damaged(text: &str, sample: &Sample, how: Broken) -> Option<Vec<u8>> {
    let replaced = |from: String, to: &str| text.replacen(&from, to, 1).into_bytes();
    let value = format!("\"value\":{}", serde_json::Value::from(sample.value));
    Some(match how {
        Broken::CutOff => text.as_bytes()[..text.len() / 2].to_vec(),
        Broken::NoJson => b"sensor offline".to_vec(),
        Broken::Empty => Vec::new(),
        Broken::NoUtf8 => {
            let mut bytes = text.as_bytes().to_vec();
            bytes[15] = 0xff;
            bytes
        }
        Broken::NoUser => replaced(format!("\"user_id\":\"{}\",", sample.user_id), ""),
        Broken::ValueIsText => replaced(value, "\"value\":\"high\""),
        Broken::ValueTooLarge => replaced(value, "\"value\":1e999"),
        Broken::Tombstone => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(seed: u64, broken: f64) -> Vec<HealthMessage> {
        let options = HealthOptions {
            broken,
            ..HealthOptions::default()
        };
        Generator::new(seed, options).take(2000).collect()
    }

    #[test]
    fn a_seed_gives_the_same_messages_and_another_gives_others() {
        assert_eq!(some(7, 0.1), some(7, 0.1));
        assert_ne!(some(7, 0.1), some(8, 0.1));
    }

    #[test]
    fn good_messages_hold_their_sample_and_ids_are_unique() {
        let mut ids = std::collections::HashSet::new();
        for message in some(1, 0.0) {
            let Truth::Good(sample) = message.truth else {
                panic!("broken without being asked for")
            };
            let record: serde_json::Value =
                serde_json::from_slice(&message.message.payload.unwrap()).unwrap();
            assert_eq!(record["value"].as_f64(), Some(sample.value));
            assert_eq!(record["user_id"], sample.user_id.as_str());
            assert_eq!(
                DateTime::parse_from_rfc3339(record["start_date"].as_str().unwrap()).unwrap(),
                sample.start_date
            );
            assert!(ids.insert(sample.sample_id));
        }
    }

    #[test]
    fn broken_messages_are_as_many_as_asked_for_and_differ_from_good_ones() {
        let messages = some(3, 0.2);
        let mut ways = std::collections::BTreeSet::new();
        let mut count = 0;
        for message in &messages {
            let Truth::Broken(how) = message.truth else {
                continue;
            };
            count += 1;
            ways.insert(how);
            let payload = message.message.payload.as_deref();
            let parsed = payload.map(serde_json::from_slice::<serde_json::Value>);
            match (how, parsed) {
                (Broken::Tombstone, None) => {}
                (Broken::NoUser, Some(Ok(record))) => assert!(record.get("user_id").is_none()),
                (Broken::ValueIsText, Some(Ok(record))) => assert!(record["value"].is_string()),
                (_, Some(Err(_))) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!((300..500).contains(&count), "{count}");
        assert_eq!(ways.len(), Broken::ALL.len());
    }
}
