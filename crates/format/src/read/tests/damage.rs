//! Tables of which a file is damaged: cut at each length, and with bytes changed at seeded places.
//!
//! Whatever is read is an error that names a file, or it is right. What "right" can mean depends on
//! the file, because most of these formats have no checksum:
//!
//! | file | what is claimed of rows that are read without an error |
//! |---|---|
//! | deletion vector | they are right; its blob has a checksum |
//! | data file | there are as many as there should be; a changed value looks like any other |
//! | position deletes | no more rows are deleted than were; which ones may have changed |
//! | manifest list, manifest | no live row is missing and none is there twice |
//!
//! So it cannot be seen that a value has become another value of its type, that a position delete
//! names another row, or that the metadata of a delete file no longer lets it apply to its data file
//! (another sequence number, another referenced file). A file that is cut is always an error.

use bytes::Bytes;

use super::*;
use crate::plan::{load_manifests, manifest_list};
use crate::storage::Location;

#[tokio::test]
async fn missing_truncated_and_corrupt_files_are_errors_with_their_path() {
    let (fixture, file) = counted(FormatVersion::V2, 20).await;
    let path = file.file_path();
    let location = Location::parse(path).unwrap();
    let bytes = fixture.storage.read(&location).await.unwrap();

    let check = async |kind| {
        let error = read_all(&fixture).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(path), "{error}");
    };
    fixture.storage.delete(&location).await.unwrap();
    check(ErrorKind::NotFound).await;
    let cut = bytes.slice(..bytes.len() / 2);
    fixture.storage.write(&location, cut).await.unwrap();
    check(ErrorKind::Corrupt).await;
    let garbage = vec![0xFFu8; bytes.len()];
    fixture
        .storage
        .write(&location, garbage.into())
        .await
        .unwrap();
    check(ErrorKind::Corrupt).await;
    // The footer is whole and what it points to is not.
    let mut damaged = bytes.to_vec();
    damaged[4..60].fill(0xAB);
    fixture
        .storage
        .write(&location, damaged.into())
        .await
        .unwrap();
    check(ErrorKind::Corrupt).await;
}

/// Places and masks of damage, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

type Damage = (String, Vec<u8>);

/// The file cut at each length.
fn cuts(whole: &Bytes) -> impl Iterator<Item = Damage> {
    (0..whole.len()).map(|length| (format!("cut at {length}"), whole[..length].to_vec()))
}

/// The file with one byte changed, at this many places behind `start`.
fn flips(whole: &Bytes, start: usize, count: usize) -> impl Iterator<Item = Damage> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    (0..count).map(move |_| {
        let at = start + dice.roll(whole.len() - start);
        let mask = 1 + dice.roll(255);
        let mut damaged = whole.to_vec();
        damaged[at] ^= mask as u8;
        (format!("byte {at} xor {mask:#04x}"), damaged)
    })
}

/// The file with each of its bytes changed, one at a time.
fn each(whole: &Bytes, mask: u8) -> impl Iterator<Item = Damage> {
    (0..whole.len()).map(move |at| {
        let mut damaged = whole.to_vec();
        damaged[at] ^= mask;
        (format!("byte {at} xor {mask:#04x}"), damaged)
    })
}

/// Reads with the file in each damaged form, and judges what came of it. Errors are checked here.
async fn outcomes<T>(
    fixture: &Fixture,
    path: &str,
    damages: impl Iterator<Item = Damage>,
    read: impl AsyncFn() -> Result<T>,
    mut judge: impl FnMut(&str, Option<T>),
) {
    let location = Location::parse(path).unwrap();
    let whole = whole(fixture, path).await;
    for (what, damaged) in damages {
        let damaged = damaged.into();
        fixture.storage.write(&location, damaged).await.unwrap();
        let outcome = read().await.map_err(|error| {
            let what = format!("{path}: {what}: {:?}: {error}", error.kind());
            // Damaged paths are paths of files that are not there, or none at all.
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::Corrupt
                        | ErrorKind::NotFound
                        | ErrorKind::Unsupported
                        | ErrorKind::InvalidInput
                ),
                "{what}"
            );
            let mut keys = error.context().iter().map(|(key, _)| *key);
            assert!(keys.any(|key| key == "path"), "{what}");
        });
        judge(&format!("{path}: {what}"), outcome.ok());
    }
    fixture.storage.write(&location, whole).await.unwrap();
}

