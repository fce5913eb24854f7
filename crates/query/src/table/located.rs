//! The pieces of a file's scan, with the file's name on what fails in them.
//!
//! Decoders that meet something impossible in a damaged file may panic. It is the file's fault, and an
//! error of the one query that reads it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use berglake_format::{Error, TableIdent};
use datafusion::common::{DataFusionError, Result};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::error::{in_file, to_datafusion};

/// The file that errors are about.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) table: TableIdent,
}

impl Place {
    /// Says that this happened here.
    pub(super) fn name(&self, error: DataFusionError) -> DataFusionError {
        in_file(error, &self.path, &self.table)
    }
}

/// What a piece gave, if it did not panic.
fn unless_panicked<T>(outcome: std::thread::Result<Result<T>>) -> Result<T> {
    outcome.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        let error = Error::corrupt("the file cannot be decoded");
        Err(to_datafusion(match message {
            Some(message) => error.source_error(message.to_string()),
            None => error,
        }))
    })
}

/// Says it of all that a planner plans.
pub(super) fn located(
    planner: Box<dyn MorselPlanner>,
    place: Arc<Place>,
) -> Box<dyn MorselPlanner> {
    Box::new(Located {
        inner: planner,
        place,
    })
}

#[derive(Debug)]
struct Located<T: ?Sized> {
    place: Arc<Place>,
    inner: Box<T>,
}

impl MorselPlanner for Located<dyn MorselPlanner> {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { place, inner } = *self;
        let planned = unless_panicked(catch_unwind(AssertUnwindSafe(|| inner.plan())));
        let Some(mut plan) = planned.map_err(|error| place.name(error))? else {
            return Ok(None);
        };
        let morsels = plan.take_morsels().into_iter().map(|inner| {
            let place = Arc::clone(&place);
            Box::new(Located { place, inner }) as Box<dyn Morsel>
        });
        let planners = plan
            .take_ready_planners()
            .into_iter()
            .map(|planner| located(planner, Arc::clone(&place)));
        let mut all = MorselPlan::new()
            .with_morsels(morsels.collect())
            .with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            all.set_pending_planner(async move {
                match unless_panicked(AssertUnwindSafe(pending).catch_unwind().await) {
                    Ok(planner) => Ok(located(planner, place)),
                    Err(error) => Err(place.name(error)),
                }
            });
        }
        Ok(Some(all))
    }
}

impl Morsel for Located<dyn Morsel> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { place, inner } = *self;
        // Nothing of it is looked at again after a panic.
        AssertUnwindSafe(inner.into_stream())
            .catch_unwind()
            .map(move |batch| unless_panicked(batch).map_err(|error| place.name(error)))
            .boxed()
    }
}
