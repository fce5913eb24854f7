//! Expectations: conditions that rows should meet, counted and enforced.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, BooleanArray};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use berglake_format::{Error, Result};
use berglake_query::Engine;
use datafusion::dataframe::DataFrame;

use crate::language::{Expectation, OnViolation};
use crate::report::ExpectationResult;

/// The expectations of one table, applied to batches that carry one flag column for each.
#[derive(Debug, Clone)]
pub(super) struct Checks {
    expectations: Arc<[Expectation]>,
    counts: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Checks {
    pub(super) fn new(expectations: &[Expectation]) -> Self {
        Self {
            expectations: expectations.into(),
            counts: Arc::new(Mutex::new(vec![(0, 0); expectations.len()])),
        }
    }

    /// Adds one boolean column per expectation behind the columns of the frame.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) naming the expectation whose
    /// condition does not fit the columns.
    pub(super) async fn flag(&self, engine: &Engine, frame: DataFrame) -> Result<DataFrame> {
        if self.expectations.is_empty() {
            return Ok(frame);
        }
        let rows = frame.into_view();
        let session = engine.connect_with(vec![("__rows".to_string(), rows)]);
        for expectation in self.expectations.iter() {
            // One by one first: the error of all together would not say whose it is.
            let alone = format!("SELECT ({}) AS held FROM __rows", expectation.condition.sql);
            let schema = session
                .schema_of(&alone)
                .await
                .map_err(|error| error.with("expectation", &expectation.name.node))?;
            if *schema.field(0).data_type() != DataType::Boolean {
                return Err(Error::invalid("an expectation is not a condition")
                    .with("expectation", &expectation.name.node)
                    .with("condition", &expectation.condition.sql)
                    .with("type", schema.field(0).data_type()));
            }
        }
        let flags: Vec<String> = self
            .expectations
            .iter()
            .enumerate()
            .map(|(index, expectation)| {
                format!("({}) AS __expectation_{index}", expectation.condition.sql)
            })
            .collect();
        session
            .query(&format!("SELECT *, {} FROM __rows", flags.join(", ")))
            .await
    }

    /// Counts, drops or fails, and takes the flag columns away.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) when a row breaks an expectation
    /// with FAIL UPDATE.
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let flags = self.expectations.len();
        if flags == 0 {
            return Ok(batch.clone());
        }
        let data_columns = batch.num_columns() - flags;
        let mut keep: Option<BooleanArray> = None;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, expectation) in self.expectations.iter().enumerate() {
            let flag = batch
                .column(data_columns + index)
                .as_any()
                .downcast_ref::<BooleanArray>()
                .ok_or_else(|| Error::internal("the flag of an expectation is not boolean"))?;
            // NULL means that it cannot be said to hold.
            let held = if flag.null_count() > 0 {
                prep_null_mask_filter(flag)
            } else {
                flag.clone()
            };
            let passed = held.true_count() as u64;
            let failed = held.len() as u64 - passed;
            counts[index].0 += passed;
            counts[index].1 += failed;
            match expectation.on_violation {
                OnViolation::FailUpdate if failed > 0 => {
                    return Err(Error::invalid(
                        "a row breaks an expectation that fails the update",
                    )
                    .with("expectation", &expectation.name.node)
                    .with("condition", &expectation.condition.sql)
                    .with("rows", failed)
                    .help(
                        "correct the source, or use ON VIOLATION DROP ROW; nothing was written",
                    ));
                }
                OnViolation::DropRow if failed > 0 => {
                    keep = Some(match keep {
                        Some(keep) => arrow::compute::and(&keep, &held)?,
                        None => held,
                    });
                }
                _ => {}
            }
        }
        let columns: Vec<usize> = (0..data_columns).collect();
        let data = batch.project(&columns)?;
        Ok(match keep {
            Some(keep) => filter_record_batch(&data, &keep)?,
            None => data,
        })
    }

    /// What was counted so far.
    pub(super) fn results(&self) -> Vec<ExpectationResult> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        self.expectations
            .iter()
            .zip(counts.iter())
            .map(|(expectation, (passed, failed))| ExpectationResult {
                name: expectation.name.node.clone(),
                condition: expectation.condition.sql.clone(),
                action: expectation.on_violation.as_str().to_string(),
                passed: *passed,
                failed: *failed,
            })
            .collect()
    }
}