async fn whole(fixture: &Fixture, path: &str) -> Bytes {
    let location = Location::parse(path).unwrap();
    fixture.storage.read(&location).await.unwrap()
}

/// The ids of all rows, sorted.
async fn rows(plan: &ScanPlan) -> Result<Vec<i64>> {
    let mut found = ids(&read_plan(plan, ReadOptions::default()).await?);
    found.sort_unstable();
    Ok(found)
}

/// Writes what a summary counts, as writers do.
fn summarize(fixture: &mut Fixture, counts: &[(&str, &str)]) {
    let mut json = serde_json::to_value(&fixture.metadata).unwrap();
    let snapshots = json["snapshots"].as_array_mut().unwrap();
    let head = fixture.metadata.current_snapshot_id().unwrap();
    for snapshot in snapshots.iter_mut().filter(|s| s["snapshot-id"] == head) {
        for (key, count) in counts {
            snapshot["summary"][key] = (*count).into();
        }
    }
    fixture.metadata = serde_json::from_value(json).unwrap();
}

/// Two data files, and position deletes of the first.
async fn with_deletes() -> (Fixture, DataFile, DataFile) {
    let mut fixture = Fixture::new(FormatVersion::V2, vec![long(1, "id")]);
    let first = fixture.batch(vec![longs(0..7)]);
    let first = fixture.data(&first).await;
    let second = fixture.batch(vec![longs(20..23)]);
    let second = fixture.data(&second).await;
    let path = first.file_path().to_string();
    let rows = [(path.as_str(), 1), (&path, 4)];
    let deletes = fixture.position_deletes(&rows, true).await.build().unwrap();
    let added = vec![(0, first.clone()), (0, second), (0, deletes.clone())];
    fixture.commit(Operation::Overwrite, added).await;
    let counts = [
        ("added-data-files", "2"),
        ("added-delete-files", "1"),
        ("total-data-files", "2"),
    ];
    summarize(&mut fixture, &counts);
    (fixture, first, deletes)
}

const WRITTEN: [i64; 10] = [0, 1, 2, 3, 4, 5, 6, 20, 21, 22];
const LIVE: [i64; 8] = [0, 2, 3, 5, 6, 20, 21, 22];

/// All live rows are there, and beside them only rows that were written, each once.
fn nothing_is_lost(what: &str, found: Option<Vec<i64>>) {
    let Some(found) = found else { return };
    let distinct: BTreeSet<i64> = found.iter().copied().collect();
    let written = distinct.iter().all(|id| WRITTEN.contains(id));
    assert!(
        written && distinct.len() == found.len(),
        "{what}: {found:?}"
    );
    let live = LIVE.iter().all(|id| distinct.contains(id));
    assert!(live, "{what}: {found:?}");
}

/// Where the records of an Avro file begin: behind the first of its markers, of which the last ends
/// the file.
fn records(avro: &Bytes) -> usize {
    let marker = &avro[avro.len() - 16..];
    let header = avro.windows(16).position(|bytes| bytes == marker);
    header.unwrap() + 16
}

#[tokio::test]
async fn a_damaged_manifest_list_loses_no_row_in_silence() {
    let (fixture, ..) = with_deletes().await;
    let table = fixture.table();
    let head = fixture.metadata.current_snapshot().unwrap();
    let path = head.manifest_list();
    let bytes = whole(&fixture, path).await;
    let list = async || manifest_list(&table, head).await.map(drop);
    outcomes(&fixture, path, cuts(&bytes), list, |what, found| {
        assert_eq!(found, None, "{what}");
    })
    .await;
    let read = async || rows(&table.scan().plan().await?).await;
    assert_eq!(read().await.unwrap(), LIVE);
    let damages = flips(&bytes, 0, 50).chain(flips(&bytes, records(&bytes), 150));
    outcomes(&fixture, path, damages, read, nothing_is_lost).await;
}

