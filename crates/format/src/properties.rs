//! Table properties under their standard names, parsed and validated once.
//!
//! A property that is set wrongly is an error, never a silent default; one that names a column which
//! the table no longer has is ignored, because dropping a column must not stop its table's writers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use iceberg::NamespaceIdent;
use iceberg::spec::TableMetadata;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use crate::commit::RetryPolicy;
use crate::{Error, Result};

const FORMAT: &str = "write.format.default";
const CODEC: &str = "write.parquet.compression-codec";
const LEVEL: &str = "write.parquet.compression-level";
const DELETE_CODEC: &str = "write.delete.parquet.compression-codec";
const DELETE_LEVEL: &str = "write.delete.parquet.compression-level";
const TARGET_FILE_SIZE: &str = "write.target-file-size-bytes";
const ROW_GROUP_SIZE: &str = "write.parquet.row-group-size-bytes";
const PAGE_SIZE: &str = "write.parquet.page-size-bytes";
const PAGE_ROWS: &str = "write.parquet.page-row-limit";
const DICT_SIZE: &str = "write.parquet.dict-size-bytes";
const BLOOM_ENABLED: &str = "write.parquet.bloom-filter-enabled.column.";
const BLOOM_FPP: &str = "write.parquet.bloom-filter-fpp.column.";
const METRICS_DEFAULT: &str = "write.metadata.metrics.default";
const METRICS_COLUMN: &str = "write.metadata.metrics.column.";
const METRICS_INFERRED: &str = "write.metadata.metrics.max-inferred-column-defaults";
const MANIFEST_MERGE: &str = "commit.manifest-merge.enabled";
const MANIFEST_TARGET_SIZE: &str = "commit.manifest.target-size-bytes";
const MANIFEST_MIN_COUNT: &str = "commit.manifest.min-count-to-merge";
const SUMMARY_PARTITIONS: &str = "write.summary.partition-limit";
const SPLIT_TARGET_SIZE: &str = "read.split.target-size";
const SPLIT_LOOKBACK: &str = "read.split.planning-lookback";
const SPLIT_OPEN_FILE_COST: &str = "read.split.open-file-cost";

const CODECS: &str = "zstd, snappy, gzip, lz4, brotli, uncompressed";
const MIB: u64 = 1 << 20;

/// Properties that tables get when they are made, unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDefaults {
    /// Those of all tables.
    pub all: BTreeMap<String, String>,
    /// Those of tables in a namespace, its parts joined by dots; they win over those of all.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl TableDefaults {
    /// What a new table in this namespace gets.
    pub fn of(&self, namespace: &NamespaceIdent) -> HashMap<String, String> {
        let own = self.namespaces.get(&namespace.join("."));
        self.all
            .iter()
            .chain(own.into_iter().flatten())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

/// Settings of writers: `write.*` of the table, with the project's own defaults where nothing is said.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteProperties {
    /// `write.parquet.compression-codec` and `-level`; zstd level 3 where nothing is said. `lz4` is
    /// the raw form, because the framed one is deprecated and read differently by different engines.
    /// A level is ignored by codecs that have none.
    pub compression: Compression,
    /// `write.delete.parquet.compression-codec` and `-level`; as data files where nothing is said.
    pub delete_compression: Compression,
    /// `write.target-file-size-bytes`; 512 MiB where nothing is said.
    pub target_file_size: u64,
    /// `write.parquet.row-group-size-bytes`; 128 MiB where nothing is said.
    pub row_group_size: usize,
    /// `write.parquet.page-size-bytes`; 1 MiB.
    pub page_size: usize,
    /// `write.parquet.page-row-limit`; 20,000.
    pub page_row_limit: usize,
    /// `write.parquet.dict-size-bytes`; 2 MiB.
    pub dict_size: usize,
    /// Columns with `write.parquet.bloom-filter-enabled.column.<name> = true`, sorted.
    pub bloom_filter_columns: Vec<String>,
    /// `write.parquet.bloom-filter-fpp.column.<name>`: the share of false positives; 0.01.
    pub bloom_filter_fpp: HashMap<String, f64>,
    /// `write.metadata.metrics.*`.
    pub metrics: MetricsProperties,
}

impl Default for WriteProperties {
    fn default() -> Self {
        let zstd = Compression::ZSTD(ZstdLevel::try_new(3).unwrap_or_default());
        Self {
            compression: zstd,
            delete_compression: zstd,
            target_file_size: 512 * MIB,
            row_group_size: 128 << 20,
            page_size: 1 << 20,
            page_row_limit: 20_000,
            dict_size: 2 << 20,
            bloom_filter_columns: Vec::new(),
            bloom_filter_fpp: HashMap::new(),
            metrics: MetricsProperties::default(),
        }
    }
}

