//! Random histories of a table against a model that knows every row.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{Literal, Transform};

use super::*;

/// Histories per format version and layout, where `BERGLAKE_SEEDS` says nothing else.
const HISTORIES: std::ops::Range<u64> = 0..6;
const COMMITS: usize = 14;
const RANGES: usize = 4;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Id, name, kind.
type Row = (i64, Option<String>, String);
/// How often each row is there.
type RowBag = BTreeMap<Row, usize>;

struct Live {
    file: DataFile,
    rows: Vec<(Row, BTreeSet<usize>)>,
    /// The deletion vector, and the id under which rows have it.
    vector: Option<(DataFile, usize)>,
}

impl Live {
    fn kind(&self) -> &str {
        &self.rows[0].0.2
    }

    fn alive(&self) -> Vec<usize> {
        let rows = self.rows.iter().enumerate();
        rows.filter(|(_, (_, deletes))| deletes.is_empty())
            .map(|(at, _)| at)
            .collect()
    }
}

struct Commit {
    id: i64,
    replace: bool,
    rows: RowBag,
}

struct World {
    random: Random,
    fixture: Fixture,
    partitioned: bool,
    files: Vec<Live>,
    /// Position and equality deletes that are live, by the id under which rows have them.
    deletes: BTreeMap<usize, DataFile>,
    next_delete: usize,
    commits: Vec<Commit>,
}

/// What a commit does.
#[derive(Default)]
struct Step {
    added: Vec<DataFile>,
    removed: Vec<DataFile>,
    new: Vec<Live>,
}

impl World {
    fn new(seed: u64, version: FormatVersion, partitioned: bool) -> Self {
        let mut columns = fields();
        let kind = NestedField::optional(3, "kind", Type::Primitive(PrimitiveType::String));
        columns.push(kind.into());
        let fixture = match partitioned {
            true => {
                let spec = Fixture::spec(&[(3, "kind", Transform::Identity)]);
                Fixture::partitioned(version, columns, spec)
            }
            false => Fixture::new(version, columns),
        };
        Self {
            random: Random(seed),
            fixture,
            partitioned,
            files: Vec::new(),
            deletes: BTreeMap::new(),
            next_delete: 0,
            commits: Vec::new(),
        }
    }

    fn vectors(&self) -> bool {
        self.fixture.metadata.format_version() >= FormatVersion::V3
    }

    fn partition(&self, kind: &str) -> Struct {
        match self.partitioned {
            true => Struct::from_iter([Some(Literal::string(kind))]),
            false => Struct::empty(),
        }
    }

    fn row(&mut self, kind: &str) -> Row {
        let name = match self.random.below(4) {
            0 => None,
            at => Some(["x", "y", "z"][at - 1].to_string()),
        };
        (self.random.below(12) as i64, name, kind.to_string())
    }

    fn rows(&mut self) -> Vec<Row> {
        let kind = ["p", "q"][self.random.below(2)];
        (0..1 + self.random.below(7))
            .map(|_| self.row(kind))
            .collect()
    }

    fn batch(&self, rows: &[Row]) -> RecordBatch {
        let ids = Int64Array::from_iter_values(rows.iter().map(|(id, ..)| *id));
        let names: StringArray = rows.iter().map(|(_, name, _)| name.as_deref()).collect();
        let kinds = StringArray::from_iter_values(rows.iter().map(|(.., kind)| kind));
        self.fixture
            .batch(vec![Arc::new(ids), Arc::new(names), Arc::new(kinds)])
    }

    async fn data(&mut self, rows: Vec<Row>, step: &mut Step) {
        let batch = self.batch(&rows);
        let partition = self.partition(&rows[0].2);
        let file = self.fixture.data_in(&batch, partition).await;
        step.added.push(file.clone());
        step.new.push(Live {
            file,
            rows: rows.into_iter().map(|row| (row, BTreeSet::new())).collect(),
            vector: None,
        });
    }

    fn delete_id(&mut self) -> usize {
        self.next_delete += 1;
        self.next_delete
    }

