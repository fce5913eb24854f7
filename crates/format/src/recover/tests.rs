use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableCreation;
use iceberg::spec::{FormatVersion, NestedField, PrimitiveType, Schema, Type};

use super::*;
use crate::commit::{Committer, MemoryCommitter, TableChange, Transaction};
use crate::environment::{ManualClock, SeededIds};
use crate::fixture::Fixture;
use crate::snapshot::{Append, CommitNotes};
use crate::{Environment, Identity as Writer, Table, TableIdent};

/// A table with some commits: its metadata files, oldest first.
struct History {
    committer: MemoryCommitter,
    storage: Storage,
    ident: TableIdent,
    files: Vec<String>,
}

impl History {
    /// A table without snapshots in the folder `memory:///wh/t`.
    async fn new(version: FormatVersion, seed: u64) -> Self {
        Self::with(Storage::default(), version, seed, "memory:///wh/t", &[]).await
    }

    async fn with(
        storage: Storage,
        version: FormatVersion,
        seed: u64,
        location: &str,
        properties: &[(&str, &str)],
    ) -> Self {
        let environment = Environment::new(
            Arc::new(ManualClock::stepping(1_700_000_000_000_000, 1_000_000)),
            Arc::new(SeededIds::new(seed)),
            Writer::default(),
        );
        let committer = MemoryCommitter::new(storage.clone(), environment);
        let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([Arc::new(id)]).build();
        let owned = |(key, value): &(&str, &str)| ((*key).to_string(), (*value).to_string());
        let creation = TableCreation::builder()
            .name("t".into())
            .location(location.into())
            .schema(schema.unwrap())
            .properties(properties.iter().map(owned))
            .format_version(version)
            .build();
        let ident = TableIdent::from_strs(["db", "t"]).unwrap();
        let table = committer.create(ident.clone(), creation).await.unwrap();
        Self {
            committer,
            storage,
            ident,
            files: vec![table.metadata_location().to_string()],
        }
    }

    /// Commits so many snapshots without files.
    async fn commits(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.commit().await;
        }
        self
    }

    async fn commit(&mut self) -> Table {
        let append = Append {
            files: Vec::new(),
            notes: CommitNotes::default(),
        };
        let done = Transaction::new(&self.committer).step(self.ident.clone(), append);
        let done = done.commit().await.unwrap();
        let table = done[0].table().clone();
        self.files.push(table.metadata_location().to_string());
        table
    }

    /// A commit that adds no snapshot.
    async fn set(&mut self, key: &str) {
        let change = TableChange {
            ident: self.ident.clone(),
            requirements: Vec::new(),
            updates: vec![iceberg::TableUpdate::SetProperties {
                updates: HashMap::from([(key.to_string(), "1".to_string())]),
            }],
        };
        self.committer.commit(vec![change]).await.unwrap();
        let table = self.committer.load(&self.ident).await.unwrap();
        self.files.push(table.metadata_location().to_string());
    }

    fn pointers(&self) -> Pointers {
        let mut files = self.files.iter().rev();
        Pointers {
            current: files.next().unwrap().clone(),
            previous: files.next().cloned(),
        }
    }

    async fn bytes(&self, file: &str) -> Vec<u8> {
        let at = Location::parse(file).unwrap();
        self.storage.read(&at).await.unwrap().to_vec()
    }

    async fn put(&self, file: &str, bytes: Vec<u8>) {
        let at = Location::parse(file).unwrap();
        self.storage.write(&at, bytes.into()).await.unwrap();
    }

    async fn delete(&self, file: &str) {
        let at = Location::parse(file).unwrap();
        self.storage.delete(&at).await.unwrap();
    }

    /// Cuts off a file behind this share of its bytes.
    async fn truncate(&self, file: &str, percent: usize) {
        let mut bytes = self.bytes(file).await;
        bytes.truncate(bytes.len() * percent / 100);
        self.put(file, bytes).await;
    }

    async fn examine(&self) -> Result<Recovery> {
        examine(&self.storage, &self.pointers(), None).await
    }

    async fn metadata(&self, file: &str) -> TableMetadata {
        metadata_file::read(&self.storage, file).await.unwrap()
    }
}

