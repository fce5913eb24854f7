//! Where the brokers are, and how to speak to them.

use std::collections::BTreeMap;
use std::time::Duration;

use berglake_format::Secret;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use super::error::KafkaError;

/// How long servers are waited for unless it is said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The memory for messages that are fetched and not yet decoded, over all partitions.
const FETCHED_BYTES: usize = 64 << 20;

/// Options that the source sets itself, because its promises depend on them.
const OWN: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    // Brokers of a rack may lag behind the leader, who tells where a range ends.
    "client.rack",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "isolation.level",
    "metadata.broker.list",
];

/// Where the brokers are, and how to speak to them.
///
/// All settings are kept as secrets: several of them are, and none is worth printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaConnection {
    servers: String,
    options: BTreeMap<String, Secret>,
    timeout: Duration,
}

impl KafkaConnection {
    /// A connection to these servers: `host:port`, several with commas between them.
    ///
    /// # Errors
    /// [`KafkaError::Config`] where no server is named.
    pub fn new(servers: impl Into<String>) -> Result<Self, KafkaError> {
        let servers = servers.into();
        if servers.split(',').all(|server| server.trim().is_empty()) {
            return Err(KafkaError::Config {
                reason: "no server is named".into(),
                help: "write bootstrap-servers = \"HOST:9092\"",
            });
        }
        Ok(Self {
            servers,
            options: BTreeMap::new(),
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// Sets an option of librdkafka, such as `security.protocol` or `sasl.username`.
    ///
    /// # Errors
    /// [`KafkaError::Config`] for options that the source sets itself, and for encryption where this
    /// program was built without it.
    pub fn with_option(
        mut self,
        name: impl Into<String>,
        value: impl Into<Secret>,
    ) -> Result<Self, KafkaError> {
        let (name, value) = (name.into(), value.into());
        if OWN.contains(&name.as_str()) {
            return Err(KafkaError::Config {
                reason: format!("the option {name:?} is not for the user to set"),
                help: "the source reads committed messages from the offsets that the table records",
            });
        }
        let is_protocol = name == "security.protocol";
        if is_protocol && needs_encryption(value.reveal()) && !encryption() {
            return Err(KafkaError::Config {
                reason: format!(
                    "this program was built without encryption to Kafka, which the security \
                     protocol {:?} needs",
                    value.reveal()
                ),
                help: "use a build with the cargo feature kafka-ssl, or a listener that is PLAINTEXT \
                       or SASL_PLAINTEXT",
            });
        }
        if name == "sasl.mechanism" || name == "sasl.mechanisms" {
            let mechanism = value.reveal().to_ascii_uppercase();
            // SCRAM and OAUTHBEARER come with the library of the encryption.
            if mechanism != "PLAIN" && !encryption() {
                return Err(KafkaError::Config {
                    reason: format!(
                        "this program was built without the SASL mechanism {mechanism:?}"
                    ),
                    help: "use a build with the cargo feature kafka-ssl, or the mechanism PLAIN",
                });
            }
        }
        self.options.insert(name, value);
        Ok(self)
    }

    /// Waits this long for servers that do not answer, instead of [`DEFAULT_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The servers as they were named.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// How long servers that do not answer are waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The options of a client that reads a topic with so many partitions.
    pub(super) fn client(&self, partitions: usize) -> ClientConfig {
        let fetched = (FETCHED_BYTES / partitions.max(1)).clamp(256 << 10, 32 << 20);
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            // Assigning partitions by hand wants a name all the same; no group is joined with it.
            .set("group.id", "berglake")
            .set("client.id", "berglake")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            // An offset that is not there is told, never replaced by another.
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("queued.min.messages", "1000000")
            .set("queued.max.messages.kbytes", (fetched / 1024).to_string())
            .set("fetch.message.max.bytes", "8388608")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "100")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("log.connection.close", "false");
        for (name, value) in &self.options {
            config.set(name, value.reveal());
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

fn needs_encryption(protocol: &str) -> bool {
    matches!(protocol.to_ascii_lowercase().as_str(), "ssl" | "sasl_ssl")
}

/// Whether encryption is compiled in.
pub(super) const fn encryption() -> bool {
    cfg!(feature = "kafka-ssl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> KafkaConnection {
        KafkaConnection::new("a:9092,b:9092").unwrap()
    }

    #[test]
    fn no_server_is_an_error() {
        for servers in ["", " ", ",", " , "] {
            let error = KafkaConnection::new(servers).unwrap_err();
            assert!(error.to_string().contains("no server"), "{error}");
        }
    }

    #[test]
    fn what_exactly_once_depends_on_cannot_be_set() {
        for name in OWN {
            let error = connection().with_option(*name, "x".to_owned()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn encryption_is_refused_where_it_is_not_compiled_in() {
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("security.protocol", "ssl"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
        ] {
            let result = connection().with_option(name, value.to_owned());
            assert_eq!(result.is_ok(), encryption(), "{name}={value}");
            if let Err(error) = result {
                let error = berglake_format::Error::from(error).to_string();
                assert!(error.contains("kafka-ssl"), "{error}");
            }
        }
        let plain = connection()
            .with_option("security.protocol", "SASL_PLAINTEXT".to_owned())
            .and_then(|c| c.with_option("sasl.mechanism", "PLAIN".to_owned()));
        assert!(plain.is_ok());
    }

    #[test]
    fn options_reach_the_client_and_are_never_printed() {
        let connection = connection()
            .with_option("sasl.password", "hunter2".to_owned())
            .unwrap()
            .with_option("fetch.wait.max.ms", "7".to_owned())
            .unwrap();
        let config = connection.client(4);
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert!(!format!("{connection:?}").contains("hunter2"));
    }

    #[test]
    fn the_memory_for_fetched_messages_does_not_grow_with_the_partitions() {
        for partitions in [1, 2, 8, 100] {
            let config = connection().client(partitions);
            let kilobytes: usize = config
                .get("queued.max.messages.kbytes")
                .unwrap()
                .parse()
                .unwrap();
            assert!(kilobytes * 1024 * partitions <= FETCHED_BYTES);
        }
    }
}
