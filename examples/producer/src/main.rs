//! `berglake-example-producer`: feeds files or generated samples to a Kafka topic.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use berglake_example_producer::health::{Generator, HealthOptions, Truth};
use berglake_example_producer::{Message, Producer, Rate, key_of, records};
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "Examples:
  berglake-example-producer files movies examples/movies/data/movies.json --key Title --rate 500
  berglake-example-producer --partitions 4 health health-samples --count 100000 --broken 0.02 --seed 7
  berglake-example-producer --servers kafka:9092 files movies films.ndjson --repeat";

/// Feeds files or generated samples to a Kafka topic, each message acknowledged by all replicas and
/// written once.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    /// The brokers, with commas between them.
    #[arg(
        long,
        env = "KAFKA_BOOTSTRAP_SERVERS",
        default_value = "localhost:9092",
        global = true
    )]
    servers: String,
    /// An option of librdkafka, such as sasl.username=me; can be repeated.
    #[arg(long = "option", value_name = "NAME=VALUE", global = true)]
    options: Vec<String>,
    /// Messages per second; as fast as possible where nothing is said.
    #[arg(long, global = true)]
    rate: Option<f64>,
    /// Creates the topic with so many partitions if it does not exist.
    #[arg(long, value_name = "N", global = true)]
    partitions: Option<i32>,
    /// How long brokers that do not answer, and a topic that is not there, are waited for, in seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", global = true)]
    wait: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends the records of JSON files (an array, or one record per line) as they stand there.
    Files(FilesArgs),
    /// Sends health samples made from a seed, with broken ones among them.
    Health(HealthArgs),
}

#[derive(Debug, Args)]
struct FilesArgs {
    /// The topic.
    topic: String,
    /// The files, in this order.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The field whose value becomes the key.
    #[arg(long)]
    key: Option<String>,
    /// Begins again after the last record, until it is stopped.
    #[arg(long)]
    repeat: bool,
}

#[derive(Debug, Args)]
struct HealthArgs {
    /// The topic.
    topic: String,
    /// How many messages; without end where nothing is said.
    #[arg(long)]
    count: Option<u64>,
    /// The same seed gives the same messages.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of broken messages, from 0 to 1.
    #[arg(long, default_value_t = 0.01, value_parser = share)]
    broken: f64,
    /// How many users there are.
    #[arg(long, default_value_t = 20)]
    users: u32,
    /// The first day of the samples.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    from: Option<DateTime<Utc>>,
    /// Over how many days they spread.
    #[arg(long, default_value_t = 14)]
    days: u32,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is expected".into()),
    }
}

fn day(text: &str) -> Result<DateTime<Utc>, String> {
    let day: NaiveDate = text
        .parse()
        .map_err(|_| "a day such as 2026-01-31 is expected")?;
    Ok(day.and_time(chrono::NaiveTime::MIN).and_utc())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<String, Box<dyn std::error::Error>> {
    let mut options = Vec::new();
    for option in &cli.options {
        let pair = option.split_once('=');
        options.push(pair.ok_or_else(|| format!("--option {option:?} is no NAME=VALUE"))?);
    }
    let producer = Producer::new(&cli.servers, options)?;
    let rate = match cli.rate {
        Some(rate) if rate > 0.0 => Rate::PerSecond(rate),
        Some(rate) => return Err(format!("--rate {rate} is not above 0").into()),
        None => Rate::Unlimited,
    };
    let topic = match &cli.command {
        Command::Files(args) => &args.topic,
        Command::Health(args) => &args.topic,
    };
    if let Some(partitions) = cli.partitions {
        producer.create_topic(topic, partitions).await?;
    }
    let partitions = producer.partitions(topic, Duration::from_secs(cli.wait))?;
    let (sent, note) = match &cli.command {
        Command::Files(args) => (files(&producer, args, rate).await?, String::new()),
        Command::Health(args) => {
            let (sent, broken) = health(&producer, args, rate).await?;
            (sent, format!(", {broken} of them broken"))
        }
    };
    Ok(format!(
        "{sent} messages sent to {partitions} partitions of topic {topic}{note}"
    ))
}

async fn files(
    producer: &Producer,
    args: &FilesArgs,
    rate: Rate,
) -> Result<u64, Box<dyn std::error::Error>> {
    let mut messages = Vec::new();
    for file in &args.files {
        for record in records(file)? {
            let key = args.key.as_ref().and_then(|field| key_of(&record, field));
            let mut message = Message::new(record);
            message.key = key.map(String::into_bytes);
            messages.push(message);
        }
    }
    if messages.is_empty() {
        return Err("the files have no records".into());
    }
    let times = if args.repeat { usize::MAX } else { 1 };
    let all = (0..times).flat_map(|_| messages.iter().cloned());
    Ok(producer.send(&args.topic, all, rate, |_| {}).await?)
}

async fn health(
    producer: &Producer,
    args: &HealthArgs,
    rate: Rate,
) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let defaults = HealthOptions::default();
    let options = HealthOptions {
        users: args.users,
        broken: args.broken,
        from: args.from.unwrap_or(defaults.from),
        days: args.days,
    };
    let mut broken = 0;
    let count = args.count.and_then(|count| usize::try_from(count).ok());
    let messages = Generator::new(args.seed, options)
        .take(count.unwrap_or(usize::MAX))
        .inspect(|message| broken += u64::from(matches!(message.truth, Truth::Broken(_))))
        .map(|message| message.message);
    let sent = producer.send(&args.topic, messages, rate, |_| {}).await?;
    Ok((sent, broken))
}
