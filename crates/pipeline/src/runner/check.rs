//! What a set-up is asked before it is relied upon: is each source there, does each table exist.

use std::collections::{HashMap, HashSet};

use berglake_format::{Error, Result};
use berglake_ingest::dead_letter::schema;

use super::files::FileInput;
use super::kafka::{KAFKA, KafkaCall};
use super::schemas::Schemas;
use super::{DEAD_LETTER_PROPERTY, Runner, progress_key, tables};
use crate::language::{Flow, SourceRef};

/// A source of the pipeline that is no table of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName {
    /// The flow that reads it.
    pub flow: String,
    /// What it is, as the pipeline names it.
    pub source: String,
    /// Which of the flow's inputs it is.
    input: usize,
}

/// A table that was made or found as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableCheck {
    /// Its name.
    pub table: String,
    /// The folder in which its files lie.
    pub location: String,
    /// Whether it was made now.
    pub created: bool,
}

impl Runner {
    /// The sources that the pipeline does not fill itself, in the order of its flows.
    pub fn sources(&self) -> Vec<SourceName> {
        let mut sources = Vec::new();
        for flow in self.pipeline.flows() {
            for (input, source) in flow.inputs().enumerate() {
                let is_own = match &source.from {
                    SourceRef::Function(_) => false,
                    SourceRef::Table(name) => self.pipeline.table(name).is_some(),
                };
                if !is_own {
                    sources.push(SourceName {
                        flow: flow.name.clone(),
                        source: shown(&source.from),
                        input,
                    });
                }
            }
        }
        sources
    }

    /// Looks whether a source can be reached, and says what is there.
    ///
    /// # Errors
    /// Those of reaching it.
    pub async fn reach(&self, source: &SourceName) -> Result<String> {
        let flow = self
            .pipeline
            .flows()
            .iter()
            .find(|flow| flow.name == source.flow);
        let input = flow.and_then(|flow| flow.inputs().nth(source.input));
        let input = input.ok_or_else(|| {
            Error::invalid("the pipeline has no such source").with("flow", &source.flow)
        })?;
        match &input.from {
            SourceRef::Function(function) if function.name == KAFKA => {
                let call = KafkaCall::bind(function, &self.project)?;
                let key = flow.map_or_else(String::new, |flow| progress_key(&self.project, flow));
                let topic = self.topics.of(&key, &call)?;
                let pinned = topic.pin(None, &call.pin(None)).await?;
                Ok(pinned.to_string())
            }
            SourceRef::Function(function) => {
                let input = FileInput::bind(function, &self.project, &self.storage)?;
                let files = input.list().await?.files;
                let bytes: u64 = files.iter().map(|file| file.size).sum();
                Ok(format!("{} files, {bytes} bytes", files.len()))
            }
            SourceRef::Table(name) => {
                let table = self.catalog.load(&tables::ident(name)?).await?;
                Ok(format!("a table at {}", table.metadata().location()))
            }
        }
    }

    /// The names of all tables that the pipeline keeps, those of dead letters among them, in an order
    /// in which they can be made.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a table of dead letters whose
    /// name is not qualified.
    pub fn tables(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for table in self.pipeline.tables() {
            names.push(table.name().to_string());
            if let Some(letters) = table.definition.properties.get(DEAD_LETTER_PROPERTY) {
                names.push(tables::parse_ident(&letters.node)?.to_string());
            }
        }
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(names)
    }

    /// Makes a table of the pipeline as it is defined, or verifies that it is so.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if it exists with another definition
    /// or belongs to another pipeline, or if the pipeline does not plan; those of the catalog.
    pub async fn ensure_table(&self, name: &str) -> Result<TableCheck> {
        let defined = self
            .pipeline
            .tables()
            .iter()
            .find(|t| t.name().to_string() == name);
        let table = match defined {
            Some(table) => {
                let flow: Option<&Flow> = self.pipeline.flows_into(table.name()).next();
                let schemas = match flow {
                    Some(flow) => Schemas::for_flow(self, flow).await?,
                    None => Schemas::of(self, self.pipeline.flows().iter()).await,
                };
                self.ensure(&schemas.wanted(table)?).await?
            }
            None => {
                let columns = schema();
                let wanted = tables::Wanted {
                    ident: tables::parse_ident(name)?,
                    definition: None,
                    columns: columns.as_ref(),
                    pins: HashMap::new(),
                };
                self.ensure(&wanted).await?
            }
        };
        Ok(table)
    }

    async fn ensure(&self, wanted: &tables::Wanted<'_>) -> Result<TableCheck> {
        let existed = self.catalog.table_exists(&wanted.ident).await;
        // A namespace that does not exist holds no table.
        let existed = matches!(existed, Ok(true));
        let table = tables::ensure(self.catalog.as_ref(), &self.project.config, wanted).await?;
        Ok(TableCheck {
            table: table.ident().to_string(),
            location: table.metadata().location().to_string(),
            created: !existed,
        })
    }
}

/// A source in a few words: a function by what it reads, without its columns.
fn shown(source: &SourceRef) -> String {
    match source {
        SourceRef::Table(name) => name.to_string(),
        SourceRef::Function(function) => {
            let what = ["path", "topic"]
                .iter()
                .find_map(|name| function.text(name));
            format!("{}({})", function.name, what.unwrap_or_default())
        }
    }
}
