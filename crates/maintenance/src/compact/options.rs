//! The options of a compaction, under the names and with the defaults of Spark's
//! `rewrite_data_files`.

use std::collections::HashMap;
use std::str::FromStr;

use berglake_format::properties::WriteProperties;
use berglake_format::suggest::nearest;
use berglake_format::{Error, Result};

/// How files are chosen and grouped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionOptions {
    /// `target-file-size-bytes`: the size of files that are written; the table's
    /// `write.target-file-size-bytes` where nothing is said.
    pub target_file_size: u64,
    /// `min-file-size-bytes`: smaller files are rewritten; 75 % of the target.
    pub min_file_size: u64,
    /// `max-file-size-bytes`: larger files are rewritten; 180 % of the target.
    pub max_file_size: u64,
    /// `min-input-files`: a group of so many files is rewritten whatever its size; 5.
    pub min_input_files: usize,
    /// `delete-file-threshold`: a file with so many delete files is rewritten; no limit.
    pub delete_file_threshold: usize,
    /// `delete-ratio-threshold`: a file of which so large a part is deleted is rewritten; 0.3. Only
    /// deletes that are about one file are counted.
    pub delete_ratio_threshold: f64,
    /// `max-file-group-size-bytes`: the most bytes that are rewritten as one group; 100 GiB.
    pub max_file_group_size: u64,
    /// `max-concurrent-file-group-rewrites`: groups that are rewritten at the same time; 5.
    pub max_concurrent_groups: usize,
    /// `rewrite-all`: every file is rewritten, whatever its size; false.
    pub rewrite_all: bool,
    /// `partial-progress.enabled`: groups are committed as they are done, so that what is done stays
    /// done; true, unlike in Spark, where one conflict undoes all.
    pub partial_progress: bool,
    /// `partial-progress.max-commits`: the most commits of one run; 10.
    pub max_commits: usize,
}

const OPTIONS: &[&str] = &[
    "target-file-size-bytes",
    "min-file-size-bytes",
    "max-file-size-bytes",
    "min-input-files",
    "delete-file-threshold",
    "delete-ratio-threshold",
    "max-file-group-size-bytes",
    "max-concurrent-file-group-rewrites",
    "rewrite-all",
    "partial-progress.enabled",
    "partial-progress.max-commits",
    "use-starting-sequence-number",
];

impl CompactionOptions {
    /// What the names of options begin with as properties of tables.
    pub const PREFIX: &str = "berglake.compact.";

