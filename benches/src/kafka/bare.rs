//! The limit: a consumer that decodes with Arrow's JSON reader and writes one Parquet file, and keeps no
//! promise.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use arrow_json::ReaderBuilder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::Error;

const BATCH: usize = 8_192;

type Queue = PartitionQueue<DefaultConsumerContext>;

fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        text("device_id"),
        text("user_id"),
        text("sample_id"),
        text("data_type"),
        Field::new("value", DataType::Float64, true),
        text("unit"),
        Field::new("start_date", time.clone(), true),
        Field::new("end_date", time, true),
        Field::new("is_synced", DataType::Boolean, true),
        text("app"),
        Field::new("seq", DataType::Int64, true),
        Field::new("q", DataType::Int32, true),
    ]))
}

/// Reads all partitions from their start to their end; gives the number of records.
pub fn consume(brokers: &str, topic: &str, partitions: i32, file: &Path) -> Result<u64, Error> {
    let consumer: Arc<BaseConsumer> = Arc::new(
        ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("queued.min.messages", "1000000")
            .set("queued.max.messages.kbytes", "65536")
            .set("fetch.message.max.bytes", "8388608")
            .set("fetch.wait.max.ms", "50")
            .create()?,
    );
    let mut list = TopicPartitionList::new();
    let mut queues = Vec::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
        let queue = consumer.split_partition_queue(topic, partition);
        queues.push(queue.ok_or("a partition has no queue")?);
    }
    consumer.assign(&list)?;
    let done = AtomicBool::new(false);
    let (sender, receiver) = mpsc::sync_channel(8);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(file, receiver));
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = consumer.poll(Duration::from_millis(100));
            }
        });
        let half = queues.split_off(queues.len() / 2);
        let readers: Vec<_> = [queues, half]
            .into_iter()
            .map(|queues| {
                let sender = sender.clone();
                scope.spawn(move || read(&queues, &sender))
            })
            .collect();
        drop(sender);
        let read = readers
            .into_iter()
            .try_for_each(|reader| reader.join().map_err(|_| "a reader panicked")?);
        done.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| "the writer panicked")?;
        read?;
        written
    })
}

fn read(queues: &[Queue], sender: &mpsc::SyncSender<RecordBatch>) -> Result<(), Error> {
    let mut decoder = ReaderBuilder::new(schema())
        .with_batch_size(BATCH)
        .build_decoder()?;
    let mut pending = 0;
    let mut open: Vec<&Queue> = queues.iter().collect();
    while !open.is_empty() {
        let mut ended = Vec::new();
        for (at, queue) in open.iter().enumerate() {
            for turn in 0..4_096 {
                let wait = Duration::from_millis(if turn == 0 { 5 } else { 0 });
                match queue.poll(wait) {
                    None => break,
                    Some(Err(KafkaError::PartitionEOF(_))) => {
                        ended.push(at);
                        break;
                    }
                    Some(message) => {
                        decoder.decode(message?.payload().unwrap_or_default())?;
                        pending += 1;
                        if pending == BATCH {
                            pending = 0;
                            flush(&mut decoder, sender)?;
                        }
                    }
                }
            }
        }
        for at in ended.into_iter().rev() {
            open.swap_remove(at);
        }
    }
    flush(&mut decoder, sender)
}

fn flush(
    decoder: &mut arrow_json::reader::Decoder,
    sender: &mpsc::SyncSender<RecordBatch>,
) -> Result<(), Error> {
    if let Some(batch) = decoder.flush()? {
        sender.send(batch).map_err(|_| "the writer has ended")?;
    }
    Ok(())
}

fn write(file: &Path, batches: mpsc::Receiver<RecordBatch>) -> Result<u64, Error> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(file)?, schema(), Some(properties))?;
    let mut rows = 0;
    for batch in batches {
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(rows)
}
