//! Delete files: loading them, and turning them into selections of rows.
//!
//! Which delete files apply to a data file is decided in planning; here they are read. Position
//! deletes and deletion vectors give [positions](DeleteLoader::positions), which become
//! [row selections](selections) of a Parquet file. Equality deletes give a
//! [set of keys](EqualityDeletes) that rows are held against.

mod equality;
mod position;
mod vector;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringTreemap;
use tokio::sync::OnceCell;

use crate::plan::{DeleteFile, ScanTask};
use crate::storage::{Storage, normalize};
use crate::{Result, Table, task};

pub use equality::EqualityDeletes;
pub(crate) use vector::{MAGIC as VECTOR_MAGIC, decode as decode_vector};

use equality::Keys;
use position::DeletedByFile;

/// A cache in which each entry is made once, however many ask for it at the same time.
type Once<T> = Mutex<HashMap<String, Arc<OnceCell<Arc<T>>>>>;

/// Loads the deletes of scan tasks.
///
/// A delete file that serves many tasks is loaded once per loader. Cheap to clone; clones share what
/// they load.
#[derive(Debug, Clone)]
pub struct DeleteLoader {
    storage: Storage,
    cache: Arc<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    positions: Once<DeletedByFile>,
    keys: Once<Keys>,
}

impl DeleteLoader {
    /// A loader with an empty cache.
    pub fn new(storage: Storage) -> Self {
        Self {
            storage,
            cache: Arc::default(),
        }
    }

    /// The deleted positions of the task's data file, or none if no position is deleted.
    ///
    /// # Errors
    /// Errors of the storage and [`Corrupt`](crate::ErrorKind::Corrupt), with the delete file's path.
    pub async fn positions(&self, task: &ScanTask) -> Result<Option<Arc<RoaringTreemap>>> {
        let path = normalize(task.file.file_path());
        let mut deleted: Option<Arc<RoaringTreemap>> = None;
        for delete in &task.position_deletes {
            let loaded = self.load_positions(delete).await?;
            let Some(more) = loaded.get(&path) else {
                continue;
            };
            deleted = Some(match deleted {
                None => more.clone(),
                Some(already) => Arc::new(already.as_ref() | more.as_ref()),
            });
        }
        Ok(deleted.filter(|deleted| !deleted.is_empty()))
    }

    /// The keys that the task's equality deletes delete in its data file, or none if it has none.
    ///
    /// # Errors
    /// As [`positions`](Self::positions).
    pub async fn equality(
        &self,
        table: &Table,
        task: &ScanTask,
    ) -> Result<Option<EqualityDeletes>> {
        EqualityDeletes::load(self, table, &task.equality_deletes).await
    }

    async fn load_positions(&self, delete: &Arc<DeleteFile>) -> Result<Arc<DeletedByFile>> {
        let file = &delete.file;
        // Many deletion vectors share one Puffin file.
        let key = format!(
            "{}#{}",
            file.file_path(),
            file.content_offset().unwrap_or_default()
        );
        let cell = cell(&self.cache.positions, key);
        let loaded = cell.get_or_try_init(|| {
            let (storage, delete) = (self.storage.clone(), delete.clone());
            task::decode(file.file_path(), async move {
                position::load(&storage, &delete.file).await.map(Arc::new)
            })
        });
        loaded.await.cloned()
    }
}

fn cell<T>(cache: &Once<T>, key: String) -> Arc<OnceCell<Arc<T>>> {
    cache
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(key)
        .or_default()
        .clone()
}

/// The rows that are left in each row group, or none where no row of the group is deleted.
///
/// `row_counts` are the row groups' sizes in file order.
pub fn selections(deleted: &RoaringTreemap, row_counts: &[u64]) -> Vec<Option<RowSelection>> {
    let mut positions = deleted.iter().peekable();
    let mut start = 0u64;
    row_counts
        .iter()
        .map(|rows| {
            let end = start.saturating_add(*rows);
            let is_touched = positions.peek().is_some_and(|position| *position < end);
            let selection = is_touched.then(|| {
                let mut at = start;
                let left = std::iter::from_fn(|| {
                    while let Some(position) = positions.next_if(|position| *position < end) {
                        let run = at..position;
                        at = position + 1;
                        if !run.is_empty() {
                            return Some(run);
                        }
                    }
                    let last = at..end;
                    at = end;
                    (!last.is_empty()).then_some(last)
                });
                let left = left.map(|run| (run.start - start) as usize..(run.end - start) as usize);
                RowSelection::from_consecutive_ranges(left, *rows as usize)
            });
            start = end;
            selection
        })
        .collect()
}

#[cfg(test)]
mod tests;
