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
    /// An option of a client: a scalar under a dotted name like a property, and maybe a secret.
    ClientOption,
}

/// One key, or one family of keys where a segment is [`ANY`].
#[derive(Debug)]
pub(super) struct Known {
    pub(super) path: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) default: Option<&'static str>,
    /// What it is for, as the reference says it.
    pub(super) meaning: &'static str,
}

/// A segment that the user names.
pub(super) const ANY: &str = "*";

const fn key(
    path: &'static [&'static str],
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Known {
    Known {
        path,
        kind,
        default,
        meaning,
    }
}

/// All keys, in the order in which they are shown.
pub(super) static KNOWN: &[Known] = &[
    key(
        &["project", "name"],
        Kind::Text,
        None,
        "The pipeline's name; its tables remember it, and so does progress. Without it the folder's name.",
    ),
    key(
        &["project", "pipelines"],
        Kind::Text,
        Some("pipelines"),
        "The folder of the `.sql` files.",
    ),
    key(
        &["catalog", "uri"],
        Kind::Url,
        Some("sqlite:.berglake/catalog.db"),
        "`sqlite:PATH`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or the `http://` URL of a REST catalog.",
    ),
    key(
        &["catalog", "name"],
        Kind::Text,
        Some("berglake"),
        "The catalog's name as other engines must give it.",
    ),
    key(
        &["catalog", "warehouse"],
        Kind::Text,
        None,
        "What to ask a REST catalog for that holds several warehouses.",
    ),
    key(
        &["catalog", "prefix"],
        Kind::Text,
        None,
        "The prefix of a REST catalog's paths, where the catalog does not say it itself.",
    ),
    key(
        &["catalog", "token"],
        Kind::Secret,
        None,
        "The bearer token for a REST catalog; better in the environment than in the file.",
    ),
    key(
        &["storage", "warehouse"],
        Kind::Text,
        Some(".berglake/warehouse"),
        "The folder below which all tables lie, or `s3://BUCKET/PREFIX`.",
    ),
    key(
        &["storage", "metadata-cache"],
        Kind::Size,
        Some("128MiB"),
        "How many bytes of manifests and manifest lists are kept in memory.",
    ),
    key(
        &["storage", "s3", "endpoint"],
        Kind::Url,
        None,
        "The store's address, as in `http://localhost:9000`. Without it AWS.",
    ),
    key(
        &["storage", "s3", "region"],
        Kind::Text,
        None,
        "The region, as in `us-east-1`.",
    ),
    key(
        &["storage", "s3", "access-key-id"],
        Kind::Secret,
        None,
        "Better in the environment than in the file.",
    ),
    key(
        &["storage", "s3", "secret-access-key"],
        Kind::Secret,
        None,
        "Better in the environment than in the file.",
    ),
    key(
        &["storage", "s3", "session-token"],
        Kind::Secret,
        None,
        "The token of temporary keys; better in the environment than in the file.",
    ),
    key(
        &["storage", "s3", "path-style"],
        Kind::Flag,
        Some("false"),
        "Whether buckets are part of the path: `true` for most stores that are not AWS.",
    ),
    key(
        &["storage", "s3", "allow-http"],
        Kind::Flag,
        Some("false"),
        "Whether an endpoint without TLS may be used.",
    ),
    key(
        &["catalog", "server", "listen"],
        Kind::Text,
        Some("127.0.0.1:8181"),
        "Where the catalog server listens, `HOST:PORT`; port 0 is any that is free.",
    ),
    key(
        &["catalog", "server", "tokens"],
        Kind::Secret,
        None,
        "The bearer tokens that the catalog server takes, joined by commas; each is as good as the others.",
    ),
    key(
        &["catalog", "server", "allow-anonymous"],
        Kind::Flag,
        Some("false"),
        "Whether the catalog server may listen beyond this machine without tokens.",
    ),
    key(
        &["catalog", "clients", "s3-endpoint"],
        Kind::Url,
        None,
        "The store's address that the catalog server tells its clients, where it is not `storage.s3.endpoint`.",
    ),
    key(
        &["catalog", "clients", "share-credentials"],
        Kind::Flag,
        Some("false"),
        "Whether the catalog server hands its own keys of the store to its clients.",
    ),
    key(
        &["query", "listen"],
        Kind::Text,
        Some("127.0.0.1:8080"),
        "Where the query service listens.",
    ),
    key(
        &["query", "tokens"],
        Kind::Secret,
        None,
        "The bearer tokens that the query service takes, joined by commas.",
    ),
    key(
        &["query", "allow-anonymous"],
        Kind::Flag,
        Some("false"),
        "Whether the query service may listen beyond this machine without tokens.",
    ),
    key(
        &["query", "read-only"],
        Kind::Flag,
        Some("true"),
        "Whether the query service refuses statements that change something.",
    ),
    key(
        &["query", "max-rows"],
        Kind::Count,
        Some("1000000"),
        "The most rows of one answer.",
    ),
    key(
        &["query", "timeout"],
        Kind::Duration,
        Some("60s"),
        "How long one query may take.",
    ),
    key(
        &["query", "memory"],
        Kind::Size,
        Some("1GiB"),
        "What all queries together may hold in memory.",
    ),
    key(
        &["query", "concurrency"],
        Kind::Count,
        Some("8"),
        "The most queries at the same time.",
    ),
    key(
        &["query", "max-body"],
        Kind::Size,
        Some("1MiB"),
        "The largest request.",
    ),
    key(
        &["services", "bronze", "listen"],
        Kind::Text,
        Some("127.0.0.1:8091"),
        "Where bronze answers for its health and metrics, if it is a process of its own.",
    ),
    key(
        &["services", "bronze", "interval"],
        Kind::Duration,
        Some("1s"),
        "How often bronze looks for something new, and at most how often a flow runs.",
    ),
    key(
        &["services", "silver", "listen"],
        Kind::Text,
        Some("127.0.0.1:8092"),
        "Where silver answers for its health and metrics, if it is a process of its own.",
    ),
    key(
        &["services", "silver", "interval"],
        Kind::Duration,
        Some("1s"),
        "How often silver looks for changed tables.",
    ),
    key(
        &["services", "gold", "listen"],
        Kind::Text,
        Some("127.0.0.1:8093"),
        "Where gold answers for its health and metrics, if it is a process of its own.",
    ),
    key(
        &["services", "gold", "interval"],
        Kind::Duration,
        Some("1s"),
        "How often gold looks for changed tables.",
    ),
    key(
        &["services", "maintenance", "listen"],
        Kind::Text,
        Some("127.0.0.1:8094"),
        "Where maintenance answers for its health and metrics, if it is a process of its own.",
    ),
    key(
        &["services", "shutdown-timeout"],
        Kind::Duration,
        Some("20s"),
        "How long a role may take to finish or abandon its batch after SIGTERM.",
    ),
    key(
        &["maintenance", "compact"],
        Kind::Text,
        Some("15 * * * *"),
        "When maintenance compacts tables, as a cron expression, or `off`.",
    ),
    key(
        &["maintenance", "expire"],
        Kind::Text,
        Some("45 2 * * *"),
        "When maintenance expires snapshots, as a cron expression, or `off`.",
    ),
    key(
        &["maintenance", "time-zone"],
        Kind::Text,
        Some("UTC"),
        "The time zone in which the two are meant.",
    ),
    key(
        &["maintenance", "retries"],
        Kind::Count,
        Some("3"),
        "How often maintenance that failed is tried again.",
    ),
    key(
        &["maintenance", "retry-delay"],
        Kind::Duration,
        Some("5m"),
        "The wait before it is.",
    ),
    key(
        &["defaults", ANY],
        Kind::Property,
        None,
        "A property of all new tables.",
    ),
    key(
        &["layers", ANY, ANY],
        Kind::Property,
        None,
        "A property of new tables in the namespace that the second part names; it wins over `defaults`.",
    ),
    key(
        &["variables", ANY],
        Kind::Scalar,
        None,
        "What `${NAME}` stands for in SQL files; never secrets.",
    ),
    key(
        &["connections", ANY, "kind"],
        Kind::Text,
        None,
        "What the connection leads to: `files` or `kafka`.",
    ),
    key(
        &["connections", ANY, "path"],
        Kind::Text,
        None,
        "Of files: a folder or bucket, for `read_files(connection => 'NAME', …)`.",
    ),
    key(
        &["connections", ANY, "bootstrap-servers"],
        Kind::Text,
        None,
        "Brokers of Kafka, `HOST:PORT`, several with commas.",
    ),
    key(
        &["connections", ANY, "security-protocol"],
        Kind::Text,
        None,
        "`PLAINTEXT` unless said otherwise, `SASL_PLAINTEXT`, `SSL` or `SASL_SSL`; the last two need a build with the cargo feature `kafka-ssl`.",
    ),
    key(
        &["connections", ANY, "sasl-mechanism"],
        Kind::Text,
        None,
        "`PLAIN`; `SCRAM-SHA-256`, `SCRAM-SHA-512` and `OAUTHBEARER` need `kafka-ssl`, too.",
    ),
    key(
        &["connections", ANY, "sasl-username"],
        Kind::Text,
        None,
        "Who logs in to Kafka.",
    ),
    key(
        &["connections", ANY, "sasl-password"],
        Kind::Secret,
        None,
        "Better in the environment than in the file.",
    ),
    key(
        &["connections", ANY, "timeout"],
        Kind::Duration,
        None,
        "How long brokers that do not answer are waited for; `60s` unless said otherwise.",
    ),
    key(
        &["connections", ANY, "options", ANY],
        Kind::ClientOption,
        None,
        "An option of librdkafka; those on which exactly-once depends are refused.",
    ),
];

