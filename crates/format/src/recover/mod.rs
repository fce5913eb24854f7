//! Which metadata file a table can go back to when its current one is missing or damaged.
//!
//! A catalog knows of a table where its metadata is, where it was before, and nothing else; the log of
//! older metadata files is inside the file that is damaged. So the candidates are the file that was
//! current before and all metadata files in the same folders, and what they are is told by their
//! content, not by their names:
//!
//! 1. **Readable**: the file parses, and so do the manifest lists of all its branches and tags.
//! 2. **The same table**: it has the table's UUID. A catalog's row holds none. It is that of the file
//!    before, or what is legible of it in the damaged file; where both are known they must agree. Where
//!    neither is, it is the one UUID of all files in the folder that say of themselves that they belong
//!    there. Where that is not one, nothing is chosen.
//! 3. **The newest**: the file before, which was current for certain, and was the last one that was. Where
//!    it cannot be used, the one with the highest sequence number, then the latest time, then the highest
//!    version in its name. Newer files than the one before may be there: of commits that failed, that are
//!    under way, or that a catalog which was restored from a copy has forgotten. They are shown, and never
//!    chosen unless they are named.
//!
//! [`examine`] reads and changes nothing; moving the pointer is the catalog's work. No file is deleted.

mod lost;
mod salvage;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::spec::{SnapshotRef, TableMetadata};
use uuid::Uuid;

use crate::commit::metadata_file;
use crate::manifest::load_list;
use crate::storage::{FileInfo, Location, Storage};
use crate::{Error, ErrorKind, Result};

pub use lost::LostSnapshot;

/// Metadata files that are read at the same time.
const CONCURRENCY: usize = 8;
/// The most candidates that an error lists.
const LISTED: usize = 10;

/// What a catalog says of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointers {
    /// Where its metadata is.
    pub current: String,
    /// Where it was before the last commit, as far as that is known.
    pub previous: Option<String>,
}

/// What can be gone back to, and what is lost by it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovery {
    /// What the catalog said.
    pub pointers: Pointers,
    /// Why the current metadata file cannot be read.
    pub problem: Error,
    /// The table's UUID; nil for a table of format version 1 that has none.
    pub table_uuid: Uuid,
    /// How that is known.
    pub evidence: Evidence,
    /// All metadata files that were found, newest first, then those that cannot be read.
    pub candidates: Vec<Candidate>,
    /// The snapshots that are lost, oldest first, as far as they have left traces: what is legible of the
    /// damaged file, and manifest lists in the folder. Commits without a snapshot leave none.
    pub lost: Vec<LostSnapshot>,
    /// Snapshots that the chosen file lists and whose manifest lists are gone, oldest first: a lost commit
    /// had let them expire. They cannot be read.
    pub unreadable: Vec<i64>,
    chosen: usize,
}

impl Recovery {
    /// The file to go back to.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if there is none, which cannot be.
    pub fn chosen(&self) -> Result<&Candidate> {
        self.candidates
            .get(self.chosen)
            .ok_or_else(|| Error::internal("no metadata file was chosen"))
    }

    /// The usable files that are newer than the one that was chosen.
    pub fn newer(&self) -> impl Iterator<Item = &Candidate> {
        let before = self.candidates.iter().take(self.chosen);
        before.filter(|candidate| candidate.refusal.is_none())
    }
}

/// How it is known which table the damaged file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The file that was current before and the legible part of the damaged file agree.
    Both,
    /// The file that was current before says so.
    PreviousFile,
    /// It is legible in the damaged file.
    DamagedFile,
    /// All files that belong into the folder are of one table.
    Folder,
    /// The caller named the file, and nothing else is known.
    Named,
}

impl Evidence {
    /// The stable, lower-case name, as it stands in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "previous-and-damaged-file",
            Self::PreviousFile => "previous-file",
            Self::DamagedFile => "damaged-file",
            Self::Folder => "folder",
            Self::Named => "named",
        }
    }
}

/// A metadata file that was found.
#[derive(Debug)]
pub struct Candidate {
    /// Where it is.
    pub location: String,
    /// What it says, if it parses.
    pub contents: Option<Contents>,
    /// Whether it was the table's current file for certain: the catalog names it as the one before, or the
    /// log of another file does.
    pub was_current: bool,
    /// Why it cannot be used; none if it can, as far as that was looked at.
    pub refusal: Option<Error>,
}

/// What a metadata file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The table's UUID.
    pub table_uuid: Uuid,
    /// The table's folder.
    pub table_location: String,
    /// The highest sequence number; 0 on format version 1.
    pub last_sequence_number: i64,
    /// When it was written, in milliseconds since 1970 UTC.
    pub last_updated_ms: i64,
    /// The head of `main`.
    pub current_snapshot_id: Option<i64>,
    /// The number of its snapshots.
    pub snapshots: usize,
    /// The folder into which it says that metadata files belong.
    metadata_folder: Option<Location>,
}