    /// Whether these are names of options, as Spark has them.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for one that is none, with the nearest
    /// that is.
    pub fn check_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for option in names {
            if !OPTIONS.contains(&option) {
                let error =
                    Error::invalid("a compaction has no such option").with("option", option);
                return Err(match nearest(option, OPTIONS.iter().copied()) {
                    Some(name) => error.help(format!("did you mean {name}?")),
                    None => error.help(format!("options are: {}", OPTIONS.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// The options in the properties of a table.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for an unknown option, a value that
    /// makes no sense, or sizes that contradict each other.
    pub fn parse(properties: &HashMap<String, String>) -> Result<Self> {
        let named = properties.keys();
        Self::check_names(named.filter_map(|key| key.strip_prefix(Self::PREFIX)))?;
        let options = Reader(properties);
        let target = WriteProperties::parse(properties)?.target_file_size;
        let target = options.number("target-file-size-bytes", 1, target)?;
        let parsed = Self {
            target_file_size: target,
            min_file_size: options.number("min-file-size-bytes", 0, target / 4 * 3)?,
            max_file_size: options.number(
                "max-file-size-bytes",
                1,
                target.saturating_mul(9) / 5,
            )?,
            min_input_files: options.number("min-input-files", 1, 5)?,
            delete_file_threshold: options.number("delete-file-threshold", 1, usize::MAX)?,
            delete_ratio_threshold: options.ratio("delete-ratio-threshold", 0.3)?,
            max_file_group_size: options.number("max-file-group-size-bytes", 1, 100 << 30)?,
            max_concurrent_groups: options.number("max-concurrent-file-group-rewrites", 1, 5)?,
            rewrite_all: options.flag("rewrite-all", false)?,
            partial_progress: options.flag("partial-progress.enabled", true)?,
            max_commits: options.number("partial-progress.max-commits", 1, 10)?,
        };
        if !options.flag("use-starting-sequence-number", true)? {
            return Err(Error::unsupported(
                "files are only rewritten with the sequence number that the compaction started at",
            )
            .with("option", "use-starting-sequence-number")
            .help("leave the option away: with another number, newer deletes would be lost"));
        }
        if parsed.min_file_size >= target || parsed.max_file_size <= target {
            return Err(Error::invalid(
                "files that have the target size would be rewritten again and again",
            )
            .with("min-file-size-bytes", parsed.min_file_size)
            .with("target-file-size-bytes", target)
            .with("max-file-size-bytes", parsed.max_file_size)
            .help("choose them so that min < target < max"));
        }
        Ok(parsed)
    }
}

struct Reader<'a>(&'a HashMap<String, String>);

impl Reader<'_> {
    fn parsed<T: FromStr>(
        &self,
        option: &'static str,
        default: T,
        allowed: &str,
        valid: impl Fn(&T) -> bool,
    ) -> Result<T> {
        let Some(text) = self
            .0
            .get(&format!("{}{option}", CompactionOptions::PREFIX))
        else {
            return Ok(default);
        };
        text.trim().parse().ok().filter(valid).ok_or_else(|| {
            Error::invalid("an option of the compaction has a value that is not allowed")
                .with("option", option)
                .with("value", text)
                .help(format!("allowed: {allowed}"))
        })
    }

    fn number<T>(&self, option: &'static str, least: u8, default: T) -> Result<T>
    where
        T: FromStr + PartialOrd + From<u8>,
    {
        let allowed = format!("a whole number, {least} or more");
        self.parsed(option, default, &allowed, |n| *n >= T::from(least))
    }

    fn ratio(&self, option: &'static str, default: f64) -> Result<f64> {
        self.parsed(option, default, "a number above 0, up to 1", |n| {
            *n > 0.0 && *n <= 1.0
        })
    }

    fn flag(&self, option: &'static str, default: bool) -> Result<bool> {
        self.parsed(option, default, "true, false", |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<CompactionOptions> {
        let properties = options
            .iter()
            .map(|(key, value)| match key.contains("write.") {
                true => ((*key).to_string(), (*value).to_string()),
                false => (
                    format!("{}{key}", CompactionOptions::PREFIX),
                    (*value).to_string(),
                ),
            });
        CompactionOptions::parse(&properties.collect())
    }

    #[test]
    fn defaults_are_those_of_spark_and_sizes_follow_the_target() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.target_file_size, 512 << 20);
        assert_eq!(options.min_file_size, 384 << 20);
        assert_eq!(options.max_file_size, (512 << 20) * 9 / 5);
        assert_eq!(options.min_input_files, 5);
        assert_eq!(options.max_concurrent_groups, 5);
        let options = parse(&[("write.target-file-size-bytes", "1000")]).unwrap();
        assert_eq!((options.min_file_size, options.max_file_size), (750, 1800));
        let options = parse(&[
            ("write.target-file-size-bytes", "1000"),
            ("target-file-size-bytes", "2000"),
        ]);
        assert_eq!(options.unwrap().min_file_size, 1500);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (options, message) in [
            (&[("min-input-file", "3")][..], "no such option"),
            (&[("min-input-files", "0")][..], "not allowed"),
            (&[("delete-ratio-threshold", "1.5")][..], "not allowed"),
            (
                &[
                    ("target-file-size-bytes", "100"),
                    ("min-file-size-bytes", "100"),
                ][..],
                "again and again",
            ),
            (
                &[("use-starting-sequence-number", "false")][..],
                "sequence number",
            ),
        ] {
            let error = parse(options).unwrap_err();
            assert!(error.message().contains(message), "{error}");
        }
    }
}
