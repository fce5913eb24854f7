//! Settings of the roles that serve and watch: where they listen, how often they look, what a query
//! may cost.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use berglake_format::{Error, Result, Secret};

use super::{Reader, parse_size};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    host: String,
    port: u16,
}

impl Listen {
    /// An address written `HOST:PORT`, the host of IPv6 in brackets; port 0 is any that is free.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("{text:?} is no address to listen at"))
                .help("write HOST:PORT, as in 127.0.0.1:8080 or 0.0.0.0:8080")
        };
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bare {
            Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            // Without brackets nobody can tell where the address of IPv6 ends.
            None if !host.is_empty() && !host.contains([':', '/', '@', ' ']) => host,
            _ => return Err(wrong()),
        };
        Ok(Self {
            host: host.to_string(),
            port,
        })
    }

    /// The host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 is any that is free.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// A server that answers requests about data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where it listens.
    pub listen: Listen,
    /// The bearer tokens that it takes, each as good as the others, so that they can be changed one
    /// after the other. None lets everybody in.
    pub tokens: Vec<Secret>,
    /// Whether it may listen beyond this machine without tokens.
    pub allow_anonymous: bool,
}

/// What clients of the catalog server are told about the storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogClientsConfig {
    /// Where clients reach the store, if that is not where the server does.
    pub s3_endpoint: Option<String>,
    /// Whether they get the store's access keys with each table.
    pub share_credentials: bool,
}

/// What queries over HTTP may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryConfig {
    /// The server.
    pub server: ServerConfig,
    /// Whether statements that change something are refused.
    pub read_only: bool,
    /// The most rows of one answer.
    pub max_rows: u64,
    /// How long one query may take.
    pub timeout: Duration,
    /// Bytes that all queries together may hold in memory.
    pub memory: u64,
    /// The most queries at the same time.
    pub concurrency: u64,
    /// The most bytes of a request's body.
    pub max_body: u64,
}

/// A role that follows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Where it answers for its health and metrics, if it is a process of its own.
    pub listen: Listen,
    /// How often it looks for something new, and at most how often a flow runs.
    pub interval: Duration,
}

/// The roles beside catalog and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicesConfig {
    /// Sources into tables.
    pub bronze: WorkerConfig,
    /// Changed rows into clean rows.
    pub silver: WorkerConfig,
    /// Changed groups into aggregates.
    pub gold: WorkerConfig,
    /// Where the maintenance role answers for its health and metrics, if it is a process of its own.
    pub maintenance_listen: Listen,
    /// How long a role may take to end after it was told to.
    pub shutdown_timeout: Duration,
}

/// When tables are maintained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceConfig {
    /// When files are compacted, as a cron expression; never where it is `off`.
    pub compact: Option<String>,
    /// When snapshots expire, as a cron expression; never where it is `off`.
    pub expire: Option<String>,
    /// The time zone in which the expressions are meant.
    pub time_zone: String,
    /// How often a run that has failed is tried again before its next time.
    pub retries: u64,
    /// How long after the failure.
    pub retry_delay: Duration,
}

