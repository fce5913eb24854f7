//! The servers that berglake stands on. `shared` is one for all tests of the process, for those that do
//! it no harm; `start` is one for this test alone, to be paused and killed.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::OnceCell;

use super::server::{Server, Start};
use super::until;

static MINIO: OnceCell<Minio> = OnceCell::const_new();
static POSTGRES: OnceCell<Postgres> = OnceCell::const_new();
static KAFKA: OnceCell<Kafka> = OnceCell::const_new();

/// Prints the logs of the servers that tests share.
pub fn print_shared_logs() {
    let servers = [
        MINIO.get().map(|minio| &minio.server),
        POSTGRES.get().map(|postgres| &postgres.server),
        KAFKA.get().map(|kafka| &kafka.server),
    ];
    for server in servers.into_iter().flatten() {
        server.print_log();
    }
}

/// An object store.
#[derive(Debug)]
pub struct Minio {
    /// The container.
    pub server: Server,
}

impl Minio {
    /// Its root user.
    pub const USER: &str = "e2e-user";
    /// Its root password.
    pub const PASSWORD: &str = "e2e-password-5f0c";

    /// The one of all tests.
    pub async fn shared() -> &'static Self {
        MINIO.get_or_init(Self::start).await
    }

    /// One for this test.
    pub async fn start() -> Self {
        let server = Start::new("minio", "MINIO_IMAGE", 9000)
            .env("MINIO_ROOT_USER", Self::USER)
            .env("MINIO_ROOT_PASSWORD", Self::PASSWORD)
            .command(&["server", "/data"])
            .start()
            .await;
        server.answers("/minio/health/ready").await;
        Self { server }
    }

    /// Where clients find it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Makes a bucket: a folder in the data folder is one.
    pub async fn bucket(&self, name: &str) {
        self.server
            .exec(&["mkdir", "-p", &format!("/data/{name}")])
            .await;
    }
}

/// The database of the catalog.
#[derive(Debug)]
pub struct Postgres {
    /// The container.
    pub server: Server,
}

impl Postgres {
    const USER: &str = "e2e";
    const PASSWORD: &str = "e2e-password-91aa";

    /// The one of all tests.
    pub async fn shared() -> &'static Self {
        POSTGRES.get_or_init(Self::start).await
    }

    /// One for this test.
    pub async fn start() -> Self {
        let server = Start::new("postgres", "POSTGRES_IMAGE", 5432)
            .env("POSTGRES_USER", Self::USER)
            .env("POSTGRES_PASSWORD", Self::PASSWORD)
            .env("POSTGRES_DB", "postgres")
            // A test ends with the container: what a power failure would lose may be lost.
            .command(&["postgres", "-c", "fsync=off", "-c", "max_connections=300"])
            .start()
            .await;
        let postgres = Self { server };
        postgres.answers().await;
        postgres
    }

    /// Waits until it takes connections from outside.
    pub async fn answers(&self) {
        let address = self.server.address();
        until("postgres answers", Duration::from_secs(60), async || {
            answers_startup(&address).await.unwrap_or(false)
        })
        .await;
    }

    /// Makes a database and gives its URL.
    pub async fn database(&self, name: &str) -> String {
        let statement = format!("CREATE DATABASE {name}");
        self.server
            .exec(&["psql", "-U", Self::USER, "-d", "postgres", "-c", &statement])
            .await;
        self.url(name, Self::PASSWORD)
    }

    /// The URL of a database, with this password.
    pub fn url(&self, database: &str, password: &str) -> String {
        let address = self.server.address();
        format!("postgres://{}:{password}@{address}/{database}", Self::USER)
    }
}

/// Whether PostgreSQL answers an `SSLRequest`. A proxy in front of the container takes connections
/// before the server does, so that a connection says nothing.
async fn answers_startup(address: &str) -> std::io::Result<bool> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    let mut answer = [0];
    let read = tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut answer)).await;
    Ok(matches!(read, Ok(Ok(_))) && matches!(answer[0], b'S' | b'N'))
}

/// A Kafka broker.
#[derive(Debug)]
pub struct Kafka {
    /// The container.
    pub server: Server,
}

/// A record to be produced.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The partition; else the key decides.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970; else the producer's clock.
    pub timestamp: Option<i64>,
}

impl Record {
    /// A record that is only a value.
    pub fn of(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: Some(payload.into()),
            ..Self::default()
        }
    }

    /// A record for one partition.
    pub fn to(partition: i32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            partition: Some(partition),
            ..Self::of(payload)
        }
    }
}

/// Where a record lies in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coordinates {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
}

