//! The pieces of a file's scan, with the file's name on what fails in them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use berglake_format::TableIdent;
use datafusion::common::{DataFusionError, Result};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::in_file;

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
        let Some(mut plan) = inner.plan().map_err(|error| place.name(error))? else {
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
                match pending.await {
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
        inner
            .into_stream()
            .map(move |batch| batch.map_err(|error| place.name(error)))
            .boxed()
    }
}