    /// Sets the vector of a file: at these positions, or none.
    async fn set_vector(&mut self, file: &mut Live, positions: &[usize], step: &mut Step) {
        if let Some((old, id)) = file.vector.take() {
            step.removed.push(old);
            for (_, deletes) in &mut file.rows {
                deletes.remove(&id);
            }
        }
        if positions.is_empty() {
            return;
        }
        let id = self.delete_id();
        let set: RoaringTreemap = positions.iter().map(|at| *at as u64).collect();
        let blob = Fixture::blob(&set);
        let entry = self.fixture.vector(file.file.file_path(), &blob, set.len());
        let entry = entry.await;
        let partition = self.partition(file.kind());
        let entry = crate::manifest::rebuild(&entry, 0, |entry| {
            entry.partition(partition);
        });
        let entry = entry.unwrap();
        step.added.push(entry.clone());
        file.vector = Some((entry, id));
        for at in positions {
            file.rows[*at].1.insert(id);
        }
    }

    /// Deletes rows of some files by position, also rows that are deleted already.
    async fn delete_positions(&mut self, files: &mut [&mut Live], step: &mut Step) {
        if self.vectors() {
            for file in files {
                let mut positions: BTreeSet<usize> = match &file.vector {
                    Some((_, id)) => (0..file.rows.len())
                        .filter(|at| file.rows[*at].1.contains(id))
                        .collect(),
                    None => BTreeSet::new(),
                };
                for _ in 0..1 + self.random.below(2) {
                    positions.insert(self.random.below(file.rows.len()));
                }
                let positions: Vec<usize> = positions.into_iter().collect();
                self.set_vector(file, &positions, step).await;
            }
            return;
        }
        let scoped = files.len() == 1 && self.random.one_in(2);
        let id = self.delete_id();
        let kind = files[0].kind().to_string();
        let mut rows = BTreeSet::new();
        for file in files.iter_mut().filter(|file| file.kind() == kind) {
            for _ in 0..1 + self.random.below(3) {
                let at = self.random.below(file.rows.len());
                file.rows[at].1.insert(id);
                rows.insert((file.file.file_path().to_string(), at as i64));
            }
        }
        let rows: Vec<(&str, i64)> = rows.iter().map(|(path, at)| (path.as_str(), *at)).collect();
        let partition = self.partition(&kind);
        let mut entry = self.fixture.position_deletes(&rows, scoped).await;
        let entry = entry.partition(partition).build().unwrap();
        step.added.push(entry.clone());
        self.deletes.insert(id, entry);
    }

    /// Deletes rows by key, of all files that are there before the commit.
    async fn delete_keys(&mut self, step: &mut Step) {
        let kind = ["p", "q"][self.random.below(2)];
        let by_name = self.random.one_in(2);
        let keys: Vec<Row> = (0..1 + self.random.below(3))
            .map(|_| self.row(kind))
            .collect();
        let batch = self.batch(&keys);
        let (batch, ids) = match by_name {
            true => (batch.project(&[0, 1]).unwrap(), vec![1, 2]),
            false => (batch.project(&[0]).unwrap(), vec![1]),
        };
        let partition = self.partition(kind);
        let entry = self.fixture.equality_deletes(&ids, &batch, partition).await;
        step.added.push(entry.clone());
        let id = self.delete_id();
        self.deletes.insert(id, entry);
        for file in &mut self.files {
            if self.partitioned && file.kind() != kind {
                continue;
            }
            for (row, deletes) in &mut file.rows {
                let hit = |key: &Row| row.0 == key.0 && (!by_name || row.1 == key.1);
                if keys.iter().any(hit) {
                    deletes.insert(id);
                }
            }
        }
    }

    /// Takes some files out, and returns them.
    fn pick(&mut self, at_most: usize) -> Vec<Live> {
        let mut picked = Vec::new();
        for _ in 0..1 + self.random.below(at_most) {
            if !self.files.is_empty() {
                let at = self.random.below(self.files.len());
                picked.push(self.files.swap_remove(at));
            }
        }
        picked
    }

    /// Removes the files from the table, with their vectors.
    fn remove(&mut self, files: &[Live], step: &mut Step) {
        for file in files {
            step.removed.push(file.file.clone());
            step.removed
                .extend(file.vector.iter().map(|(file, _)| file.clone()));
        }
    }

