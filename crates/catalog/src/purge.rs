//! The files of a table, and deleting them.
//!
//! Only files that the table's metadata reaches are deleted, and of these only such as lie in the
//! table's own folders: data that was added from elsewhere is somebody's data still. What a table calls
//! its own is a property that any writer can set, so nothing outside the warehouse, nothing in the
//! folder of another table and no file of the catalog is deleted.

use std::collections::{BTreeSet, HashSet};

use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Result, Table};
use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::{Manifest, ManifestList};

/// Requests that are under way at once.
const CONCURRENCY: usize = 16;

/// What is left of a table that was purged.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Purged {
    /// Files that the table had for its own and that are still there: such as could not be deleted, lie
    /// outside the warehouse or in the folder of another table, or are the catalog's.
    pub left: Vec<Location>,
    /// Why the first of those that could not be deleted was not.
    pub cause: Option<Error>,
}

/// The files of a table that is to be purged.
pub(crate) struct Files {
    /// What is deleted, in groups one after the other: what is referred to goes before what refers to
    /// it.
    deleted: Vec<BTreeSet<Location>>,
    /// What the table has for its own and is not deleted.
    left: BTreeSet<Location>,
}

/// The places whose files may be deleted with a table.
pub(crate) struct Bounds<'a> {
    /// Nothing outside is deleted.
    pub(crate) warehouse: &'a Location,
    /// Folders of other tables, and the files of the catalog.
    pub(crate) others: Vec<Location>,
}

impl Bounds<'_> {
    fn allow(&self, location: &Location) -> bool {
        location.is_within(self.warehouse)
            && !self.others.iter().any(|other| location.is_within(other))
    }
}

/// Fails for a table whose files are protected.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a table with `gc.enabled=false`.
pub(crate) fn check_allowed(table: &Table) -> Result<()> {
    let gc = table.metadata().properties().get("gc.enabled");
    if gc.is_some_and(|value| value.trim().eq_ignore_ascii_case("false")) {
        return Err(
            Error::invalid("the table's files are protected and cannot be purged")
                .with("table", table.ident())
                .with("property", "gc.enabled=false")
                .help("drop it without purge, or set gc.enabled=true first"),
        );
    }
    Ok(())
}

/// The files of a table: of every snapshot the manifest list, the manifests, the data and delete
/// files; statistics; the metadata log and the metadata file itself.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a table with `gc.enabled=false`, and
/// what reading manifests meets: without all of them it is not known what belongs to the table.
pub(crate) async fn files_of(table: &Table, bounds: &Bounds<'_>) -> Result<Files> {
    check_allowed(table)?;
    let metadata = table.metadata();
    let own = own_folders(table)?;
    let unreadable = |error: Error| {
        // The table is there, a file of it is not.
        let error = match error.kind() {
            ErrorKind::NotFound => {
                Error::corrupt("the table names a file that does not exist").source_error(error)
            }
            _ => error,
        };
        error
            .with("table", table.ident())
            .help("drop the table without purge; its files then stay")
    };

    let lists: BTreeSet<&str> = metadata
        .snapshots()
        .map(|snapshot| snapshot.manifest_list())
        .filter(|list| !list.is_empty())
        .collect();
    let mut manifests = BTreeSet::new();
    let tasks: Vec<_> = lists
        .iter()
        .map(|list| manifests_of(table.clone(), (*list).to_string()))
        .collect();
    let mut loading = stream::iter(tasks).buffer_unordered(CONCURRENCY);
    while let Some(found) = loading.try_next().await.map_err(unreadable)? {
        manifests.extend(found);
    }
    drop(loading);

    let mut data = BTreeSet::new();
    let tasks: Vec<_> = manifests
        .iter()
        .map(|manifest| entries_of(table.clone(), manifest.clone()))
        .collect();
    let mut loading = stream::iter(tasks).buffer_unordered(CONCURRENCY);
    while let Some(found) = loading.try_next().await.map_err(unreadable)? {
        data.extend(found);
    }
    drop(loading);

    let statistics = metadata
        .statistics_iter()
        .map(|file| file.statistics_path.as_str())
        .chain(
            metadata
                .partition_statistics_iter()
                .map(|file| file.statistics_path.as_str()),
        );
    let log = metadata
        .metadata_log()
        .iter()
        .map(|entry| entry.metadata_file.as_str());
    let mut files = Files {
        deleted: Vec::new(),
        left: BTreeSet::new(),
    };
    for group in [
        owned(&own, data.iter().map(String::as_str)),
        owned(&own, statistics),
        owned(&own, manifests.iter().map(String::as_str)),
        owned(&own, lists),
        owned(&own, log),
        owned(&own, [table.metadata_location()]),
    ] {
        let (deleted, left) = group.into_iter().partition(|file| bounds.allow(file));
        files.deleted.push(deleted);
        files.left.extend::<BTreeSet<Location>>(left);
    }
    Ok(files)
}