impl Reader<'_> {
    pub(super) fn maintenance(&mut self) -> Result<MaintenanceConfig> {
        let mut schedule = |name| -> Result<Option<String>> {
            let text = self.text(&["maintenance", name])?;
            Ok((text.trim() != "off").then_some(text))
        };
        let (compact, expire) = (schedule("compact")?, schedule("expire")?);
        Ok(MaintenanceConfig {
            compact,
            expire,
            time_zone: self.text(&["maintenance", "time-zone"])?,
            retries: self.count(&["maintenance", "retries"])?,
            retry_delay: self.duration(&["maintenance", "retry-delay"])?,
        })
    }

    pub(super) fn services(&mut self) -> Result<ServicesConfig> {
        Ok(ServicesConfig {
            bronze: self.worker("bronze")?,
            silver: self.worker("silver")?,
            gold: self.worker("gold")?,
            maintenance_listen: self.listen(&["services", "maintenance", "listen"])?,
            shutdown_timeout: self.duration(&["services", "shutdown-timeout"])?,
        })
    }

    pub(super) fn query(&mut self) -> Result<QueryConfig> {
        Ok(QueryConfig {
            server: self.server(&["query"])?,
            read_only: self.flag(&["query", "read-only"])?,
            max_rows: self.count(&["query", "max-rows"])?,
            timeout: self.duration(&["query", "timeout"])?,
            memory: self.size(&["query", "memory"])?,
            concurrency: self.count(&["query", "concurrency"])?,
            max_body: self.size(&["query", "max-body"])?,
        })
    }

    pub(super) fn catalog_server(&mut self) -> Result<ServerConfig> {
        self.server(&["catalog", "server"])
    }

    pub(super) fn catalog_clients(&mut self) -> Result<CatalogClientsConfig> {
        Ok(CatalogClientsConfig {
            s3_endpoint: self.optional(&["catalog", "clients", "s3-endpoint"]),
            share_credentials: self.flag(&["catalog", "clients", "share-credentials"])?,
        })
    }

    fn server(&mut self, section: &[&str]) -> Result<ServerConfig> {
        let path = |name| [section, &[name]].concat();
        let listen = self.listen(&path("listen"))?;
        let tokens = self.optional(&path("tokens")).unwrap_or_default();
        let tokens: Vec<Secret> = tokens
            .split(',')
            .map(str::trim)
            .filter(|token| !token.is_empty())
            .map(Secret::new)
            .collect();
        // What cannot be in a header could never be sent.
        let sendable = |token: &Secret| token.reveal().bytes().all(|b| b.is_ascii_graphic());
        if !tokens.iter().all(sendable) {
            let error = Error::invalid("a token has a character that no header can carry")
                .help("tokens are of ASCII letters, digits and signs, separated by commas");
            return Err(self.at(&path("tokens"), error));
        }
        Ok(ServerConfig {
            listen,
            tokens,
            allow_anonymous: self.flag(&path("allow-anonymous"))?,
        })
    }

    fn worker(&mut self, layer: &str) -> Result<WorkerConfig> {
        Ok(WorkerConfig {
            listen: self.listen(&["services", layer, "listen"])?,
            interval: self.duration(&["services", layer, "interval"])?,
        })
    }

    fn listen(&mut self, path: &[&str]) -> Result<Listen> {
        let value = self.text(path)?;
        Listen::parse(&value).map_err(|error| self.at(path, error))
    }

    /// A time above 0, with its unit.
    pub(super) fn duration(&mut self, path: &[&str]) -> Result<Duration> {
        let value = self.text(path)?;
        parse_duration(&value)
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| {
                let error = Error::invalid(format!("{value:?} is no time"))
                    .help("write a number above 0 with ms, s, m, h or d, as in 30s");
                self.at(path, error)
            })
    }

    /// A number above 0.
    pub(super) fn count(&mut self, path: &[&str]) -> Result<u64> {
        let value = self.text(path)?;
        let number = value.trim().parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| {
            let error = Error::invalid(format!("{value:?} is no whole number above 0"));
            self.at(path, error)
        })
    }

    /// A number of bytes above 0, with or without a unit.
    pub(super) fn size(&mut self, path: &[&str]) -> Result<u64> {
        let value = self.text(path)?;
        let bytes = parse_size(&value).filter(|bytes| *bytes > 0);
        bytes.ok_or_else(|| {
            let error = Error::invalid(format!("{value:?} is no size"))
                .help("write a number of bytes, or one with KiB, MiB, GiB, kB, MB or GB");
            self.at(path, error)
        })
    }
}

/// A time with its unit.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(86_400),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, loopback) in [
            ("127.0.0.1:8080", true),
            ("localhost:0", true),
            ("[::1]:8181", true),
            ("0.0.0.0:80", false),
            ("[::]:80", false),
            ("lake.example:8080", false),
        ] {
            let listen = Listen::parse(text).unwrap();
            assert_eq!(listen.to_string(), text);
            assert_eq!(listen.is_loopback(), loopback, "{text}");
        }
        for wrong in [
            "",
            "8080",
            ":8080",
            "host",
            "host:http",
            "host:99999",
            "::1:80",
            "http://h:80",
            "[h]:80",
        ] {
            assert!(Listen::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("250ms", Some(Duration::from_millis(250))),
            ("30s", Some(Duration::from_secs(30))),
            ("5 m", Some(Duration::from_secs(300))),
            ("2h", Some(Duration::from_secs(7_200))),
            ("1d", Some(Duration::from_secs(86_400))),
            ("30", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
