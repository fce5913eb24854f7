//! Reading a pinned range: threads poll the queues of partitions and decode what they hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Client, is_missing, is_passing, is_refusal};
use super::error::KafkaError;
use super::lane::{Ending, Lane, mark};
use super::messages::{Decoder, Envelope, Headers, MessageBatch, MessageOptions, bytes_of};
use super::pin::Pinned;
use crate::error::Result;
use crate::progress::{PartitionRange, TopicDelta, TopicPosition};

/// The most messages that are taken of a partition before another one has its turn.
const TURN: u64 = 1024;
/// The most bytes of such a turn.
const TURN_BYTES: u64 = 1 << 20;
/// How long a thread waits where no partition has a message.
const IDLE: Duration = Duration::from_millis(10);
/// How often it is said that brokers are waited for.
const SAY: Duration = Duration::from_secs(10);

/// How much one batch takes at most. What it takes less is left to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub messages: u64,
    /// Bytes of keys, payloads and the headers that are asked for; it may be one turn of each thread more, about 1 MiB.
    pub bytes: u64,
}

/// A pinned range that is read in batches, each by threads of its own.
#[derive(Debug)]
pub struct Reading {
    shared: Arc<Shared>,
    pinned: Pinned,
    options: MessageOptions,
    /// Partitions of which nothing is read have no lane.
    lanes: usize,
}

/// What the threads of a reading share.
#[derive(Debug)]
struct Shared {
    client: Arc<Client>,
    topic: Arc<str>,
    source: Arc<str>,
    timeout: Duration,
    /// The lanes that no thread has.
    idle: Mutex<Vec<Lane>>,
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The batches of one commit, as they are decoded. The end of it says that all threads are done.
pub type MessageBatches = mpsc::Receiver<Result<MessageBatch>>;

impl Reading {
    /// Begins to fetch what is due. Takes the thread for a moment.
    ///
    /// Where nothing is due in any partition, the messages before the ranges are read and compared.
    pub(super) fn start(
        client: Arc<Client>,
        source: Arc<str>,
        pinned: Pinned,
        options: MessageOptions,
        timeout: Duration,
    ) -> Result<Self> {
        let topic = pinned.topic.clone();
        let read = |reason: String| KafkaError::Read {
            topic: topic.clone(),
            reason,
        };
        let mut lanes = Vec::new();
        let mut list = TopicPartitionList::new();
        let compares = pinned.ranges.values().all(|range| range.start == range.end);
        for (partition, range) in &pinned.ranges {
            if range.start == range.end && !(compares && range.expect.is_some()) {
                continue;
            }
            let from = range.read_from();
            list.add_partition_offset(&topic, *partition, Offset::Offset(from))
                .map_err(|error| read(error.to_string()))?;
            // Before the assignment: a queue that is split later would miss what came meanwhile.
            let queue = client
                .consumer
                .0
                .split_partition_queue(&topic, *partition)
                .ok_or_else(|| read(format!("partition {partition} has no queue")))?;
            lanes.push(Lane::new(*partition, queue, range.clone()));
        }
        if !lanes.is_empty() {
            let assigned = client.consumer.0.assign(&list);
            assigned.map_err(|error| read(error.to_string()))?;
        }
        Ok(Self {
            lanes: lanes.len(),
            shared: Arc::new(Shared {
                client,
                topic,
                source,
                timeout,
                idle: Mutex::new(lanes),
            }),
            pinned,
            options,
        })
    }

    /// The range that is read.
    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// The columns of the batches.
    ///
    /// # Errors
    /// Those of [`MessageOptions::output_schema`].
    pub fn columns(&self) -> Result<SchemaRef> {
        self.options.output_schema()
    }

    /// Whether all of the range is read.
    pub fn is_done(&self) -> bool {
        let idle = self.shared.idle();
        idle.len() == self.lanes && idle.iter().all(|lane| lane.done)
    }

    /// Reads the next part of the range. What it took is told by [`delta`](Self::delta) once the
    /// batches have ended.
    ///
    /// # Errors
    /// [`InvalidOption`](crate::IngestError::InvalidOption) and
    /// [`UnsupportedType`](crate::IngestError::UnsupportedType) for options that cannot be
    /// met; [`KafkaError::Defect`] if the batches before were not read to their end.
    pub fn next(&self, limits: Limits) -> Result<MessageBatches> {
        let lanes = std::mem::take(&mut *self.shared.idle());
        if lanes.len() != self.lanes {
            return Err(self.unfinished().into());
        }
        let (done, mut due): (Vec<_>, Vec<_>) = lanes.into_iter().partition(|lane| lane.done);
        self.shared.idle().extend(done);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = due.len().min(cores);
        let (sender, receiver) = mpsc::channel(threads.max(1) * 2);
        let quota = Arc::new(Quota {
            messages: AtomicU64::new(limits.messages.max(1)),
            bytes: AtomicU64::new(limits.bytes.max(1)),
        });
        for thread in (1..=threads).rev() {
            // Each thread gets its share of what is left.
            let share = due.split_off(due.len() - due.len() / thread);
            let decoder = Decoder::new(
                self.shared.source.clone(),
                self.shared.topic.clone(),
                &self.options,
            );
            let decoder = match decoder {
                Ok(decoder) => decoder,
                Err(error) => {
                    self.shared.client.break_off();
                    return Err(error);
                }
            };
            let worker = Worker {
                shared: self.shared.clone(),
                quota: quota.clone(),
                sender: sender.clone(),
                decoder,
                lanes: share,
            };
            let spawned = std::thread::Builder::new()
                .name("kafka-read".into())
                .spawn(move || worker.run());
            if let Err(error) = spawned {
                self.shared.client.break_off();
                return Err(KafkaError::Read {
                    topic: self.shared.topic.clone(),
                    reason: format!("no thread can be started: {error}"),
                }
                .into());
            }
        }
        Ok(receiver)
    }

