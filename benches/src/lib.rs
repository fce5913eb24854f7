//! What the programs of the benches share: a watch, answers as text, and what the system says of the
//! program's memory.
#![deny(missing_docs)]

use std::io::{BufRead, Write};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Why a program could not do what it was asked for; it is printed, nobody looks into it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Python's way to write a timestamp, which the other engines' answers have.
const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S";

/// A running measurement.
#[derive(Debug)]
pub struct Watch(Instant);

impl Watch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "measuring wall time is what these programs are for"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Answers one request, or else each line of standard input, with a line of standard output.
///
/// # Errors
/// Those of `answer`, after which no more requests are taken.
pub fn serve(
    once: Option<&str>,
    mut answer: impl FnMut(&str) -> Result<String, Error>,
) -> Result<(), Error> {
    let mut reply = |request: &str| -> Result<(), Error> {
        let line = answer(request)?;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{line}")?;
        Ok(output.flush()?)
    };
    if let Some(request) = once {
        return reply(request);
    }
    for line in std::io::stdin().lock().lines() {
        reply(&line?)?;
    }
    Ok(())
}

/// The rows of a query, each cell as text.
///
/// # Errors
/// Those of values that Arrow cannot write as text.
pub fn as_text(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_timestamp_format(Some(TIMESTAMP));
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            rows.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    Ok(rows)
}

/// The most memory that this process has held so far, in bytes; none where the system does not say
/// (Linux does).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1_024)
}
