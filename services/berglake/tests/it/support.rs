//! Runs the real binary on projects in temporary folders.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

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

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
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
        let text = self.run(&["sql", "--output", "json", "-c", sql]).ok();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berglake"));
        // What the machine has set must not decide what a test sees.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["BERGLAKE_", "AWS_", "OTEL_", "XDG_", "RUST_", "PG"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
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

    fn finish(&self, mut command: Command) -> Ran {
        let output = command.output().unwrap();
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
