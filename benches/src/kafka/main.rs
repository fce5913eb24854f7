//! Kafka into tables, measured with a broker that is there and a release build of `berglake`.
//!
//! `throughput` fills a topic and reads it into a bronze table, against a bare consumer that writes the
//! same records to one Parquet file. `freshness` produces at a steady rate while `berglake up` runs, and
//! looks when each record is seen in bronze and in gold.

mod bare;
mod freshness;
mod project;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Measures Kafka into tables.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Records per second from a topic into bronze, and into one Parquet file by a bare consumer.
    Throughput {
        #[command(flatten)]
        common: Common,
        /// How many records.
        #[arg(long, default_value_t = 2_000_000)]
        records: u64,
    },
    /// Time from the production of a record until a query sees it in bronze and in gold.
    Freshness {
        #[command(flatten)]
        common: Common,
        /// Records per second.
        #[arg(long, default_value_t = 1_000)]
        rate: u32,
        /// How long, in seconds; the first ten are not counted.
        #[arg(long, default_value_t = 120)]
        seconds: u32,
        /// How often roles look for something new.
        #[arg(long, default_value = "1s")]
        interval: String,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The brokers.
    #[arg(long, default_value = "localhost:9092")]
    brokers: String,
    /// The program [default: the one beside this one].
    #[arg(long, env = "BERGLAKE_BIN")]
    berglake: Option<PathBuf>,
}

impl Common {
    fn berglake(&self) -> Result<PathBuf, Error> {
        let program = match &self.berglake {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("berglake"),
        };
        if program.is_file() {
            return Ok(program);
        }
        let path = program.display();
        Err(format!("there is no program {path}: build it, or name it by --berglake").into())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(command: Command) -> Result<(), Error> {
    match command {
        Command::Throughput { common, records } => {
            throughput::measure(&common.brokers, &common.berglake()?, records).await
        }
        Command::Freshness {
            common,
            rate,
            seconds,
            interval,
        } => {
            let load = freshness::Load { rate, seconds };
            freshness::measure(&common.brokers, &common.berglake()?, load, &interval).await
        }
    }
}