fn chosen(recovery: &Recovery) -> &str {
    &recovery.chosen().unwrap().location
}

fn lost(recovery: &Recovery) -> Vec<(i64, bool)> {
    let lost = recovery.lost.iter();
    lost.map(|one| (one.snapshot_id, one.certain)).collect()
}

#[tokio::test]
async fn a_damaged_file_has_the_one_before_it_chosen_and_tells_what_is_lost() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        for damage in ["truncated", "flipped", "emptied", "missing"] {
            let history = History::new(version, 1).await.commits(3).await;
            let current = history.files[3].clone();
            let after = history.metadata(&current).await;
            match damage {
                "truncated" => history.truncate(&current, 97).await,
                "emptied" => history.put(&current, Vec::new()).await,
                "missing" => history.delete(&current).await,
                // The bytes that begin the last key are no text any more.
                _ => {
                    let mut bytes = history.bytes(&current).await;
                    let at = bytes
                        .windows(10)
                        .rposition(|w| w == b"\"snapshots")
                        .unwrap_or(2);
                    bytes[at + 1] ^= 0x80;
                    history.put(&current, bytes).await;
                }
            }
            let recovery = history.examine().await.unwrap();
            let what = format!("{version:?} {damage}");
            assert_eq!(chosen(&recovery), history.files[2], "{what}");
            assert!(recovery.chosen().unwrap().was_current, "{what}");
            assert_eq!(recovery.table_uuid, after.uuid(), "{what}");
            let evidence = match damage {
                "truncated" | "flipped" => Evidence::Both,
                _ => Evidence::PreviousFile,
            };
            assert_eq!(recovery.evidence, evidence, "{what}");
            let id = after.current_snapshot_id().unwrap();
            // What the file still tells is certain; without it the manifest list tells less.
            match damage {
                "flipped" => assert_eq!(lost(&recovery), [(id, true)], "{what}"),
                "truncated" => assert_eq!(recovery.lost[0].snapshot_id, id, "{what}"),
                _ => assert_eq!(lost(&recovery), [(id, false)], "{what}"),
            }
            let one = &recovery.lost[0];
            assert_eq!(
                one.parent_snapshot_id,
                after.current_snapshot().unwrap().parent_snapshot_id(),
                "{what}"
            );
            assert_eq!(one.sequence_number, Some(3), "{what}");
            assert_eq!(recovery.newer().count(), 0, "{what}");
            assert!(recovery.unreadable.is_empty(), "{what}");
            // Nothing was changed.
            assert_eq!(history.examine().await.unwrap().lost, recovery.lost);
        }
    }
}

#[tokio::test]
async fn a_table_of_version_1_without_uuid_is_known_by_its_folder() {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let mut fixture = Fixture::new(FormatVersion::V1, vec![Arc::new(id)]);
    let storage = fixture.storage.clone();
    let mut files = Vec::new();
    for n in 0..3 {
        let mut json = serde_json::to_value(&fixture.metadata).unwrap();
        json.as_object_mut().unwrap().remove("table-uuid");
        // The fixture's snapshots are of the next seconds; their files are of now.
        let mut text = json.to_string();
        for key in ["last-updated-ms", "timestamp-ms"] {
            let key = format!("\"{key}\":1");
            assert!(n == 0 || text.contains(&key), "{text}");
            text = text.replace(&key, &key.replace(":1", ":"));
        }
        let file = format!("memory:///wh/t/metadata/v{n}.metadata.json");
        let at = Location::parse(&file).unwrap();
        storage.write(&at, text.into()).await.unwrap();
        files.push(file);
        fixture
            .commit(iceberg::spec::Operation::Append, vec![])
            .await;
    }
    // A table without UUID in another folder, whose file was copied.
    let moved = storage
        .read(&Location::parse(&files[1]).unwrap())
        .await
        .unwrap();
    let moved = String::from_utf8(moved.to_vec()).unwrap();
    let copied = "memory:///wh/t/metadata/v9.metadata.json";
    let moved = moved.replace("memory:///wh/t", "memory:///wh/u");
    storage
        .write(&Location::parse(copied).unwrap(), moved.into())
        .await
        .unwrap();
    let damaged = Location::parse(&files[2]).unwrap();
    storage.write(&damaged, "{".into()).await.unwrap();

    for previous in [Some(files[1].clone()), None] {
        let pointers = Pointers {
            current: files[2].clone(),
            previous,
        };
        let recovery = examine(&storage, &pointers, None).await.unwrap();
        assert_eq!(chosen(&recovery), files[1]);
        assert!(recovery.table_uuid.is_nil());
        // Sequence numbers say nothing here, the time of its manifest list does.
        assert!(
            recovery
                .lost
                .iter()
                .all(|one| one.sequence_number.unwrap_or(0) == 0)
        );
        let lost: Vec<_> = recovery.lost.iter().map(|one| one.snapshot_id).collect();
        assert!(lost.contains(&2), "{lost:?}");
        assert!(!lost.contains(&1), "{lost:?}");
    }
}

