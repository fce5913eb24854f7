//! Appending rows.

use std::collections::HashMap;

use async_trait::async_trait;
use berglake_format::commit::{Operation, PlannedChange};
use berglake_format::snapshot::{Append, NextSnapshot};
use berglake_format::write::WrittenFile;
use berglake_format::{Result, Table};

use super::notes;
use crate::progress::Step;

/// Appends files of rows and records what the flow has taken, in one commit.
///
/// Without files it still adds a snapshot that carries the progress: a batch whose records were all
/// dead letters has been taken nonetheless. Without files and steps it does nothing.
#[derive(Debug, Clone, Default)]
pub struct AppendRows {
    files: Vec<WrittenFile>,
    steps: Vec<Step>,
    properties: HashMap<String, String>,
}

impl AppendRows {
    /// Appends these files, which stay usable whatever head they are committed on.
    pub fn new(files: Vec<WrittenFile>) -> Self {
        Self {
            files,
            steps: Vec::new(),
            properties: HashMap::new(),
        }
    }

    /// Records the progress of a flow with the rows. A commit may serve several flows.
    #[must_use]
    pub fn with_step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Sets these properties of the table in the commit of the rows.
    #[must_use]
    pub fn with_properties(
        mut self,
        properties: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        self.properties.extend(properties);
        self
    }
}

#[async_trait]
impl Operation for AppendRows {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        if self.files.is_empty() && self.steps.is_empty() {
            return Ok(None);
        }
        let next = NextSnapshot::of(base);
        let mut notes = notes(base, next, &self.steps)?;
        let properties = self.properties.iter();
        notes
            .properties
            .extend(properties.map(|(key, value)| (key.clone(), value.clone())));
        Append {
            files: self.files.clone(),
            notes,
        }
        .plan_as(base, next)
        .await
        .map(Some)
    }
}
