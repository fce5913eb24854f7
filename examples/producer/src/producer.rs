//! Sending messages: each acknowledged by all replicas, in order, written once.

use std::fmt;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::time::Instant;

/// The most messages that wait for their acknowledgement.
const IN_FLIGHT: usize = 10_000;
/// The pause between two questions to the brokers.
const PAUSE: Duration = Duration::from_millis(100);

/// A message to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Decides the partition, unless that is given.
    pub key: Option<Vec<u8>>,
    /// The record; none makes a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The partition, if it is not to follow from the key.
    pub partition: Option<i32>,
    /// The time of the message in milliseconds since 1970; now, if it is not given.
    pub timestamp: Option<i64>,
}

impl Message {
    /// A message with this payload.
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: Some(payload.into()),
            ..Self::default()
        }
    }

    /// The same message with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same message in this partition.
    #[must_use]
    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }
}

/// Where a message came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

/// How fast messages are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Rate {
    /// As fast as the brokers take them.
    #[default]
    Unlimited,
    /// This many per second.
    PerSecond(f64),
}

/// Why messages could not be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProduceError {
    /// The brokers do not answer.
    Unreachable {
        /// The servers as they were named.
        servers: String,
        /// What the client says.
        reason: String,
    },
    /// There is no such topic, or none that can be written to.
    NoTopic {
        /// The topic.
        topic: String,
        /// What the brokers say of it.
        reason: String,
    },
    /// An option of the client is wrong.
    Option {
        /// What the client says.
        reason: String,
    },
    /// A message was not acknowledged. Those before it may have been.
    NotDelivered {
        /// The topic.
        topic: String,
        /// What the client says.
        reason: String,
    },
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { servers, reason } => write!(
                f,
                "Kafka at {servers} does not answer: {reason}; check --servers and whether it is up"
            ),
            Self::NoTopic { topic, reason } => write!(
                f,
                "topic {topic:?} cannot be written to: {reason}; if there is none, create it, or let \
                 --partitions N create it"
            ),
            Self::Option { reason } => write!(f, "a client option is wrong: {reason}"),
            Self::NotDelivered { topic, reason } => {
                write!(
                    f,
                    "a message to topic {topic:?} was not delivered: {reason}"
                )
            }
        }
    }
}

impl std::error::Error for ProduceError {}

/// Sends messages to Kafka.
pub struct Producer {
    servers: String,
    config: ClientConfig,
    client: FutureProducer,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Producer {
    /// A producer for these servers, with options of librdkafka beside its own.
    ///
    /// # Errors
    /// [`ProduceError::Option`] for an option that the client does not take.
    pub fn new<'a>(
        servers: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ProduceError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", servers)
            .set("client.id", "berglake-example-producer")
            // Written once and in order, even if an acknowledgement is lost.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "120000")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "100000")
            .set("allow.auto.create.topics", "false");
        for (name, value) in options {
            config.set(name, value);
        }
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Critical);
        let client = config.create().map_err(|error| option(&error))?;
        Ok(Self {
            servers: servers.to_owned(),
            config,
            client,
        })
    }

    /// The number of partitions of a topic. Brokers and a topic that are not there yet are waited for:
    /// the brokers learn one by one of a topic that was just created. Takes the thread meanwhile.
    ///
    /// # Errors
    /// [`ProduceError::Unreachable`], [`ProduceError::NoTopic`] with what was said last.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<usize, ProduceError> {
        let no_topic = |reason: String| ProduceError::NoTopic {
            topic: topic.to_owned(),
            reason,
        };
        patiently(timeout, |left| {
            let metadata = self.client.client().fetch_metadata(Some(topic), left);
            let metadata = metadata.map_err(|error| self.unreachable(&error))?;
            let found = metadata.topics().iter().find(|t| t.name() == topic);
            let found = found.ok_or_else(|| no_topic("the brokers do not know it".into()))?;
            if let Some(error) = found.error() {
                return Err(no_topic(RDKafkaErrorCode::from(error).to_string()));
            }
            let unled = found.partitions().iter().find_map(|p| p.error());
            match unled {
                Some(error) => Err(no_topic(RDKafkaErrorCode::from(error).to_string())),
                None => Ok(found.partitions().len()),
            }
        })
    }

    /// Creates a topic with so many partitions, one replica each, unless it exists.
    ///
    /// # Errors
    /// [`ProduceError::Unreachable`].
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), ProduceError> {
        let admin: AdminClient<DefaultClientContext> =
            self.config.create().map_err(|error| option(&error))?;
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let created = admin.create_topics([&topic], &options).await;
        for result in created.map_err(|error| self.unreachable(&error))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.unreachable(&KafkaError::AdminOp(code))),
            }
        }
        Ok(())
    }

    /// Sends messages and tells of each delivery, in the order of the messages. Gives their number.
    ///
    /// # Errors
    /// [`ProduceError::NotDelivered`] at the first message that is not acknowledged in time.
    pub async fn send(
        &self,
        topic: &str,
        messages: impl IntoIterator<Item = Message>,
        rate: Rate,
        mut delivered: impl FnMut(Delivery),
    ) -> Result<u64, ProduceError> {
        let not_delivered = |reason: String| ProduceError::NotDelivered {
            topic: topic.to_owned(),
            reason,
        };
        let started = Instant::now();
        let mut waiting: std::collections::VecDeque<DeliveryFuture> =
            std::collections::VecDeque::new();
        let mut sent = 0_u64;
        for message in messages {
            if let Rate::PerSecond(rate) = rate
                && rate > 0.0
            {
                match due(started, sent, rate) {
                    Some(due) if due <= Instant::now() => {}
                    Some(due) => tokio::time::sleep_until(due).await,
                    // It is due after the end of the clock.
                    None => tokio::time::sleep(Duration::MAX).await,
                }
            }
            // What is known is told at once: that of a message that failed ends the sending.
            while let Some(oldest) = waiting.front_mut() {
                let Some(known) = now_or_never(acknowledged(oldest)) else {
                    break;
                };
                waiting.pop_front();
                delivered(known.map_err(not_delivered)?);
            }
            while waiting.len() >= IN_FLIGHT {
                if let Some(mut oldest) = waiting.pop_front() {
                    delivered(acknowledged(&mut oldest).await.map_err(not_delivered)?);
                }
            }
            loop {
                match self.client.send_result(record(topic, &message)) {
                    Ok(delivery) => {
                        waiting.push_back(delivery);
                        break;
                    }
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err((error, _)) => return Err(not_delivered(error.to_string())),
                }
            }
            sent += 1;
        }
        for mut delivery in waiting {
            delivered(acknowledged(&mut delivery).await.map_err(not_delivered)?);
        }
        Ok(sent)
    }

    fn unreachable(&self, error: &KafkaError) -> ProduceError {
        ProduceError::Unreachable {
            servers: self.servers.clone(),
            reason: error.to_string(),
        }
    }
}