#[tokio::test]
async fn a_sound_file_is_left_alone() {
    let history = History::new(FormatVersion::V2, 1).await.commits(2).await;
    let error = history.examine().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.message().contains("is sound"), "{error}");
}

#[tokio::test]
async fn a_gzipped_file_is_read_as_far_as_it_goes() {
    let codec = [("write.metadata.compression-codec", "gzip")];
    let storage = Storage::default();
    let history = History::with(storage, FormatVersion::V2, 1, "memory:///wh/t", &codec).await;
    let history = history.commits(3).await;
    let current = history.files[3].clone();
    history.truncate(&current, 80).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), history.files[2]);
    assert_eq!(recovery.evidence, Evidence::Both);
}

#[tokio::test]
async fn when_the_file_before_is_gone_too_the_newest_by_content_is_chosen() {
    let mut history = History::new(FormatVersion::V2, 1).await.commits(3).await;
    // The last two commits add no snapshot: only their time tells which is newer.
    history.set("a").await;
    history.set("b").await;
    history.commit().await;
    history.truncate(&history.files[6], 60).await;
    history.delete(&history.files[5]).await;
    // Names tell nothing: the oldest file gets the highest version and the latest time.
    let oldest = history.bytes(&history.files[1]).await;
    history
        .put("memory:///wh/t/metadata/00099-x.metadata.json", oldest)
        .await;

    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), history.files[4]);
    assert_eq!(recovery.evidence, Evidence::DamagedFile);
    assert!(
        recovery
            .lost
            .iter()
            .any(|one| one.sequence_number == Some(4))
    );
    assert_eq!(recovery.lost.len(), 1);

    // Of copies with equal content the higher version comes first.
    let copy = history.bytes(&history.files[4]).await;
    let name = "memory:///wh/t/metadata/00007-x.metadata.json";
    history.put(name, copy).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), name);
    assert!(!recovery.chosen().unwrap().was_current);
}

#[tokio::test]
async fn a_file_of_another_table_is_never_chosen() {
    let storage = Storage::default();
    let history = History::with(storage.clone(), FormatVersion::V2, 1, "memory:///wh/t", &[]).await;
    let history = history.commits(2).await;
    let other = History::with(storage, FormatVersion::V2, 2, "memory:///wh/u", &[]).await;
    let other = other.commits(9).await;
    let theirs = other.bytes(&other.files[9]).await;
    let copied = "memory:///wh/t/metadata/00099-theirs.metadata.json";
    history.put(copied, theirs).await;

    // Beside the one before, without it, and without anything of the damaged file.
    history.truncate(&history.files[2], 90).await;
    assert_eq!(chosen(&history.examine().await.unwrap()), history.files[1]);
    history.delete(&history.files[1]).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), history.files[0]);
    assert_eq!(recovery.evidence, Evidence::DamagedFile);
    let refused = &recovery.candidates[0];
    assert_eq!(refused.location, copied);
    assert!(refused.refusal.is_some() && !refused.was_current);
    history.delete(&history.files[2]).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), history.files[0]);
    assert_eq!(recovery.evidence, Evidence::Folder);

    // Named, it is refused as long as anything says which table it is.
    history.put(&history.files[2], b"{".to_vec()).await;
    let mut pointers = history.pointers();
    pointers.previous = Some(history.files[0].clone());
    let error = examine(&history.storage, &pointers, Some(copied))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.message().contains("another table"), "{error}");

    // Alone in the folder it is not taken either.
    history.delete(&history.files[0]).await;
    let error = examine(&history.storage, &pointers, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(copied), "{error}");
    assert!(error.advice().unwrap().contains("--to"), "{error}");
}

