//! Deletes as a mask over the rows of a file, for deletes that are strewn over it.
//!
//! A selection says which runs of rows are left. Where every few rows one is deleted, it has as many runs as
//! there are rows deleted, and Parquet's reader makes a mask of it after it has been copied some times over.
//! If all rows of a file are read anyway, in their order, a mask that is laid over them afterwards does less.
//! Whatever may leave rows out beneath the mask, or give them in another order, would move it: a filter, by
//! which row groups and pages are pruned, and an order that row groups are sorted by. Then there is none; nor
//! where the Parquet source computes something, which may fail for rows that are deleted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use datafusion::common::{DataFusionError, Result};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

/// Runs of fewer rows than these are left on average: the bound at which Parquet's reader makes a mask of a
/// selection.
const SHORT_RUN: u64 = 32;

/// Whether deletes are strewn over so many rows. Positions rise.
pub(super) fn are_strewn(positions: impl Iterator<Item = u64>, rows: u64) -> bool {
    let (mut runs, mut next) = (0u64, None);
    for position in positions {
        runs += u64::from(next != Some(position));
        next = position.checked_add(1);
    }
    rows < runs.saturating_mul(2).saturating_mul(SHORT_RUN)
}

/// What is done with each row group of a file.
pub(super) struct Masked {
    /// Which row groups are read.
    pub(super) read: Vec<bool>,
    /// Which of the rows in them are left.
    pub(super) left: BooleanBuffer,
}

/// Lays the deleted positions, which rise, over row groups of these sizes, of which some are wanted.
pub(super) fn masked(
    positions: impl Iterator<Item = u64>,
    groups: impl Iterator<Item = (u64, bool)>,
) -> Masked {
    let mut positions = positions.peekable();
    let mut left = BooleanBufferBuilder::new(0);
    let mut start = 0u64;
    let read = groups.map(|(rows, wanted)| {
        let end = start.saturating_add(rows);
        let begin = left.len();
        left.append_n(if wanted { rows as usize } else { 0 }, true);
        let mut deleted = 0;
        while let Some(position) = positions.next_if(|position| *position < end) {
            deleted += 1;
            if wanted {
                left.set_bit(begin + (position - start) as usize, false);
            }
        }
        start = end;
        let read = wanted && deleted < rows;
        if !read {
            left.truncate(begin);
        }
        read
    });
    Masked {
        read: read.collect(),
        left: left.finish(),
    }
}

/// Lays a mask over the rows that a planner's one morsel gives.
pub(super) fn planner(
    inner: Box<dyn MorselPlanner>,
    left: BooleanBuffer,
) -> Box<dyn MorselPlanner> {
    let mask = Mask {
        left,
        is_taken: AtomicBool::new(false),
    };
    over(inner, Arc::new(mask))
}

fn over(inner: Box<dyn MorselPlanner>, mask: Arc<Mask>) -> Box<dyn MorselPlanner> {
    Box::new(Under { mask, inner })
}

struct Mask {
    left: BooleanBuffer,
    is_taken: AtomicBool,
}

struct Under<T: ?Sized> {
    mask: Arc<Mask>,
    inner: Box<T>,
}

impl<T: fmt::Debug + ?Sized> fmt::Debug for Under<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Under")
            .field("rows", &self.mask.left.len())
            .field("inner", &self.inner)
            .finish()
    }
}

impl MorselPlanner for Under<dyn MorselPlanner> {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { mask, inner } = *self;
        let Some(mut plan) = inner.plan()? else {
            return Ok(None);
        };
        let morsels = plan.take_morsels().into_iter().map(|inner| {
            let mask = Arc::clone(&mask);
            Box::new(Under { mask, inner }) as Box<dyn Morsel>
        });
        let planners = plan.take_ready_planners().into_iter();
        let planners = planners.map(|planner| over(planner, Arc::clone(&mask)));
        let mut all = MorselPlan::new()
            .with_morsels(morsels.collect())
            .with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            all.set_pending_planner(async move { Ok(over(pending.await?, mask)) });
        }
        Ok(Some(all))
    }
}

impl Morsel for Under<dyn Morsel> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { mask, inner } = *self;
        if mask.is_taken.swap(true, Ordering::Relaxed) {
            return stream::iter([Err(other_rows("a second part"))]).boxed();
        }
        let end = stream::iter([None]);
        let batches = inner.into_stream().map(Some).chain(end);
        batches
            .scan(0, move |at, batch| {
                let given = match batch {
                    Some(Ok(batch)) => mask.apply(at, batch),
                    Some(Err(error)) => {
                        // Nothing is counted any more after an error.
                        *at = mask.left.len();
                        Err(error)
                    }
                    None if *at == mask.left.len() => Ok(None),
                    None => Err(other_rows("fewer rows")),
                };
                std::future::ready(Some(given.transpose()))
            })
            .filter_map(std::future::ready)
            .boxed()
    }
}

impl Mask {
    /// The rows of a batch that are left, if any; the batch begins at a row of the mask.
    fn apply(&self, at: &mut usize, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = batch.num_rows();
        let end = at.checked_add(rows).filter(|end| *end <= self.left.len());
        let end = end.ok_or_else(|| other_rows("more rows"))?;
        let left = self.left.slice(*at, rows);
        *at = end;
        Ok(match left.count_set_bits() {
            0 => None,
            all if all == rows => Some(batch),
            _ => Some(filter_record_batch(&batch, &BooleanArray::new(left, None))?),
        })
    }
}

/// The mask would lie elsewhere than it should.
fn other_rows(what: &str) -> DataFusionError {
    DataFusionError::Internal(format!(
        "a file was to be read from its first row to its last to apply deletes, and gave {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(positions: &[u64], groups: &[(u64, bool)]) -> (Vec<bool>, Vec<bool>) {
        let masked = masked(positions.iter().copied(), groups.iter().copied());
        (masked.read, masked.left.iter().collect())
    }

    #[test]
    fn a_mask_has_the_rows_of_the_groups_that_are_read() {
        let (yes, no) = (true, false);
        assert_eq!(
            left(&[1, 3], &[(3, yes), (2, yes)]),
            (vec![yes, yes], vec![yes, no, yes, no, yes])
        );
        // The second is not wanted, the third has no row left.
        assert_eq!(
            left(&[0, 4, 5, 6, 8], &[(3, yes), (2, no), (2, yes), (3, yes)]),
            (vec![yes, no, no, yes], vec![no, yes, yes, yes, no, yes])
        );
        assert_eq!(left(&[], &[(0, yes)]), (vec![no], vec![]));
    }

    #[test]
    fn deletes_are_strewn_where_runs_are_short() {
        assert!(are_strewn((0..1_000).step_by(10), 1_000));
        assert!(!are_strewn(0..500, 1_000));
        assert!(!are_strewn((0..1_000).step_by(100), 1_000));
        assert!(!are_strewn(std::iter::empty(), 0));
    }
}
