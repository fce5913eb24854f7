//! The command line: what can be typed, and what `--help` says about it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: a flow of a run failed, an object does not exist, data is corrupt
  2    the request is wrong: usage, configuration, pipelines, SQL
  3    the catalog, the storage or a port cannot be reached, opened or written
  4    a conflict with other writers, or a commit whose outcome is not known
  130  interrupted by SIGINT or SIGTERM";

const EXAMPLES: &str = "\
Examples:
  berglake init films                  make a small project in the folder films
  berglake --project films run         bring its tables up to date
  berglake --project films sql         ask questions, interactively
  berglake --project films info        see what is there
  berglake --project films up          serve it, and follow its sources

Each key of berglake.toml is overridden by an environment variable (BERGLAKE_STORAGE__WAREHOUSE for
storage.warehouse), and that by --set storage.warehouse=VALUE.
";

/// A lakehouse on Apache Iceberg: pipelines from files to bronze, silver and gold tables, and SQL.
#[derive(Debug, Parser)]
#[command(name = "berglake", version, about, after_long_help = format!("{EXAMPLES}\n{EXIT_CODES}"), after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for all commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The project's folder, with its berglake.toml
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".",
        env = "BERGLAKE_PROJECT",
        global = true
    )]
    pub(crate) project: PathBuf,
    /// Sets a key of the configuration, over file and environment
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value, global = true)]
    pub(crate) set: Vec<(String, String)>,
    /// How results are printed; what is not for people goes to stdout without decoration
    #[arg(long, value_enum, value_name = "FORMAT", global = true)]
    pub(crate) output: Option<Output>,
    /// What is logged to stderr: a level, or TARGET=LEVEL, joined by commas
    #[arg(
        long,
        value_name = "FILTER",
        env = "BERGLAKE_LOG",
        default_value = "warn",
        global = true
    )]
    pub(crate) log: String,
    /// How log lines look
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "plain",
        global = true,
        hide_short_help = true
    )]
    pub(crate) log_format: LogFormat,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns for people.
    Table,
    /// Comma-separated values with a header line; NULL is an empty field, an empty text is ""
    /// (sql, tables, history).
    Csv,
    /// JSON: one object (check, config show, info, maintain, plan, recover-metadata, rollback, run, validate),
    /// or one object per line (history, run --watch, serve, sql, tables, up).
    Json,
    /// An Arrow IPC stream (sql, tables, history).
    Arrow,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line per event.
    Plain,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a small project that works
    #[command(after_help = "\
Examples:
  berglake init films      in the folder films, which is made
  berglake init            in this folder