#[tokio::test]
async fn of_two_tables_in_one_folder_none_is_chosen_until_it_is_named() {
    let storage = Storage::default();
    let first = History::with(storage.clone(), FormatVersion::V2, 1, "memory:///wh/t", &[]).await;
    let mut first = first.commits(2).await;
    let second = History::with(storage, FormatVersion::V2, 2, "memory:///wh/t", &[]).await;
    let second = second.commits(2).await;
    first.delete(&first.files[2]).await;
    first.delete(&first.files[1]).await;
    let error = first.examine().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for file in [&first.files[0], &second.files[2]] {
        assert!(error.to_string().contains(file), "{error}");
    }
    let named = first.files[0].clone();
    let recovery = examine(&first.storage, &first.pointers(), Some(&named)).await;
    let recovery = recovery.unwrap();
    assert_eq!(chosen(&recovery), named);
    assert_eq!(recovery.evidence, Evidence::Named);

    // The damaged file and the one before it contradict each other.
    first
        .put(&first.files[2], second.bytes(&second.files[1]).await)
        .await;
    first.truncate(&first.files[2], 90).await;
    first.files.swap(0, 1);
    let error = first.examine().await.unwrap_err();
    assert!(error.message().contains("different tables"), "{error}");
}

#[tokio::test]
async fn a_file_that_was_never_current_is_shown_and_not_chosen() {
    let history = History::new(FormatVersion::V2, 1).await.commits(3).await;
    // What a writer wrote that then lost its race, or whose commit is still under way.
    let attempt = "memory:///wh/t/metadata/00003-attempt.metadata.json";
    history
        .put(attempt, history.bytes(&history.files[3]).await)
        .await;
    history.truncate(&history.files[3], 50).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), history.files[2]);
    let newer: Vec<_> = recovery
        .newer()
        .map(|one| (one.location.as_str(), one.was_current))
        .collect();
    assert_eq!(newer, [(attempt, false)]);
    let recovery = examine(&history.storage, &history.pointers(), Some(attempt)).await;
    assert_eq!(chosen(&recovery.unwrap()), attempt);
}

#[tokio::test]
async fn a_file_whose_manifest_list_is_gone_is_passed_over() {
    let history = History::new(FormatVersion::V2, 1).await.commits(4).await;
    let metadata = history.metadata(&history.files[3]).await;
    let list = metadata
        .current_snapshot()
        .unwrap()
        .manifest_list()
        .to_string();
    history.put(&history.files[4], b"not JSON".to_vec()).await;
    for damage in ["missing", "truncated"] {
        match damage {
            "missing" => history.delete(&list).await,
            _ => history.put(&list, b"Obj".to_vec()).await,
        }
        let recovery = history.examine().await.unwrap();
        assert_eq!(chosen(&recovery), history.files[2], "{damage}");
        let passed = &recovery.candidates[0];
        assert_eq!(passed.location, history.files[3], "{damage}");
        let refusal = passed.refusal.as_ref().unwrap().to_string();
        assert!(refusal.contains(&list), "{refusal}");
        // A manifest list that cannot be read is still the trace of its snapshot.
        let third = metadata.current_snapshot_id().unwrap();
        let lost: Vec<_> = recovery.lost.iter().map(|one| one.snapshot_id).collect();
        assert_eq!(lost.contains(&third), damage == "truncated", "{lost:?}");
        assert_eq!(
            lost.len(),
            1 + usize::from(damage == "truncated"),
            "{lost:?}"
        );
    }
}

