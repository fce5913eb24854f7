//! Which files snapshots that are gone have left behind.
//!
//! A file may go only if it is certain that nothing needs it. So everything that is left of the table
//! is read first: the manifest lists of all its snapshots, and all their manifests. What cannot be
//! read stops it, and then nothing is deleted. Only files in the table's own folders are named: data
//! that was added from elsewhere is somebody's data still.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::{ManifestFile, SnapshotRef};

use crate::plan::{load_manifests, manifest_list};
use crate::storage::Location;
use crate::{Error, Result, Table, failpoint};

/// Requests that are under way at once.
const CONCURRENCY: usize = 16;
/// Manifests that are in memory at once.
const MANIFESTS: usize = 64;

/// Snapshots that are, or will be, no more in a table's metadata, with what only metadata knows.
#[derive(Debug, Clone, Default)]
pub struct Departed {
    snapshots: BTreeMap<i64, SnapshotRef>,
    statistics: BTreeMap<i64, BTreeSet<String>>,
}

impl Departed {
    /// Takes note of snapshots while the table still has them.
    pub fn note(&mut self, table: &Table, ids: &[i64]) {
        let metadata = table.metadata();
        for id in ids {
            let Some(snapshot) = metadata.snapshot_by_id(*id) else {
                continue;
            };
            self.snapshots.insert(*id, snapshot.clone());
            let statistics = metadata
                .statistics_for_snapshot(*id)
                .map(|file| file.statistics_path.clone());
            let of_partitions = metadata
                .partition_statistics_for_snapshot(*id)
                .map(|file| file.statistics_path.clone());
            let files = self.statistics.entry(*id).or_default();
            files.extend(statistics.into_iter().chain(of_partitions));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }
}

/// Files that nothing of a table needs any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unreachable {
    /// Data and delete files.
    pub data: BTreeSet<Location>,
    /// Statistics files.
    pub statistics: BTreeSet<Location>,
    /// Manifests.
    pub manifests: BTreeSet<Location>,
    /// Manifest lists.
    pub manifest_lists: BTreeSet<Location>,
    /// How many files lie outside of the table's folders and are left alone.
    pub elsewhere: usize,
}