/// Deletes the files of a table that was dropped. The table is gone whatever happens here, so that
/// nothing of it is an error: who tried again would meet the next table of that name.
pub(crate) async fn delete(table: &Table, files: Files) -> Purged {
    let mut purged = Purged {
        left: files.left.into_iter().collect(),
        cause: None,
    };
    for group in files.deleted {
        let mut deleting = stream::iter(group)
            .map(|location| async move {
                let result = table.storage().delete(&location).await;
                (location, result)
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((location, result)) = deleting.next().await {
            if let Err(error) = result {
                purged.left.push(location);
                purged.cause.get_or_insert(error);
            }
        }
    }
    if let Some(first) = purged.left.first() {
        let cause = purged.cause.as_ref().map(ToString::to_string);
        tracing::warn!(
            table = %table.ident(),
            files = purged.left.len(),
            %first,
            cause,
            "a purged table leaves files behind; delete these files alone by hand, and not their \
             folder, which a new table may have by now"
        );
    }
    purged
}

/// After a commit: deletes metadata files that fell out of the log, where the table asks for it.
/// A file that stays is no harm.
pub(crate) async fn remove_old_metadata(before: &Table, after: &Table, warehouse: &Location) {
    let asked = after
        .metadata()
        .properties()
        .get("write.metadata.delete-after-commit.enabled")
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    if !asked {
        return;
    }
    let kept: HashSet<&str> = after
        .metadata()
        .metadata_log()
        .iter()
        .map(|entry| entry.metadata_file.as_str())
        .chain([after.metadata_location()])
        .collect();
    let gone = before
        .metadata()
        .metadata_log()
        .iter()
        .map(|entry| entry.metadata_file.as_str())
        .filter(|file| !kept.contains(file));
    let Ok(own) = own_folders(after) else {
        return;
    };
    let inside = |file: &Location| file.is_within(warehouse);
    for location in owned(&own, gone).into_iter().filter(inside) {
        if let Err(error) = after.storage().delete(&location).await {
            tracing::warn!(%error, %location, "an old metadata file stays behind");
        }
    }
}

fn own_folders(table: &Table) -> Result<[Location; 3]> {
    Ok([
        table.location()?,
        table.data_location()?,
        table.metadata_folder()?,
    ])
}

fn owned<'a>(folders: &[Location], paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<Location> {
    paths
        .into_iter()
        .filter_map(|path| Location::parse(path).ok())
        .filter(|location| folders.iter().any(|folder| location.is_within(folder)))
        .collect()
}

async fn manifests_of(table: Table, list: String) -> Result<Vec<String>> {
    let bytes = table.storage().read(&Location::parse(&list)?).await?;
    let parsed = ManifestList::parse_with_version(&bytes, table.metadata().format_version())
        .map_err(|error| Error::from(error).with("path", list))?;
    Ok(parsed
        .entries()
        .iter()
        .map(|manifest| manifest.manifest_path.clone())
        .collect())
}

/// Deleted entries count too: their files may still be there.
async fn entries_of(table: Table, manifest: String) -> Result<Vec<String>> {
    let bytes = table.storage().read(&Location::parse(&manifest)?).await?;
    let parsed =
        Manifest::parse_avro(&bytes).map_err(|error| Error::from(error).with("path", manifest))?;
    Ok(parsed
        .entries()
        .iter()
        .map(|entry| entry.file_path().to_string())
        .collect())
}
