//! `[connections.NAME]`: where sources are.

use std::collections::BTreeMap;

use berglake_format::{Error, Result, Secret};
use berglake_ingest::kafka::KafkaConnection;

use super::{Reader, settings};

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// Files, for `read_files`.
    Files(FilesConnection),
    /// Brokers, for `read_kafka`.
    Kafka(KafkaConnection),
}

impl Connection {
    /// The name of the kind, as `kind = "…"` has it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Files(_) => "files",
            Self::Kafka(_) => "kafka",
        }
    }
}

/// Where source files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesConnection {
    /// The folder or prefix to which paths are relative: an absolute folder or a location.
    pub path: String,
}

/// The keys of each kind, beside `kind`.
const KEYS: &[(&str, &[&str])] = &[
    ("files", &["path"]),
    (
        "kafka",
        &[
            "bootstrap-servers",
            "security-protocol",
            "sasl-mechanism",
            "sasl-username",
            "sasl-password",
            "timeout",
            "options",
        ],
    ),
];

/// Keys that stand for options of the client.
const OPTIONS: &[(&str, &str)] = &[
    ("security-protocol", "security.protocol"),
    ("sasl-mechanism", "sasl.mechanism"),
    ("sasl-username", "sasl.username"),
    ("sasl-password", "sasl.password"),
];

impl Reader<'_> {
    pub(super) fn connections(&mut self) -> Result<BTreeMap<String, Connection>> {
        let mut names: Vec<String> = self
            .settings
            .0
            .keys()
            .filter(|path| path.len() >= 3 && path[0] == "connections")
            .map(|path| path[1].clone())
            .collect();
        names.dedup();
        let mut connections = BTreeMap::new();
        for name in names {
            let connection = self.connection(&name)?;
            connections.insert(name, connection);
        }
        Ok(connections)
    }

    fn connection(&mut self, name: &str) -> Result<Connection> {
        let path = ["connections", name, "kind"];
        let kind = self.optional(&path).ok_or_else(|| {
            self.at(&path, Error::invalid("the connection has no kind"))
                .help("write kind = \"files\" or kind = \"kafka\"")
        })?;
        settings::check_connection_kind(&kind).map_err(|error| self.at(&path, error))?;
        self.check_keys(name, &kind)?;
        match kind.as_str() {
            "kafka" => self.kafka(name).map(Connection::Kafka),
            _ => self.files(name).map(Connection::Files),
        }
    }

    /// A key of another kind is a mistake.
    fn check_keys(&self, name: &str, kind: &str) -> Result<()> {
        let allowed = KEYS.iter().find(|(known, _)| *known == kind);
        let allowed = allowed.map_or(&[][..], |(_, keys)| keys);
        let given = self.settings.0.keys().filter(|path| {
            path.len() >= 3 && path[0] == "connections" && path[1] == name && path[2] != "kind"
        });
        for path in given {
            if !allowed.contains(&path[2].as_str()) {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let error = Error::invalid(format!(
                    "a connection of the kind {kind:?} has no key {:?}",
                    path[2]
                ))
                .help(format!("it has {}", allowed.join(", ")));
                return Err(self.at(&path, error));
            }
        }
        Ok(())
    }

    fn files(&mut self, name: &str) -> Result<FilesConnection> {
        let path = ["connections", name, "path"];
        if self.optional(&path).is_none() {
            return Err(self
                .at(&path, Error::invalid("the connection has no path"))
                .help("write path = \"FOLDER\", relative to the project's folder, or s3://BUCKET/PREFIX"));
        }
        let path = self.folder(&path)?;
        Ok(FilesConnection { path })
    }

    fn kafka(&mut self, name: &str) -> Result<KafkaConnection> {
        let servers = ["connections", name, "bootstrap-servers"];
        let named = self.optional(&servers).unwrap_or_default();
        let mut connection =
            KafkaConnection::new(named).map_err(|error| self.at(&servers, error.into()))?;
        if self.optional(&["connections", name, "timeout"]).is_some() {
            let timeout = self.duration(&["connections", name, "timeout"])?;
            connection = connection.with_timeout(timeout);
        }
        for (key, option) in OPTIONS {
            let path = ["connections", name, *key];
            if let Some(value) = self.secret(&path) {
                connection = connection
                    .with_option(*option, value)
                    .map_err(|error| self.at(&path, error.into()))?;
            }
        }
        let options: Vec<String> = self
            .settings
            .0
            .keys()
            .filter(|path| {
                path.len() == 4
                    && path[0] == "connections"
                    && path[1] == name
                    && path[2] == "options"
            })
            .map(|path| path[3].clone())
            .collect();
        for option in options {
            let path = ["connections", name, "options", &option];
            let value = self.optional(&path).unwrap_or_default();
            connection = connection
                .with_option(option.as_str(), Secret::new(value))
                .map_err(|error| self.at(&path, error.into()))?;
        }
        Ok(connection)
    }
}
