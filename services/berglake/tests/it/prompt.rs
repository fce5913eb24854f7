//! The interactive prompt on a real terminal, which `script` of util-linux provides.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::{Project, wait};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody at a terminal.
struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<Vec<u8>>,
    /// What was shown since somebody last looked.
    shown: String,
}

impl Terminal {
    fn open(project: &Project) -> Self {
        let berglake = project.command(&["sql"]);
        let words: Vec<String> = std::iter::once(berglake.get_program())
            .chain(berglake.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        // Instead of the shell that `script` starts: one that stays in between is told of Ctrl-C too, and
        // some then end with its code whatever that of the program was.
        let line = format!("exec {}", words.join(" "));
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--flush", "--command"])
            .args([&line, "/dev/null"])
            .env("TERM", "xterm")
            // `script` starts the user's shell, and not every shell takes this line.
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, value) in berglake.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut child = command
            .spawn()
            .expect("this test needs `script` of util-linux");
        let mut output = child.stdout.take().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read) = output.read(&mut bytes) {
                if read == 0 || sender.send(bytes[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut terminal = Self {
            keyboard: child.stdin.take(),
            child,
            screen,
            shown: String::new(),
        };
        terminal.sees("berglake> ");
        terminal
    }

    fn types(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// Waits until this is shown, and takes what was shown up to it.
    #[track_caller]
    fn sees(&mut self, expected: &str) -> String {
        match self.sees_soon(expected, PATIENCE) {
            Some(shown) => shown,
            None => panic!("{expected:?} does not come: {:?}", self.shown),
        }
    }

    /// The same, unless nothing at all is shown for so long.
    fn sees_soon(&mut self, expected: &str, patience: Duration) -> Option<String> {
        loop {
            if let Some(at) = self.shown.find(expected) {
                let rest = self.shown.split_off(at + expected.len());
                return Some(std::mem::replace(&mut self.shown, rest));
            }
            let bytes = self.screen.recv_timeout(patience).ok()?;
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// Types a key again and again until this is shown: one that comes too early is not heard.
    #[track_caller]
    fn types_until_it_sees(&mut self, keys: &str, expected: &str) {
        let pause = Duration::from_millis(500);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            self.types(keys);
            if self.sees_soon(expected, pause).is_some() {
                return;
            }
        }
        panic!("{expected:?} does not come: {:?}", self.shown);
    }

    /// Waits for the end and gives the exit code.
    #[track_caller]
    fn ends(mut self) -> Option<i32> {
        let Some(status) = wait(&mut self.child, PATIENCE) else {
            let rest = self.screen.try_iter().flatten().collect::<Vec<u8>>();
            let rest = String::from_utf8_lossy(&rest);
            panic!("it does not end: {:?}{rest:?}", self.shown);
        };
        drop(self.keyboard.take());
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ENTER: &str = "\r";
const TAB: &str = "\t";
const UP: &str = "\x1b[A";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

#[test]
fn statements_are_typed_completed_repeated_cancelled_and_left() {
    let project = Project::initialised();
    project.run(&["sql", "-c", "CREATE NAMESPACE lab"]).ok();
    let mut terminal = Terminal::open(&project);

    // Over several lines, until the semicolon.
    terminal.types(&format!(
        "SELECT 'one' AS a,{ENTER}'two' AS b{ENTER};{ENTER}"
    ));
    terminal.sees("(1 row)");
    terminal.sees("berglake> ");

    // A table that was made here is completed, and its columns too.
    terminal.types(&format!(
        "CREATE TABLE lab.things AS SELECT 41 AS special_number;{ENTER}"
    ));
    terminal.sees("(1 row)");
    terminal.sees("berglake> ");
    terminal.types(&format!(
        "SELECT spec{TAB} + 1 AS n FROM lab.th{TAB};{ENTER}"
    ));
    terminal.sees("42");
    terminal.sees("berglake> ");

    // What was typed before comes back.
    terminal.types(&format!("{UP}{ENTER}"));
    terminal.sees("42");
    terminal.sees("berglake> ");

    // A mistake is told, and the prompt stays.
    terminal.types(&format!("SELECT nothing FROM lab.things;{ENTER}"));
    terminal.sees("there is no column");
    terminal.sees("berglake> ");
    terminal.types(&format!("\\nonsense{ENTER}"));
    terminal.sees("there is no command");
    terminal.sees("berglake> ");
    terminal.types(&format!("\\d{ENTER}"));
    terminal.sees("lab.things");
    terminal.sees("berglake> ");

    // Ctrl-C gives up what was typed, and what is being computed.
    terminal.types(&format!("SELECT 'given up{CTRL_C}"));
    terminal.sees("berglake> ");
    let numbers = "(SELECT unnest(range(0, 100000)) AS n)";
    terminal.types(&format!(
        "SELECT max(a.n + b.n + c.n) FROM {numbers} a, {numbers} b, {numbers} c;{ENTER}"
    ));
    // The line is wrapped somewhere before its end.
    terminal.sees("c;");
    terminal.types_until_it_sees(CTRL_C, "cancelled");
    terminal.sees("berglake> ");
    terminal.types(&format!("SELECT 6 * 7 AS answer;{ENTER}"));
    terminal.sees("42");
    terminal.sees("berglake> ");

    terminal.types(CTRL_D);
    assert_eq!(terminal.ends(), Some(0));
}

#[test]
fn what_was_typed_is_there_the_next_time() {
    let project = Project::initialised();
    let mut terminal = Terminal::open(&project);
    terminal.types(&format!("SELECT 1233 + 1 AS remembered;{ENTER}"));
    terminal.sees("1234");
    terminal.sees("berglake> ");
    terminal.types(&format!("quit{ENTER}"));
    assert_eq!(terminal.ends(), Some(0));

    let mut terminal = Terminal::open(&project);
    terminal.types(&format!("{UP}{UP}{ENTER}"));
    terminal.sees("1234");
    terminal.sees("berglake> ");
    terminal.types(&format!("exit;{ENTER}"));
    assert_eq!(terminal.ends(), Some(0));
}