Writes berglake.toml, .gitignore, pipelines/*.sql and data/orders.json. Files that exist are never
overwritten: if one of these does, nothing is written.")]
    Init {
        /// The folder
        #[arg(value_name = "DIR", default_value = ".")]
        folder: PathBuf,
    },
    /// Check configuration and pipelines without running anything
    #[command(after_help = "\
Examples:
  berglake validate
  berglake --project films validate && echo fine

Reads catalog and sources, writes nothing. Findings name file, line and column; exit code 2.")]
    Validate,
    /// Show what a run would do
    #[command(after_help = "\
Examples:
  berglake plan
  berglake plan --layer silver
  berglake plan --output json | jq '.flows[] | {target, action}'

Writes nothing. JSON: {pipeline, flows: [{flow, target, kind, reason, action, reads}]}, where action is
create, update, up-to-date or blocked (with reason).")]
    Plan(Selection),
    /// Bring all tables up to date
    #[command(after_help = "\
Examples:
  berglake run
  berglake run --layer silver
  berglake run --full-refresh gold.movies_by_year_genre
  berglake run --output json > report.json
  berglake run --watch --layer bronze

Each flow reads what is new in its source since its last commit, and commits rows and progress
together: a run that is interrupted or killed is continued by the next one, without losing or doubling
a row. A flow that fails leaves its table as it was; flows that need it are skipped; exit code 1.

JSON: {pipeline, elapsed_ms, flows: [{flow, target, kind, status, rows_read, rows_inserted,
rows_updated, rows_deleted, rows_superseded, dead_letters, expectations, snapshot_id, warnings, error,
elapsed_ms}]}, where status is updated, up-to-date, failed or skipped.

With --watch it goes on: sources are looked at again and again, tables follow the tables before them,
each at the interval of its stage (services.bronze.interval and so on). A flow whose source, catalog or
store is away tries again; one that cannot go on stops and says why, while the others go on. SIGINT or
SIGTERM ends it after the batches in flight, with exit code 0. JSON is then one object per line:
{event: \"updated\", …} as above, or {event: \"state\", flow, target, state, reason}.")]
    Run(RunArguments),
    /// Run the whole platform in this process: catalog, query, bronze, silver, gold, maintenance
    #[command(after_help = "\
Examples:
  berglake up
  berglake --project films up
  berglake --set query.listen=127.0.0.1:9090 up
  curl -d 'SELECT count(*) FROM gold.top_movies' http://127.0.0.1:8080/v1/sql

Serves SQL at query.listen (127.0.0.1:8080) and the catalog at catalog.server.listen (127.0.0.1:8181),
brings sources into tables, and lets tables follow each other. Both servers answer /health/live,
/health/ready and /metrics. SIGINT or SIGTERM ends it in good order, with exit code 0.")]
    Up,
    /// Run one role as a process of its own
    #[command(after_help = "\
Examples:
  berglake serve query
  berglake --set query.listen=0.0.0.0:8080 serve query
  berglake serve bronze

Each role answers /health/live, /health/ready and /metrics where it listens: query.listen,
catalog.server.listen, services.bronze.listen and so on. The order in which roles, catalog and stores are
started does not matter: what is not there yet is waited for, and named in /health/ready and the log.
A configuration that can never work ends the process with exit code 2.")]
    Serve {
        /// The role
        #[arg(value_enum, value_name = "ROLE")]
        role: RoleName,
    },
    /// Check that catalog, store and sources can be reached, and make or verify each table
    #[command(after_help = "\
Examples:
  berglake check
  berglake check --output json | jq '.steps[] | select(.ok | not)'

Asks the catalog, writes, reads, lists and deletes a file in the warehouse, looks at each source, and
makes each table or verifies that it is as defined, with its location. Stops at the first failure, with
its exit code. JSON: {ok, steps: [{step, subject, ok, detail, error, help, elapsed_ms}]}.")]
    Check,
    /// Ask in SQL: interactively, or one command or file
    #[command(after_help = "\
Examples:
  berglake sql                                          interactively; \\? lists its commands
  berglake sql -c 'SELECT count(*) FROM gold.top_movies'
  berglake sql -f report.sql --output csv > report.csv
  berglake sql -c 'SELECT * FROM silver.movies FOR VERSION AS OF 123' --output json
  echo 'SELECT 1' | berglake sql

Values in CSV and JSON: timestamps as ISO 8601 (with Z where they are instants), decimals as JSON
strings, integers and floats as JSON numbers (NaN and infinities as strings), binary as base64, lists
as arrays, structs as objects, maps with text keys as objects and others as arrays of {key, value}.
JSON is one object per line. Arrow is an IPC stream and takes exactly one query.")]
    Sql(SqlArguments),
    /// List the tables
    #[command(after_help = "\
Examples:
  berglake tables
  berglake tables --output json | jq -r .table")]
    Tables,
    /// List the snapshots of a table
    #[command(after_help = "\
Examples:
  berglake history silver.movies
  berglake history silver.movies --output json | jq .snapshot_id

Any snapshot_id can be read with SELECT … FROM TABLE FOR VERSION AS OF snapshot_id.")]
    History {
        /// The table, as NAMESPACE.TABLE
        #[arg(value_name = "TABLE")]
        table: String,
    },
    /// Bring a table back to one of its earlier snapshots
    #[command(after_help = "\
Examples:
  berglake history silver.movies
  berglake rollback silver.movies --to-snapshot 3051729675574597004
  berglake rollback silver.movies --to-timestamp '2026-01-31 12:00:00'

Says what was current and what is. Nothing is deleted: the later snapshots stay until they expire, and
CALL system.set_current_snapshot in SQL brings one of them back. A snapshot that is no ancestor of the
current one is refused. A flow whose rows are gone stops at its next run and asks whether to read them
again: berglake run --resume replay|skip.
JSON: {table, previous: {snapshot_id, committed_at}, current: {snapshot_id, committed_at}}.")]
    Rollback(RollbackArguments),
    /// Show sizes, rows and snapshots of all tables, or of one
    #[command(after_help = "\
Examples:
  berglake info
  berglake info gold.top_movies
  berglake info --output json | jq '.tables[] | {name, rows, total_size}'

Rows are live rows, deletes applied; files and sizes are those of the data files that hold them.
JSON: {format, format_version, project, catalog: {name, uri}, warehouse, tables: [{name, location, metadata_location,
format_version, snapshots, latest_snapshot_id, last_updated, rows, files, delete_files, total_size,
mean_file_size}]}, sizes in bytes.")]
    Info {
        /// One table, as NAMESPACE.TABLE; all where nothing is said
        #[arg(value_name = "TABLE")]
        table: Option<String>,
    },
    /// Keep tables healthy: compact files, let old snapshots expire
    Maintain {
        #[command(subcommand)]
        command: MaintainCommand,
    },
    /// Bring back a table whose current metadata file is missing or damaged
    #[command(after_help = "\
Examples:
  berglake recover-metadata silver.movies --dry-run
  berglake recover-metadata silver.movies
  berglake recover-metadata silver.movies --to s3://lake/movies/metadata/00041-….metadata.json

Makes the table point at the metadata file that was current before, else at the newest one of the same
table that can be read, and says which snapshots are lost. A table whose current file can be read is left
alone. No file is deleted. Stop the table's writers first; if one commits meanwhile, its commit stays and
the exit code is 4.
JSON: {table, dry_run, table_uuid, known_from, damaged: {location, problem}, chosen, candidates: [{location,
usable, problem, was_current, table_uuid, sequence_number, last_updated, snapshot_id, snapshots}],
newer_candidates, lost_snapshots: [{snapshot_id, parent_snapshot_id, sequence_number, committed_at,
operation, added_records, manifest_list, certain}], unreadable_snapshots}.")]
    RecoverMetadata(RecoverMetadata),
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "\
Examples:
  berglake completions bash > ~/.local/share/bash-completion/completions/berglake
  berglake completions zsh > \"${fpath[1]}/_berglake\"
  berglake completions fish > ~/.config/fish/completions/berglake.fish")]
    Completions {
        /// The shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// The name of the process in traces and metrics, where `OTEL_SERVICE_NAME` does not say it.
    pub(crate) fn service(&self) -> String {
        let role = match self {
            Self::Serve { role } => role.to_possible_value(),
            _ => None,
        };
        role.map_or_else(
            || "berglake".to_string(),
            |role| format!("berglake-{}", role.get_name()),
        )
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum MaintainCommand {
    /// Show what would be done
    #[command(after_help = "\
Examples:
  berglake maintain plan
  berglake maintain plan --table silver.movies --operation expire
  berglake maintain plan --output json | jq '.tables[] | {table, expire}'

Writes nothing. Says of each snapshot why it stays, and which files would be rewritten and why.
JSON: {tables: [{table, compact: {done: {snapshot_id, files, groups}}, expire: {done: {expired, kept,
refs, files}}}]}; refused or failed instead of done, where a table does not want it or cannot be read.")]
    Plan(Maintenance),
    /// Do it
    #[command(after_help = "\
Examples:
  berglake maintain run
  berglake maintain run --table silver.movies --operation compact
  berglake maintain run --operation compact --option rewrite-all=true
  0 2 * * 0  berglake --project /srv/films maintain run        in a crontab

Compacts first, then lets snapshots expire. Tables are settled one by one: what fails for one does not
keep others from being maintained; exit code 1, or that of the errors if they agree. SIGTERM or Ctrl-C
ends it when the files in hand are done, a second one at once; nothing is lost either way.
JSON: {tables: [{table, compact: {done: {groups, not_begun}}, expire: {done: {expired, refs, files,
files_deleted, files_left}}}], stopped}.")]
    Run(Maintenance),
}

/// Which tables, and what to do to them.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Maintenance {
    /// Only this table, as NAMESPACE.TABLE; can be repeated
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    /// Only this operation; both where nothing is said
    #[arg(long, value_enum, value_name = "OPERATION")]
    pub(crate) operation: Option<MaintenanceOperation>,
    /// An option of the compaction, over the table's own; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = key_value)]
    pub(crate) option: Vec<(String, String)>,
}

/// What can be done to tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MaintenanceOperation {
    /// Few files instead of many, and without deletes.
    Compact,
    /// Old snapshots go, and the files that only they needed.
    Expire,
}

/// Which table goes back, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecoverMetadata {
    /// The table, as NAMESPACE.TABLE
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go back to this metadata file of the table, and to no other
    #[arg(long, value_name = "LOCATION")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the effective configuration as TOML, with secrets as ***
    #[command(after_help = "\
Examples:
  berglake config show
  berglake config show --origin        with the file and line, variable or flag of each value
  BERGLAKE_STORAGE__WAREHOUSE=s3://lake/films berglake config show")]
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// Which table, and where to.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("to").required(true))]
pub(crate) struct RollbackArguments {
    /// The table, as NAMESPACE.TABLE
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// To this snapshot, an ancestor of the current one
    #[arg(long, value_name = "ID", group = "to")]
    pub(crate) to_snapshot: Option<i64>,
    /// To what was current before this time, in UTC unless it names a zone
    #[arg(long, value_name = "TIME", group = "to")]
    pub(crate) to_timestamp: Option<String>,
}

/// Which flows, and how.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Selection {
    /// Only flows into tables of this layer (namespace)
    #[arg(long, value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Empty this table and fill it anew from the start of its sources; can be repeated
    #[arg(long, value_name = "TABLE", num_args = 1..)]
    pub(crate) full_refresh: Vec<String>,
    /// What to do with a flow whose table was rolled back: read the undone rows again, or leave them
    /// out. Without it such a flow stops and asks
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) resume: Option<Resume>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Go on: run each flow again when there is something new for it
    #[arg(long, conflicts_with_all = ["full_refresh", "resume"])]
    pub(crate) watch: bool,
}

/// A role of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// The catalog over REST.
    Catalog,
    /// Sources into tables.
    Bronze,
    /// Changed rows into clean rows.
    Silver,
    /// Changed groups into aggregates.
    Gold,
    /// SQL over HTTP.
    Query,
    /// Compaction and expiry on schedules.
    Maintenance,
}

/// What to do with rows that a rollback has undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resume {
    /// Read them again: the rollback undid them by mistake, or to have them processed anew.
    Replay,
    /// Leave them out: the rollback was meant to be rid of them.
    Skip,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SqlArguments {
    /// Statements to run, separated by semicolons
    #[arg(short, long, value_name = "SQL", conflicts_with = "file")]
    pub(crate) command: Option<String>,
    /// A file of statements; - is stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Allow statements that write to tables which a pipeline owns
    #[arg(long)]
    pub(crate) force: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err("write KEY=VALUE, as in storage.s3.region=eu-west-1".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        let root = Arguments::command();
        let mut left: Vec<&clap::Command> = root.get_subcommands().collect();
        while let Some(command) = left.pop() {
            left.extend(command.get_subcommands());
            if command.has_subcommands() {
                continue;
            }
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                help.is_some_and(
                    |help| help.contains("Examples:\n  berglake") || help.contains("Examples:\n")
                ),
                "{} has no examples",
                command.get_name()
            );
        }
    }
}
