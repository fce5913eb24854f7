//! Stdout, and what a terminal can do.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use crate::exit::{Failure, Outcome};

/// Buffered stdout whose errors are [`Failure`]s.
pub(crate) struct Out(BufWriter<Stdout>);

impl Out {
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    /// Prints text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Outcome {
        self.0.write_all(text.as_bytes()).map_err(Failure::output)
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, text: &str) -> Outcome {
        writeln!(self.0, "{text}").map_err(Failure::output)
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Outcome {
        serde_json::to_writer(&mut self.0, value)
            .map_err(|error| Failure::output(io::Error::from(error)))?;
        self.line("")
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.0.write_all(bytes).map_err(Failure::output)
    }

    /// Hands everything to the reader. Without it an error at the end would be lost.
    pub(crate) fn flush(&mut self) -> Outcome {
        self.0.flush().map_err(Failure::output)
    }
}

/// Whether text on stderr may be coloured.
pub(crate) fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && colour_wanted()
}

fn colour_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb
}