    /// All that was taken since the recorded position, as a commit records it.
    ///
    /// # Errors
    /// [`KafkaError::Defect`] while batches are not read to their end.
    pub fn delta(&self, recorded: Option<&TopicPosition>) -> Result<TopicDelta> {
        let mut delta = self.pinned.begin();
        for (partition, range) in &mut delta.partitions {
            let known = recorded.and_then(|recorded| recorded.partitions.get(partition));
            range.from = known.map(|known| known.next);
        }
        let idle = self.shared.idle();
        if idle.len() != self.lanes {
            return Err(self.unfinished().into());
        }
        for lane in idle.iter() {
            let taken = PartitionRange {
                from: None,
                to: lane.at.max(lane.range.start),
                last: lane.last,
            };
            if let Some(range) = delta.partitions.get_mut(&lane.partition) {
                range.to = taken.to;
                range.last = taken.last.or(range.last);
            }
        }
        Ok(delta)
    }

    fn unfinished(&self) -> KafkaError {
        KafkaError::Defect {
            topic: self.shared.topic.clone(),
            reason: "a batch was not read to its end",
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let client = &self.shared.client;
        if self.shared.idle().len() == self.lanes {
            // What was fetched and not taken is forgotten, and nothing more is fetched.
            if self.lanes > 0 && client.consumer.0.unassign().is_err() {
                client.break_off();
            }
        } else {
            // A thread may still be taking messages that another reading would miss.
            client.break_off();
        }
    }
}

/// What is left of the limits of a batch.
#[derive(Debug)]
struct Quota {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Quota {
    /// Reserves messages for a turn; none where the batch is full.
    fn reserve(&self) -> u64 {
        if self.bytes.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let left = self
            .messages
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left - left.min(TURN))
            });
        left.unwrap_or_default().min(TURN)
    }

    fn give_back(&self, messages: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
    }

    fn spend(&self, bytes: u64) {
        let spend = |left: u64| Some(left.saturating_sub(bytes));
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
    }
}

/// What a turn of a partition came to.
struct Turn {
    messages: u64,
    bytes: u64,
    heard: bool,
}

/// A thread that reads some partitions.
struct Worker {
    shared: Arc<Shared>,
    quota: Arc<Quota>,
    sender: mpsc::Sender<Result<MessageBatch>>,
    decoder: Decoder,
    lanes: Vec<Lane>,
}

/// Nobody takes the batches any more.
struct Abandoned;

impl Worker {
    fn run(mut self) {
        let result = self.read();
        let ended = match result {
            Ok(Ok(())) => {
                self.shared.idle().append(&mut self.lanes);
                return;
            }
            Ok(Err(Abandoned)) => None,
            Err(error) => Some(error),
        };
        self.shared.client.break_off();
        if let Some(error) = ended {
            // Whoever is gone does not need to hear of it.
            let _ = self.sender.blocking_send(Err(error));
        }
    }

    fn read(&mut self) -> Result<Result<(), Abandoned>> {
        let mut heard = Instant::now();
        let mut said = heard;
        let mut idle = false;
        while self.lanes.iter().any(|lane| !lane.done) {
            let mut any = false;
            // Where all partitions were empty, one of them is waited for.
            let mut wait = match idle {
                true => IDLE,
                false => Duration::ZERO,
            };
            for at in 0..self.lanes.len() {
                if self.lanes[at].done {
                    continue;
                }
                let reserved = self.quota.reserve();
                if reserved == 0 {
                    return self.flush();
                }
                let turn = self.turn(at, reserved, std::mem::take(&mut wait))?;
                self.quota.give_back(reserved - turn.messages);
                self.quota.spend(turn.bytes);
                any |= turn.heard;
                if self.decoder.is_full()
                    && let Err(Abandoned) = self.flush()?
                {
                    return Ok(Err(Abandoned));
                }
            }
            idle = !any;
            if any {
                heard = Instant::now();
                continue;
            }
            if self.sender.is_closed() {
                return Ok(Err(Abandoned));
            }
            self.check()?;
            self.pass_gaps();
            let silence = heard.elapsed();
            if silence > self.shared.timeout {
                let reason = self.shared.client.context().last();
                return Err(self.shared.client.unavailable(silence, reason).into());
            }
            if silence > SAY && said.elapsed() > SAY {
                said = Instant::now();
                tracing::warn!(
                    topic = %self.shared.topic,
                    seconds = silence.as_secs(),
                    reason = self.shared.client.context().last(),
                    "waiting for the brokers"
                );
            }
        }
        self.flush()
    }

