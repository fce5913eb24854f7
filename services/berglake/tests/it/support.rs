//! Runs the real binary on projects in temporary folders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

/// Longer than any command takes on a busy machine: what goes on longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code, if it was not a signal that ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The exit code and the errors, for a snapshot.
    pub fn failure(&self) -> String {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(!self.stderr.contains("stack backtrace"), "{}", self.stderr);
        match self.code {
            Some(code) => format!("{}exit code {code}", self.stderr),
            None => format!("{}killed", self.stderr),
        }
    }
}

/// A folder for a project.
pub struct Project {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

impl Project {
    /// An empty folder.
    pub fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    /// A project with this configuration and no pipelines.
    pub fn with_config(text: &str) -> Self {
        let project = Self::empty();
        project.write("berglake.toml", text);
        project
    }

    /// A project with these SQL files alone.
    pub fn with_pipeline(sql: &str) -> Self {
        let project = Self::with_config("[project]\nname = \"test\"\n");
        project.write("pipelines/all.sql", sql);
        project
    }

    /// The project that `berglake init` makes.
    pub fn initialised() -> Self {
        let project = Self::empty();
        let root = project.root();
        project.run_plain(&["init", root.to_str().unwrap()]).ok();
        project
    }

    /// Sets an environment variable for all commands.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// The project's folder.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// A path in the project's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file of the project. It appears whole: whoever follows files reads each of them once.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let hidden = path.with_extension("part");
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, path).unwrap();
    }

    /// The binary with arguments, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.plain();
        command.arg("--project").arg(self.root()).args(arguments);
        command
    }

    /// Runs the binary on this project.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command(arguments))
    }

    /// Runs the binary without naming the project.
    pub fn run_plain(&self, arguments: &[&str]) -> Ran {
        let mut command = self.plain();
        command.args(arguments);
        self.finish(command)
    }

    /// The lines of JSON that a query gives.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<serde_json::Value> {
        json_lines(&self.run(&["sql", "--output", "json", "-c", sql]).ok())
    }

    /// The same while the tables may not be there yet.
    pub fn rows_if_any(&self, sql: &str) -> Option<Vec<serde_json::Value>> {
        let ran = self.run(&["sql", "--output", "json", "-c", sql]);
        (ran.code == Some(0)).then(|| json_lines(&ran.stdout))
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berglake"));
        // What the machine has set must not decide what a test sees.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["BERGLAKE_", "AWS_", "OTEL_", "XDG_", "RUST_", "PG"];
            if is_proxy(&name) || ours.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        command
            .env("HOME", self.folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn finish(&self, command: Command) -> Ran {
        let output = output(command);
        Ran {
            code: output.status.code(),
            stdout: self.redacted(&output.stdout),
            stderr: self.redacted(&output.stderr),
        }
    }

    /// Text with the temporary folder's name taken out, which differs in each run.
    fn redacted(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let redact = |text: &str, path: &Path| text.replace(path.to_str().unwrap(), "[tmp]");
        redact(&text, self.folder.path())
    }
}

fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs a command to its end. One that does not come to an end is killed, and fails the test with what
/// it has printed.
#[track_caller]
pub fn output(mut command: Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    output_of(child, &format!("{command:?}"))
}

/// The same for a command that was started with its output piped.
#[track_caller]
pub fn output_of(mut child: Child, name: &str) -> Output {
    let (ended, end) = mpsc::channel::<()>();
    let read = |mut pipe: Box<dyn Read + Send>| {
        let ended = ended.clone();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            drop(ended);
            bytes
        })
    };
    let stdout = read(Box::new(child.stdout.take().unwrap()));
    let stderr = read(Box::new(child.stderr.take().unwrap()));
    drop(ended);
    // It closes both when it ends, so that nobody has to look again and again.
    let closed = end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Disconnected);
    let status = match closed {
        true => wait(&mut child, PATIENCE),
        false => None,
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    match status {
        Some(status) => Output {
            status,
            stdout,
            stderr,
        },
        None => panic!(
            "{name} does not end:\n{}\n{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        ),
    }
}

/// How a process ends, if it does in time.
pub fn wait(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..within.as_millis() / PAUSE.as_millis() {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(PAUSE);
    }
    None
}

/// Sends a signal. The shell does it, because not every system has a program for it.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .unwrap();
    assert!(status.success(), "no signal {name} to {process}");
}

