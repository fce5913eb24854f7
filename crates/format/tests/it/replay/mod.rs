//! The decoders on what the fuzzers in `fuzz/` start from and on what they found, and on damage of it:
//! files cut short and files with bits changed, at places that a seed chooses.
//!
//! Whatever the bytes are, no code of this crate panics, and an error says that the file is damaged and
//! which one it is. What is read without an error is held against what the whole file says:
//!
//! | bytes | what is claimed of damage that goes unnoticed |
//! |---|---|
//! | deletion vector, gzipped metadata | nothing else is read; they have a checksum |
//! | data file, page index | as many rows are read; pages have no checksum |
//! | position deletes, equality deletes | no more rows are deleted than the file has rows |
//! | manifest list, manifest | as many entries are read; of a file that is cut between two blocks the first ones |
//! | plain metadata, name mapping, location | nothing, they are text |
//!
//! That what is cut between two blocks is noticed by the list and the snapshot that count, and that
//! changed values delete and lose no other rows, is tested where tables are planned and read
//! (`damage.rs` there).

mod seeds;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Once;

use berglake_format::{Result, fuzzing};
use iceberg::spec::FormatVersion;

use crate::model::Dice;

/// A decoder that is fuzzed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Metadata,
    ManifestList,
    Manifest,
    DeletionVector,
    PositionDeletes,
    EqualityDeletes,
    DataFile,
    NameMapping,
    Location,
    PageIndex,
}

impl Target {
    const ALL: [Self; 10] = [
        Self::Metadata,
        Self::ManifestList,
        Self::Manifest,
        Self::DeletionVector,
        Self::PositionDeletes,
        Self::EqualityDeletes,
        Self::DataFile,
        Self::NameMapping,
        Self::Location,
        Self::PageIndex,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::ManifestList => "manifest_list",
            Self::Manifest => "manifest",
            Self::DeletionVector => "deletion_vector",
            Self::PositionDeletes => "position_deletes",
            Self::EqualityDeletes => "equality_deletes",
            Self::DataFile => "data_file",
            Self::NameMapping => "name_mapping",
            Self::Location => "location",
            Self::PageIndex => "page_index",
        }
    }

    fn is_file(self) -> bool {
        !matches!(self, Self::NameMapping | Self::Location)
    }

    /// What the damage of a good file may lead to without an error.
    fn claim(self, good: &[u8]) -> Claim {
        match self {
            Self::DeletionVector => Claim::Same,
            Self::Metadata if good.starts_with(&[0x1F, 0x8B]) => Claim::Same,
            Self::Metadata | Self::NameMapping | Self::Location => Claim::Nothing,
            Self::ManifestList | Self::Manifest => Claim::AsManyOrFirst,
            Self::DataFile | Self::PageIndex => Claim::AsMany,
            Self::PositionDeletes => Claim::NoMoreThanRows,
            Self::EqualityDeletes => Claim::AllButRows,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Same,
    AsMany,
    AsManyOrFirst,
    NoMoreThanRows,
    AllButRows,
    Nothing,
}

impl Claim {
    fn holds(self, written: &[u64], found: &[u64], rows: u64, is_cut: bool) -> bool {
        match self {
            Self::Same => found == written,
            Self::AsManyOrFirst if is_cut => written.starts_with(found),
            Self::AsMany | Self::AsManyOrFirst => found.len() == written.len(),
            Self::NoMoreThanRows => found.len() as u64 <= rows,
            Self::AllButRows => found.len() as u64 + rows >= fuzzing::KEYS,
            Self::Nothing => true,
        }
    }
}

/// A decoder with what is known of the file from elsewhere.
#[derive(Debug, Clone, Copy)]
struct Decoder {
    target: Target,
    version: FormatVersion,
    /// The rows that a manifest would record.
    rows: u64,
}

impl Decoder {
    async fn decode(self, bytes: &[u8]) -> Result<Vec<u64>> {
        let Self { version, rows, .. } = self;
        match self.target {
            Target::Metadata => fuzzing::metadata(bytes).await,
            Target::ManifestList => fuzzing::manifest_list(version, bytes).await,
            Target::Manifest => fuzzing::manifest(version, bytes).await,
            Target::DeletionVector => fuzzing::deletion_vector(bytes, rows).await,
            Target::PositionDeletes => fuzzing::position_deletes(bytes, rows).await,
            Target::EqualityDeletes => fuzzing::equality_deletes(bytes, rows).await,
            Target::DataFile => fuzzing::data_file(bytes, rows).await,
            Target::NameMapping => fuzzing::mapping(bytes).await,
            Target::Location => fuzzing::location(bytes).await,
            Target::PageIndex => fuzzing::page_index(bytes, rows).await,
        }
    }

    fn run(self, bytes: &[u8], what: &str) -> Option<Vec<u64>> {
        let outcome = blocking(self.decode(bytes));
        let objection = fuzzing::objection(&outcome, self.target.is_file());
        assert_eq!(objection, None, "{what}");
        OWN_PANIC.with_borrow_mut(|panic| assert_eq!(panic.take(), None, "{what}"));
        outcome.ok()
    }
}

fn blocking<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static OWN_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics of this crate on this thread, which are turned into errors as those of dependencies
/// are, and keeps still about the latter.
fn watch() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let is_dependency = !place.contains("crates/format/");
            if !WATCHED.get() || place.contains("crates/format/tests") {
                default(info);
            } else if !is_dependency {
                OWN_PANIC.with_borrow_mut(|panic| *panic = Some(info.to_string()));
            }
        }));
    });
    WATCHED.set(true);
}

