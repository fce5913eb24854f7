//! What is done about lost answers, and about changes that others have made stale. No test waits: a
//! pause is a place where something happens.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, NestedField, PrimitiveType,
    Schema, Struct, Type,
};
use iceberg::{TableCreation, TableUpdate};

use super::*;
use crate::commit::{MemoryCommitter, TableChange};
use crate::snapshot::{Append, CommitNotes, RowDelta};
use crate::storage::Storage;
use crate::write::WrittenFile;
use crate::{Environment, Identity, ManualClock, SeededIds};

fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "t"]).unwrap()
}

async fn table() -> MemoryCommitter {
    let environment = Environment::new(
        Arc::new(ManualClock::at(1_700_000_000_000_000)),
        Arc::new(SeededIds::new(1)),
        Identity::default(),
    );
    let committer = MemoryCommitter::new(Storage::default(), environment);
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let creation = TableCreation::builder()
        .name("t".into())
        .location("memory:///wh/db/t".into())
        .schema(Schema::builder().with_fields([id.into()]).build().unwrap())
        .format_version(FormatVersion::V2)
        .build();
    committer.create(ident(), creation).await.unwrap();
    committer
}

fn file(name: &str, content: DataContentType, format: DataFileFormat) -> DataFileBuilder {
    let mut builder = DataFileBuilder::default();
    builder
        .content(content)
        .file_path(format!("memory:///wh/db/t/data/{name}"))
        .file_format(format)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1)
        .file_size_in_bytes(100);
    builder
}

fn written(builder: &DataFileBuilder) -> WrittenFile {
    WrittenFile {
        file: builder.build().unwrap(),
        spec_id: 0,
    }
}

fn append(name: &str) -> Append {
    Append {
        files: vec![written(&file(
            name,
            DataContentType::Data,
            DataFileFormat::Parquet,
        ))],
        notes: CommitNotes::default(),
    }
}

/// What the network does with the next commits and loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// The answer is lost, and the commit arrives when it is let through.
    Delayed,
    /// Loading says that the catalog is away.
    Away,
    Fair,
}

/// A committer behind such a network.
#[derive(Debug)]
struct Behind {
    inner: MemoryCommitter,
    weather: Mutex<Weather>,
    underway: Mutex<Vec<Vec<TableChange>>>,
    commits: AtomicU32,
}

impl Behind {
    async fn new(weather: Weather) -> Self {
        Self {
            inner: table().await,
            weather: Mutex::new(weather),
            underway: Mutex::default(),
            commits: AtomicU32::new(0),
        }
    }

    fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets through what is under way.
    async fn arrive(&self) {
        let arriving =
            std::mem::take(&mut *self.underway.lock().unwrap_or_else(PoisonError::into_inner));
        for changes in arriving {
            self.inner.commit(changes).await.ok();
        }
    }

    async fn files(&self) -> usize {
        let head = self.inner.load(&ident()).await.unwrap();
        head.scan().plan().await.unwrap().tasks.len()
    }
}

#[async_trait]
impl Committer for Behind {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        match self.weather() {
            Weather::Away => Err(Error::new(ErrorKind::Unavailable, "the catalog is away")),
            _ => self.inner.load(ident).await,
        }
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        match self.weather() {
            Weather::Fair => self.inner.commit(changes).await,
            _ => {
                self.underway
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(changes);
                Ok(CommitOutcome::Unknown(Error::new(
                    ErrorKind::UnknownOutcome,
                    "the answer was lost",
                )))
            }
        }
    }
}

/// Commits with this many retries. Each pause only counts, and then this happens with the time that
/// was spent in pauses.
async fn commit<'a, F>(
    behind: &'a Behind,
    retries: u32,
    operation: impl Operation + 'a,
    happens: impl Fn(Duration) -> F + Send + Sync + 'a,
) -> (Result<Vec<Applied>>, Duration)
where
    F: Future<Output = ()> + Send + 'a,
{
    let waited = Arc::new(Mutex::new(Duration::ZERO));
    let total = waited.clone();
    let result = Transaction::new(behind)
        .retry(RetryPolicy {
            retries,
            ..RetryPolicy::default()
        })
        .step(ident(), operation)
        .pausing(move |wait| {
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            *total += wait;
            happens(*total).boxed()
        })
        .commit()
        .await;
    let waited = *waited.lock().unwrap_or_else(PoisonError::into_inner);
    (result, waited)
}