impl Kafka {
    /// The one of all tests.
    pub async fn shared() -> &'static Self {
        KAFKA.get_or_init(Self::start).await
    }

    /// One for this test.
    pub async fn start() -> Self {
        let start = Start::new("kafka", "KAFKA_IMAGE", 9092);
        // Kafka tells its clients where to come back to: the published port.
        let advertised = format!("PLAINTEXT://{}", start.address());
        let server = start
            .env("CLUSTER_ID", "berglake-e2e-00000000A")
            .env("KAFKA_NODE_ID", "1")
            .env("KAFKA_PROCESS_ROLES", "broker,controller")
            .env("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093")
            .env("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER")
            .env("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093")
            .env("KAFKA_ADVERTISED_LISTENERS", advertised)
            .env(
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            )
            .env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
            .env("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1")
            .env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
            .env("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
            .env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
            .env("KAFKA_LOG_DIRS", "/var/lib/kafka/data")
            .env("KAFKA_HEAP_OPTS", "-Xmx512M -Xms128M")
            .start()
            .await;
        let kafka = Self { server };
        kafka.answers().await;
        kafka
    }

    /// `HOST:PORT`, the bootstrap server.
    pub fn brokers(&self) -> String {
        self.server.address()
    }

    /// Waits until it tells about itself.
    pub async fn answers(&self) {
        let brokers = self.brokers();
        until("kafka answers", Duration::from_secs(120), async || {
            let brokers = brokers.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let client: rdkafka::consumer::BaseConsumer = ClientConfig::new()
                    .set("bootstrap.servers", brokers)
                    .set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg)
                    .create()
                    .expect("a consumer");
                use rdkafka::consumer::Consumer as _;
                let metadata = client.fetch_metadata(None, Duration::from_secs(3));
                metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
            });
            asked.await.unwrap_or(false)
        })
        .await;
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .create()
            .expect("an admin client")
    }

    /// Makes a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        // The name of a topic that was just deleted is free only after a moment.
        until("the topic is made", Duration::from_secs(30), async || {
            let made = self
                .admin()
                .create_topics([&topic], &AdminOptions::new())
                .await
                .expect("create topic");
            matches!(made.as_slice(), [Ok(_)])
        })
        .await;
        self.has(name, Some(partitions)).await;
    }

    /// Waits until the broker itself says that the topic has so many partitions, or that there is no such
    /// topic: what was decided for it, it learns a moment later.
    async fn has(&self, topic: &str, partitions: Option<i32>) {
        let what = format!("{topic} has {partitions:?} partitions");
        let client = std::sync::Arc::new(self.admin());
        until(&what, Duration::from_secs(60), async || {
            let (client, topic) = (client.clone(), topic.to_owned());
            let asked = tokio::task::spawn_blocking(move || {
                // All topics, because to ask for one by name may be to make it.
                let all = client.inner().fetch_metadata(None, Duration::from_secs(5));
                all.map(|all| {
                    let mut topics = all.topics().iter();
                    let found =
                        topics.find(|found| found.name() == topic && found.error().is_none());
                    found.map(|found| {
                        let led = found.partitions().iter().filter(|p| p.leader() >= 0);
                        led.count()
                    })
                })
            });
            let found = asked.await.expect("it is asked");
            let wanted = partitions.map(|n| usize::try_from(n).expect("a number"));
            found.is_ok_and(|found| found == wanted)
        })
        .await;
    }

    /// Deletes a topic with all its records.
    pub async fn delete_topic(&self, name: &str) {
        let deleted = self
            .admin()
            .delete_topics(&[name], &AdminOptions::new())
            .await
            .expect("delete topic");
        assert!(matches!(deleted.as_slice(), [Ok(_)]), "{deleted:?}");
        self.has(name, None).await;
    }

    /// Gives a topic more partitions.
    pub async fn add_partitions(&self, name: &str, total: usize) {
        let added = self
            .admin()
            .create_partitions(&[NewPartitions::new(name, total)], &AdminOptions::new())
            .await
            .expect("add partitions");
        assert!(matches!(added.as_slice(), [Ok(_)]), "{added:?}");
        let total = i32::try_from(total).expect("a number of partitions");
        self.has(name, Some(total)).await;
    }

    /// A producer that never loses or doubles what it was given.
    pub fn producer(&self) -> FutureProducer {
        ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("message.timeout.ms", "300000")
            .create()
            .expect("a producer")
    }

    /// Produces records, in this order within each partition, and says where each lies.
    pub async fn produce(&self, topic: &str, records: &[Record]) -> Vec<Coordinates> {
        let producer = self.producer();
        let coordinates = produce_with(&producer, topic, records).await;
        producer
            .flush(Duration::from_secs(60))
            .expect("all delivered");
        coordinates
    }
}

/// Produces with a producer that is at hand, as [`Kafka::produce`].
pub async fn produce_with(
    producer: &FutureProducer,
    topic: &str,
    records: &[Record],
) -> Vec<Coordinates> {
    let mut waiting = Vec::with_capacity(records.len());
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        loop {
            let mut message = FutureRecord::<[u8], [u8]>::to(topic);
            message.partition = record.partition;
            message.key = record.key.as_deref();
            message.payload = record.payload.as_deref();
            message.timestamp = record.timestamp;
            if !record.headers.is_empty() {
                message.headers = Some(headers.clone());
            }
            match producer.send_result(message) {
                Ok(delivery) => {
                    waiting.push(delivery);
                    break;
                }
                // The queue is full until some are delivered.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
    let mut coordinates = Vec::with_capacity(waiting.len());
    for delivery in waiting {
        let delivery = delivery
            .await
            .expect("the producer lives")
            .unwrap_or_else(|(error, _)| panic!("not delivered to {topic}: {error}"));
        coordinates.push(Coordinates {
            partition: delivery.partition,
            offset: delivery.offset,
        });
    }
    coordinates
}
