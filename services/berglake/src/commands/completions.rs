//! `berglake completions`

use clap::CommandFactory;

use crate::cli::Arguments;
use crate::exit::Outcome;
use crate::output::Out;

pub(crate) fn run(shell: clap_complete::Shell) -> Outcome {
    // The generator panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "berglake", &mut script);
    let mut out = Out::new();
    out.text(&String::from_utf8_lossy(&script))?;
    out.flush()
}
