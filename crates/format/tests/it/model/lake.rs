//! A table, its model, and the comparison of the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use berglake_format::commit::{Applied, Committer, MemoryCommitter, Operation, Transaction};
use berglake_format::plan::{ScanPlan, ScanTask, SnapshotSelector};
use berglake_format::read::{self, ReadOptions};
use berglake_format::storage::Storage;
use berglake_format::{
    Clock, Environment, Error, Identity, ManualClock, Result, SeededIds, SystemClock, Table,
    TableIdent,
};
use futures::TryStreamExt;
use iceberg::TableCreation;
use iceberg::spec::{
    FormatVersion, NestedField, PrimitiveType, Schema, SchemaRef, Transform, Type,
    UnboundPartitionSpec,
};

use super::Dice;
use super::nested::first_columns;
use super::partitions::misplaced;
use super::rows::{Row, Seen, rows_of, seen};
use super::steps;

/// The rows of a line of snapshots or of one of them.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub snapshot: Option<i64>,
    pub rows: Vec<Row>,
}

/// A snapshot as it must be read for ever.
#[derive(Debug, Clone)]
pub struct Then {
    pub state: State,
    pub schema: SchemaRef,
    /// The rows that it appended, where it did nothing else.
    pub appended: Option<Vec<Row>>,
    /// The rows that it removed and added by replacing partitions.
    pub replaced: Option<(Vec<Row>, Vec<Row>)>,
}

/// Rows with their ids and the sequence numbers of their last change.
pub type Lineage = Vec<(Seen, Option<i64>, Option<i64>)>;

/// A row with its place in the table.
pub struct Placed {
    pub file: String,
    pub position: u64,
    pub seen: Seen,
}

pub struct Lake {
    pub seed: u64,
    /// Whether there are structs, lists and maps.
    nested: bool,
    pub dice: Dice,
    pub committer: Arc<MemoryCommitter>,
    /// The branches, `main` among them.
    pub lines: BTreeMap<String, State>,
    pub tags: BTreeMap<String, i64>,
    pub snapshots: BTreeMap<i64, Then>,
    pub next_key: i64,
    /// How often each kind of step changed something.
    pub made: BTreeMap<&'static str, usize>,
    /// What was done, for whoever reads of a failure.
    pub story: Vec<String>,
}

pub fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "t"]).unwrap()
}