    async fn commit(&mut self) {
        let mut step = Step::default();
        let operation = match self.random.below(12) {
            0 | 1 => {
                for _ in 0..self.random.below(3) {
                    let rows = self.rows();
                    self.data(rows, &mut step).await;
                }
                Operation::Append
            }
            2..=4 => {
                let mut files = self.pick(3);
                if self.random.one_in(2) {
                    let rows = self.rows();
                    self.data(rows, &mut step).await;
                    // Of the file that comes, too.
                    files.extend(step.new.pop());
                }
                if !files.is_empty() {
                    let mut all: Vec<&mut Live> = files.iter_mut().collect();
                    self.delete_positions(&mut all, &mut step).await;
                }
                self.files.append(&mut files);
                Operation::Overwrite
            }
            5 | 6 => {
                self.delete_keys(&mut step).await;
                if self.random.one_in(2) {
                    let rows = self.rows();
                    self.data(rows, &mut step).await;
                }
                Operation::Overwrite
            }
            7 | 8 => {
                let files = self.pick(2);
                self.remove(&files, &mut step);
                for file in &files {
                    let kind = file.kind().to_string();
                    let mut rows = Vec::new();
                    for at in file.alive() {
                        match self.random.below(4) {
                            0 => rows.push(self.row(&kind)),
                            1 if self.random.one_in(2) => {}
                            _ => rows.push(file.rows[at].0.clone()),
                        }
                    }
                    if !rows.is_empty() {
                        rows.reverse();
                        self.data(rows, &mut step).await;
                    }
                }
                Operation::Overwrite
            }
            9 => {
                let files = self.pick(3);
                self.remove(&files, &mut step);
                for kind in ["p", "q"] {
                    let rows = files.iter().filter(|file| file.kind() == kind);
                    let alive = rows.flat_map(|file| {
                        let alive = file.alive().into_iter();
                        alive.map(|at| file.rows[at].0.clone())
                    });
                    let alive: Vec<Row> = alive.collect();
                    if !alive.is_empty() {
                        self.data(alive, &mut step).await;
                    }
                }
                Operation::Replace
            }
            10 => {
                let files = self.pick(2);
                self.remove(&files, &mut step);
                Operation::Delete
            }
            _ => {
                // Deletes are taken back.
                if self.vectors() && self.random.one_in(2) {
                    for mut file in self.pick(2) {
                        let positions = (0..file.rows.len()).filter(|_| self.random.one_in(3));
                        let positions: Vec<usize> = positions.collect();
                        self.set_vector(&mut file, &positions, &mut step).await;
                        self.files.push(file);
                    }
                } else if let Some((id, file)) = self.deletes.pop_last() {
                    step.removed.push(file);
                    for file in &mut self.files {
                        for (_, deletes) in &mut file.rows {
                            deletes.remove(&id);
                        }
                    }
                }
                Operation::Overwrite
            }
        };
        self.files.append(&mut step.new);
        let merge = self.random.one_in(4);
        let added = step.added.into_iter().map(|file| (0, file)).collect();
        let replace = operation == Operation::Replace;
        let id = self
            .fixture
            .exchange(operation, added, &step.removed, merge)
            .await;
        let mut rows = RowBag::new();
        for file in &self.files {
            for at in file.alive() {
                *rows.entry(file.rows[at].0.clone()).or_default() += 1;
            }
        }
        self.commits.push(Commit { id, replace, rows });
    }
}

/// A change: its ordinal, its snapshot, its kind, its row.
type Change = (i32, i64, String, Row);

fn read_rows(batches: &[RecordBatch]) -> Vec<Change> {
    let mut changes = Vec::new();
    for batch in batches {
        let types = batch[CHANGE_TYPE_COLUMN].as_string::<i32>();
        let ordinals = batch[CHANGE_ORDINAL_COLUMN].as_primitive::<Int32Type>();
        let snapshots = batch[COMMIT_SNAPSHOT_ID_COLUMN].as_primitive::<Int64Type>();
        for (row, values) in values(batch).into_iter().enumerate() {
            changes.push((
                ordinals.value(row),
                snapshots.value(row),
                types.value(row).to_string(),
                values,
            ));
        }
    }
    changes
}

fn values(batch: &RecordBatch) -> Vec<Row> {
    let ids = batch["id"].as_primitive::<Int64Type>().iter();
    let names = batch["name"].as_string::<i32>().iter();
    let kinds = batch["kind"].as_string::<i32>().iter();
    ids.zip(names)
        .zip(kinds)
        .map(|((id, name), kind)| (id.unwrap(), name.map(String::from), kind.unwrap().into()))
        .collect()
}

