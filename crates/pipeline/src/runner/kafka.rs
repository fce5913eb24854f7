//! `read_kafka`: what a call of it reads, and the topics that stay connected between runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use berglake_format::{Error, ErrorKind, Result};
use berglake_ingest::dead_letter::DeadLetter;
use berglake_ingest::kafka::{
    Attribute, KafkaConnection, KafkaTopic, Limits, MessageOptions, PinOptions, Reading,
};
use berglake_ingest::progress::{Position, Resume, TopicDelta, TopicPosition};
use datafusion::execution::SendableRecordBatchStream;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::files::{connection, rows_of, wrong_kind};
use super::telemetry::{Newest, Within};
use super::types::declared_schema;
use crate::Project;
use crate::config::Connection;
use crate::language::{Flow, SourceFunction, parse_schema};

/// The name of the function.
pub(super) const KAFKA: &str = "read_kafka";

/// A call of `read_kafka`, bound to its connection.
#[derive(Debug, Clone)]
pub(super) struct KafkaCall {
    connection: KafkaConnection,
    topic: String,
    /// What dead letters name as their source.
    source: String,
    options: MessageOptions,
    pin: PinOptions,
}

impl KafkaCall {
    /// Binds a call.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for arguments that make no sense.
    pub(super) fn bind(function: &SourceFunction, project: &Project) -> Result<Self> {
        let needed = |name: &str| {
            let given = function.text(name);
            given.ok_or_else(|| Error::invalid(format!("{KAFKA} needs a {name}")))
        };
        let name = needed("connection")?;
        let Connection::Kafka(found) = connection(&project.config, name)? else {
            let other = connection(&project.config, name)?;
            return Err(wrong_kind(name, other, "kafka"));
        };
        let topic = needed("topic")?;
        let columns = parse_schema(needed("schema")?)
            .map_err(|error| Error::invalid(error.message).with("argument", "schema"))?;
        let mut options = MessageOptions::json(declared_schema(&columns));
        for attribute in Attribute::ALL {
            if let Some(column) = function.text(attribute.argument()) {
                options = options.with_attribute(attribute, column);
            }
        }
        if let Some(text) = function.text("tombstones") {
            options = options.with_tombstones(text.parse()?);
        }
        let mut pin = PinOptions::default();
        if let Some(text) = function.text("starting") {
            pin.starting = text.parse()?;
        }
        if let Some(text) = function.text("on_data_loss") {
            pin.on_data_loss = text.parse()?;
        }
        Ok(Self {
            connection: found.clone(),
            topic: topic.to_owned(),
            source: format!("{name}/{topic}"),
            options,
            pin,
        })
    }

    /// The columns of the rows.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a name that is used twice.
    pub(super) fn columns(&self) -> Result<SchemaRef> {
        Ok(self.options.output_schema()?)
    }

    /// How messages are decoded.
    pub(super) fn options(&self) -> &MessageOptions {
        &self.options
    }

    /// How to go on from a position.
    pub(super) fn pin(&self, resume: Option<Resume>) -> PinOptions {
        PinOptions { resume, ..self.pin }
    }
}

/// The topics that the flows of a runner read, each with its connections.
#[derive(Debug, Default)]
pub(super) struct Topics(Mutex<HashMap<String, Arc<KafkaTopic>>>);

impl Topics {
    /// The topic of a flow; it stays connected until the runner is gone.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a name that no topic can have.
    pub(super) fn of(&self, flow: &str, call: &KafkaCall) -> Result<Arc<KafkaTopic>> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(flow) {
            return Ok(topic.clone());
        }
        let (connection, name, source) = (
            call.connection.clone(),
            call.topic.as_str(),
            call.source.as_str(),
        );
        let topic = Arc::new(KafkaTopic::new(connection, name, source)?);
        topics.insert(flow.to_owned(), topic.clone());
        Ok(topic)
    }
}

/// A batch of a topic whose offsets are known when its rows have been read.
#[derive(Debug)]
pub(super) struct TopicBatch {
    reading: Arc<Reading>,
    recorded: Option<TopicPosition>,
}

impl TopicBatch {
    /// The next batch of a reading, and the stream of its rows. Messages that are no rows go to
    /// `dead_letters`; `newest` learns their times while they pass.
    ///
    /// # Errors
    /// Those of the reading.
    pub(super) fn next(
        reading: Arc<Reading>,
        recorded: Option<TopicPosition>,
        limits: Limits,
        columns: SchemaRef,
        dead_letters: mpsc::Sender<Vec<DeadLetter>>,
        newest: Newest,
    ) -> Result<(Self, SendableRecordBatchStream)> {
        let topic = reading.pinned().topic();
        let span = tracing::info_span!("decode", messaging.destination.name = topic);
        let batches = reading.next(limits)?;
        let parts = futures::stream::unfold(batches, |mut batches| async move {
            Some((batches.recv().await?, batches))
        });
        let parts = parts.map_ok(move |part| {
            newest.see(part.newest_ms);
            (part.batch, part.dead_letters)
        });
        let parts = Within::new(span, parts.boxed());
        let rows = rows_of(columns, parts, dead_letters);
        Ok((Self { reading, recorded }, rows))
    }

    /// What was taken.
    ///
    /// # Errors
    /// [`Internal`](berglake_format::ErrorKind::Internal) if the rows were not read to their end.
    pub(super) fn delta(&self) -> Result<TopicDelta> {
        Ok(self.reading.delta(self.recorded.as_ref())?)
    }

    /// Whether the commit is wanted although no message was taken.
    pub(super) fn must_record(&self) -> bool {
        self.reading.pinned().must_record()
    }
}

/// The position in a topic, if that is what the flow has read so far.
pub(super) fn position<'a>(
    flow: &Flow,
    position: Option<&'a Position>,
) -> Result<Option<&'a TopicPosition>> {
    match position {
        None | Some(Position::Start) => Ok(None),
        Some(Position::Topic(position)) => Ok(Some(position)),
        Some(_) => Err(Error::new(
            ErrorKind::Conflict,
            "the flow reads a topic, and has read something else so far",
        )
        .with("flow", &flow.name)
        .help(format!("run with --full-refresh {}", flow.target))),
    }
}

/// Whether a delta without rows is worth a snapshot: reading its offsets again costs more.
pub(super) fn moves(delta: &TopicDelta) -> bool {
    const MANY: i64 = 10_000;
    let offsets = delta.partitions.values().map(|range| match range.from {
        Some(from) => range.to.saturating_sub(from),
        None => 0,
    });
    offsets.fold(0, i64::saturating_add) >= MANY
}
