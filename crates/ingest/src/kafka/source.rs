//! A topic that a flow reads, with the client that stays connected between its runs.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Client, Failed};
use super::connection::KafkaConnection;
use super::error::KafkaError;
use super::messages::MessageOptions;
use super::pin::{self, PinOptions, Pinned, Seen};
use super::read::{Limits, Reading};
use crate::error::{IngestError, Result};
use crate::progress::TopicPosition;

/// How long one question to the brokers may take before it is asked again.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The first pause between two questions; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The partitions that the memory of a first client is made for.
const PARTITIONS: usize = 4;

/// A topic that is read by offsets, in pinned ranges.
///
/// It connects when it is first asked something, and stays connected. One reading at a time.
#[derive(Debug)]
pub struct KafkaTopic {
    connection: KafkaConnection,
    topic: Arc<str>,
    source: Arc<str>,
    client: Mutex<Option<Arc<Client>>>,
}

impl KafkaTopic {
    /// A topic at these servers. `source` is what dead letters name as their source.
    ///
    /// # Errors
    /// [`KafkaError::Config`] for a name that no topic can have.
    pub fn new(
        connection: KafkaConnection,
        topic: impl Into<Arc<str>>,
        source: impl Into<Arc<str>>,
    ) -> Result<Self> {
        let topic = topic.into();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(is_name) {
            return Err(KafkaError::Config {
                reason: format!("{topic:?} is no name of a topic"),
                help: "topics have up to 249 letters, digits, '.', '_' and '-'",
            }
            .into());
        }
        Ok(Self {
            connection,
            topic,
            source: source.into(),
            client: Mutex::new(None),
        })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Pins what there is to take behind the recorded position: everything up to the end as it is
    /// now, transactions that are open left out. Waits for brokers that are away, with pauses, up to
    /// the connection's timeout.
    ///
    /// # Errors
    /// [`KafkaError::Unavailable`] when no broker answers in time, [`KafkaError::Denied`],
    /// [`KafkaError::NoTopic`], [`KafkaError::OtherTopic`]; [`KafkaError::Recreated`] when the offsets
    /// tell that the topic is another one, [`KafkaError::Expired`] when messages were deleted before
    /// they were read, unless the options say what to do then.
    pub async fn pin(
        &self,
        recorded: Option<&TopicPosition>,
        options: &PinOptions,
    ) -> Result<Pinned> {
        let seen = self.describe(options).await?;
        let pinned = pin::pin(&self.topic, recorded, &seen, options)?;
        // That the topic is another one shows at times only when messages are read.
        if let (Some(resume), Some(recorded)) = (options.resume, recorded)
            && self.is_another(&pinned).await?
        {
            return Ok(pin::anew(&self.topic, recorded, &seen, resume));
        }
        Ok(pinned)
    }

    /// Begins to read a pinned range.
    ///
    /// # Errors
    /// Those of the options, see [`MessageOptions::output_schema`]; [`KafkaError::Read`].
    pub async fn read(&self, pinned: Pinned, options: &MessageOptions) -> Result<Reading> {
        // Before anything is fetched.
        options.output_schema()?;
        let client = self.client(pinned.ranges.len()).await?;
        let (source, options) = (self.source.clone(), options.clone());
        let timeout = self.connection.timeout();
        self.blocking(move || Reading::start(client, source, pinned, options, timeout))
            .await?
    }

    async fn describe(&self, options: &PinOptions) -> Result<Seen> {
        let started = Instant::now();
        let timeout = self.connection.timeout();
        let mut pause = FIRST_PAUSE;
        loop {
            let client = self.client(1).await?;
            let (asked, topic, starting) = (client.clone(), self.topic.clone(), options.starting);
            let attempt = ATTEMPT.min(timeout.saturating_sub(started.elapsed()));
            let attempt = attempt.max(FIRST_PAUSE);
            let described = self
                .blocking(move || asked.describe(&topic, starting, attempt))
                .await?;
            let reason = match described {
                Ok(seen) => return Ok(seen),
                Err(Failed::Final(error)) => {
                    // A refusal is remembered by the client, and the next one may be let in.
                    client.break_off();
                    return Err(error.into());
                }
                Err(Failed::Again(reason)) => reason,
            };
            let waited = started.elapsed();
            if waited + pause > timeout {
                client.break_off();
                return Err(client.unavailable(waited, reason).into());
            }
            tracing::warn!(
                topic = %self.topic,
                servers = self.connection.servers(),
                reason,
                seconds = waited.as_secs(),
                "waiting for the brokers"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether the messages before the range are others than those that were taken.
    async fn is_another(&self, pinned: &Pinned) -> Result<bool> {
        let mut before = pinned.clone();
        before.ranges.retain(|_, range| range.expect.is_some());
        for range in before.ranges.values_mut() {
            range.end = range.start;
        }
        if before.ranges.is_empty() {
            return Ok(false);
        }
        let client = self.client(pinned.ranges.len()).await?;
        let (source, timeout) = (self.source.clone(), self.connection.timeout());
        let options = MessageOptions::json(Arc::new(Schema::empty()));
        let reading = self
            .blocking(move || Reading::start(client, source, before, options, timeout))
            .await??;
        let mut batches = reading.next(Limits {
            messages: u64::MAX,
            bytes: u64::MAX,
        })?;
        while let Some(batch) = batches.recv().await {
            match batch {
                Ok(_) => {}
                Err(IngestError::Kafka(KafkaError::Recreated { .. })) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The client, made anew where there is none or one that cannot be used any more, or one whose
    /// memory is made for much fewer partitions.
    async fn client(&self, partitions: usize) -> Result<Arc<Client>> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref()
            && client.is_usable()
            && client.partitions >= partitions
        {
            return Ok(client.clone());
        }
        *slot = None;
        let connection = self.connection.clone();
        let partitions = partitions.max(PARTITIONS).next_power_of_two();
        let client = self
            .blocking(move || Client::start(&connection, partitions))
            .await??;
        Ok(slot.insert(Arc::new(client)).clone())
    }

    /// The client's calls take the thread, so they have one of their own.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        tokio::task::spawn_blocking(call).await.map_err(|_| {
            KafkaError::Defect {
                topic: self.topic.clone(),
                reason: "a call of the client was broken off",
            }
            .into()
        })
    }
}