fn apply(rows: &mut RowBag, kind: &str, row: &Row) {
    match kind {
        "insert" | "update_after" => *rows.entry(row.clone()).or_default() += 1,
        "delete" | "update_before" => {
            let count = rows.get_mut(row);
            let count = count.unwrap_or_else(|| panic!("{row:?} was not there to delete"));
            *count -= 1;
            if *count == 0 {
                rows.remove(row);
            }
        }
        other => panic!("unknown change {other}"),
    }
}

/// The rows that only one of two bags has, as often as they are there more.
fn minus(these: &RowBag, others: &RowBag) -> RowBag {
    let rows = these.iter().filter_map(|(row, count)| {
        let left = count.saturating_sub(others.get(row).copied().unwrap_or_default());
        (left > 0).then(|| (row.clone(), left))
    });
    rows.collect()
}

fn bag<'a>(changes: impl Iterator<Item = &'a Change>, kinds: [&str; 2]) -> RowBag {
    let mut rows = RowBag::new();
    for (_, _, kind, row) in changes {
        if kinds.contains(&kind.as_str()) {
            *rows.entry(row.clone()).or_default() += 1;
        }
    }
    rows
}

const WENT: [&str; 2] = ["delete", "update_before"];
const CAME: [&str; 2] = ["insert", "update_after"];

/// Whether rows of one id went and came more than once.
fn ambiguous(went: &RowBag, came: &RowBag) -> bool {
    let per_id = |rows: &RowBag| {
        let mut ids: BTreeMap<i64, usize> = BTreeMap::new();
        for ((id, ..), count) in rows {
            *ids.entry(*id).or_default() += count;
        }
        ids
    };
    let (went, came) = (per_id(went), per_id(came));
    went.iter()
        .any(|(id, count)| came.get(id).is_some_and(|others| count + others > 2))
}

/// Updates are pairs of one id, and no other delete and insert of one snapshot have one.
fn check_pairs(changes: &[Change]) {
    let mut rest = changes.iter();
    let mut went = BTreeSet::new();
    while let Some((_, _, kind, row)) = rest.next() {
        match kind.as_str() {
            "update_before" => {
                let (_, _, kind, after) = rest.next().unwrap();
                assert_eq!((kind.as_str(), after.0), ("update_after", row.0));
            }
            "delete" => {
                went.insert(row.0);
            }
            "insert" => assert!(!went.contains(&row.0), "{row:?} is an update"),
            other => panic!("{other} stands alone"),
        }
    }
}

