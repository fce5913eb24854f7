//! The Docker engine: what every container of this run has in common, and how nothing of it is left.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

/// The label of every container of these tests; its value is the run.
pub const LABEL: &str = "berglake.e2e";

/// The environment variable by which the processes of a run are known. No setting of berglake.
pub const RUN_VARIABLE: &str = "E2E_RUN";

/// What all tests of this process share.
#[derive(Debug)]
pub struct Engine {
    /// Names this run: containers and processes carry it.
    pub run: String,
    /// The address of this machine as containers see it. It is also an address of this machine for
    /// itself, so that one address of a published port is good for both.
    pub host: String,
    /// Waits for the end of this process, however it comes; its standard input is the other end.
    _reaper: Child,
}

static ENGINE: LazyLock<Engine> = LazyLock::new(Engine::find);

/// The engine of this run.
///
/// # Panics
/// If there is none: a test that needs Docker fails without it and is never skipped.
pub fn engine() -> &'static Engine {
    &ENGINE
}

impl Engine {
    fn find() -> Self {
        let network = docker(&[
            "network",
            "inspect",
            "bridge",
            "--format",
            "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}",
        ])
        .unwrap_or_else(|error| {
            panic!(
                "these tests need a Docker engine and none answers ({}). Start Docker, or as root: \
                 integration-tests/images/engine start",
                error.trim()
            )
        });
        let host = gateway(&network)
            .unwrap_or_else(|| panic!("no address in Docker's network bridge: {network:?}"));
        let run = format!("{}-{}", std::process::id(), free_port());
        Self {
            _reaper: reaper(&run),
            run,
            host: host.to_string(),
        }
    }

    /// A name that no other test has, of letters and digits.
    pub fn name(&self, prefix: &str) -> String {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}{}x{number}", self.run.replace('-', ""))
    }
}

/// The gateway in `SUBNET GATEWAY`. Where the engine does not say it, it is the subnet's first address.
fn gateway(network: &str) -> Option<Ipv4Addr> {
    let (subnet, gateway) = network.trim_end_matches('\n').split_once(' ')?;
    if !gateway.is_empty() {
        return gateway.parse().ok();
    }
    let network: Ipv4Addr = subnet.split_once('/')?.0.parse().ok()?;
    Some(Ipv4Addr::from(u32::from(network) + 1))
}

/// A process that outlives this one by the time it takes to remove the containers and to kill the
/// processes of the run. Destructors do so too, but not after a SIGKILL, and not for servers that all
/// tests share.
fn reaper(run: &str) -> Child {
    let script = format!(
        r#"
        cat >/dev/null
        for process in /proc/[0-9]*; do
            if tr '\0' '\n' <"$process/environ" 2>/dev/null | grep -qx '{RUN_VARIABLE}={run}'; then
                kill -KILL "${{process#/proc/}}"
            fi
        done
        containers=$(docker ps --all --quiet --filter label={LABEL}={run})
        [ -z "$containers" ] || docker rm --force --volumes $containers
        "#
    );
    use std::os::unix::process::CommandExt as _;
    Command::new("sh")
        .args(["-c", &script])
        // Out of reach of an interrupt typed at the terminal.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("`sh` starts")
}

/// Runs the Docker client and gives its output.
///
/// # Errors
/// What it says on standard error, if it fails.
pub fn docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start `docker`: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A port that nobody listens at, now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// The image that `integration-tests/images/versions` names: the one that compose runs too.
pub fn image(variable: &str) -> (&'static str, &'static str) {
    include_str!("../../../../images/versions")
        .lines()
        .find_map(|line| line.strip_prefix(variable)?.strip_prefix('='))
        .and_then(|image| image.rsplit_once(':'))
        .unwrap_or_else(|| panic!("no {variable}=NAME:TAG in integration-tests/images/versions"))
}

/// Prints a log of a failed test, or the end of it.
pub fn print_log(title: &str, log: &str) {
    const LINES: usize = 150;
    let lines: Vec<&str> = log.lines().collect();
    let left_out = lines.len().saturating_sub(LINES);
    let mut text = format!("\n===== {title}");
    if left_out > 0 {
        text.push_str(&format!(" (without its first {left_out} lines)"));
    }
    text.push('\n');
    for line in &lines[left_out..] {
        text.push_str(line);
        text.push('\n');
    }
    // Past the capture of the test runner, which shows nothing of what other threads print.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
