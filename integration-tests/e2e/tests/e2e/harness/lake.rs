//! A lake: a bucket, a database, a project, and the processes of berglake on them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::engine::{self, engine, free_port};
use super::servers::{Kafka, Minio, Postgres};
use super::{client, strip, until};

/// The binary under test.
///
/// # Panics
/// If nobody says which one it is.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("BERGLAKE_BIN").map(PathBuf::from);
    let path = path.expect("BERGLAKE_BIN names the berglake binary; `make e2e` sets it");
    assert!(
        path.is_file(),
        "BERGLAKE_BIN is no file: {}",
        path.display()
    );
    path
}

/// A project on an object store and a catalog database of its own, with a catalog server between.
#[derive(Debug)]
pub struct Lake {
    name: String,
    folder: TempDir,
    /// Settings of every process.
    environment: BTreeMap<String, String>,
    s3_endpoint: String,
    database_url: String,
    catalog_port: u16,
}

impl Lake {
    /// The token of the catalog server.
    pub const CATALOG_TOKEN: &str = "e2e-catalog-token-1f2e";
    /// The token of the query service.
    pub const QUERY_TOKEN: &str = "e2e-query-token-77ab";

    /// A lake without a process, in a bucket and a database that are made for it.
    pub async fn new(minio: &Minio, postgres: &Postgres) -> Self {
        let name = engine().name("lake");
        minio.bucket(&name).await;
        let database_url = postgres.database(&name).await;
        let catalog_port = free_port();
        let catalog_url = format!("http://{}:{catalog_port}", engine().host);
        let environment = [
            ("BERGLAKE_LOG", "info".to_string()),
            ("BERGLAKE_CATALOG__URI", catalog_url),
            ("BERGLAKE_CATALOG__TOKEN", Self::CATALOG_TOKEN.to_string()),
            (
                "BERGLAKE_STORAGE__WAREHOUSE",
                format!("s3://{name}/warehouse"),
            ),
            ("BERGLAKE_STORAGE__S3__ENDPOINT", minio.endpoint()),
            ("BERGLAKE_STORAGE__S3__REGION", "us-east-1".to_string()),
            (
                "BERGLAKE_STORAGE__S3__ACCESS_KEY_ID",
                Minio::USER.to_string(),
            ),
            (
                "BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY",
                Minio::PASSWORD.to_string(),
            ),
            ("BERGLAKE_STORAGE__S3__PATH_STYLE", "true".to_string()),
            ("BERGLAKE_STORAGE__S3__ALLOW_HTTP", "true".to_string()),
        ];
        let lake = Self {
            folder: tempfile::Builder::new()
                .prefix(&name)
                .tempdir()
                .expect("a folder"),
            name,
            environment: environment
                .into_iter()
                .map(|(key, value)| (key.to_string(), value))
                .collect(),
            s3_endpoint: minio.endpoint(),
            database_url,
            catalog_port,
        };
        lake.write("berglake.toml", "[project]\nname = \"e2e\"\n");
        lake
    }

    /// A lake on the servers that all tests share, with its catalog server, which is ready.
    pub async fn shared() -> (Self, Role) {
        let (minio, postgres) = tokio::join!(Minio::shared(), Postgres::shared());
        let lake = Self::new(minio, postgres).await;
        let catalog = lake.serve("catalog").await;
        (lake, catalog)
    }

    /// Its name: also that of its bucket, its database and its catalog in Trino.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of its project.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its catalog server is, or will be.
    pub fn catalog_url(&self) -> String {
        format!("http://{}:{}", engine().host, self.catalog_port)
    }

    /// Where its object store is.
    pub fn s3_endpoint(&self) -> String {
        self.s3_endpoint.clone()
    }