impl Contents {
    fn of(metadata: &TableMetadata) -> Self {
        let folder = match metadata.properties().get("write.metadata.path") {
            Some(path) => Location::parse(path),
            None => Location::parse(metadata.location()).map(|own| own.join("metadata")),
        };
        Self {
            table_uuid: metadata.uuid(),
            table_location: metadata.location().to_string(),
            last_sequence_number: metadata.last_sequence_number(),
            last_updated_ms: metadata.last_updated_ms(),
            current_snapshot_id: metadata.current_snapshot_id(),
            snapshots: metadata.snapshots().len(),
            metadata_folder: folder.ok(),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            uuid: self.table_uuid,
            location: self
                .table_uuid
                .is_nil()
                .then(|| self.table_location.clone()),
        }
    }
}

/// Which table it is: its UUID, and its folder where it has none (format version 1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Identity {
    uuid: Uuid,
    location: Option<String>,
}

/// Looks for the metadata file to go back to. Nothing is changed.
///
/// `named` is a file to go back to whatever else there is, if it is one of the same table.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) if the current file is sound, or the named one is of another
/// table; [`Corrupt`](ErrorKind::Corrupt) if no file can be used or it is not certain which table it is,
/// with the files that were found; [`Unsupported`](ErrorKind::Unsupported) if the current file holds what
/// only newer versions read; [`Unavailable`](ErrorKind::Unavailable) and [`Denied`](ErrorKind::Denied) if
/// the store does not answer: what cannot be looked at is not taken for damaged.
pub async fn examine(
    storage: &Storage,
    pointers: &Pointers,
    named: Option<&str>,
) -> Result<Recovery> {
    let problem = problem_of(storage, &pointers.current).await?;
    let legible = salvage::read(storage, &pointers.current).await?;
    let mut found = find(storage, pointers, named).await?;
    found.was_current.extend(legible.logged.iter().cloned());

    let (identity, evidence) = identify(&found, pointers, &legible, named)?;
    let logged = found.logged.remove(&identity).unwrap_or_default();
    let mut candidates: Vec<Candidate> = Vec::with_capacity(found.files.len());
    for file in found.files {
        let other = file
            .contents
            .as_ref()
            .filter(|contents| contents.identity() != identity);
        let other = other.map(|contents| {
            Error::invalid("the file is of another table").with("uuid", contents.table_uuid)
        });
        let was_current =
            found.was_current.contains(&file.location) || logged.contains(&file.location);
        candidates.push(Candidate {
            location: file.spelled,
            was_current: was_current && other.is_none(),
            refusal: file.refusal.or(other),
            contents: file.contents,
        });
    }
    candidates.sort_by_cached_key(|candidate| Reverse(age(candidate)));

    let preferred = named.or(pointers.previous.as_deref());
    let preferred = preferred.and_then(|location| position(&candidates, location));
    let others = match named {
        Some(_) => 0..0,
        None => 0..candidates.len(),
    };
    for n in preferred.into_iter().chain(others) {
        let Some(candidate) = candidates.get_mut(n) else {
            continue;
        };
        if candidate.refusal.is_some() {
            continue;
        }
        match readable(storage, &candidate.location).await {
            Ok(metadata) => {
                let unreadable = lost::hollow(storage, &metadata, &found.lists).await?;
                let lost = lost::snapshots(storage, &metadata, legible.snapshots, found.lists);
                return Ok(Recovery {
                    lost: lost.await?,
                    unreadable,
                    pointers: pointers.clone(),
                    problem,
                    table_uuid: identity.uuid,
                    evidence,
                    candidates,
                    chosen: n,
                });
            }
            Err(error) if is_damage(&error) => candidate.refusal = Some(error),
            Err(error) => return Err(error),
        }
    }
    if named.is_some()
        && let Some(candidate) = preferred.and_then(|n| candidates.get_mut(n))
        && let Some(refusal) = candidate.refusal.take()
    {
        return Err(refusal.with("metadata file", &candidate.location));
    }
    let found = candidates.iter().map(|candidate| {
        let refusal = candidate.refusal.as_ref().map_or("", Error::message);
        format!("{} ({refusal})", candidate.location)
    });
    Err(listing(
        "the table has no older metadata file that can be used",
        pointers,
        found,
    )
    .help("restore a metadata file from a backup of the table's folder"))
}

