//! Position deletes: of Parquet files and of deletion vectors.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use iceberg::metadata_columns::{delete_file_path_field, delete_file_pos_field};
use iceberg::spec::{DataFile, DataFileFormat, MappedField, NameMapping};
use roaring::RoaringTreemap;

use super::vector;
use crate::read::file::{Fallbacks, ParquetFile, Wanted};
use crate::storage::{Storage, normalize};
use crate::{Error, Result};

/// Deleted positions by the normal spelling of the data file's path.
pub(super) type DeletedByFile = HashMap<String, Arc<RoaringTreemap>>;

/// Rows that are decoded at once.
const BATCH_SIZE: usize = 16_384;

/// Loads one delete file.
pub(super) async fn load(storage: &Storage, file: &DataFile) -> Result<DeletedByFile> {
    match file.file_format() {
        DataFileFormat::Puffin => vector::load(storage, file).await,
        _ => load_parquet(storage, file).await,
    }
}

async fn load_parquet(storage: &Storage, file: &DataFile) -> Result<DeletedByFile> {
    let corrupt = |message: &str| Error::corrupt(message).with("path", file.file_path());
    let path = Wanted::new(delete_file_path_field())?;
    let position = Wanted::new(delete_file_pos_field())?;
    // The specification fixes names and ids; some writers leave the ids out.
    let by_name = |wanted: &Wanted| {
        let names = vec![wanted.field.name.clone()];
        MappedField::new(Some(wanted.field.id), names, Vec::new())
    };
    let fallbacks = Fallbacks {
        names: Some(Arc::new(NameMapping::new(
            [&path, &position].map(by_name).to_vec(),
        ))),
        ..Fallbacks::default()
    };
    let only = file.referenced_data_file().map(|path| normalize(&path));
    // Each path is that of the data file which the manifest names, if it names one.
    let named = |path: &str| {
        let named = normalize(path);
        match &only {
            Some(only) if *only != named => Err(corrupt(
                "a position delete names another data file than its manifest says",
            )
            .with("data-file", only)
            .with("found", path)),
            _ => Ok(named),
        }
    };
    let opened = ParquetFile::open(storage, file).await?;
    // Most files are about one data file and say so in their footer: thousands of paths less to read.
    let one = opened.only_text(&path, &fallbacks);
    let one = one.map(&named).transpose()?;
    let wanted = match &one {
        Some(_) => vec![position],
        None => vec![position, path],
    };
    let mut rows = opened.rows(&wanted, &fallbacks, None, BATCH_SIZE)?;

    let mut deleted: HashMap<String, RoaringTreemap> = HashMap::new();
    while let Some(rows) = rows.try_next().await? {
        if rows.columns.iter().any(|column| column.null_count() > 0) {
            return Err(corrupt("a position delete has no path or no position"));
        }
        let Some((positions, paths)) = rows.columns.split_first() else {
            return Err(Error::internal("a delete file was read without positions"));
        };
        let positions = positions.as_primitive::<Int64Type>().values();
        let paths = paths.first().map(|paths| paths.as_string::<i32>());
        let mut start = 0;
        while start < positions.len() {
            // Rows are sorted by path, so runs of one path are handled together.
            let (path, end) = match (&one, paths) {
                (None, Some(paths)) => {
                    let path = paths.value(start);
                    let mut rest = start + 1..positions.len();
                    let end = rest.find(|at| paths.value(*at) != path);
                    (named(path)?, end.unwrap_or(positions.len()))
                }
                (Some(one), _) => (one.clone(), positions.len()),
                (None, None) => {
                    return Err(Error::internal("a delete file was read without paths"));
                }
            };
            let of_file = deleted.entry(path).or_default();
            for position in &positions[start..end] {
                let position = u64::try_from(*position)
                    .map_err(|_| corrupt("a deleted position is negative"))?;
                // Sorted as they should be, which is the fast way.
                if of_file.try_push(position).is_err() {
                    of_file.insert(position);
                }
            }
            start = end;
        }
    }
    Ok(deleted
        .into_iter()
        .map(|(path, positions)| (path, Arc::new(positions)))
        .collect())
}
