//! The keys of `berglake.toml`: which there are, of which kind, and what holds where nothing is said.

/// How the value of a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A string that may hold a password, as URLs do.
    Url,
    /// A string that is never printed.
    Secret,
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count,
    /// A time with its unit: `30s`.
    Duration,
    /// A number of bytes, with or without a unit: `64MiB`.
    Size,
    /// A string, number or flag that is kept as text.
    Scalar,
    /// A table property: a scalar under a dotted name, quoted or as nested tables.
    Property,
}

/// One key, or one family of keys where a segment is [`ANY`].
#[derive(Debug)]
pub(super) struct Known {
    pub(super) path: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) default: Option<&'static str>,
}

/// A segment that the user names.
pub(super) const ANY: &str = "*";

const fn key(path: &'static [&'static str], kind: Kind, default: Option<&'static str>) -> Known {
    Known {
        path,
        kind,
        default,
    }
}

/// All keys, in the order in which they are shown.
pub(super) static KNOWN: &[Known] = &[
    key(&["project", "name"], Kind::Text, None),
    key(&["project", "pipelines"], Kind::Text, Some("pipelines")),
    key(
        &["catalog", "uri"],
        Kind::Url,
        Some("sqlite:.berglake/catalog.db"),
    ),
    key(&["catalog", "name"], Kind::Text, Some("berglake")),
    key(
        &["storage", "warehouse"],
        Kind::Text,
        Some(".berglake/warehouse"),
    ),
    key(&["storage", "s3", "endpoint"], Kind::Url, None),
    key(&["storage", "s3", "region"], Kind::Text, None),
    key(&["storage", "s3", "access-key-id"], Kind::Secret, None),
    key(&["storage", "s3", "secret-access-key"], Kind::Secret, None),
    key(&["storage", "s3", "path-style"], Kind::Flag, Some("false")),
    key(&["storage", "s3", "allow-http"], Kind::Flag, Some("false")),
    key(
        &["catalog", "server", "listen"],
        Kind::Text,
        Some("127.0.0.1:8181"),
    ),
    key(&["catalog", "server", "tokens"], Kind::Secret, None),
    key(
        &["catalog", "server", "allow-anonymous"],
        Kind::Flag,
        Some("false"),
    ),
    key(&["query", "listen"], Kind::Text, Some("127.0.0.1:8080")),
    key(&["query", "tokens"], Kind::Secret, None),
    key(&["query", "allow-anonymous"], Kind::Flag, Some("false")),
    key(&["query", "read-only"], Kind::Flag, Some("true")),
    key(&["query", "max-rows"], Kind::Count, Some("1000000")),
    key(&["query", "timeout"], Kind::Duration, Some("60s")),
    key(&["query", "memory"], Kind::Size, Some("1GiB")),
    key(&["query", "concurrency"], Kind::Count, Some("8")),
    key(&["query", "max-body"], Kind::Size, Some("1MiB")),
    key(
        &["services", "bronze", "listen"],
        Kind::Text,
        Some("127.0.0.1:8091"),
    ),
    key(
        &["services", "bronze", "interval"],
        Kind::Duration,
        Some("1s"),
    ),
    key(
        &["services", "silver", "listen"],
        Kind::Text,
        Some("127.0.0.1:8092"),
    ),
    key(
        &["services", "silver", "interval"],
        Kind::Duration,
        Some("1s"),
    ),
    key(
        &["services", "gold", "listen"],
        Kind::Text,
        Some("127.0.0.1:8093"),
    ),
    key(
        &["services", "gold", "interval"],
        Kind::Duration,
        Some("1s"),
    ),
    key(
        &["services", "maintenance", "listen"],
        Kind::Text,
        Some("127.0.0.1:8094"),
    ),
    key(
        &["services", "shutdown-timeout"],
        Kind::Duration,
        Some("20s"),
    ),
    key(&["defaults", ANY], Kind::Property, None),
    key(&["layers", ANY, ANY], Kind::Property, None),
    key(&["variables", ANY], Kind::Scalar, None),
    key(&["connections", ANY, "kind"], Kind::Text, None),
    key(&["connections", ANY, "path"], Kind::Text, None),
];

/// Table properties that an environment variable can name without the file naming them first.
pub(super) const PROPERTIES: &[&str] = &[
    "berglake.dead-letter",
    "commit.retry.max-wait-ms",
    "commit.retry.min-wait-ms",
    "commit.retry.num-retries",
    "format-version",
    "gc.enabled",
    "history.expire.max-snapshot-age-ms",
    "history.expire.min-snapshots-to-keep",
    "read.split.metadata-target-size",
    "read.split.open-file-cost",
    "read.split.planning-lookback",
    "read.split.target-size",
    "write.delete.mode",
    "write.delete.granularity",
    "write.merge.mode",
    "write.metadata.delete-after-commit.enabled",
    "write.metadata.metrics.default",
    "write.metadata.previous-versions-max",
    "write.parquet.compression-codec",
    "write.parquet.compression-level",
    "write.parquet.dict-size-bytes",
    "write.parquet.page-row-limit",
    "write.parquet.page-size-bytes",
    "write.parquet.row-group-size-bytes",
    "write.target-file-size-bytes",
    "write.update.mode",
];

impl Known {
    /// Whether this path is of this key.
    fn matches(&self, path: &[String]) -> bool {
        self.path.len() == path.len() && self.starts_with(path)
    }

    /// Whether the key's path begins with this one.
    fn starts_with(&self, path: &[String]) -> bool {
        self.path.len() >= path.len()
            && self
                .path
                .iter()
                .zip(path)
                .all(|(known, given)| *known == ANY || known == given)
    }
}

/// The key that this path is of.
pub(super) fn find(path: &[String]) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.matches(path))
}

/// Whether a table may stand at this path.
pub(super) fn is_section(path: &[String]) -> bool {
    KNOWN
        .iter()
        .any(|known| known.path.len() > path.len() && known.starts_with(path))
}

/// What may stand directly below this path, without repetition.
pub(super) fn below(path: &[String]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for known in KNOWN {
        if known.starts_with(path)
            && let Some(name) = known.path.get(path.len())
            && !names.contains(name)
        {
            names.push(*name);
        }
    }
    names
}

/// The path that a dotted name such as `storage.s3.region` stands for.
///
/// The last segment of a key that the user names takes all that is left, so that
/// `defaults.write.metadata.path` is a property of the defaults.
pub(super) fn parse_dotted(text: &str) -> Option<Vec<String>> {
    KNOWN.iter().find_map(|known| {
        let mut rest = text;
        let mut path = Vec::with_capacity(known.path.len());
        for (i, segment) in known.path.iter().enumerate() {
            let last = i + 1 == known.path.len();
            let name = match (last, rest.split_once('.')) {
                (true, _) => std::mem::take(&mut rest),
                (false, Some((name, after))) => {
                    rest = after;
                    name
                }
                (false, None) => return None,
            };
            if name.is_empty() || (*segment != ANY && *segment != name) {
                return None;
            }
            path.push(name.to_string());
        }
        Some(path)
    })
}

/// The path as it is written in TOML, each segment quoted where it must be.
pub(super) fn dotted(path: &[String]) -> String {
    path.iter()
        .map(|segment| quoted(segment))
        .collect::<Vec<_>>()
        .join(".")
}

/// A name as TOML wants it.
pub(super) fn quoted(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare {
        name.to_string()
    } else {
        toml::Value::String(name.to_string()).to_string()
    }
}