/// Why the current file cannot be read. It is an error that it can, and one that it cannot be looked at.
async fn problem_of(storage: &Storage, current: &str) -> Result<Error> {
    match metadata_file::read(storage, current).await {
        Ok(_) => Err(Error::invalid(
            "the current metadata file is sound, there is nothing to recover",
        )
        .with("path", current)
        .help("to undo changes, roll the table back to an older snapshot")),
        // A pointer that is no location is damage too.
        Err(error) if is_damage(&error) || error.kind() == ErrorKind::InvalidInput => Ok(error),
        Err(error) => Err(error),
    }
}

/// Whether a file that was read with this error is missing or damaged, and not merely out of reach.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound)
}

/// A metadata file as it was read.
struct File {
    location: Location,
    /// The location as the catalog or the caller has it.
    spelled: String,
    contents: Option<Contents>,
    refusal: Option<Error>,
}

/// What is in the folders of a table's metadata.
#[derive(Default)]
struct Found {
    files: Vec<File>,
    /// Manifest lists.
    lists: Vec<FileInfo>,
    /// What the files of each table have in their logs.
    logged: HashMap<Identity, HashSet<Location>>,
    /// What others say was current.
    was_current: HashSet<Location>,
}

impl Found {
    fn file(&self, location: &str) -> Option<&File> {
        let location = Location::parse(location).ok()?;
        self.files.iter().find(|file| file.location == location)
    }
}

/// Lists the folders and reads all metadata files in them but the current one.
async fn find(storage: &Storage, pointers: &Pointers, named: Option<&str>) -> Result<Found> {
    let current = Location::parse(&pointers.current).ok();
    let known = |text: &&str| !text.is_empty();
    let previous = pointers.previous.as_deref().filter(known);
    let previous = previous.and_then(|text| Some((Location::parse(text).ok()?, text)));
    let named = match named {
        Some(text) => Some((Location::parse(text)?, text)),
        None => None,
    };
    if let Some((named, text)) = &named
        && current.as_ref() == Some(named)
    {
        return Err(Error::invalid("that is the file that is damaged").with("path", text));
    }

    let mut found = Found::default();
    let mut places: BTreeMap<Location, String> = BTreeMap::new();
    let mut folders: Vec<Location> = Vec::new();
    for location in current
        .iter()
        .chain(previous.as_ref().map(|(location, _)| location))
    {
        let Some(folder) = folder_of(location).filter(|folder| !folders.contains(folder)) else {
            continue;
        };
        let mut listing = storage.list(&folder)?;
        while let Some(file) = listing.try_next().await? {
            if folder_of(&file.location).as_ref() != Some(&folder) {
                continue;
            }
            if is_metadata(file.location.name()) {
                let text = file.location.to_string();
                places.insert(file.location, text);
            } else if lost::is_list(file.location.name()) {
                found.lists.push(file);
            }
        }
        folders.push(folder);
    }
    // The spelling that the catalog has stays, so that other engines find what they wrote.
    for (location, text) in previous.iter().chain(&named) {
        places.insert(location.clone(), (*text).to_string());
    }
    found
        .was_current
        .extend(previous.map(|(location, _)| location));
    if let Some(current) = &current {
        places.remove(current);
    }

    let reads: Vec<_> = places
        .into_iter()
        .map(|(location, spelled)| read(storage.clone(), location, spelled))
        .collect();
    let mut reads = stream::iter(reads).buffer_unordered(CONCURRENCY);
    while let Some((file, log)) = reads.try_next().await? {
        if let Some(contents) = &file.contents {
            let logged = found.logged.entry(contents.identity()).or_default();
            logged.extend(log);
        }
        found.files.push(file);
    }
    Ok(found)
}

/// Reads a metadata file, and keeps of it what is small; the second value is its log.
async fn read(
    storage: Storage,
    location: Location,
    spelled: String,
) -> Result<(File, Vec<Location>)> {
    let file = |contents, refusal| File {
        location,
        spelled: spelled.clone(),
        contents,
        refusal,
    };
    match metadata_file::read(&storage, &spelled).await {
        Ok(metadata) => {
            let log = metadata.metadata_log().iter();
            let log = log.filter_map(|entry| Location::parse(&entry.metadata_file).ok());
            Ok((file(Some(Contents::of(&metadata)), None), log.collect()))
        }
        Err(error) if is_damage(&error) || error.kind() == ErrorKind::Unsupported => {
            Ok((file(None, Some(error)), Vec::new()))
        }
        Err(error) => Err(error),
    }
}