impl WriteProperties {
    /// The false-positive rate of bloom filters where nothing is said.
    pub const DEFAULT_BLOOM_FILTER_FPP: f64 = 0.01;

    /// The settings of a table.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) naming the property, its value and what is
    /// allowed.
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        Self::parse(metadata.properties())
    }

    /// The settings in these properties.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn parse(properties: &HashMap<String, String>) -> Result<Self> {
        let defaults = Self::default();
        if let Some(format) = properties.get(FORMAT)
            && !format.eq_ignore_ascii_case("parquet")
        {
            return Err(wrong(FORMAT, format, "parquet"));
        }
        let compression = compression(properties, CODEC, LEVEL)?.unwrap_or(defaults.compression);
        let mut bloom_filter_columns = Vec::new();
        let mut bloom_filter_fpp = HashMap::new();
        for (key, value) in properties {
            if let Some(column) = key.strip_prefix(BLOOM_ENABLED) {
                if boolean(key, value)? {
                    bloom_filter_columns.push(column.to_string());
                }
            } else if let Some(column) = key.strip_prefix(BLOOM_FPP) {
                let fpp: f64 = value
                    .trim()
                    .parse()
                    .ok()
                    .filter(|fpp| *fpp > 0.0 && *fpp < 1.0)
                    .ok_or_else(|| wrong(key, value, "a number between 0 and 1, both excluded"))?;
                bloom_filter_fpp.insert(column.to_string(), fpp);
            }
        }
        bloom_filter_columns.sort();
        Ok(Self {
            compression,
            delete_compression: compression_of_deletes(properties)?.unwrap_or(compression),
            target_file_size: positive(properties, TARGET_FILE_SIZE, defaults.target_file_size)?,
            row_group_size: positive(properties, ROW_GROUP_SIZE, defaults.row_group_size)?,
            page_size: positive(properties, PAGE_SIZE, defaults.page_size)?,
            page_row_limit: positive(properties, PAGE_ROWS, defaults.page_row_limit)?,
            dict_size: positive(properties, DICT_SIZE, defaults.dict_size)?,
            bloom_filter_columns,
            bloom_filter_fpp,
            metrics: MetricsProperties::parse(properties)?,
        })
    }
}

/// What a manifest says of a column of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsMode {
    /// Nothing.
    None,
    /// Sizes, and counts of values, NULLs and NaNs.
    Counts,
    /// Counts, and bounds cut at this many code points (strings) or bytes (binaries).
    Truncate(usize),
    /// Counts and whole bounds.
    Full,
}

impl FromStr for MetricsMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "none" => Ok(Self::None),
            "counts" => Ok(Self::Counts),
            "full" => Ok(Self::Full),
            other => other
                .strip_prefix("truncate(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(|length| length.trim().parse().ok())
                .filter(|length| *length > 0)
                .map(Self::Truncate)
                .ok_or(()),
        }
    }
}

impl fmt::Display for MetricsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Counts => f.write_str("counts"),
            Self::Truncate(length) => write!(f, "truncate({length})"),
            Self::Full => f.write_str("full"),
        }
    }
}

/// `write.metadata.metrics.*`: which columns have which metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsProperties {
    /// `write.metadata.metrics.default`, where it is set.
    pub default: Option<MetricsMode>,
    /// `write.metadata.metrics.column.<name>`.
    pub columns: HashMap<String, MetricsMode>,
    /// `write.metadata.metrics.max-inferred-column-defaults`; 100. Where no default is set, columns
    /// after so many have no metrics, lest the manifests of wide tables outgrow their data.
    pub max_inferred: usize,
}

impl Default for MetricsProperties {
    fn default() -> Self {
        Self {
            default: None,
            columns: HashMap::new(),
            max_inferred: 100,
        }
    }
}

impl MetricsProperties {
    fn parse(properties: &HashMap<String, String>) -> Result<Self> {
        let allowed = "none, counts, truncate(LENGTH), full";
        let mode =
            |key: &str, value: &String| value.parse().map_err(|()| wrong(key, value, allowed));
        let default = properties
            .get(METRICS_DEFAULT)
            .map(|value| mode(METRICS_DEFAULT, value))
            .transpose()?;
        let mut columns = HashMap::new();
        for (key, value) in properties {
            if let Some(column) = key.strip_prefix(METRICS_COLUMN) {
                columns.insert(column.to_string(), mode(key, value)?);
            }
        }
        Ok(Self {
            default,
            columns,
            max_inferred: number(properties, METRICS_INFERRED, Self::default().max_inferred)?,
        })
    }