    /// Takes messages of one partition.
    fn turn(&mut self, at: usize, most: u64, wait: Duration) -> Result<Turn> {
        let lane = &mut self.lanes[at];
        let mut turn = Turn {
            messages: 0,
            bytes: 0,
            heard: false,
        };
        let mut last: Option<BorrowedMessage<'_>> = None;
        let mut end_reported = false;
        while turn.messages < most && turn.bytes < TURN_BYTES && !self.decoder.is_full() {
            let timeout = if turn.heard { Duration::ZERO } else { wait };
            let message = match lane.queue.poll(timeout) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(ClientError::PartitionEOF(_))) => {
                    turn.heard = true;
                    end_reported = true;
                    break;
                }
                Some(Err(error)) => {
                    failed(&self.shared, lane, &error)?;
                    break;
                }
            };
            turn.heard = true;
            let offset = message.offset();
            if offset < lane.at {
                continue;
            }
            // An end that was reported before it is not that of the range.
            lane.ending = Ending::Open;
            if offset >= lane.range.end {
                // It came after the range was pinned.
                lane.at = lane.range.end;
                lane.done = true;
                break;
            }
            if offset < lane.range.start {
                lane.compare(&self.shared.topic, &message)?;
                lane.at = offset + 1;
                lane.done = lane.at == lane.range.end;
                if lane.done {
                    break;
                }
                continue;
            }
            turn.messages += 1;
            let headers = match self.decoder.wants_headers() {
                true => headers(&message),
                false => Some(Headers::new()),
            };
            let envelope = envelope(lane.partition, &message);
            let beside = headers.as_ref().map_or(0, bytes_of);
            turn.bytes += (envelope.bytes() + beside) as u64;
            match headers {
                Some(headers) => self.decoder.push(&envelope, &headers)?,
                None => self.decoder.refuse_headers(&envelope),
            }
            lane.at = offset + 1;
            last = Some(message);
            if lane.at == lane.range.end {
                lane.done = true;
                break;
            }
        }
        if let Some(message) = last {
            lane.last = Some(mark(&message));
        }
        if end_reported {
            lane.end_reported();
        }
        Ok(turn)
    }

    /// Looks for partitions whose range ends with something that is no message.
    fn pass_gaps(&mut self) {
        let Shared { client, topic, .. } = &*self.shared;
        for lane in self.lanes.iter_mut().filter(|lane| !lane.done) {
            if !lane.settle(client, topic) {
                break;
            }
        }
    }

    fn check(&self) -> Result<()> {
        let context = self.shared.client.context();
        if let Some(reason) = context.fatal() {
            return Err(KafkaError::Read {
                topic: self.shared.topic.clone(),
                reason,
            }
            .into());
        }
        match context.denied() {
            Some(reason) => Err(self.shared.client.denied(reason).into()),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<Result<(), Abandoned>> {
        let Some(batch) = self.decoder.take()? else {
            return Ok(Ok(()));
        };
        let sent = self.sender.blocking_send(Ok(batch));
        Ok(sent.map_err(|_| Abandoned))
    }
}

/// What a failure of a partition means: one that passes is waited out.
fn failed(shared: &Shared, lane: &Lane, error: &ClientError) -> Result<()> {
    let read = |reason: String| {
        Err(KafkaError::Read {
            topic: shared.topic.clone(),
            reason: format!("partition {}: {reason}", lane.partition),
        }
        .into())
    };
    match error.rdkafka_error_code() {
        Some(code) if is_passing(code) => Ok(()),
        Some(code) if is_refusal(code) => Err(shared.client.denied(code.to_string()).into()),
        Some(code) if is_missing(code) => Err(shared.client.no_topic(&shared.topic).into()),
        Some(Code::OffsetOutOfRange | Code::AutoOffsetReset) => read(format!(
            "offset {} was deleted while the range up to {} was read",
            lane.at, lane.range.end
        )),
        _ => read(error.to_string()),
    }
}

fn envelope<'a>(partition: i32, message: &'a BorrowedMessage<'_>) -> Envelope<'a> {
    Envelope {
        partition,
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        payload: message.payload(),
    }
}

/// The headers of a message; nothing where a name is not UTF-8, over which the client panics.
fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Option<Headers<'a>> {
    let Some(headers) = message.headers() else {
        return Some(Headers::new());
    };
    let read = std::panic::AssertUnwindSafe(|| {
        headers
            .iter()
            .map(|header| (header.key, header.value))
            .collect()
    });
    std::panic::catch_unwind(read).ok()
}
