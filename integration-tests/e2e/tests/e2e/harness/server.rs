//! A server in a container, whose ports stay the same when it is stopped and started again.

use std::time::Duration;

use testcontainers::core::{ContainerPort, CopyDataSource, ExecCommand, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use super::engine::{self, engine};
use super::{client, until};

/// A container with one published port.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    container: ContainerAsync<GenericImage>,
    port: u16,
}

/// How a server is started.
pub struct Start {
    name: &'static str,
    port: u16,
    request: ContainerRequest<GenericImage>,
}

impl Start {
    /// The image under this name in `integration-tests/images/versions`, its port published on the
    /// same one of this machine for as long as the container lives.
    pub fn new(name: &'static str, variable: &str, port: u16) -> Self {
        let (image, tag) = engine::image(variable);
        let published = engine::free_port();
        let request = GenericImage::new(image, tag)
            .with_wait_for(WaitFor::Nothing)
            .with_mapped_port(published, ContainerPort::Tcp(port))
            .with_label(engine::LABEL, &engine().run)
            .with_startup_timeout(Duration::from_secs(180));
        Self {
            name,
            port: published,
            request,
        }
    }

    /// Where it will be found.
    pub fn address(&self) -> String {
        format!("{}:{}", engine().host, self.port)
    }

    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.request = self.request.with_env_var(name, value);
        self
    }

    pub fn command(mut self, words: &[&str]) -> Self {
        self.request = self.request.with_cmd(words.iter().copied());
        self
    }

    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.request = self
            .request
            .with_copy_to(path, CopyDataSource::Data(content.into()));
        self
    }

    /// Starts it; whether it answers is another question.
    pub async fn start(self) -> Server {
        let container = self.request.start().await.unwrap_or_else(|error| {
            panic!(
                "cannot start {}: {error}. Images are made by integration-tests/images/build",
                self.name
            )
        });
        Server {
            name: self.name,
            container,
            port: self.port,
        }
    }
}

impl Server {
    /// `HOST:PORT`, for this machine and for containers.
    pub fn address(&self) -> String {
        format!("{}:{}", engine().host, self.port)
    }

    /// Stops all its processes where they are: connections stay open and nobody answers.
    pub async fn pause(&self) {
        self.container.pause().await.expect("pause");
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub async fn unpause(&self) {
        self.container.unpause().await.expect("unpause");
    }

    /// Kills it with SIGKILL. Its files stay.
    pub async fn kill(&self) {
        self.container
            .stop_with_timeout(Some(0))
            .await
            .expect("kill");
    }

    /// Starts it again after [`kill`](Self::kill). While it was not there its port may have been given to
    /// somebody else for a moment.
    pub async fn start(&self) {
        let what = format!("{} starts again", self.name);
        until(&what, Duration::from_secs(60), async || {
            self.container.start().await.is_ok()
        })
        .await;
    }

    /// Runs a program inside and gives what it prints.
    pub async fn exec(&self, words: &[&str]) -> String {
        let mut result = self
            .container
            .exec(ExecCommand::new(words.iter().copied()))
            .await
            .expect("exec");
        let output = result.stdout_to_vec().await.expect("its output");
        let errors = result.stderr_to_vec().await.expect("its errors");
        let code = result.exit_code().await.expect("its exit code");
        assert_eq!(
            code,
            Some(0),
            "{words:?} in {}: {}",
            self.name,
            String::from_utf8_lossy(&errors)
        );
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Waits until `path` is answered with 200.
    pub async fn answers(&self, path: &str) {
        let url = format!("http://{}{path}", self.address());
        let client = client();
        until(
            &format!("{} answers", self.name),
            Duration::from_secs(180),
            async || {
                let answer = client
                    .get(&url)
                    .timeout(Duration::from_secs(2))
                    .send()
                    .await;
                answer.is_ok_and(|answer| answer.status().is_success())
            },
        )
        .await;
    }

    /// Prints what it logged.
    pub fn print_log(&self) {
        let log = std::process::Command::new("docker")
            .args(["logs", "--tail", "150", self.container.id()])
            .output();
        if let Ok(log) = log {
            let text = [log.stdout, log.stderr].concat();
            engine::print_log(
                &format!("log of the container {}", self.name),
                &String::from_utf8_lossy(&text),
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The container goes with its handle. If that happens because the test failed, its log is
        // what tells why.
        if std::thread::panicking() {
            self.print_log();
        }
    }
}