    /// The mode of the column with this full name that stands at this place among all leaf columns.
    pub fn mode(&self, column: &str, place: usize) -> MetricsMode {
        match (self.columns.get(column), self.default) {
            (Some(mode), _) => *mode,
            (None, Some(mode)) => mode,
            (None, None) if place < self.max_inferred => MetricsMode::Truncate(16),
            (None, None) => MetricsMode::None,
        }
    }
}

/// `history.expire.*`: which snapshots are kept. What is not said is left open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryProperties {
    /// `history.expire.min-snapshots-to-keep`.
    pub min_snapshots_to_keep: Option<u32>,
    /// `history.expire.max-snapshot-age-ms`.
    pub max_snapshot_age_ms: Option<i64>,
    /// `history.expire.max-ref-age-ms`; branches and tags have no age limit where nothing is said.
    pub max_ref_age_ms: Option<i64>,
}

impl HistoryProperties {
    /// The settings of a table.
    ///
    /// # Errors
    /// As [`WriteProperties::of`].
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        Self::parse(metadata.properties())
    }

    /// The settings in these properties.
    ///
    /// # Errors
    /// As [`WriteProperties::of`].
    pub fn parse(properties: &HashMap<String, String>) -> Result<Self> {
        const MIN_SNAPSHOTS: &str = "history.expire.min-snapshots-to-keep";
        let age = |key| -> Result<Option<i64>> {
            let set = properties.contains_key(key);
            let age = number(properties, key, 0_u64)?;
            Ok(set.then_some(i64::try_from(age).unwrap_or(i64::MAX)))
        };
        Ok(Self {
            min_snapshots_to_keep: match properties.contains_key(MIN_SNAPSHOTS) {
                true => Some(positive(properties, MIN_SNAPSHOTS, 1)?),
                false => None,
            },
            max_snapshot_age_ms: age("history.expire.max-snapshot-age-ms")?,
            max_ref_age_ms: age("history.expire.max-ref-age-ms")?,
        })
    }

    /// These settings, with others where they leave something open.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        Self {
            min_snapshots_to_keep: self.min_snapshots_to_keep.or(others.min_snapshots_to_keep),
            max_snapshot_age_ms: self.max_snapshot_age_ms.or(others.max_snapshot_age_ms),
            max_ref_age_ms: self.max_ref_age_ms.or(others.max_ref_age_ms),
        }
    }

    /// How many snapshots of a branch are kept whatever their age; 1 where nothing is said.
    pub fn min_snapshots(&self) -> u32 {
        self.min_snapshots_to_keep.unwrap_or(1)
    }

    /// Up to which age snapshots are kept, in milliseconds; 5 days where nothing is said.
    pub fn max_age(&self) -> i64 {
        self.max_snapshot_age_ms.unwrap_or(5 * 24 * 60 * 60 * 1_000)
    }
}

/// How the manifests of a table are kept: `commit.manifest.*`, and what summaries say of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestProperties {
    /// `commit.manifest-merge.enabled`; true. Whether commits merge the manifests of older ones.
    pub merge: bool,
    /// `commit.manifest.target-size-bytes`; 8 MiB.
    pub target_size: u64,
    /// `commit.manifest.min-count-to-merge`; 100. So many small manifests pile up before they are
    /// merged.
    pub min_count_to_merge: usize,
    /// `write.summary.partition-limit`; 0. A snapshot that changes no more partitions than this says in
    /// its summary what it changed in each.
    pub summary_partition_limit: usize,
}

impl Default for ManifestProperties {
    fn default() -> Self {
        Self {
            merge: true,
            target_size: 8 * MIB,
            min_count_to_merge: 100,
            summary_partition_limit: 0,
        }
    }
}

