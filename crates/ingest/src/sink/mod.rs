//! Rows into tables, each batch in one commit together with the progress of its flow.
//!
//! [`AppendRows`] adds files that are written; [`Upsert`] replaces rows by key. Both are
//! [`Operation`](berglake_format::commit::Operation)s for a
//! [`Transaction`](berglake_format::commit::Transaction): they are planned against one head, with
//! the fence of [`Step::record`], and anew after every conflict.

mod append;
mod upsert;

pub use append::AppendRows;
pub use upsert::{Upsert, UpsertReport};

use berglake_format::snapshot::{CommitNotes, NextSnapshot};
use berglake_format::{Result, Table};

use crate::progress::Step;

/// The notes of a commit that does these steps on this head.
fn notes(base: &Table, next: NextSnapshot, steps: &[Step]) -> Result<CommitNotes> {
    let mut notes = CommitNotes::default();
    for step in steps {
        step.record(base.metadata(), next, &mut notes)?;
    }
    Ok(notes)
}
