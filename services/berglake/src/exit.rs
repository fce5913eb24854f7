//! How a command ends: exit codes, and what is printed about a failure.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use berglake_format::{Error, ErrorKind};

/// The exit codes, as `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Unavailable = 3,
    Conflict = 4,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidInput | ErrorKind::Unsupported => Self::Usage,
            ErrorKind::Unavailable | ErrorKind::Denied => Self::Unavailable,
            ErrorKind::Conflict | ErrorKind::UnknownOutcome => Self::Conflict,
            _ => Self::Failed,
        }
    }
}

impl Exit {
    /// The code for the stable name of an error's kind, as reports of flows have it: a flow that fails on
    /// what it meets is no request that is wrong.
    pub(crate) fn of_kind(kind: &str) -> Self {
        match kind {
            "conflict" | "unknown-outcome" => Self::Conflict,
            "unavailable" | "denied" => Self::Unavailable,
            _ => Self::Failed,
        }
    }

    /// The code for the kinds of all errors of maintenance, whose options and properties can be wrong:
    /// theirs if they agree, none if there are no errors.
    pub(crate) fn of_maintenance(kinds: &[&str]) -> Option<Self> {
        let code = |kind: &str| match kind {
            "invalid-input" | "unsupported" => Self::Usage,
            kind => Self::of_kind(kind),
        };
        let first = code(kinds.first()?);
        let agree = kinds.iter().all(|kind| code(kind) == first);
        Some(if agree { first } else { Self::Failed })
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error to be shown.
    Error {
        /// What went wrong.
        error: Error,
        /// The exit code that says so.
        exit: Exit,
    },
    /// It has been shown, as part of a report.
    Shown(Exit),
    /// The user or the system asked to stop.
    Interrupted,
    /// Whoever read our output has gone, as `| head` does; that is no failure.
    OutputClosed,
}

/// The result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = error.kind().into();
        Self::Error { error, exit }
    }
}

impl Failure {
    /// An error of the command line or the configuration, whatever its kind.
    pub(crate) fn usage(error: Error) -> Self {
        Self::Error {
            error,
            exit: Exit::Usage,
        }
    }

    /// An error of opening catalog or storage, unless it is the configuration that is wrong.
    pub(crate) fn opening(error: Error) -> Self {
        let exit = match error.kind().into() {
            Exit::Failed => Exit::Unavailable,
            other => other,
        };
        Self::Error { error, exit }
    }

    /// An error of writing to stdout.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Error {
            error: Error::from(error).with("file", "stdout"),
            exit: Exit::Failed,
        }
    }

    /// Prints what is to be said, and gives the exit code.
    pub(crate) fn report(self, colour: bool) -> ExitCode {
        match self {
            Self::Error { error, exit } => {
                show(&error, colour);
                exit.into()
            }
            Self::Shown(exit) => exit.into(),
            Self::Interrupted => {
                let _ = writeln!(
                    io::stderr(),
                    "interrupted: what was committed stays, what was in flight is abandoned"
                );
                Exit::Interrupted.into()
            }
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

/// Prints an error to stderr. That stderr may be closed is nobody's business any more.
pub(crate) fn show(error: &Error, colour: bool) {
    let _ = write!(io::stderr(), "{}", Shown { error, colour });
}

/// An error for people: message, context, causes, advice.
pub(crate) struct Shown<'a> {
    pub(crate) error: &'a Error,
    pub(crate) colour: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (red, cyan, off) = if self.colour {
            ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        writeln!(f, "{red}error:{off} {}", self.error.message())?;
        for (key, value) in self.error.context() {
            writeln!(f, "  {key}: {}", indented(value))?;
        }
        // A cause is often repeated by what wraps it; one mention is enough.
        let mut said = self.error.message().to_string();
        let mut next = std::error::Error::source(self.error);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.contains(&text) {
                writeln!(f, "  caused by: {}", indented(&text))?;
                said = text;
            }
            next = cause.source();
        }
        if self.error.kind() == ErrorKind::Internal {
            writeln!(
                f,
                "  this is a defect of berglake {}",
                env!("CARGO_PKG_VERSION")
            )?;
        }
        if let Some(advice) = self.error.advice() {
            writeln!(f, "{cyan}help:{off} {}", indented(advice))?;
        }
        Ok(())
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_with_context_causes_and_help() {
        let inner = io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Unavailable, "the store failed")
            .with("path", "s3://b/x")
            .source_error(Error::from(inner).with("n", 1))
            .help("try again");
        let text = Shown {
            error: &error,
            colour: false,
        }
        .to_string();
        assert_eq!(
            text,
            "error: the store failed\n  path: s3://b/x\n  caused by: the file system refused (n: 1): \
             disk on fire\nhelp: try again\n"
        );
    }

    #[test]
    fn kinds_have_the_documented_codes() {
        for (kind, exit) in [
            (ErrorKind::InvalidInput, Exit::Usage),
            (ErrorKind::NotFound, Exit::Failed),
            (ErrorKind::Corrupt, Exit::Failed),
            (ErrorKind::Unavailable, Exit::Unavailable),
            (ErrorKind::Denied, Exit::Unavailable),
            (ErrorKind::Conflict, Exit::Conflict),
            (ErrorKind::UnknownOutcome, Exit::Conflict),
        ] {
            assert_eq!(Exit::from(kind), exit, "{kind:?}");
        }
    }

    #[test]
    fn maintenance_ends_with_the_code_of_its_errors_if_they_agree() {
        let of = |kinds: &[ErrorKind]| {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
            Exit::of_maintenance(&names)
        };
        assert_eq!(of(&[]), None);
        for kind in [
            ErrorKind::InvalidInput,
            ErrorKind::Unsupported,
            ErrorKind::NotFound,
            ErrorKind::Unavailable,
            ErrorKind::UnknownOutcome,
        ] {
            assert_eq!(of(&[kind, kind]), Some(kind.into()), "{kind:?}");
        }
        let mixed = [ErrorKind::InvalidInput, ErrorKind::Unavailable];
        assert_eq!(of(&mixed), Some(Exit::Failed));
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(Failure::output(closed), Failure::OutputClosed));
    }
}