const STATUS_CHECK: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_last_attempt_that_lands_late_is_waited_for() {
    let behind = Behind::new(Weather::Delayed).await;
    let (result, waited) = commit(&behind, 0, append("a"), async |total: Duration| {
        if total >= Duration::from_secs(30) {
            behind.arrive().await;
        }
    })
    .await;
    let applied = result.unwrap();
    assert!(applied[0].snapshot_id().is_some());
    assert!((Duration::from_secs(30)..STATUS_CHECK).contains(&waited));
    assert_eq!(behind.files().await, 1);
}

#[tokio::test]
async fn the_outcome_is_unknown_only_after_the_time_of_the_status_check() {
    let behind = Behind::new(Weather::Delayed).await;
    let (result, waited) = commit(&behind, 0, append("a"), async |_| {}).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error}");
    assert!(waited >= STATUS_CHECK, "{waited:?}");
    // Its files are kept: it may still land, and then be read.
    behind.arrive().await;
    assert_eq!(behind.files().await, 1);
}

#[tokio::test]
async fn an_attempt_that_was_overtaken_is_known_to_be_lost() {
    let behind = Behind::new(Weather::Delayed).await;
    let (result, waited) = commit(&behind, 0, append("a"), async |_| {
        let other = Transaction::new(&behind.inner).step(ident(), append("b"));
        other.commit().await.unwrap();
    })
    .await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    behind.arrive().await;
    assert_eq!(behind.files().await, 1, "only that of the other writer");
}

#[tokio::test]
async fn while_attempts_are_left_a_lost_answer_costs_no_wait() {
    let behind = Behind::new(Weather::Delayed).await;
    let (result, waited) = commit(&behind, 5, append("a"), async |_| {
        behind.set(Weather::Fair);
    })
    .await;
    result.unwrap();
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    assert_eq!(behind.commits.load(Ordering::SeqCst), 2);
    behind.arrive().await;
    assert_eq!(behind.files().await, 1, "of two attempts one lands");
}

#[tokio::test]
async fn a_catalog_that_goes_away_after_a_lost_answer_is_waited_for() {
    let behind = Behind::new(Weather::Delayed).await;
    let (result, waited) = commit(&behind, 5, append("a"), async |total: Duration| {
        // The first pause is that before the next attempt.
        behind.set(Weather::Away);
        if total >= Duration::from_secs(20) {
            behind.set(Weather::Fair);
            behind.arrive().await;
        }
    })
    .await;
    result.unwrap();
    assert!((Duration::from_secs(20)..STATUS_CHECK).contains(&waited));
    assert_eq!(behind.files().await, 1);
}

/// Plans an append once, and fails from then on.
struct OnceThenAway(Append, AtomicU32);

#[async_trait]
impl Operation for OnceThenAway {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        match self.1.fetch_add(1, Ordering::SeqCst) {
            0 => self.0.plan(base).await,
            _ => Err(Error::new(ErrorKind::Unavailable, "the store is away")),
        }
    }
}

#[tokio::test]
async fn a_failure_after_a_lost_answer_is_no_certainty() {
    // The attempt lands while its writer is about to give up.
    let behind = Behind::new(Weather::Delayed).await;
    let flaky = OnceThenAway(append("a"), AtomicU32::new(0));
    let (result, _) = commit(&behind, 5, flaky, async |total: Duration| {
        if total >= Duration::from_secs(10) {
            behind.arrive().await;
        }
    })
    .await;
    assert!(result.unwrap()[0].snapshot_id().is_some());

    // It lands after its writer has given up: its files must still be there.
    let behind = Behind::new(Weather::Delayed).await;
    let flaky = OnceThenAway(append("a"), AtomicU32::new(0));
    let (result, waited) = commit(&behind, 5, flaky, async |_| {}).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error}");
    assert!(waited >= STATUS_CHECK, "{waited:?}");
    behind.arrive().await;
    assert_eq!(behind.files().await, 1);

    // Another writer makes sure that it is lost: then the failure is the answer.
    let behind = Behind::new(Weather::Delayed).await;
    let flaky = OnceThenAway(append("a"), AtomicU32::new(0));
    let (result, _) = commit(&behind, 5, flaky, async |total: Duration| {
        if total >= Duration::from_secs(10) {
            let other = Transaction::new(&behind.inner).step(ident(), append("b"));
            other.commit().await.unwrap();
        }
    })
    .await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// Replaces a row as an upsert does. Another engine changes the table after the first plan.
