//! A client of the brokers: what it hears from them, and what it asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use super::connection::KafkaConnection;
use super::error::KafkaError;
use super::pin::{Held, Seen, Starting};

/// How often the client looks for what it has to be told.
const EVENTS: Duration = Duration::from_millis(100);
/// How long a question about one partition waits for its answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the client was told beside messages.
#[derive(Debug)]
pub(super) struct Context {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// The last failure of a connection.
    last: Option<String>,
    /// A refusal that no waiting heals.
    denied: Option<String>,
    /// Why nothing that is read can be relied on.
    fatal: Option<String>,
}

impl Context {
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last failure of a connection, for a message.
    pub(super) fn last(&self) -> String {
        let last = self.heard().last.clone();
        last.unwrap_or_else(|| "no broker has answered".into())
    }

    /// A refusal that no waiting heals.
    pub(super) fn denied(&self) -> Option<String> {
        self.heard().denied.clone()
    }

    /// Why nothing that is read can be relied on.
    pub(super) fn fatal(&self) -> Option<String> {
        self.heard().fatal.clone()
    }

    fn note(&self, code: Option<Code>, reason: &str) {
        let mut heard = self.heard();
        heard.last = Some(reason.to_owned());
        match code {
            Some(code) if is_refusal(code) => heard.denied = Some(reason.to_owned()),
            Some(Code::Fatal) => heard.fatal = Some(reason.to_owned()),
            _ => {}
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters of it is told again as an error, and then logged once by who waits.
        tracing::debug!(?level, facility, message, "kafka client");
    }

    fn error(&self, error: ClientError, reason: &str) {
        // The end of a partition is no failure.
        if !matches!(error.rdkafka_error_code(), Some(Code::PartitionEOF)) {
            self.note(error.rdkafka_error_code(), reason);
        }
    }
}

impl ConsumerContext for Context {}

/// Whether a refusal is about who asks.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
            | Code::SSL
    )
}

/// Whether a topic or a partition is not there.
pub(super) fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition
    )
}

/// Whether a failure passes by itself, so that the client goes on trying.
pub(super) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::NetworkException
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::OffsetNotAvailable
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            // Reading by offsets belongs to no group, so a group that is refused does not matter.
            | Code::GroupAuthorizationFailed
            | Code::DestroyBroker
    )
}

/// What came of an attempt to ask.
#[derive(Debug)]
pub(super) enum Failed {
    /// It makes sense to ask again.
    Again(String),
    /// It does not.
    Final(KafkaError),
}

/// A client with its connections. Partitions are assigned to it by hand.
#[derive(Debug)]
pub(super) struct Client {
    servers: String,
    pub(super) consumer: Consumption,
    /// How many partitions its memory is made for.
    pub(super) partitions: usize,
    stop: Arc<AtomicBool>,
    broken: AtomicBool,
}

/// A consumer that can be printed.
pub(super) struct Consumption(pub(super) Arc<BaseConsumer<Context>>);

impl std::fmt::Debug for Consumption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BaseConsumer")
    }
}