impl Unreachable {
    /// All of them, what is referred to before what refers to it.
    pub fn iter(&self) -> impl Iterator<Item = &Location> {
        self.data
            .iter()
            .chain(&self.statistics)
            .chain(&self.manifests)
            .chain(&self.manifest_lists)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.data.len() + self.statistics.len() + self.manifests.len() + self.manifest_lists.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The files that the departed snapshots needed and that nothing in this table does, as it stands
/// without them. Snapshots that the table still has, or has again, are not departed.
///
/// # Errors
/// Whatever reading manifest lists and manifests meets: without all of them it is not known what is
/// needed.
pub async fn unreachable(departed: &Departed, table: &Table) -> Result<Unreachable> {
    let metadata = table.metadata();
    let gone: Vec<&SnapshotRef> = departed
        .snapshots
        .values()
        .filter(|snapshot| metadata.snapshot_by_id(snapshot.snapshot_id()).is_none())
        .collect();
    if gone.is_empty() {
        return Ok(Unreachable::default());
    }
    let left: Vec<&SnapshotRef> = metadata.snapshots().collect();
    let mut manifests = manifests_of(table, &gone).await?;
    let needed_manifests = manifests_of(table, &left).await?;
    manifests.retain(|location, _| !needed_manifests.contains_key(location));

    let mut files = BTreeSet::new();
    each_file(table, manifests.values(), |path, _| {
        files.insert(path);
    })
    .await?;
    if !files.is_empty() {
        each_file(table, needed_manifests.values(), |path, alive| {
            if alive {
                files.remove(&path);
            }
        })
        .await?;
    }

    let mut lists = locations(gone.iter().map(|snapshot| snapshot.manifest_list()))?;
    for list in locations(left.iter().map(|snapshot| snapshot.manifest_list()))? {
        lists.remove(&list);
    }
    let of_gone = gone
        .iter()
        .filter_map(|snapshot| departed.statistics.get(&snapshot.snapshot_id()))
        .flatten();
    let mut statistics = locations(of_gone.map(String::as_str))?;
    let of_left = metadata
        .statistics_iter()
        .map(|file| file.statistics_path.as_str())
        .chain(
            metadata
                .partition_statistics_iter()
                .map(|file| file.statistics_path.as_str()),
        );
    for file in locations(of_left)? {
        statistics.remove(&file);
    }

    let folders = [
        table.location()?,
        table.data_location()?,
        table.metadata_folder()?,
    ];
    // A metadata file is none of these kinds; one that was made to look so is protected all the same.
    let log = metadata.metadata_log().iter();
    let mut protected = locations(log.map(|entry| entry.metadata_file.as_str()))?;
    protected.extend(locations([table.metadata_location()])?);
    let mut elsewhere = 0;
    let mut own = |all: BTreeSet<Location>| -> BTreeSet<Location> {
        let (own, others): (BTreeSet<_>, BTreeSet<_>) = all
            .into_iter()
            .filter(|location| !protected.contains(location))
            .partition(|location| folders.iter().any(|folder| location.is_within(folder)));
        elsewhere += others.len();
        own
    };
    Ok(Unreachable {
        data: own(files),
        statistics: own(statistics),
        manifests: own(manifests.into_keys().collect()),
        manifest_lists: own(lists),
        elsewhere,
    })
}

/// Deletes files that nothing needs. Gives how many are deleted, and how many could not be: these
/// stay behind as orphans, which is no harm.
pub async fn delete(table: &Table, files: &Unreachable) -> (usize, usize) {
    let (mut deleted, mut left) = (0, 0);
    let all: Vec<Location> = files.iter().cloned().collect();
    let mut deleting = stream::iter(all)
        .map(|location| async move {
            let result = table.storage().delete(&location).await;
            (location, result)
        })
        .buffer_unordered(CONCURRENCY);
    while let Some((location, result)) = deleting.next().await {
        match result {
            Ok(()) => {
                deleted += 1;
                failpoint::hit(failpoint::FILE_EXPIRED);
            }
            Err(error) => {
                left += 1;
                tracing::warn!(%error, %location, "a file that nothing needs could not be deleted");
            }
        }
    }
    (deleted, left)
}

fn locations<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<Location>> {
    paths.into_iter().map(Location::parse).collect()
}

/// The manifests of these snapshots.
async fn manifests_of(
    table: &Table,
    snapshots: &[&SnapshotRef],
) -> Result<HashMap<Location, ManifestFile>> {
    if let Some(snapshot) = snapshots.iter().find(|s| s.manifest_list().is_empty()) {
        return Err(Error::unsupported(
            "a snapshot without a manifest list cannot be looked through",
        )
        .with("table", table.ident())
        .with("snapshot", snapshot.snapshot_id()));
    }
    let mut manifests = HashMap::new();
    let lists: Vec<_> = snapshots
        .iter()
        .map(|snapshot| manifest_list(table, snapshot))
        .collect();
    let mut loading = stream::iter(lists).buffer_unordered(CONCURRENCY);
    while let Some(list) = loading.try_next().await? {
        for manifest in list {
            manifests.insert(Location::parse(&manifest.manifest_path)?, manifest);
        }
    }
    Ok(manifests)
}

/// Calls `see` with each file in these manifests, and whether it is alive there.
async fn each_file(
    table: &Table,
    manifests: impl Iterator<Item = &ManifestFile>,
    mut see: impl FnMut(Location, bool),
) -> Result<()> {
    let manifests: Vec<ManifestFile> = manifests.cloned().collect();
    for some in manifests.chunks(MANIFESTS) {
        for (_, entries) in load_manifests(table, some.to_vec()).await? {
            for entry in entries {
                see(Location::parse(entry.file_path())?, entry.is_alive());
            }
        }
    }
    Ok(())
}