struct Replace<'a> {
    committer: &'a MemoryCommitter,
    meanwhile: Mutex<Vec<TableUpdate>>,
}

#[async_trait]
impl Operation for Replace<'_> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let mut delete = match base.metadata().format_version() {
            FormatVersion::V3 => {
                let mut vector = file(
                    "vector",
                    DataContentType::PositionDeletes,
                    DataFileFormat::Puffin,
                );
                vector.content_offset(Some(4));
                vector.content_size_in_bytes(Some(40));
                vector
            }
            _ => file(
                "deletes",
                DataContentType::PositionDeletes,
                DataFileFormat::Parquet,
            ),
        };
        delete.referenced_data_file(Some("memory:///wh/db/t/data/a".to_string()));
        let delta = RowDelta {
            base: base.metadata().current_snapshot_id(),
            data_files: append("new").files,
            delete_files: vec![written(&delete)],
            ..RowDelta::default()
        };
        let planned = delta.plan(base).await?;
        let updates = std::mem::take(
            &mut *self
                .meanwhile
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if !updates.is_empty() {
            let change = TableChange {
                ident: ident(),
                requirements: Vec::new(),
                updates,
            };
            let outcome = self.committer.commit(vec![change]).await?;
            assert!(matches!(outcome, CommitOutcome::Committed(_)));
        }
        Ok(planned)
    }
}

#[tokio::test]
async fn an_upgrade_during_an_upsert_has_it_planned_again_in_the_new_form() {
    let committer = table().await;
    let first = Transaction::new(&committer).step(ident(), append("a"));
    first.commit().await.unwrap();
    let replace = Replace {
        committer: &committer,
        meanwhile: Mutex::new(vec![TableUpdate::UpgradeFormatVersion {
            format_version: FormatVersion::V3,
        }]),
    };
    let applied = Transaction::new(&committer)
        .step(ident(), replace)
        .pausing(|_| async {}.boxed())
        .commit()
        .await
        .unwrap();
    let head = applied[0].table();
    assert_eq!(head.metadata().format_version(), FormatVersion::V3);
    let summary = &head
        .current_snapshot()
        .unwrap()
        .summary()
        .additional_properties;
    assert_eq!(summary.get("added-dvs").map(String::as_str), Some("1"));
    assert!(!summary.contains_key("added-position-delete-files"));
}

#[tokio::test]
async fn a_commit_to_another_branch_during_an_upsert_has_it_planned_again() {
    let committer = table().await;
    let first = Transaction::new(&committer).step(ident(), append("a"));
    let base = first.commit().await.unwrap()[0].table().clone();
    // No requirement on `main` notices it, but the sequence number is taken.
    let elsewhere = Append {
        files: append("b").files,
        ..Append::default()
    };
    let planned = elsewhere.plan(&base).await.unwrap().unwrap();
    let updates: Vec<TableUpdate> = planned
        .change
        .updates
        .into_iter()
        .map(|update| match update {
            TableUpdate::SetSnapshotRef { reference, .. } => TableUpdate::SetSnapshotRef {
                ref_name: "audit".to_string(),
                reference,
            },
            other => other,
        })
        .collect();
    let replace = Replace {
        committer: &committer,
        meanwhile: Mutex::new(updates),
    };
    let applied = Transaction::new(&committer)
        .step(ident(), replace)
        .pausing(|_| async {}.boxed())
        .commit()
        .await
        .unwrap();
    let head = applied[0].table().metadata();
    assert_eq!(head.last_sequence_number(), 3);
    assert!(head.snapshot_for_ref("audit").is_some());
}
