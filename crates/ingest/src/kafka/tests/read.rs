//! Reading from brokers that run inside of the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::super::client::Client;
use super::super::lane::{Ending, Lane};
use super::super::pin::{Pinned, PinnedRange};
use super::super::read::{Limits, Reading};
use super::super::{Attribute, KafkaConnection, MessageOptions};

const WAIT: Duration = Duration::from_secs(60);

/// A topic of one partition with so many messages, and a client of its brokers.
struct Topic {
    name: Arc<str>,
    client: Arc<Client>,
    _brokers: MockCluster<'static, DefaultProducerContext>,
}

impl Topic {
    fn with(messages: i64) -> Self {
        let brokers = MockCluster::new(1).unwrap();
        let name: Arc<str> = "films".into();
        brokers.create_topic(&name, 1, 1).unwrap();
        let servers = brokers.bootstrap_servers();
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &servers)
            .create()
            .unwrap();
        for _ in 0..messages {
            let record = BaseRecord::<[u8], [u8]>::to(&name)
                .partition(0)
                .payload(b"{}");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WAIT).unwrap();
        let connection = KafkaConnection::new(servers).unwrap();
        Self {
            client: Arc::new(Client::start(&connection, 1).unwrap()),
            name,
            _brokers: brokers,
        }
    }

    fn range(end: i64) -> PinnedRange {
        PinnedRange {
            known: None,
            start: 0,
            end,
            expect: None,
        }
    }

    fn read(&self, end: i64) -> Reading {
        let pinned = Pinned {
            cluster: None,
            topic: self.name.clone(),
            ranges: BTreeMap::from([(0, Self::range(end))]),
            must_record: false,
            warnings: Vec::new(),
        };
        let options = MessageOptions::json(Arc::new(Schema::empty()));
        let options = options.with_attribute(Attribute::Offset, "o");
        let source = self.name.clone();
        Reading::start(self.client.clone(), source, pinned, options, WAIT).unwrap()
    }

    /// Moves the client to an offset, which it can do once it has begun to fetch.
    fn move_to(&self, offset: i64) {
        let until = Instant::now() + WAIT;
        while !self.client.read_again(&self.name, 0, offset) {
            assert!(Instant::now() < until, "the client does not begin");
            std::thread::yield_now();
        }
    }
}

/// The offsets that a batch takes.
async fn offsets(reading: &Reading) -> Vec<i64> {
    let limits = Limits {
        messages: 1_000,
        bytes: u64::MAX,
    };
    let mut batches = reading.next(limits).unwrap();
    let mut offsets = Vec::new();
    while let Some(batch) = batches.recv().await {
        let batch = batch.unwrap().batch;
        offsets.extend(batch.column(0).as_primitive::<Int64Type>().values());
    }
    offsets
}

#[tokio::test]
async fn an_end_that_is_reported_too_early_loses_no_message() {
    let topic = Topic::with(10);
    let reading = topic.read(10);
    // Now the client reports an end before any message, as it does of a broker that lags behind.
    topic.move_to(10);
    assert_eq!(offsets(&reading).await, (0..10).collect::<Vec<_>>());
    assert!(reading.is_done());
    assert_eq!(reading.delta(None).unwrap().partitions[&0].to, 10);
}

#[test]
fn a_range_without_a_last_message_ends_when_its_end_is_reported_again() {
    let topic = Topic::with(5);
    let mut assigned = TopicPartitionList::new();
    let place = assigned.add_partition_offset(&topic.name, 0, Offset::Offset(5));
    place.unwrap();
    let consumer = &topic.client.consumer.0;
    let queue = consumer.split_partition_queue(&topic.name, 0).unwrap();
    consumer.assign(&assigned).unwrap();
    topic.move_to(5);
    let mut lane = Lane::new(0, queue, Topic::range(5));
    lane.settle(&topic.client, &topic.name);
    assert_eq!(lane.ending, Ending::Open, "nothing was reported yet");
    lane.end_reported();
    assert_eq!(lane.ending, Ending::Reported { asked: None });
    assert!(lane.settle(&topic.client, &topic.name));
    assert_eq!((lane.ending, lane.done), (Ending::ReadAgain, false));
    lane.end_reported();
    assert_eq!((lane.at, lane.done), (5, true));
}

#[test]
fn an_end_that_the_leader_does_not_confirm_is_not_that_of_the_range() {
    let topic = Topic::with(5);
    let consumer = &topic.client.consumer.0;
    let queue = consumer.split_partition_queue(&topic.name, 0).unwrap();
    let mut lane = Lane::new(0, queue, Topic::range(6));
    lane.end_reported();
    assert!(!lane.settle(&topic.client, &topic.name));
    assert!(matches!(lane.ending, Ending::Reported { asked: Some(_) }));
    lane.end_reported();
    assert_eq!((lane.at, lane.done), (0, false));
}