impl ManifestProperties {
    /// The settings of a table.
    ///
    /// # Errors
    /// As [`WriteProperties::of`].
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        Self::parse(metadata.properties())
    }

    /// The settings in these properties.
    ///
    /// # Errors
    /// As [`WriteProperties::of`].
    pub fn parse(properties: &HashMap<String, String>) -> Result<Self> {
        let defaults = Self::default();
        Ok(Self {
            merge: match properties.get(MANIFEST_MERGE) {
                Some(value) => boolean(MANIFEST_MERGE, value)?,
                None => defaults.merge,
            },
            target_size: positive(properties, MANIFEST_TARGET_SIZE, defaults.target_size)?,
            min_count_to_merge: positive(
                properties,
                MANIFEST_MIN_COUNT,
                defaults.min_count_to_merge,
            )?,
            summary_partition_limit: number(
                properties,
                SUMMARY_PARTITIONS,
                defaults.summary_partition_limit,
            )?,
        })
    }
}

/// How plans are cut into parts: `read.split.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitProperties {
    /// `read.split.target-size`; 128 MiB. What a part weighs at most, if it has more than one row group.
    pub target_size: u64,
    /// `read.split.planning-lookback`; 10. How many parts stay open for small files.
    pub lookback: usize,
    /// `read.split.open-file-cost`; 4 MiB. What a file weighs at least.
    pub open_file_cost: u64,
}

impl Default for SplitProperties {
    fn default() -> Self {
        Self {
            target_size: 128 * MIB,
            lookback: 10,
            open_file_cost: 4 * MIB,
        }
    }
}

impl SplitProperties {
    /// The settings of a table.
    ///
    /// # Errors
    /// As [`WriteProperties::of`].
    pub fn of(metadata: &TableMetadata) -> Result<Self> {
        Self::parse(metadata.properties())
    }

    /// The settings in these properties.
    ///
    /// # Errors
    /// As [`WriteProperties::of`].
    pub fn parse(properties: &HashMap<String, String>) -> Result<Self> {
        let defaults = Self::default();
        let lookback = u32::try_from(defaults.lookback).unwrap_or(u32::MAX);
        Ok(Self {
            target_size: positive(properties, SPLIT_TARGET_SIZE, defaults.target_size)?,
            lookback: positive(properties, SPLIT_LOOKBACK, lookback)? as usize,
            open_file_cost: number(properties, SPLIT_OPEN_FILE_COST, defaults.open_file_cost)?,
        })
    }
}

/// `commit.retry.*` and `commit.status-check.total-timeout-ms` of a table as a retry policy.
///
/// # Errors
/// As [`WriteProperties::of`].
pub fn retry_policy(metadata: &TableMetadata) -> Result<RetryPolicy> {
    parse_retry_policy(metadata.properties())
}

/// Checks the values of all properties that this crate reads.
///
/// # Errors
/// As [`WriteProperties::of`].
pub(crate) fn validate(properties: &HashMap<String, String>) -> Result<()> {
    WriteProperties::parse(properties)?;
    HistoryProperties::parse(properties)?;
    ManifestProperties::parse(properties)?;
    SplitProperties::parse(properties)?;
    parse_retry_policy(properties)?;
    Ok(())
}

fn parse_retry_policy(properties: &HashMap<String, String>) -> Result<RetryPolicy> {
    const MIN_WAIT: &str = "commit.retry.min-wait-ms";
    const MAX_WAIT: &str = "commit.retry.max-wait-ms";
    let defaults = RetryPolicy::default();
    let millis = |key, default: Duration| -> Result<Duration> {
        Ok(match properties.contains_key(key) {
            true => Duration::from_millis(number(properties, key, 0_u64)?),
            false => default,
        })
    };
    let min_wait = millis(MIN_WAIT, defaults.min_wait)?;
    let max_wait = millis(MAX_WAIT, defaults.max_wait.max(min_wait))?;
    if min_wait > max_wait {
        let value = format!("{} ms", max_wait.as_millis());
        let allowed = format!("at least {MIN_WAIT}, {} ms", min_wait.as_millis());
        return Err(wrong(MAX_WAIT, &value, &allowed));
    }
    Ok(RetryPolicy {
        retries: number(properties, "commit.retry.num-retries", defaults.retries)?,
        min_wait,
        max_wait,
        total: millis("commit.retry.total-timeout-ms", defaults.total)?,
        status_check: millis(
            "commit.status-check.total-timeout-ms",
            defaults.status_check,
        )?,
    })
}

fn wrong(property: &str, value: &str, allowed: &str) -> Error {
    Error::invalid("a table property has a value that is not allowed")
        .with("property", property)
        .with("value", value)
        .help(format!("allowed: {allowed}"))
}

fn number<T: FromStr>(properties: &HashMap<String, String>, key: &str, default: T) -> Result<T> {
    match properties.get(key) {
        None => Ok(default),
        Some(value) => value
            .trim()
            .parse()
            .map_err(|_| wrong(key, value, "a whole number, 0 or more")),
    }
}

