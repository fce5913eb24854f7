//! Procedures: what `CALL system.name(…)` runs.

mod snapshots;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use async_trait::async_trait;
use berglake_format::{Error, ErrorKind, Result};
use datafusion::common::ScalarValue;

use crate::output::QueryOutput;
use crate::session::Session;

/// The namespace of all procedures.
pub(crate) const NAMESPACE: &str = "system";

/// Something that `CALL` runs, in `system`.
///
/// The engine brings those that change snapshots; other crates hand theirs to
/// [`EngineOptions`](crate::EngineOptions), so that this crate need not know them
/// ([ADR 0024](https://github.com/berglake/berglake/blob/main/docs/adr/0024-procedures-are-registered.md)).
#[async_trait]
pub trait Procedure: fmt::Debug + Send + Sync {
    /// Its name in lower case, without `system`.
    fn name(&self) -> &str;

    /// Its parameters, in the order in which they are given without names.
    fn parameters(&self) -> Vec<Parameter>;

    /// Runs it. All that it changes is changed when this returns.
    ///
    /// The arguments have the types of the parameters, and those that are required are there.
    ///
    /// # Errors
    /// Whatever it meets. [`Session::writable_table`] refuses tables that pipelines own.
    async fn call(&self, session: &Session, arguments: &Arguments) -> Result<QueryOutput>;
}

/// One parameter of a procedure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in lower case.
    pub name: &'static str,
    /// Its type. Arguments are cast to it.
    pub data_type: DataType,
    /// Whether a call must give it.
    pub required: bool,
}

impl Parameter {
    /// One that must be given.
    pub fn required(name: &'static str, data_type: DataType) -> Self {
        Self {
            name,
            data_type,
            required: true,
        }
    }

    /// One that may be left out.
    pub fn optional(name: &'static str, data_type: DataType) -> Self {
        Self {
            name,
            data_type,
            required: false,
        }
    }

    /// The type of points in time: microseconds since 1970 UTC.
    pub fn instant() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
    }
}

/// The arguments of a call by the names of their parameters. `NULL` is as good as none.
#[derive(Debug, Clone, Default)]
pub struct Arguments(BTreeMap<&'static str, ScalarValue>);

impl Arguments {
    pub(crate) fn insert(&mut self, name: &'static str, value: ScalarValue) {
        if !value.is_null() {
            self.0.insert(name, value);
        }
    }

    /// The argument, if one was given.
    pub fn get(&self, name: &str) -> Option<&ScalarValue> {
        self.0.get(name)
    }

    /// A text, if one was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.try_as_str().flatten()
    }

    /// A whole number, if one was given.
    pub fn long(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            ScalarValue::Int64(value) => *value,
            ScalarValue::Int32(value) => value.map(i64::from),
            _ => None,
        }
    }

    /// Whether the argument is true, if one was given.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            ScalarValue::Boolean(value) => *value,
            _ => None,
        }
    }

    /// A point in time in milliseconds since 1970 UTC, if one was given.
    pub fn instant_ms(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            ScalarValue::TimestampMicrosecond(value, _) => {
                value.map(|micros| micros.div_euclid(1_000))
            }
            _ => None,
        }
    }

    /// What was found for a parameter that is required.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) where nothing was: the procedure asks for another type than
    /// its parameter has.
    pub fn need<T>(&self, name: &str, found: Option<T>) -> Result<T> {
        found.ok_or_else(|| {
            Error::internal("an argument is not of the type that its procedure asks for")
                .with("argument", name)
        })
    }
}

/// The procedures of an engine.
#[derive(Debug, Default)]
pub(crate) struct Procedures(BTreeMap<String, Arc<dyn Procedure>>);

impl Procedures {
    /// The engine's own and these.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for two of one name, and for parameters that repeat.
    pub(crate) fn with(others: Vec<Arc<dyn Procedure>>) -> Result<Self> {
        let mut all = Self::default();
        for procedure in snapshots::all().into_iter().chain(others) {
            let name = procedure.name().to_string();
            let parameters = procedure.parameters();
            let repeats = |place: usize| {
                parameters[..place]
                    .iter()
                    .any(|earlier| earlier.name == parameters[place].name)
            };
            if (0..parameters.len()).any(repeats) {
                return Err(Error::invalid("a procedure has two parameters of one name")
                    .with("procedure", name));
            }
            if all.0.insert(name.clone(), procedure).is_some() {
                return Err(
                    Error::invalid("there are two procedures of one name").with("procedure", name)
                );
            }
        }
        Ok(all)
    }

    /// The procedure of this name in lower case.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) with the nearest name there is.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<dyn Procedure>> {
        if let Some(found) = self.0.get(name) {
            return Ok(Arc::clone(found));
        }
        let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let error = Error::new(
            ErrorKind::NotFound,
            format!("there is no procedure {NAMESPACE}.{name}"),
        );
        Err(match crate::error::advice(name, &known, "procedures are") {
            Some(advice) => error.help(advice),
            None => error,
        })
    }
}
