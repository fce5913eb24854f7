//! Whether a store can do what tables need, tried with a file of its own.

use axum::body::Bytes;
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, Error, Result};
use futures::TryStreamExt;

/// Writes, reads, lists and deletes a file in a folder of the warehouse that no table has.
///
/// # Errors
/// That of the first step that failed, with its name; whatever was written is deleted if it can be.
pub async fn store(
    storage: &Storage,
    warehouse: &Location,
    environment: &Environment,
) -> Result<()> {
    let folder = warehouse.join(".berglake-check");
    let file = folder.join(&format!("{}.txt", environment.ids().uuid()));
    let at = |step: &'static str| {
        let file = file.clone();
        move |error: Error| error.with("step", step).with("file", file)
    };
    let content = Bytes::from(format!("written by {}", environment.identity().principal));
    storage
        .create(&file, content.clone())
        .await
        .map_err(at("write"))?;
    let checked = async {
        let read = storage.read(&file).await.map_err(at("read"))?;
        if read != content {
            return Err(at("read")(Error::corrupt(
                "the store gave back something else than was written",
            )));
        }
        let listing = storage.list(&folder).map_err(at("list"))?;
        let listed: Vec<_> = listing.try_collect().await.map_err(at("list"))?;
        if !listed.iter().any(|info| info.location == file) {
            return Err(at("list")(Error::corrupt(
                "the store does not list what was written",
            )));
        }
        Ok(())
    }
    .await;
    storage.delete(&file).await.map_err(at("delete"))?;
    checked?;
    if storage.exists(&file).await.map_err(at("delete"))? {
        return Err(at("delete")(Error::corrupt(
            "the store still has what was deleted",
        )));
    }
    Ok(())
}