/// A table property that is known by name.
#[derive(Debug)]
pub(super) struct Property {
    /// Its name; `*` stands for a column.
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    /// What it does, as the reference says it; nothing where it is kept for others and does nothing here.
    pub(super) meaning: Option<&'static str>,
}

const fn property(name: &'static str, default: &'static str, meaning: &'static str) -> Property {
    Property {
        name,
        default,
        meaning: Some(meaning),
    }
}

const fn kept(name: &'static str) -> Property {
    Property {
        name,
        default: "",
        meaning: None,
    }
}

/// Table properties that an environment variable can name without the file naming them first.
pub(super) static PROPERTIES: &[Property] = &[
    property(
        "format-version",
        "2",
        "`2` or `3`; only when the table is made.",
    ),
    property(
        "write.parquet.compression-codec",
        "zstd",
        "`zstd`, `snappy`, `gzip`, `lz4`, `brotli` or `uncompressed`.",
    ),
    property(
        "write.parquet.compression-level",
        "3 for zstd",
        "The level of the codec.",
    ),
    property(
        "write.delete.parquet.compression-codec",
        "as data",
        "The same for delete files.",
    ),
    property(
        "write.delete.parquet.compression-level",
        "as data",
        "The same for delete files.",
    ),
    property(
        "write.target-file-size-bytes",
        "512MiB",
        "At which size a data file is closed.",
    ),
    property(
        "write.parquet.row-group-size-bytes",
        "128MiB",
        "Size of a row group.",
    ),
    property("write.parquet.page-size-bytes", "1MiB", "Size of a page."),
    property("write.parquet.page-row-limit", "20000", "Rows of a page."),
    property(
        "write.parquet.dict-size-bytes",
        "2MiB",
        "Size of a dictionary.",
    ),
    property(
        "write.parquet.bloom-filter-enabled.column.*",
        "false",
        "Whether the column has a Bloom filter.",
    ),
    property(
        "write.parquet.bloom-filter-fpp.column.*",
        "0.01",
        "Its rate of false positives.",
    ),
    property(
        "write.metadata.metrics.default",
        "truncate(16)",
        "What is kept of each column: `none`, `counts`, `truncate(n)` or `full`.",
    ),
    property(
        "write.metadata.metrics.column.*",
        "",
        "The same for one column.",
    ),
    property(
        "write.metadata.metrics.max-inferred-column-defaults",
        "100",
        "The number of columns to which the default applies.",
    ),
    property(
        "write.data.path",
        "in the table's folder",
        "Where data files go.",
    ),
    property(
        "write.metadata.path",
        "in the table's folder",
        "Where metadata goes.",
    ),
    property(
        "write.metadata.compression-codec",
        "none",
        "`none` or `gzip`.",
    ),
    property(
        "write.summary.partition-limit",
        "0",
        "A snapshot that changes no more partitions says in its summary what it changed in each.",
    ),
    property(
        "commit.manifest-merge.enabled",
        "true",
        "Whether commits merge small manifests of older commits.",
    ),
    property(
        "commit.manifest.target-size-bytes",
        "8MiB",
        "Size of merged and rewritten manifests.",
    ),
    property(
        "commit.manifest.min-count-to-merge",
        "100",
        "How many small manifests pile up before they are merged.",
    ),
    property(
        "commit.retry.num-retries",
        "20",
        "Attempts to commit after the first.",
    ),
    property(
        "commit.retry.min-wait-ms",
        "20",
        "The wait after the first; it doubles each time.",
    ),
    property("commit.retry.max-wait-ms", "5000", "The longest wait."),
    property(
        "commit.retry.total-timeout-ms",
        "1800000",
        "After this no further attempt is started.",
    ),
    property(
        "commit.status-check.total-timeout-ms",
        "60000",
        "How long a lost answer is looked for.",
    ),
    property(
        "gc.enabled",
        "true",
        "`false` forbids `DROP TABLE … PURGE`.",
    ),
    property(
        "berglake.dead-letter",
        "",
        "The table for records that could not be read.",
    ),
    property(
        "berglake.compact.min-input-files",
        "5",
        "From how many files on a partition is compacted whatever their size; for more see [Maintenance](maintenance.md).",
    ),
    property(
        "berglake.compact.target-file-size-bytes",
        "that of writers",
        "Size of compacted files.",
    ),
    property(
        "history.expire.max-snapshot-age-ms",
        "5d",
        "How old a snapshot becomes before maintenance expires it.",
    ),
    property(
        "history.expire.min-snapshots-to-keep",
        "1",
        "How many snapshots stay whatever their age.",
    ),
    property("berglake.batch.max-files", "1000", "Files per commit."),
    property(
        "berglake.batch.max-bytes",
        "1073741824",
        "Bytes of files or messages per commit, as a whole number; one file is taken whole.",
    ),
    property(
        "berglake.batch.max-rows",
        "2000000",
        "Rows of a source table per commit; those of one snapshot are taken together.",
    ),
    kept("read.split.metadata-target-size"),
    kept("read.split.open-file-cost"),
    kept("read.split.planning-lookback"),
    kept("read.split.target-size"),
    kept("write.delete.granularity"),
    kept("write.delete.mode"),
    kept("write.merge.mode"),
    kept("write.metadata.delete-after-commit.enabled"),
    kept("write.metadata.previous-versions-max"),
    kept("write.update.mode"),
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