impl Lake {
    pub async fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let environment = Environment::new(
            // From now on: the metadata builder takes some times from the clock of the machine, and is
            // content where it is not far from ours.
            Arc::new(ManualClock::stepping(SystemClock.now_micros(), 1_000)),
            Arc::new(SeededIds::new(seed)),
            Identity {
                application: "model".into(),
                principal: "test".into(),
            },
        );
        let committer = Arc::new(MemoryCommitter::new(Storage::default(), environment));
        let primitive = |ty| Type::Primitive(ty);
        let mut fields = vec![
            NestedField::required(1, "k", primitive(PrimitiveType::Long)).into(),
            NestedField::optional(2, "p", primitive(PrimitiveType::String)).into(),
            NestedField::optional(3, "n", primitive(PrimitiveType::Int)).into(),
            NestedField::optional(4, "x", primitive(PrimitiveType::Float)).into(),
        ];
        let spec = UnboundPartitionSpec::builder();
        let spec = match dice.below(4) {
            0 => spec,
            1 => spec
                .add_partition_field(1, "k_bucket", Transform::Bucket(2))
                .unwrap(),
            _ => spec
                .add_partition_field(2, "p", Transform::Identity)
                .unwrap(),
        };
        let version = match dice.below(2) {
            0 => FormatVersion::V2,
            _ => FormatVersion::V3,
        };
        // They take their time, so that not all sequences have them.
        let nested = seed.is_multiple_of(3);
        if nested {
            fields.extend(first_columns(5, &mut dice));
        }
        let creation = TableCreation::builder()
            .name("t".into())
            .location("memory:///wh/db/t".into())
            .schema(Schema::builder().with_fields(fields).build().unwrap())
            .partition_spec(spec.build())
            .format_version(version)
            .properties([("commit.manifest.min-count-to-merge".into(), "4".into())])
            .build();
        committer.create(ident(), creation).await.unwrap();
        Self {
            seed,
            nested,
            dice,
            committer,
            lines: [("main".to_string(), State::default())].into(),
            tags: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            next_key: 0,
            made: BTreeMap::new(),
            story: vec![format!("format version {version}")],
        }
    }

    pub async fn table(&self) -> Table {
        self.committer.load(&ident()).await.unwrap()
    }

    pub async fn step(&mut self, number: usize) {
        let step = steps::choose(&mut self.dice, number, self.nested);
        self.story.push(format!("{number}: {}", step.name()));
        if steps::make(self, step).await {
            *self.made.entry(step.name()).or_default() += 1;
        } else {
            self.tell("(nothing)");
        }
    }

    pub async fn commit(&self, operation: impl Operation) -> Result<Applied> {
        let mut applied = Transaction::new(&*self.committer)
            .step(ident(), operation)
            .commit()
            .await?;
        Ok(applied.remove(0))
    }

    /// Records that a line is at a new snapshot with these rows.
    pub fn moved(&mut self, line: &str, applied: &Applied, rows: Vec<Row>) -> i64 {
        let snapshot = applied
            .snapshot_id()
            .unwrap_or_else(|| self.fail("no snapshot was made"));
        self.at(line, snapshot, applied.table(), rows);
        self.tell(&format!("makes {snapshot}"));
        snapshot
    }

    /// Records that a line is at this snapshot with these rows.
    pub fn at(&mut self, line: &str, snapshot: i64, table: &Table, rows: Vec<Row>) {
        let state = State {
            snapshot: Some(snapshot),
            rows,
        };
        let then = Then {
            state: state.clone(),
            schema: table.schema().clone(),
            appended: None,
            replaced: None,
        };
        self.snapshots.insert(snapshot, then);
        self.lines.insert(line.to_string(), state);
    }

    pub fn then(&mut self, snapshot: i64) -> &mut Then {
        self.snapshots.get_mut(&snapshot).unwrap()
    }

    /// Says more of the step under way in the story.
    pub fn tell(&mut self, what: &str) {
        if let Some(last) = self.story.last_mut() {
            last.push(' ');
            last.push_str(what);
        }
    }

    /// What an operation that must not succeed has left: nothing.
    pub fn note(&mut self, error: &Error) {
        self.tell(&format!("refused: {error}"));
    }

    pub fn fail(&self, message: &str) -> ! {
        panic!("seed {}: {message}\n{}", self.seed, self.story.join("\n"))
    }

    pub async fn plan(&self, at: SnapshotSelector) -> ScanPlan {
        let table = self.table().await;
        match table.scan().snapshot(at).plan().await {
            Ok(plan) => plan,
            Err(error) => self.fail(&format!("a plan fails: {error:?}")),
        }
    }

    /// The live rows with their places, and the tasks of their files.
    pub async fn placed(&self, line: &str) -> (ScanPlan, Vec<Placed>) {
        let plan = self.plan(selector(line)).await;
        let placed = self.read(&plan).await;
        (plan, placed)
    }

    pub async fn read(&self, plan: &ScanPlan) -> Vec<Placed> {
        let columns = plan.schema.as_struct().fields().len();
        let options = ReadOptions {
            positions: true,
            batch_size: 7,
            ..ReadOptions::default()
        };
        let batches: Vec<_> = match read::read(plan, options).try_collect().await {
            Ok(batches) => batches,
            Err(error) => self.fail(&format!("a read fails: {error:?}")),
        };
        let mut placed = Vec::new();
        for batch in &batches {
            use arrow::array::AsArray;
            let files = batch.column(columns).as_string::<i32>();
            let positions = batch
                .column(columns + 1)
                .as_primitive::<arrow::datatypes::Int64Type>();
            let rows = rows_of(batch, &plan.schema).into_iter().enumerate();
            placed.extend(rows.map(|(at, seen)| Placed {
                file: files.value(at).to_string(),
                position: u64::try_from(positions.value(at)).unwrap(),
                seen,
            }));
        }
        placed
    }

    /// The rows of a line that are left without these, and these.
    pub fn apart(&self, line: &str, schema: &Schema, gone: &[&Placed]) -> (Vec<Row>, Vec<Row>) {
        let rows = self.lines[line].rows.iter();
        let mut rows: Vec<(Seen, Row)> = rows.map(|row| (seen(row, schema), row.clone())).collect();
        let mut removed = Vec::new();
        for placed in gone {
            let at = rows.iter().position(|(seen, _)| *seen == placed.seen);
            match at {
                Some(at) => removed.push(rows.swap_remove(at).1),
                None => self.fail("the table has a row that the model does not have"),
            }
        }
        (rows.into_iter().map(|(_, row)| row).collect(), removed)
    }

    /// The lineage of a line's rows; none before format version 3.
    pub async fn lineage(&self, line: &str) -> Option<Lineage> {
        let plan = self.plan(selector(line)).await;
        if plan.table.metadata().format_version() < FormatVersion::V3 {
            return None;
        }
        let columns = plan.schema.as_struct().fields().len();
        let options = ReadOptions {
            lineage: true,
            ..ReadOptions::default()
        };
        let batches: Vec<_> = read::read(&plan, options).try_collect().await.unwrap();
        let mut lineage = Lineage::new();
        for batch in &batches {
            use arrow::array::AsArray;
            let number = |at: usize| {
                batch
                    .column(at)
                    .as_primitive::<arrow::datatypes::Int64Type>()
            };
            let (ids, sequences) = (number(columns), number(columns + 1));
            let rows = rows_of(batch, &plan.schema).into_iter();
            let rows = rows.zip(ids.iter()).zip(sequences.iter());
            lineage.extend(rows.map(|((seen, id), sequence)| (seen, id, sequence)));
        }
        lineage.sort();
        Some(lineage)
    }

    /// Rows that had an id have the same one.
    pub async fn same_lineage(&self, line: &str, before: &Option<Lineage>) {
        let (Some(before), Some(after)) = (before, self.lineage(line).await) else {
            return;
        };
        for row in before.iter().filter(|row| row.1.is_some()) {
            if !after.contains(row) {
                self.fail(&format!("a row has lost its lineage: {row:?}\n{after:?}"));
            }
        }
        let ids: std::collections::BTreeSet<_> = after.iter().map(|row| row.1).collect();
        if ids.len() != after.len() || ids.contains(&None) {
            self.fail(&format!("rows have no ids of their own: {after:?}"));
        }
    }

    /// Compares main and another line, a snapshot of any age and a tag.
    pub async fn check(&mut self) {
        let table = self.table().await;
        let names: Vec<&String> = self.lines.keys().collect();
        let other = self.dice.clone().below(names.len());
        let other = names[other].clone();
        for (line, state) in &self.lines {
            let head = match table.head(Some(line)) {
                Ok(head) => head.map(|head| head.snapshot_id()),
                Err(error) => self.fail(&format!("{line}: {error}")),
            };
            if head != state.snapshot {
                self.fail(&format!("{line} is at {head:?}, not {:?}", state.snapshot));
            }
            if line != "main" && *line != other {
                continue;
            }
            let what = format!("the branch {line}");
            let at = selector(line);
            self.compare(&what, at, table.schema(), &state.rows).await;
        }
        let known: Vec<i64> = self.snapshots.keys().copied().collect();
        if let Some(id) = self.dice.pick(&known).copied() {
            let then = self.snapshots[&id].clone();
            let what = format!("snapshot {id}");
            let at = SnapshotSelector::Id(id);
            self.compare(&what, at, &then.schema, &then.state.rows)
                .await;
        }
        let tags: Vec<(String, i64)> = self.tags.clone().into_iter().collect();
        if let Some((tag, id)) = self.dice.pick(&tags) {
            let then = &self.snapshots[id];
            let at = SnapshotSelector::Ref(tag.clone());
            self.compare(&format!("tag {tag}"), at, &then.schema, &then.state.rows)
                .await;
        }
        self.totals(&table).await;
    }

    async fn compare(&self, what: &str, at: SnapshotSelector, schema: &SchemaRef, rows: &[Row]) {
        let plan = self.plan(at).await;
        if plan.schema.as_struct() != schema.as_struct() {
            self.fail(&format!("{what} has the columns {:?}", plan.schema));
        }
        let mut expected: Vec<Seen> = rows.iter().map(|row| seen(row, schema)).collect();
        let placed = self.read(&plan).await;
        if let Some(misplaced) = misplaced(&plan, &placed) {
            self.fail(&format!("{what}: {misplaced}"));
        }
        let mut found: Vec<Seen> = placed.into_iter().map(|row| row.seen).collect();
        expected.sort();
        found.sort();
        if expected != found {
            let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
            let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
            self.fail(&format!(
                "{what}: {} rows instead of {}\nmissing {missing:?}\nextra {extra:?}",
                found.len(),
                expected.len(),
            ));
        }
    }

    /// The totals of the head's summary are what its manifests say.
    async fn totals(&self, table: &Table) {
        let Some(head) = table.current_snapshot() else {
            return;
        };
        let plan = self.plan(SnapshotSelector::Head).await;
        let rows: u64 = plan
            .tasks
            .iter()
            .map(|t: &ScanTask| t.file.record_count())
            .sum();
        for (key, found) in [
            ("total-data-files", plan.tasks.len() as u64),
            ("total-records", rows),
        ] {
            let stated = head.summary().additional_properties.get(key);
            if stated != Some(&found.to_string()) {
                self.fail(&format!(
                    "{key} is {found}, and the summary says {stated:?}"
                ));
            }
        }
    }
}

pub fn selector(line: &str) -> SnapshotSelector {
    match line {
        "main" => SnapshotSelector::Head,
        line => SnapshotSelector::Ref(line.to_string()),
    }
}