impl Client {
    /// Starts a client. It connects by itself, whenever the brokers are there.
    pub(super) fn start(
        connection: &KafkaConnection,
        partitions: usize,
    ) -> Result<Self, KafkaError> {
        let config = |reason: String| KafkaError::Config {
            reason,
            help: "check the options of the connection; they are those of librdkafka",
        };
        let context = Context {
            heard: Mutex::default(),
        };
        let consumer: BaseConsumer<Context> = connection
            .client(partitions)
            .create_with_context(context)
            .map_err(|error| {
                // An option's value may be a secret.
                config(match error {
                    ClientError::ClientConfig(_, what, key, _) => format!("option {key:?}: {what}"),
                    other => other.to_string(),
                })
            })?;
        let consumer = Arc::new(consumer);
        let stop = Arc::new(AtomicBool::new(false));
        let (events, stopped) = (consumer.clone(), stop.clone());
        std::thread::Builder::new()
            .name("kafka-events".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    match events.poll(EVENTS) {
                        None => {}
                        Some(Ok(_)) => {
                            // Every partition has a queue of its own, so here no message comes by.
                            let reason = "a message came in beside the queue of its partition";
                            events.context().heard().fatal = Some(reason.into());
                        }
                        Some(Err(ClientError::PartitionEOF(_))) => {}
                        Some(Err(error)) => events
                            .context()
                            .note(error.rdkafka_error_code(), &error.to_string()),
                    }
                }
            })
            .map_err(|error| config(format!("no thread can be started: {error}")))?;
        Ok(Self {
            servers: connection.servers().to_owned(),
            consumer: Consumption(consumer),
            partitions,
            stop,
            broken: AtomicBool::new(false),
        })
    }

    pub(super) fn context(&self) -> &Context {
        self.consumer.0.context()
    }

    /// Says that nobody may read with this client any more: what it has fetched is not known.
    pub(super) fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether it can be used again.
    pub(super) fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && self.context().fatal().is_none()
    }

    fn failed(&self, topic: &Arc<str>, error: &ClientError) -> Failed {
        if let Some(reason) = self.context().denied() {
            return Failed::Final(self.denied(reason));
        }
        match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => Failed::Final(self.denied(code.to_string())),
            Some(code) if is_missing(code) => Failed::Final(self.no_topic(topic)),
            Some(code) if is_passing(code) => Failed::Again(self.context().last()),
            _ => Failed::Again(error.to_string()),
        }
    }

    pub(super) fn denied(&self, reason: String) -> KafkaError {
        KafkaError::Denied {
            servers: self.servers.clone(),
            reason,
        }
    }

    pub(super) fn no_topic(&self, topic: &Arc<str>) -> KafkaError {
        KafkaError::NoTopic {
            servers: self.servers.clone(),
            topic: topic.clone(),
        }
    }

    pub(super) fn unavailable(&self, waited: Duration, reason: String) -> KafkaError {
        KafkaError::Unavailable {
            servers: self.servers.clone(),
            waited,
            reason,
        }
    }

    /// The topic as the brokers describe it now. Takes the thread for about the timeout at most.
    pub(super) fn describe(
        &self,
        topic: &Arc<str>,
        starting: Starting,
        timeout: Duration,
    ) -> Result<Seen, Failed> {
        let failed = |error: ClientError| self.failed(topic, &error);
        let consumer = &self.consumer.0;
        let metadata = consumer
            .fetch_metadata(Some(topic), timeout)
            .map_err(failed)?;
        let Some(described) = metadata.topics().iter().find(|t| t.name() == &**topic) else {
            return Err(Failed::Final(self.no_topic(topic)));
        };
        if let Some(error) = described.error() {
            return Err(failed(ClientError::MetadataFetch(error.into())));
        }
        let mut partitions = Vec::new();
        for partition in described.partitions() {
            if let Some(error) = partition.error() {
                let code = Code::from(error);
                return Err(Failed::Again(format!(
                    "partition {} of topic {topic}: {code}",
                    partition.id()
                )));
            }
            partitions.push(partition.id());
        }
        let ask = |offset: Offset| self.offsets(topic, &partitions, offset, timeout);
        let low = ask(Offset::Beginning)?;
        let high = ask(Offset::End)?;
        let start = match starting {
            Starting::Earliest => low.clone(),
            Starting::Latest => high.clone(),
            Starting::At(time) => {
                let mut start = ask(Offset::Offset(time.timestamp_millis().max(0)))?;
                for (partition, offset) in &mut start {
                    // Where no message is as young, the flow begins with the next that comes.
                    if let (true, Some(high)) = (*offset < 0, high.get(partition)) {
                        *offset = *high;
                    }
                }
                start
            }
        };
        let mut held = BTreeMap::new();
        for partition in partitions {
            let (Some(low), Some(high), Some(start)) = (
                low.get(&partition),
                high.get(&partition),
                start.get(&partition),
            ) else {
                return Err(Failed::Again(format!(
                    "nothing was said of partition {partition} of topic {topic}"
                )));
            };
            let offsets = Held {
                low: *low,
                high: *high,
                start: (*start).clamp(*low, (*high).max(*low)),
            };
            held.insert(partition, offsets);
        }
        Ok(Seen {
            cluster: consumer.client().fetch_cluster_id(timeout),
            partitions: held,
        })
    }

    /// The offsets of all partitions at a place: the beginning, the end, or a time in milliseconds,
    /// which stands where an offset would. The end is that of committed transactions.
    fn offsets(
        &self,
        topic: &Arc<str>,
        partitions: &[i32],
        at: Offset,
        timeout: Duration,
    ) -> Result<BTreeMap<i32, i64>, Failed> {
        let failed = |error: ClientError| self.failed(topic, &error);
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            list.add_partition_offset(topic, *partition, at)
                .map_err(failed)?;
        }
        let list = self
            .consumer
            .0
            .offsets_for_times(list, timeout)
            .map_err(failed)?;
        let mut offsets = BTreeMap::new();
        for element in list.elements() {
            element.error().map_err(failed)?;
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                // No message is as young as the time that was asked for.
                Offset::End => -1,
                other => {
                    return Err(Failed::Again(format!(
                        "partition {} of topic {topic} answered {other:?}",
                        element.partition()
                    )));
                }
            };
            offsets.insert(element.partition(), offset);
        }
        Ok(offsets)
    }

    /// Whether a partition is read up to an offset although no message before it came: those that are
    /// missing were control records, aborted, or compacted away.
    pub(super) fn has_passed(&self, topic: &str, partition: i32, end: i64) -> bool {
        let position = self.consumer.0.position();
        position.is_ok_and(|list| {
            let place = list.find_partition(topic, partition);
            place.is_some_and(|place| matches!(place.offset(), Offset::Offset(at) if at >= end))
        })
    }

    /// Whether a partition reaches to an offset, asked of its leader.
    pub(super) fn reaches(&self, topic: &str, partition: i32, end: i64) -> bool {
        let marks = self.consumer.0.fetch_watermarks(topic, partition, ANSWER);
        marks.is_ok_and(|(_, high)| high >= end)
    }

    /// Fetches a partition anew from an offset; whatever was fetched of it before is forgotten, the
    /// report of its end too. Gives whether that has begun.
    pub(super) fn read_again(&self, topic: &str, partition: i32, at: i64) -> bool {
        let sought = self
            .consumer
            .0
            .seek(topic, partition, Offset::Offset(at), ANSWER);
        sought.is_ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The thread holds the last reference then, and takes the connections down with it.
        self.stop.store(true, Ordering::Relaxed);
    }
}