    /// Sets a setting of all processes that are started from now on.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.environment.insert(variable.to_string(), value.into());
    }

    /// Points the project's connection `main` at a broker.
    pub fn connect(&mut self, kafka: &Kafka) {
        let config = format!(
            "[project]\nname = \"e2e\"\n\n[connections.main]\nkind = \"kafka\"\nbootstrap-servers = \"{}\"\n",
            kafka.brokers()
        );
        self.write("berglake.toml", &config);
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.folder().join(path);
        std::fs::create_dir_all(path.parent().expect("it has a folder"))
            .expect("the folder is made");
        std::fs::write(path, content).expect("the file is written");
    }

    /// Starts a role and waits until it is ready.
    pub async fn serve(&self, role: &str) -> Role {
        let role = self.start(role).await;
        role.ready().await;
        role
    }

    /// Starts a role and does not wait.
    pub async fn start(&self, role: &str) -> Role {
        let port = if role == "catalog" {
            self.catalog_port
        } else {
            free_port()
        };
        // Beyond this machine, because containers are beyond it.
        let listen = format!("0.0.0.0:{port}");
        let mut environment = self.environment.clone();
        let mut set =
            |key: &str, value: &str| environment.insert(key.to_string(), value.to_string());
        match role {
            "catalog" => {
                set("BERGLAKE_CATALOG__URI", &self.database_url);
                set("BERGLAKE_CATALOG__SERVER__LISTEN", &listen);
                set("BERGLAKE_CATALOG__SERVER__TOKENS", Self::CATALOG_TOKEN);
            }
            "query" => {
                set("BERGLAKE_QUERY__LISTEN", &listen);
                set("BERGLAKE_QUERY__TOKENS", Self::QUERY_TOKEN);
            }
            worker => {
                let key = format!("BERGLAKE_SERVICES__{}__LISTEN", worker.to_uppercase());
                set(&key, &listen);
            }
        }
        let role = Role {
            name: format!("{role} of {}", self.name),
            arguments: vec!["serve".to_string(), role.to_string()],
            environment,
            folder: self.folder().to_path_buf(),
            log: self.folder().join(format!("{role}-{port}.process-log")),
            port,
            child: Mutex::new(None),
        };
        role.start();
        role
    }

    /// Runs a command of the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        prepare(&mut command, self.folder(), &self.environment);
        let output = command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(300), output).await;
        output
            .unwrap_or_else(|_| panic!("{arguments:?} did not end in five minutes"))
            .expect("it starts")
    }

    /// Runs a command that has to succeed and gives what it prints.
    pub async fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(
            output.status.success(),
            "{arguments:?} ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a statement by `berglake sql` and gives its rows.
    pub async fn sql(&self, statement: &str) -> Vec<Value> {
        let text = self
            .must(&["sql", "--output", "json", "-c", statement])
            .await;
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a row as JSON"))
            .collect()
    }
}

fn prepare(command: &mut Command, folder: &Path, environment: &BTreeMap<String, String>) {
    strip(command);
    command
        .current_dir(folder)
        .envs(environment)
        .env("BERGLAKE_PROJECT", folder)
        .env(engine::RUN_VARIABLE, &engine().run)
        .env("RUST_BACKTRACE", "1");
}

/// A role as a process of this machine. It ends with its handle.
#[derive(Debug)]
pub struct Role {
    name: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl Role {
    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}:{}", engine().host, self.port)
    }

    /// Starts it, again after it ended, with the same settings and at the same port.
    pub fn start(&self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("the log is opened");
        let mut command = Command::new(binary());
        prepare(&mut command, &self.folder, &self.environment);
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log once more"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the role starts");
        let before = self.child.lock().expect("not poisoned").replace(child);
        assert!(before.is_none(), "{} was running", self.name);
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        let url = format!("{}/health/ready", self.url());
        let client = client();
        until(
            &format!("{} is ready", self.name),
            Duration::from_secs(120),
            async || {
                assert!(
                    self.is_running(),
                    "{} ended before it was ready:\n{}",
                    self.name,
                    self.log()
                );
                let answer = client
                    .get(&url)
                    .timeout(Duration::from_secs(5))
                    .send()
                    .await;
                answer.is_ok_and(|answer| answer.status().is_success())
            },
        )
        .await;
    }

    /// Whether the process is there. While it was not, another one may have been given its port: then it
    /// is started again, as whoever supervises it would do.
    pub fn is_running(&self) -> bool {
        let ended = {
            let mut child = self.child.lock().expect("not poisoned");
            match child.as_mut().map(Child::try_wait) {
                Some(Ok(None)) => return true,
                Some(Ok(Some(status))) => status,
                Some(Err(_)) | None => return false,
            }
        };
        let log = self.log();
        let mut end = log.lines().rev().take(10);
        let taken = end.any(|line| line.contains("another program listens at this address"));
        if ended.code() != Some(3) || !taken {
            return false;
        }
        self.child.lock().expect("not poisoned").take();
        self.start();
        true
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        let child = self.child.lock().expect("not poisoned");
        child
            .as_ref()
            .and_then(Child::id)
            .unwrap_or_else(|| panic!("{} is not running", self.name))
    }

    /// Ends it with SIGKILL, if it has not ended by itself.
    pub async fn kill(&self) {
        let child = self.child.lock().expect("not poisoned").take();
        if let Some(mut child) = child {
            child.kill().await.expect("it is killed");
        }
    }

    /// Asks it to end (SIGTERM) and gives how it ended.
    pub async fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        self.ended(Duration::from_secs(60)).await
    }

    /// Stops it where it is (SIGSTOP): its connections stay open and it does nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        // The shell does it, because not every system has a program for it.
        let status = std::process::Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.id())])
            .status()
            .expect("`sh` starts");
        assert!(status.success(), "no signal to {}", self.name);
    }

    /// Waits until it ends by itself.
    pub async fn ended(&self, within: Duration) -> ExitStatus {
        let child = self.child.lock().expect("not poisoned").take();
        let mut child = child.unwrap_or_else(|| panic!("{} is not running", self.name));
        tokio::time::timeout(within, child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} did not end in {within:?}", self.name))
            .expect("it is waited for")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if std::thread::panicking() {
            engine::print_log(&format!("log of the role {}", self.name), &self.log());
        }
    }
}
