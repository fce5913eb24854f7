//! Operations in any order, with merges, evolution and an upgrade in between: every snapshot holds the
//! rows that a model says, then and ever after, row ids stay, and summaries say what manifests say.

use std::collections::{BTreeMap, HashSet};

use iceberg::expr::Reference;
use iceberg::spec::{Datum, Transform};

use super::lake::{Lake, Row, rows_of};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A row in each of these partitions.
    Append(Vec<i32>),
    FastAppend(Vec<i32>),
    /// Rows whose bit is set are deleted, and one is added in each of these partitions.
    Delta(u64, Vec<i32>),
    Replace(Vec<i32>),
    /// All rows of a partition are overwritten by one row in it.
    Overwrite(i32),
    DeleteFile(usize),
    RewriteManifests(bool),
    /// To one of some specs.
    Respec(usize),
    DropColumn,
    Upgrade,
}

fn step() -> impl Strategy<Value = Step> {
    let partitions = || proptest::collection::vec(0..4, 1..4);
    prop_oneof![
        4 => partitions().prop_map(Step::Append),
        2 => partitions().prop_map(Step::FastAppend),
        4 => (any::<u64>(), partitions()).prop_map(|(mask, new)| Step::Delta(mask, new)),
        2 => partitions().prop_map(Step::Replace),
        1 => (0..4).prop_map(Step::Overwrite),
        1 => (0..8_usize).prop_map(Step::DeleteFile),
        3 => any::<bool>().prop_map(Step::RewriteManifests),
        1 => (0..3_usize).prop_map(Step::Respec),
        1 => Just(Step::DropColumn),
        1 => Just(Step::Upgrade),
    ]
}

/// The specs of the table. Each keeps the rows of different `p` apart, so that rows of one can be
/// overwritten by whole files, but for the last.
const SPECS: [&[(i32, &str, Transform)]; 3] = [
    &[(2, "p_id", Transform::Identity)],
    &[
        (3, "old_trunc", Transform::Truncate(5)),
        (2, "p_id", Transform::Identity),
    ],
    &[],
];

fn some(partitions: &[i32]) -> Vec<Option<i32>> {
    let of = |p: &i32| (*p != 0).then_some(*p);
    partitions.iter().map(of).collect()
}

struct Run {
    lake: Lake,
    spec: usize,
    dropped: bool,
    /// Whether all files are of the current spec.
    uniform: bool,
}

impl Run {
    async fn step(&mut self, step: &Step) {
        let lake = &mut self.lake;
        let mut rows = lake.known().await;
        let notes = CommitNotes::default();
        match step {
            Step::Append(partitions) => {
                lake.append(&some(partitions)).await;
            }
            Step::FastAppend(partitions) => {
                let (files, new) = lake.write(&some(partitions)).await;
                rows.extend(new);
                lake.commit(FastAppend { files, notes }, rows).await;
            }
            Step::Delta(mask, new) => {
                let bits = rows.keys().enumerate();
                let gone = bits.filter(|(i, _)| mask & (1 << (i % 64)) != 0);
                let gone: HashSet<i64> = gone.map(|(_, id)| *id).collect();
                lake.delta(&gone, &some(new)).await;
            }
            Step::Replace(partitions) => {
                // What is replaced follows from the spec; with files of older ones it is another test.
                let partitions = some(partitions);
                let everything = self.spec == 2;
                if !(everything || (self.uniform && self.spec == 0)) {
                    return;
                }
                rows.retain(|_, row| !everything && !partitions.contains(&row.0));
                let (files, new) = lake.write(&partitions).await;
                rows.extend(new);
                lake.commit(ReplacePartitions { files, notes }, rows).await;
            }
            Step::Overwrite(p) => {
                if self.spec == 2 || !self.uniform {
                    return;
                }
                let p = *p;
                let filter = Reference::new("p").equal_to(Datum::int(p));
                rows.retain(|_, row| row.0 != Some(p));
                let (files, new) = lake.write(&[Some(p)]).await;
                rows.extend(new);
                let overwrite = Overwrite {
                    filter,
                    files,
                    notes,
                };
                lake.commit(overwrite, rows).await;
            }
            Step::DeleteFile(which) => {
                let table = lake.table().await;
                let plan = table.scan().plan().await.unwrap();
                let Some(task) = plan.tasks.get(*which) else {
                    return;
                };
                let one = crate::plan::ScanPlan {
                    tasks: vec![task.clone()],
                    ..plan.clone()
                };
                for id in ids_of(&one).await {
                    rows.remove(&id);
                }
                let path = task.file.file_path();
                lake.commit(DeleteFiles::paths([path]), rows).await;
            }
            Step::RewriteManifests(deletes) => {
                let rewriting = RewriteManifests {
                    deletes: *deletes,
                    ..RewriteManifests::default()
                };
                lake.commit(rewriting, rows).await;
            }
            Step::Respec(to) => {
                if *to != self.spec && !(*to == 1 && self.dropped) {
                    lake.respec(SPECS[*to]).await;
                    self.spec = *to;
                    self.uniform = rows.is_empty();
                }
            }
            Step::DropColumn => {
                if !self.dropped && self.spec != 1 {
                    lake.drop_old_column().await;
                    self.dropped = true;
                }
            }
            Step::Upgrade => {
                if lake.table().await.metadata().format_version() < FormatVersion::V3 {
                    lake.upgrade().await;
                }
            }
        }
    }
}

async fn ids_of(plan: &crate::plan::ScanPlan) -> Vec<i64> {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use futures::TryStreamExt;
    let batches = crate::read::read(plan, crate::read::ReadOptions::default());
    let batches: Vec<arrow::record_batch::RecordBatch> = batches.try_collect().await.unwrap();
    let ids = batches.iter().flat_map(|batch| {
        let ids = batch.column_by_name("id").unwrap();
        ids.as_primitive::<Int64Type>().values().to_vec()
    });
    ids.collect()
}

async fn run(version: FormatVersion, spec: usize, least: &str, target: &str, steps: &[Step]) {
    let properties = [
        ("commit.manifest.min-count-to-merge", least),
        ("commit.manifest.target-size-bytes", target),
    ];
    let mut run = Run {
        lake: Lake::new(version, SPECS[spec], &properties).await,
        spec,
        dropped: false,
        uniform: true,
    };
    for step in steps {
        run.step(step).await;
    }
    run.lake.check_history().await;
    let rows: BTreeMap<_, _> = run.lake.known().await;
    let table = run.lake.table().await;
    let found = rows_of(&table, SnapshotSelector::Head).await;
    if table.current_snapshot().is_some() {
        let ids = |rows: &BTreeMap<i64, Row>| rows.keys().copied().collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&rows));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_order_of_operations_leaves_every_snapshot_as_the_model_says(
        v3 in any::<bool>(),
        spec in 0..3_usize,
        least in prop_oneof![Just("2"), Just("3")],
        target in prop_oneof![Just("2000"), Just("15000"), Just("8388608")],
        steps in proptest::collection::vec(step(), 5..30),
    ) {
        let version = if v3 { FormatVersion::V3 } else { FormatVersion::V2 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(version, spec, least, target, &steps));
    }
}