fn folder(kind: &str, target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz")
        .join(kind)
        .join(target.name())
}

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(files) = std::fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect()
}

/// All ways to decode this file of a corpus.
fn decoders(target: Target, bytes: &[u8]) -> Vec<Decoder> {
    let decoder = |version, rows| Decoder {
        target,
        version,
        rows,
    };
    let v2 = FormatVersion::V2;
    match target {
        Target::ManifestList | Target::Manifest => [FormatVersion::V1, v2, FormatVersion::V3]
            .map(|version| decoder(version, 0))
            .to_vec(),
        Target::PositionDeletes
        | Target::EqualityDeletes
        | Target::DataFile
        | Target::PageIndex => {
            let rows = blocking(fuzzing::claimed_rows(bytes)).unwrap_or_default();
            vec![decoder(v2, rows)]
        }
        // Its manifest records how many it has.
        Target::DeletionVector => vec![decoder(v2, fuzzing::vector_cardinality(bytes))],
        Target::Metadata | Target::NameMapping | Target::Location => vec![decoder(v2, 0)],
    }
}

/// Decodes everything that the fuzzers of this target know, and damages the seeds.
fn replay(target: Target) {
    watch();
    let corpus = files(&folder("corpus", target));
    let regressions = files(&folder("regressions", target));
    for (name, bytes) in corpus.iter().chain(&regressions) {
        for decoder in decoders(target, bytes) {
            decoder.run(bytes, name);
            if target == Target::DeletionVector {
                decoder.run(&fuzzing::sealed(bytes), name);
            }
        }
    }
    let seeds = corpus.iter().filter(|(name, _)| name.starts_with("seed-"));
    let mut whole = 0;
    for (name, bytes) in seeds {
        for decoder in decoders(target, bytes) {
            // What is a file of one version may be none of another.
            if let Some(written) = decoder.run(bytes, name) {
                damage(decoder, name, bytes, &written);
                whole += 1;
            }
        }
    }
    assert!(whole > 0, "no seed of {} can be decoded", target.name());
}

/// Damaged forms of each file.
const CUTS: usize = 40;
const FLIPS: usize = 120;
const SEED: u64 = 5;

fn damage(decoder: Decoder, name: &str, bytes: &[u8], written: &[u64]) {
    let claim = decoder.target.claim(bytes);
    let judge = |what: String, damaged: &[u8], is_cut| {
        let what = format!("{name} as {decoder:?}, {what}");
        let Some(found) = decoder.run(damaged, &what) else {
            return;
        };
        assert!(
            claim.holds(written, &found, decoder.rows, is_cut),
            "{what}: {} things instead of {}",
            found.len(),
            written.len()
        );
    };
    for length in (0..bytes.len()).step_by(bytes.len() / CUTS + 1) {
        judge(format!("cut at {length}"), &bytes[..length], true);
    }
    let mut dice = Dice::new(SEED);
    for _ in 0..FLIPS {
        let (at, bit) = (dice.below(bytes.len()), dice.below(8));
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << bit;
        judge(
            format!("seed {SEED}, bit {bit} of byte {at}"),
            &damaged,
            false,
        );
    }
}

#[test]
fn metadata() {
    replay(Target::Metadata);
}

#[test]
fn manifest_lists() {
    replay(Target::ManifestList);
}

#[test]
fn manifests() {
    replay(Target::Manifest);
}

#[test]
fn deletion_vectors() {
    replay(Target::DeletionVector);
}

#[test]
fn position_deletes() {
    replay(Target::PositionDeletes);
}

#[test]
fn equality_deletes() {
    replay(Target::EqualityDeletes);
}

#[test]
fn data_files() {
    replay(Target::DataFile);
}

#[test]
fn name_mappings() {
    replay(Target::NameMapping);
}

#[test]
fn locations() {
    replay(Target::Location);
}

#[test]
fn page_indexes() {
    replay(Target::PageIndex);
}

/// Every corpus is that of a target here, and every target has one.
#[test]
fn all_corpora_are_replayed() {
    let known: Vec<_> = Target::ALL.iter().map(|target| target.name()).collect();
    for kind in ["corpus", "regressions"] {
        let folder = folder(kind, Target::Metadata);
        let Ok(found) = std::fs::read_dir(folder.parent().unwrap()) else {
            continue;
        };
        for folder in found {
            let name = folder.unwrap().file_name().into_string().unwrap();
            assert!(known.contains(&name.as_str()), "{name}");
        }
    }
    for target in Target::ALL {
        assert!(!files(&folder("corpus", target)).is_empty(), "{target:?}");
        let source = format!("../../fuzz/fuzz_targets/{}.rs", target.name());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        assert!(source.exists(), "{}", source.display());
    }
}