/// Which table the damaged file is of, and how that is known. Nothing is guessed.
fn identify(
    found: &Found,
    pointers: &Pointers,
    legible: &salvage::Legible,
    named: Option<&str>,
) -> Result<(Identity, Evidence)> {
    let contents = |location: &str| found.file(location)?.contents.as_ref();
    let previous = pointers.previous.as_deref().and_then(contents);
    let previous = previous.map(Contents::identity);
    let damaged = legible.table_uuid.map(|uuid| Identity {
        uuid,
        location: None,
    });
    let named = named.and_then(contents).map(Contents::identity);
    let unsure = |message: &str| {
        let found = found
            .files
            .iter()
            .map(|file| match (&file.contents, &file.refusal) {
                (Some(contents), _) => format!("{} (UUID {})", file.spelled, contents.table_uuid),
                (None, refusal) => {
                    let refusal = refusal.as_ref().map_or("", Error::message);
                    format!("{} ({refusal})", file.spelled)
                }
            });
        listing(message, pointers, found).help(
            "name the metadata file to go back to (--to), or restore the damaged one from a backup",
        )
    };
    match (previous, damaged) {
        (Some(previous), Some(damaged)) if previous == damaged => Ok((previous, Evidence::Both)),
        (Some(previous), Some(damaged)) => match named {
            Some(named) if named == previous || named == damaged => Ok((named, Evidence::Named)),
            _ => Err(unsure(
                "the damaged metadata file and the one before it seem to be of different tables",
            )),
        },
        (Some(previous), None) => Ok((previous, Evidence::PreviousFile)),
        (None, Some(damaged)) => Ok((damaged, Evidence::DamagedFile)),
        (None, None) => {
            if let Some(named) = named {
                return Ok((named, Evidence::Named));
            }
            let current = Location::parse(&pointers.current).ok();
            let folder = current.as_ref().and_then(folder_of);
            let contents = found.files.iter().filter_map(|file| file.contents.as_ref());
            let own: HashSet<Identity> = contents
                .filter(|contents| folder.is_some() && contents.metadata_folder == folder)
                .map(Contents::identity)
                .collect();
            let several = own.len() > 1;
            match own.into_iter().next() {
                Some(only) if !several => Ok((only, Evidence::Folder)),
                Some(_) => Err(unsure(
                    "the folder holds metadata files of several tables, and nothing says which of them \
                     is this one",
                )),
                None => Err(unsure(
                    "the table's folder holds no metadata file that can be read and belongs there",
                )),
            }
        }
    }
}

/// The error that nothing was chosen, with what was found.
fn listing(message: &str, pointers: &Pointers, found: impl Iterator<Item = String>) -> Error {
    let mut error = Error::corrupt(message).with("path", &pointers.current);
    let mut left: usize = 0;
    for (n, one) in found.enumerate() {
        if n < LISTED {
            error = error.with("candidate", one);
        } else {
            left += 1;
        }
    }
    match left {
        0 => error,
        left => error.with("further candidates", left),
    }
}

/// What orders files: a higher one is newer. Those that do not parse are lowest.
fn age(candidate: &Candidate) -> (Option<(i64, i64)>, Option<u32>, String) {
    let contents = candidate.contents.as_ref();
    (
        contents.map(|contents| (contents.last_sequence_number, contents.last_updated_ms)),
        metadata_file::version_of(&candidate.location),
        candidate.location.clone(),
    )
}

fn position(candidates: &[Candidate], location: &str) -> Option<usize> {
    let wanted = Location::parse(location).ok()?;
    let is_it =
        |candidate: &Candidate| Location::parse(&candidate.location).ok().as_ref() == Some(&wanted);
    candidates.iter().position(is_it)
}

/// Reads a metadata file, and the manifest list of each branch and tag: a file without them is what a
/// commit that failed has left, or of no use.
async fn readable(storage: &Storage, location: &str) -> Result<TableMetadata> {
    let metadata = metadata_file::read(storage, location).await?;
    let refs = crate::table::refs(&metadata)?;
    let heads: BTreeMap<i64, &SnapshotRef> = refs
        .values()
        .map(|reference| reference.snapshot_id)
        .chain(metadata.current_snapshot_id())
        .filter_map(|id| Some((id, metadata.snapshot_by_id(id)?)))
        // Snapshots of format version 1 may have their manifests in the metadata.
        .filter(|(_, snapshot)| !snapshot.manifest_list().is_empty())
        .collect();
    for snapshot in heads.into_values() {
        load_list(storage, &metadata, snapshot).await?;
    }
    Ok(metadata)
}

/// Whether a file of this name is a metadata file; Hadoop tables have `v1.metadata.json.gz` too.
fn is_metadata(name: &str) -> bool {
    name.ends_with(".metadata.json") || name.ends_with(".metadata.json.gz")
}

fn folder_of(location: &Location) -> Option<Location> {
    let text = location.to_string();
    let (folder, _) = text.rsplit_once('/')?;
    Location::parse(folder).ok()
}