/// Whether a test was run by another process, because this one has proxies in its environment. The clients
/// that are under test obey them, and a process cannot safely change its own environment.
pub fn ran_without_proxies(test: &str) -> bool {
    let names = std::env::vars_os().map(|(name, _)| name);
    let proxies: Vec<_> = names.filter(|name| is_proxy(name)).collect();
    if proxies.is_empty() {
        return false;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([test, "--exact", "--nocapture"]);
    for name in &proxies {
        again.env_remove(name);
    }
    assert!(again.status().unwrap().success());
    true
}

fn is_proxy(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy().to_ascii_lowercase();
    name.ends_with("_proxy")
}

/// A client that talks to this machine, whatever proxy its environment names.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A command that goes on until it is told to stop. It is killed when the test ends.
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// What it has printed so far.
    printed: Vec<String>,
    /// Where each role listens.
    pub urls: BTreeMap<String, String>,
    errors: Option<JoinHandle<String>>,
}

impl Project {
    /// Starts a command that serves or watches.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Running {
            child,
            lines,
            printed: Vec::new(),
            urls: BTreeMap::new(),
            errors: Some(errors),
        }
    }

    /// Starts roles on free ports, and waits until it is said where they listen.
    pub fn serve(&self, arguments: &[&str]) -> Running {
        let free = [
            "--set",
            "query.listen=127.0.0.1:0",
            "--set",
            "catalog.server.listen=127.0.0.1:0",
            "--set",
            "services.bronze.listen=127.0.0.1:0",
            "--set",
            "services.silver.listen=127.0.0.1:0",
            "--set",
            "services.gold.listen=127.0.0.1:0",
            "--set",
            "services.maintenance.listen=127.0.0.1:0",
        ];
        let mut running = self.start(&[&free[..], arguments].concat());
        while !running.printed.iter().any(|line| line.ends_with("started")) {
            let line = running.line();
            if let Some((role, url)) = line.split_once(" http://") {
                let url = format!("http://{url}");
                running.urls.insert(role.trim().to_owned(), url);
            }
        }
        running
    }
}

impl Running {
    /// The next line that it prints.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(Duration::from_secs(60)) {
            Ok(line) => {
                self.printed.push(line.clone());
                line
            }
            Err(error) => {
                let _ = self.child.kill();
                let errors = self.errors.take().map(|errors| errors.join().unwrap());
                panic!(
                    "{error}: {:?}\n{}",
                    self.printed,
                    errors.unwrap_or_default()
                );
            }
        }
    }

    /// Waits until it prints a line that contains this.
    #[track_caller]
    pub fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Asks where a role listens: status and body.
    pub fn get(&self, role: &str, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.urls[role]);
        http(client().get(url))
    }

    /// Asks in SQL: status and body.
    pub fn sql(&self, sql: &str, format: &str) -> (u16, Vec<u8>) {
        let url = format!("{}/v1/sql", self.urls["query"]);
        let body = serde_json::json!({"sql": sql, "format": format}).to_string();
        let request = client()
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        http_bytes(request)
    }

    /// Waits until every check of the process is well.
    #[track_caller]
    pub fn ready(&self, role: &str) {
        let mut last = String::new();
        for _ in 0..1_200 {
            let (status, body) = self.get(role, "/health/ready");
            if status == 200 {
                return;
            }
            last = body;
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not ready: {last}");
    }

    /// The bytes that it holds in memory.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end: the exit code and what went to stderr.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = wait(&mut self.child, PATIENCE);
        if status.is_none() {
            let _ = self.child.kill();
        }
        let errors = self.errors.take().map(|errors| errors.join().unwrap());
        let errors = errors.unwrap_or_default();
        match status {
            Some(status) => (status.code(), errors),
            None => panic!("it does not end: {:?}\n{errors}", self.printed),
        }
    }

    /// Tells it to stop; it must do so in good order.
    #[track_caller]
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (code, errors) = self.end();
        assert_eq!(code, Some(0), "{errors}");
        errors
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and waits for the whole answer.
pub fn http(request: reqwest::RequestBuilder) -> (u16, String) {
    let (status, body) = http_bytes(request);
    (status, String::from_utf8(body).unwrap())
}

fn http_bytes(request: reqwest::RequestBuilder) -> (u16, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.bytes().await.unwrap().to_vec())
    })
}