fn positive<T: FromStr + PartialOrd + From<u8>>(
    properties: &HashMap<String, String>,
    key: &str,
    default: T,
) -> Result<T> {
    match properties.get(key) {
        None => Ok(default),
        Some(value) => value
            .trim()
            .parse()
            .ok()
            .filter(|number| *number > T::from(0))
            .ok_or_else(|| wrong(key, value, "a whole number, 1 or more")),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong(key, value, "true, false")),
    }
}

fn compression_of_deletes(properties: &HashMap<String, String>) -> Result<Option<Compression>> {
    compression(properties, DELETE_CODEC, DELETE_LEVEL)
}

/// The codec of this property with the level of that one; none where neither is set.
fn compression(
    properties: &HashMap<String, String>,
    codec_key: &str,
    level_key: &str,
) -> Result<Option<Compression>> {
    let level = properties.get(level_key).map(String::as_str);
    let codec = match (properties.get(codec_key), level) {
        (Some(codec), _) => codec.as_str(),
        (None, Some(_)) => "zstd",
        (None, None) => return Ok(None),
    };
    let leveled = |default: i32, allowed: &str, make: &dyn Fn(i32) -> Option<Compression>| {
        let chosen = level.map_or(Some(default), |level| level.trim().parse().ok());
        chosen.and_then(make).ok_or_else(|| {
            let value = level.unwrap_or_default();
            wrong(level_key, value, &format!("{allowed} for {codec}"))
        })
    };
    Ok(Some(match codec.trim().to_ascii_lowercase().as_str() {
        "zstd" => leveled(3, "1 to 22", &|level| {
            ZstdLevel::try_new(level).ok().map(Compression::ZSTD)
        })?,
        "gzip" => leveled(6, "0 to 9", &|level| {
            let level = u32::try_from(level).ok()?;
            GzipLevel::try_new(level).ok().map(Compression::GZIP)
        })?,
        "brotli" => leveled(1, "0 to 11", &|level| {
            let level = u32::try_from(level).ok()?;
            BrotliLevel::try_new(level).ok().map(Compression::BROTLI)
        })?,
        "snappy" => Compression::SNAPPY,
        "lz4" | "lz4_raw" => Compression::LZ4_RAW,
        "uncompressed" | "none" => Compression::UNCOMPRESSED,
        _ => return Err(wrong(codec_key, codec, CODECS)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn nothing_said_gives_the_defaults() {
        let properties = WriteProperties::parse(&HashMap::new()).unwrap();
        assert_eq!(properties, WriteProperties::default());
        assert_eq!(
            properties.compression,
            Compression::ZSTD(ZstdLevel::try_new(3).unwrap())
        );
        assert_eq!(
            parse_retry_policy(&HashMap::new()).unwrap(),
            RetryPolicy::default()
        );
    }

    #[test]
    fn codecs_and_levels_are_understood() {
        let of = |pairs: &[(&str, &str)]| WriteProperties::parse(&map(pairs)).unwrap();
        assert_eq!(
            of(&[(CODEC, "Snappy"), (LEVEL, "9")]).compression,
            Compression::SNAPPY
        );
        assert_eq!(of(&[(CODEC, "lz4")]).compression, Compression::LZ4_RAW);
        assert_eq!(
            of(&[(CODEC, "none")]).compression,
            Compression::UNCOMPRESSED
        );
        assert_eq!(
            of(&[(CODEC, "gzip"), (LEVEL, "9")]).compression,
            Compression::GZIP(GzipLevel::try_new(9).unwrap())
        );
        let zstd = of(&[(LEVEL, "6"), (DELETE_CODEC, "snappy")]);
        assert_eq!(
            zstd.compression,
            Compression::ZSTD(ZstdLevel::try_new(6).unwrap())
        );
        assert_eq!(zstd.delete_compression, Compression::SNAPPY);
    }

    #[test]
    fn sizes_bloom_filters_and_metrics_are_read() {
        let properties = WriteProperties::parse(&map(&[
            (TARGET_FILE_SIZE, "1000"),
            (ROW_GROUP_SIZE, "2000"),
            ("write.parquet.bloom-filter-enabled.column.b", "true"),
            ("write.parquet.bloom-filter-enabled.column.a.x", "TRUE"),
            ("write.parquet.bloom-filter-enabled.column.c", "false"),
            ("write.parquet.bloom-filter-fpp.column.b", "0.05"),
            (METRICS_DEFAULT, "truncate( 8 )"),
            ("write.metadata.metrics.column.id", "full"),
        ]))
        .unwrap();
        assert_eq!(properties.target_file_size, 1000);
        assert_eq!(properties.row_group_size, 2000);
        assert_eq!(properties.bloom_filter_columns, ["a.x", "b"]);
        assert_eq!(properties.bloom_filter_fpp["b"], 0.05);
        assert_eq!(properties.metrics.mode("id", 0), MetricsMode::Full);
        assert_eq!(
            properties.metrics.mode("other", 5_000),
            MetricsMode::Truncate(8)
        );
    }

    #[test]
    fn columns_after_the_hundredth_have_no_metrics_unless_asked_for() {
        let metrics = MetricsProperties::default();
        assert_eq!(metrics.mode("x", 99), MetricsMode::Truncate(16));
        assert_eq!(metrics.mode("x", 100), MetricsMode::None);
    }

    #[test]
    fn wrong_values_are_refused_by_name_value_and_what_is_allowed() {
        for (key, value, allowed) in [
            (FORMAT, "orc", "parquet"),
            (CODEC, "gzp", "zstd, snappy"),
            (LEVEL, "23", "1 to 22 for zstd"),
            (LEVEL, "x", "1 to 22 for zstd"),
            (TARGET_FILE_SIZE, "0", "1 or more"),
            (TARGET_FILE_SIZE, "128MB", "1 or more"),
            (PAGE_ROWS, "-1", "1 or more"),
            (
                "write.parquet.bloom-filter-enabled.column.a",
                "yes",
                "true, false",
            ),
            (
                "write.parquet.bloom-filter-fpp.column.a",
                "1.5",
                "between 0 and 1",
            ),
            (
                METRICS_DEFAULT,
                "truncate(0)",
                "none, counts, truncate(LENGTH), full",
            ),
            ("write.metadata.metrics.column.a", "all", "none, counts"),
        ] {
            let error = WriteProperties::parse(&map(&[(key, value)])).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            for part in [key, value, allowed] {
                assert!(text.contains(part), "{text} lacks {part}");
            }
        }
    }

    #[test]
    fn what_becomes_of_manifests_comes_from_the_table() {
        let of = |pairs: &[(&str, &str)]| ManifestProperties::parse(&map(pairs));
        assert_eq!(of(&[]).unwrap(), ManifestProperties::default());
        let properties = of(&[
            (MANIFEST_MERGE, "False"),
            (MANIFEST_TARGET_SIZE, "1000"),
            (MANIFEST_MIN_COUNT, "3"),
            (SUMMARY_PARTITIONS, "10"),
        ]);
        let expected = ManifestProperties {
            merge: false,
            target_size: 1_000,
            min_count_to_merge: 3,
            summary_partition_limit: 10,
        };
        assert_eq!(properties.unwrap(), expected);
        for (key, value, allowed) in [
            (MANIFEST_MERGE, "no", "true, false"),
            (MANIFEST_TARGET_SIZE, "8MB", "1 or more"),
            (MANIFEST_MIN_COUNT, "0", "1 or more"),
            (SUMMARY_PARTITIONS, "-1", "0 or more"),
        ] {
            let text = of(&[(key, value)]).unwrap_err().to_string();
            for part in [key, value, allowed] {
                assert!(text.contains(part), "{text} lacks {part}");
            }
        }
    }

    #[test]
    fn retries_come_from_the_table() {
        let policy = parse_retry_policy(&map(&[
            ("commit.retry.num-retries", "7"),
            ("commit.retry.min-wait-ms", "10000"),
            ("commit.retry.total-timeout-ms", "30000"),
            ("commit.status-check.total-timeout-ms", "1500"),
        ]))
        .unwrap();
        assert_eq!(policy.retries, 7);
        assert_eq!(policy.min_wait, Duration::from_secs(10));
        assert_eq!(policy.max_wait, Duration::from_secs(10));
        assert_eq!(policy.total, Duration::from_secs(30));
        assert_eq!(policy.status_check, Duration::from_millis(1500));
    }

    #[test]
    fn a_longest_wait_below_the_shortest_is_refused() {
        let error = parse_retry_policy(&map(&[
            ("commit.retry.min-wait-ms", "100"),
            ("commit.retry.max-wait-ms", "50"),
        ]))
        .unwrap_err();
        assert!(
            error.to_string().contains("commit.retry.max-wait-ms"),
            "{error}"
        );
    }
}
