//! Parts of a plan that are about the same work, to be read side by side.
//!
//! Large files are cut where row groups begin, small ones are put together. `read.split.*` of the table
//! say how large a part is to be, as the Java implementation understands them: a file weighs its bytes and
//! those of its deletes, and at least what opening it and its deletes costs.

use std::collections::VecDeque;
use std::ops::Range;

use super::{ScanPlan, ScanTask};
use crate::properties::SplitProperties;

/// A part that files are still put into.
struct Bin {
    tasks: Vec<ScanTask>,
    weight: u64,
}

impl ScanPlan {
    /// The tasks in parts that weigh no more than the target, or are one row group. Together they read
    /// every row of the plan once; each part keeps the order of the plan.
    ///
    /// A part is read as a plan of its own, `ScanPlan { tasks: part, ..plan.clone() }`.
    pub fn splits(&self, properties: &SplitProperties) -> Vec<Vec<ScanTask>> {
        let mut parts = Vec::new();
        // As many bins stay open as may still be filled up by smaller files.
        let mut open: VecDeque<Bin> = VecDeque::new();
        for task in self.tasks.iter().flat_map(|task| cut(task, properties)) {
            let weight = weight(&task, properties);
            let fits = |bin: &Bin| bin.weight.saturating_add(weight) <= properties.target_size;
            if let Some(bin) = open.iter_mut().find(|bin| fits(bin)) {
                bin.tasks.push(task);
                bin.weight += weight;
                continue;
            }
            open.push_back(Bin {
                tasks: vec![task],
                weight,
            });
            if open.len() > properties.lookback {
                parts.extend(open.pop_front().map(|bin| bin.tasks));
            }
        }
        parts.extend(open.into_iter().map(|bin| bin.tasks));
        parts
    }
}

fn weight(task: &ScanTask, properties: &SplitProperties) -> u64 {
    let deletes = || task.position_deletes.iter().chain(&task.equality_deletes);
    let of_deletes = deletes().map(|delete| {
        let content = delete.file.content_size_in_bytes();
        let content = content.and_then(|size| u64::try_from(size).ok());
        content.unwrap_or(delete.file.file_size_in_bytes())
    });
    let of_file = match &task.range {
        Some(range) => range.end.saturating_sub(range.start),
        None => task.file.file_size_in_bytes(),
    };
    let bytes = of_deletes.fold(of_file, u64::saturating_add);
    let opened = deletes().count() as u64 + 1;
    bytes.max(opened.saturating_mul(properties.open_file_cost))
}

/// The task in pieces of the target size, cut where row groups begin.
fn cut(task: &ScanTask, properties: &SplitProperties) -> Vec<ScanTask> {
    let whole = task.range.clone();
    let whole = whole.unwrap_or(0..task.file.file_size_in_bytes());
    if whole.end.saturating_sub(whole.start) <= properties.target_size {
        return vec![task.clone()];
    }
    let mut begins = vec![whole.start];
    let mut last = whole.start;
    for group in places(task, &whole, properties.target_size) {
        // What begins here goes to the next piece if this one would grow too large with it.
        if group.end - last > properties.target_size && group.start > last {
            last = group.start;
            begins.push(last);
        }
    }
    let ends = begins.iter().skip(1).copied().chain([whole.end]);
    let pieces = begins.iter().zip(ends).map(|(begin, end)| ScanTask {
        range: Some(*begin..end),
        ..task.clone()
    });
    pieces.collect()
}

/// Where the file may be cut: its row groups from begin to end. Where metadata does not say, or says what
/// cannot be, at each multiple of the target size: a row group belongs to the piece that it begins in,
/// wherever that is.
fn places(task: &ScanTask, whole: &Range<u64>, target_size: u64) -> Vec<Range<u64>> {
    let offsets = task.file.split_offsets().unwrap_or_default().iter();
    let offsets: Option<Vec<u64>> = offsets.map(|at| u64::try_from(*at).ok()).collect();
    let begins = match offsets {
        Some(offsets)
            if offsets.is_sorted_by(|one, next| one < next)
                && offsets
                    .last()
                    .is_some_and(|last| *last < task.file.file_size_in_bytes()) =>
        {
            offsets
        }
        _ => {
            let pieces = (whole.end - whole.start).div_ceil(target_size.max(1));
            (0..pieces)
                .map(|piece| whole.start + piece * target_size)
                .collect()
        }
    };
    let begins: Vec<u64> = begins.into_iter().filter(|at| whole.contains(at)).collect();
    let ends = begins.iter().skip(1).copied().chain([whole.end]);
    begins
        .iter()
        .zip(ends)
        .map(|(begin, end)| *begin..end)
        .collect()
}

#[cfg(test)]
mod tests;