#[tokio::test]
async fn a_damaged_manifest_loses_no_row_in_silence() {
    let (fixture, ..) = with_deletes().await;
    let table = fixture.table();
    for manifest in fixture.manifests().await {
        let path = &manifest.manifest_path;
        let bytes = whole(&fixture, path).await;
        let entries = async || {
            let loaded = load_manifests(&table, vec![manifest.clone()]).await;
            loaded.map(drop)
        };
        outcomes(&fixture, path, cuts(&bytes), entries, |what, found| {
            assert_eq!(found, None, "{what}");
        })
        .await;
        let read = async || rows(&table.scan().plan().await?).await;
        let damages = flips(&bytes, 0, 30).chain(flips(&bytes, records(&bytes), 100));
        outcomes(&fixture, path, damages, read, nothing_is_lost).await;
    }
}

#[tokio::test]
async fn a_damaged_data_file_loses_no_row_in_silence() {
    let (fixture, file, _) = with_deletes().await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let path = file.file_path();
    let bytes = whole(&fixture, path).await;
    let read = async || rows(&plan).await;
    outcomes(&fixture, path, cuts(&bytes), read, |what, found| {
        assert_eq!(found, None, "{what}");
    })
    .await;
    // Offsets that change in a bit of weight point out of the file.
    let damages = flips(&bytes, 0, 500).chain(each(&bytes, 0x48));
    let mut harmless = 0;
    outcomes(&fixture, path, damages, read, |what, found| {
        let Some(found) = found else { return };
        assert_eq!(found.len(), LIVE.len(), "{what}");
        harmless += 1;
    })
    .await;
    assert!(harmless > 0);
}

#[tokio::test]
async fn a_damaged_position_delete_file_deletes_no_more_rows_than_it_should() {
    let (fixture, _, deletes) = with_deletes().await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let path = deletes.file_path();
    let bytes = whole(&fixture, path).await;
    let read = async || rows(&plan).await;
    outcomes(&fixture, path, cuts(&bytes), read, |what, found| {
        assert_eq!(found, None, "{what}");
    })
    .await;
    let damages = flips(&bytes, 0, 500).chain(each(&bytes, 0x48));
    outcomes(&fixture, path, damages, read, |what, found| {
        let Some(found) = found else { return };
        assert!(found.len() >= LIVE.len(), "{what}: {found:?}");
        let written = found.iter().all(|id| WRITTEN.contains(id));
        assert!(written, "{what}: {found:?}");
    })
    .await;
}

#[tokio::test]
async fn a_damaged_deletion_vector_is_an_error_or_harmless() {
    let (mut fixture, file) = counted(FormatVersion::V3, 7).await;
    let positions: RoaringTreemap = [1, 4].into_iter().collect();
    let blob = Fixture::blob(&positions);
    let vector = fixture.vector(file.file_path(), &blob, 2).await;
    let path = vector.file_path().to_string();
    fixture.commit(Operation::Delete, vec![(0, vector)]).await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let live = vec![0, 2, 3, 5, 6];
    let bytes = whole(&fixture, &path).await;
    let blob = 4..4 + blob.len();
    let read = async || rows(&plan).await;
    let mut lengths = 0..;
    outcomes(&fixture, &path, cuts(&bytes), read, |what, found| {
        // The footer is not needed, so a cut behind the blob does no harm.
        let expected = (lengths.next() >= Some(blob.end)).then(|| live.clone());
        assert_eq!(found, expected, "{what}");
    })
    .await;
    for mask in [0x01, 0x80] {
        let mut places = 0..;
        outcomes(&fixture, &path, each(&bytes, mask), read, |what, found| {
            let harmless = places.next().is_some_and(|at| !blob.contains(&at));
            assert_eq!(found, harmless.then(|| live.clone()), "{what}");
        })
        .await;
    }
}