impl World {
    async fn check(&mut self) {
        let to = self.random.below(self.commits.len());
        let from = match self.random.below(to + 2) {
            0 => None,
            at => Some(at - 1),
        };
        let empty = RowBag::new();
        let at = |commit: Option<usize>| commit.map_or(&empty, |at| &self.commits[at].rows);
        let (first, last) = (at(from), at(Some(to)));
        let start = from.map_or(0, |at| at + 1);
        let from_id = from.map(|at| self.commits[at].id);
        let to_id = self.commits[to].id;
        let mut options = ChangeOptions {
            batch_size: 1 + (to % 5),
            concurrency: 1 + (to % 3),
            ..ChangeOptions::default()
        };
        let read = async |options: &ChangeOptions| {
            try_changes(&self.fixture, from_id, to_id, options.clone()).await
        };

        // Exactly what differs between a snapshot and its parent, in the order in which it applies.
        let plain = read_rows(&read(&options).await.unwrap());
        let mut ranged: Vec<(&RowBag, &Commit)> = Vec::new();
        for commit in start..=to {
            let before = at(commit.checked_sub(1));
            let commit = &self.commits[commit];
            if commit.replace {
                assert_eq!(*before, commit.rows, "the model's rewrite changes rows");
            } else {
                ranged.push((before, commit));
            }
        }
        let mut rows = first.clone();
        for (ordinal, (before, commit)) in ranged.iter().enumerate() {
            let own = || plain.iter().filter(|change| change.0 == ordinal as i32);
            assert!(own().all(|change| change.1 == commit.id));
            assert_eq!(bag(own(), WENT), minus(before, &commit.rows), "{ordinal}");
            assert_eq!(bag(own(), CAME), minus(&commit.rows, before), "{ordinal}");
            own().for_each(|(_, _, kind, row)| apply(&mut rows, kind, row));
            assert_eq!(rows, commit.rows);
        }
        assert!(plain.is_sorted_by_key(|change| change.0));
        assert_eq!(rows, *last);

        // Net changes are what differs between the ends.
        options.net = true;
        let net = read_rows(&read(&options).await.unwrap());
        assert_eq!(bag(net.iter(), WENT), minus(first, last));
        assert_eq!(bag(net.iter(), CAME), minus(last, first));

        // Updates by key are the same changes, where keys tell rows apart.
        options.updates = UpdateImages::Columns(vec!["id".into()]);
        let unclear = ambiguous(&minus(first, last), &minus(last, first));
        match read(&options).await {
            Ok(batches) => {
                assert!(!unclear);
                let updates = read_rows(&batches);
                assert_eq!(bag(updates.iter(), WENT), minus(first, last));
                assert_eq!(bag(updates.iter(), CAME), minus(last, first));
                check_pairs(&updates);
            }
            Err(error) => assert!(unclear, "{error}"),
        }
        options.net = false;
        let unclear = ranged.iter().any(|(before, commit)| {
            ambiguous(&minus(before, &commit.rows), &minus(&commit.rows, before))
        });
        match read(&options).await {
            Ok(batches) => {
                assert!(!unclear);
                let updates = read_rows(&batches);
                for ordinal in 0..ranged.len() {
                    let of = |changes: &[Change]| -> Vec<Change> {
                        let own = changes.iter().filter(|c| c.0 == ordinal as i32);
                        own.cloned().collect()
                    };
                    let (own, same) = (of(&updates), of(&plain));
                    check_pairs(&own);
                    for kinds in [WENT, CAME] {
                        assert_eq!(bag(own.iter(), kinds), bag(same.iter(), kinds));
                    }
                }
            }
            Err(error) => assert!(unclear, "{error}"),
        }
        if self.vectors() {
            options.updates = UpdateImages::RowId;
            let mut rows = first.clone();
            for (_, _, kind, row) in &read_rows(&read(&options).await.unwrap()) {
                apply(&mut rows, kind, row);
            }
            assert_eq!(rows, *last);
        }
    }
}

/// Prints how to run a sequence again, when it fails.
struct Printed(u64);

impl Drop for Printed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed) = *self;
            eprintln!(
                "BERGLAKE_SEEDS={seed}..{} runs this history alone",
                seed + 1
            );
        }
    }
}

async fn histories(version: FormatVersion, partitioned: bool) {
    let seeds = match std::env::var("BERGLAKE_SEEDS") {
        Ok(range) => {
            let (first, end) = range.split_once("..").expect("a range such as 0..100");
            first.parse().unwrap()..end.parse().unwrap()
        }
        Err(_) => HISTORIES,
    };
    for seed in seeds {
        let printed = Printed(seed);
        let mut world = World::new(seed, version, partitioned);
        for _ in 0..COMMITS {
            world.commit().await;
        }
        // The model is what a scan gives, so that changes are held against scans too.
        let plan = world.fixture.table().scan().plan().await.unwrap();
        let batches = crate::read::read(&plan, crate::read::ReadOptions::default());
        let batches: Vec<RecordBatch> = batches.try_collect().await.unwrap();
        let rows = batches.iter().flat_map(values);
        let mut scanned = RowBag::new();
        rows.for_each(|row| apply(&mut scanned, "insert", &row));
        assert_eq!(scanned, world.commits.last().unwrap().rows);
        for _ in 0..RANGES {
            world.check().await;
        }
        drop(printed);
    }
}

#[tokio::test]
async fn random_histories_on_version_2() {
    histories(FormatVersion::V2, false).await;
}

#[tokio::test]
async fn random_histories_on_version_2_in_partitions() {
    histories(FormatVersion::V2, true).await;
}

#[tokio::test]
async fn random_histories_on_version_3() {
    histories(FormatVersion::V3, false).await;
}

#[tokio::test]
async fn random_histories_on_version_3_in_partitions() {
    histories(FormatVersion::V3, true).await;
}