#[tokio::test]
async fn snapshots_that_a_lost_commit_let_expire_are_named() {
    let mut history = History::new(FormatVersion::V2, 1).await.commits(3).await;
    let head = history.metadata(&history.files[3]).await;
    // As an expiry leaves it: metadata with one snapshot, and the lists of the others are gone.
    history.set("expired").await;
    let mut expired = Vec::new();
    for snapshot in head.snapshots() {
        if Some(snapshot.snapshot_id()) != head.current_snapshot_id() {
            history.delete(snapshot.manifest_list()).await;
            expired.push((snapshot.sequence_number(), snapshot.snapshot_id()));
        }
    }
    expired.sort_unstable();
    history.delete(&history.files[4]).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(chosen(&recovery), history.files[3]);
    let expired: Vec<i64> = expired.into_iter().map(|(_, id)| id).collect();
    assert_eq!(expired.len(), 2);
    assert_eq!(recovery.unreadable, expired);
    assert_eq!(recovery.lost, []);
}

#[tokio::test]
async fn what_cannot_be_used_at_all_is_listed_with_the_reasons() {
    let history = History::new(FormatVersion::V2, 1).await.commits(2).await;
    for file in &history.files {
        history.truncate(file, 90).await;
    }
    let error = history.examine().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    for file in &history.files {
        assert!(error.to_string().contains(file), "{error}");
    }
    assert!(error.advice().unwrap().contains("backup"), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_expired_or_failed_long_ago_is_not_taken_for_lost() {
    let history = History::new(FormatVersion::V2, 1).await.commits(3).await;
    let metadata = history.metadata(&history.files[1]).await;
    let list = metadata
        .current_snapshot()
        .unwrap()
        .manifest_list()
        .to_string();
    // A manifest list of an older sequence number that no metadata names.
    let litter = "memory:///wh/t/metadata/snap-77-0-x.avro";
    let mut bytes = history.bytes(&list).await;
    let id = metadata.current_snapshot_id().unwrap().to_string();
    let at = bytes
        .windows(id.len())
        .position(|w| w == id.as_bytes())
        .unwrap();
    bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
    history.put(litter, bytes).await;
    history.delete(&history.files[3]).await;
    let recovery = history.examine().await.unwrap();
    assert_eq!(recovery.lost.len(), 1, "{:?}", recovery.lost);
    assert_eq!(recovery.lost[0].sequence_number, Some(3));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_taken_for_damage() {
    let history = History::new(FormatVersion::V2, 1).await.commits(2).await;
    history.truncate(&history.files[2], 90).await;
    // A path through a file is neither there nor missing: the file system refuses to look.
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = format!("{}/1.metadata.json", file.path().display());
    let mut pointers = history.pointers();
    pointers.current = refused.clone();
    let error = examine(&history.storage, &pointers, None).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    pointers = history.pointers();
    pointers.previous = Some(refused);
    let error = examine(&history.storage, &pointers, None).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn what_is_legible_is_found_around_any_damage() {
    let whole = br#"{"format-version":2,"table-uuid" : "6f1d2c1e-0000-4000-8000-000000000001",
        "properties":{"a":"{","b":"\"table-uuid\":"},
        "snapshots":[
            {"snapshot-id":1,"sequence-number":1,"timestamp-ms":5,"manifest-list":"memory:///l1",
             "summary":{"operation":"append","added-records":"7"}},
            {"snapshot-id":2,"parent-snapshot-id":1,"manifest-list":"memory:///l2"}],
        "snapshot-log":[{"snapshot-id":1,"timestamp-ms":5}],
        "metadata-log":[{"timestamp-ms":4,"metadata-file":"memory:///m0"}]}"#;
    let all = salvage::legible(whole);
    let ids = |legible: &salvage::Legible| {
        let snapshots = legible.snapshots.iter();
        snapshots
            .map(|sketch| sketch.snapshot_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&all), [1, 2]);
    assert_eq!(all.snapshots[0].summary["added-records"], "7");
    assert_eq!(all.logged, [Location::parse("memory:///m0").unwrap()]);
    assert!(all.table_uuid.is_some());
    // Whatever byte is broken, everything but the piece that holds it is found, and nothing else.
    for at in 0..whole.len() {
        let mut bytes = whole.to_vec();
        bytes[at] = 0xff;
        let some = salvage::legible(&bytes);
        let found = ids(&some);
        assert!(!found.is_empty(), "{at}");
        assert!(
            found.iter().all(|id| [1, 2].contains(id)),
            "{at}: {found:?}"
        );
        let cut = salvage::legible(&whole[..at]);
        assert!(ids(&cut).len() <= 2 && cut.logged.len() <= 1, "{at}");
    }
}
