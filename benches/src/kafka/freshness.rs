//! How old a record is when it is first seen in a table.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use berglake_example_producer::{Message, Producer, Rate};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{Error, project};

/// Records of the first seconds are not counted: tables are made, caches are cold.
const WARM_UP: u32 = 10;
/// How often a table is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long `berglake up` may take to answer, and the last record to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is produced.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Records per second.
    pub rate: u32,
    /// How long.
    pub seconds: u32,
}

impl Load {
    fn records(self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }
}

/// A process that ends with the measurement.
struct Up {
    child: Child,
    url: String,
}

impl Up {
    fn start(berglake: &Path, project: &Path, interval: &str) -> Result<Self, Error> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(berglake);
        command.arg("--project").arg(project);
        for setting in [
            format!("query.listen=127.0.0.1:{port}"),
            "catalog.server.listen=127.0.0.1:0".to_owned(),
            format!("services.bronze.interval={interval}"),
            format!("services.gold.interval={interval}"),
        ] {
            command.args(["--set", &setting]);
        }
        let child = command
            .args(["--log", "error", "up"])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", berglake.display()))?;
        let url = format!("http://127.0.0.1:{port}/v1/sql");
        Ok(Self { child, url })
    }

    /// What the system says of the process's memory, such as `VmHWM: 12345 kB`.
    fn memory(&self) -> Result<String, Error> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let lines = status.lines();
        let shown = lines.filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
        Ok(shown
            .map(|line| line.replace('\t', " "))
            .collect::<Vec<_>>()
            .join(", "))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Produces, looks, and prints how old records were when they were seen.
pub async fn measure(
    brokers: &str,
    berglake: &Path,
    load: Load,
    interval: &str,
) -> Result<(), Error> {
    if load.rate == 0 || load.seconds <= WARM_UP {
        return Err(format!("at least one record per second for more than {WARM_UP} s").into());
    }
    let topic = format!("freshness-{}", std::process::id());
    let producer = Producer::new(brokers, [])?;
    // One partition: then the newest record that is seen says that all before it are seen too.
    producer.create_topic(&topic, 1).await?;
    let folder = tempfile::tempdir()?;
    let pipeline = format!(
        "CREATE OR REFRESH STREAMING TABLE bronze.readings (seq BIGINT NOT NULL, value DOUBLE NOT NULL) \
         TBLPROPERTIES ('berglake.dead-letter' = 'bronze.errors') \
         AS SELECT * FROM STREAM read_kafka(connection => 'main', topic => '{topic}', \
         schema => 'seq BIGINT NOT NULL, value DOUBLE NOT NULL');\n\
         CREATE OR REFRESH MATERIALIZED VIEW gold.statistics AS \
         SELECT seq % 10 AS sensor, count(*) AS readings, avg(value) AS mean, max(seq) AS newest \
         FROM bronze.readings GROUP BY seq % 10;\n"
    );
    project::write(folder.path(), brokers, &pipeline)?;
    let up = Up::start(berglake, folder.path(), interval)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    answers(&client, &up.url).await?;

    let made = Mutex::new(Vec::with_capacity(usize::try_from(load.records())?));
    let messages = (0..load.records()).map(|seq| {
        made.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Instant::now());
        Message::new(format!("{{\"seq\":{seq},\"value\":{}.5}}", seq % 97))
    });
    let rate = Rate::PerSecond(f64::from(load.rate));
    let bronze =
        |last: i64| format!("SELECT max(seq) AS newest FROM bronze.readings WHERE seq > {last}");
    let gold = |_: i64| "SELECT max(newest) AS newest FROM gold.statistics".to_owned();
    let (sent, in_bronze, in_gold) = tokio::join!(
        producer.send(&topic, messages, rate, |_| {}),
        seen(&client, &up.url, load, bronze),
        seen(&client, &up.url, load, gold),
    );
    sent?;
    let made = made
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    println!(
        "{} records/s for {} s, interval {interval}; {}",
        load.rate,
        load.seconds,
        up.memory()?
    );
    for (table, seen) in [("bronze", in_bronze?), ("gold", in_gold?)] {
        println!("{table:>6}: {}", ages(&made, &seen, load)?);
    }
    Ok(())
}

/// Waits until statements are answered.
async fn answers(client: &reqwest::Client, url: &str) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        match newest(client, url, "SELECT 1 AS newest").await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(error) if started.elapsed() > PATIENCE => {
                return Err(format!("berglake does not answer: {error}").into());
            }
            Err(_) => {}
        }
        sleep(LOOK).await;
    }
}

/// The newest record of an answer; none if it has no rows yet.
async fn newest(client: &reqwest::Client, url: &str, sql: &str) -> Result<Option<i64>, Error> {
    let asked = client.post(url).header("Accept", "application/json");
    let answer = asked
        .json(&serde_json::json!({ "sql": sql }))
        .send()
        .await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    Ok(answer["rows"][0]["newest"].as_i64())
}

/// When which record was the newest one that was seen.
async fn seen(
    client: &reqwest::Client,
    url: &str,
    load: Load,
    statement: impl Fn(i64) -> String,
) -> Result<Vec<(i64, Instant)>, Error> {
    let last_of_all = i64::try_from(load.records())? - 1;
    let deadline = Instant::now() + Duration::from_secs(load.seconds.into()) + PATIENCE;
    let mut seen = Vec::new();
    let mut last = -1;
    while last < last_of_all {
        // The table may not be there yet.
        if let Ok(Some(newest)) = newest(client, url, &statement(last)).await
            && newest > last
        {
            last = newest;
            seen.push((newest, Instant::now()));
        }
        if Instant::now() > deadline {
            return Err(
                format!("record {last} of {last_of_all} is the last one that is seen").into(),
            );
        }
        sleep(LOOK).await;
    }
    Ok(seen)
}

/// How old records were: median, 99th percentile, the oldest.
fn ages(made: &[Instant], seen: &[(i64, Instant)], load: Load) -> Result<String, Error> {
    let first = usize::try_from(u64::from(load.rate) * u64::from(WARM_UP))?;
    let mut ages = Vec::with_capacity(made.len());
    let mut next = 0;
    for (newest, at) in seen {
        let end = usize::try_from(*newest)? + 1;
        for (seq, made) in made.iter().enumerate().take(end).skip(next) {
            if seq >= first {
                ages.push(at.saturating_duration_since(*made));
            }
        }
        next = end;
    }
    ages.sort_unstable();
    let at = |share: f64| {
        let place = ((ages.len() - 1) as f64 * share).round() as usize;
        ages.get(place).copied().unwrap_or_default()
    };
    Ok(format!(
        "p50 {:.0?}, p99 {:.0?}, oldest {:.0?}, {} times new rows were seen",
        at(0.5),
        at(0.99),
        at(1.0),
        seen.len()
    ))
}