fn option(error: &KafkaError) -> ProduceError {
    ProduceError::Option {
        reason: match error {
            // The value may be a password.
            KafkaError::ClientConfig(_, what, name, _) => format!("{name}: {what}"),
            other => other.to_string(),
        },
    }
}

fn record<'a>(topic: &'a str, message: &'a Message) -> FutureRecord<'a, [u8], [u8]> {
    let mut record = FutureRecord::to(topic);
    if let Some(key) = &message.key {
        record = record.key(key.as_slice());
    }
    if let Some(payload) = &message.payload {
        record = record.payload(payload.as_slice());
    }
    if let Some(partition) = message.partition {
        record = record.partition(partition);
    }
    if let Some(timestamp) = message.timestamp {
        record = record.timestamp(timestamp);
    }
    if !message.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        record = record.headers(headers);
    }
    record
}

/// Asks until there is an answer or the time is up, with pauses. Gives the last failure then.
fn patiently<T, E>(
    timeout: Duration,
    mut ask: impl FnMut(Duration) -> Result<T, E>,
) -> Result<T, E> {
    let until = Instant::now() + timeout;
    loop {
        // The client takes no time at all for no answer at all.
        let left = until.saturating_duration_since(Instant::now()).max(PAUSE);
        match ask(left) {
            Err(_) if Instant::now() + PAUSE < until => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

/// When a message is due, if there is such a time.
fn due(started: Instant, sent: u64, rate: f64) -> Option<Instant> {
    let after = Duration::try_from_secs_f64(sent as f64 / rate).ok()?;
    started.checked_add(after)
}

/// The result of a future that has one already.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

async fn acknowledged(delivery: &mut DeliveryFuture) -> Result<Delivery, String> {
    match delivery.await {
        Ok(Ok(delivery)) => Ok(Delivery {
            partition: delivery.partition,
            offset: delivery.offset,
        }),
        Ok(Err((error, _))) => Err(error.to_string()),
        Err(_) => Err("the producer was closed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_not_known_yet_is_asked_for_again() {
        let mut answers = [Err("unknown"), Err("no leader"), Ok(3)].into_iter();
        let found = patiently(Duration::from_secs(60), |_| answers.next().unwrap());
        assert_eq!(found, Ok(3));
    }

    #[test]
    fn a_topic_that_does_not_come_is_told_with_what_the_brokers_said_last() {
        let mut asked = 0;
        let found = patiently::<(), _>(Duration::ZERO, |_| {
            asked += 1;
            Err("unknown")
        });
        assert_eq!((found, asked), (Err("unknown"), 1));
        let error = ProduceError::NoTopic {
            topic: "films".into(),
            reason: "Broker: Leader not available".into(),
        };
        assert!(error.to_string().contains("Leader not available"));
    }

    #[test]
    fn a_message_may_be_due_after_the_end_of_the_clock() {
        let now = Instant::now();
        assert_eq!(due(now, 0, 1e-20), Some(now));
        assert_eq!(due(now, 10, 2.0), Some(now + Duration::from_secs(5)));
        for never in [1e-20, f64::MIN_POSITIVE] {
            assert_eq!(due(now, 1, never), None, "{never}");
        }
    }

    #[test]
    fn only_what_is_known_already_is_told() {
        assert_eq!(now_or_never(std::future::ready(7)), Some(7));
        assert_eq!(now_or_never(std::future::pending::<()>()), None);
    }
}
