//! Random histories against a model: whatever is appended, upserted, compacted, tagged, rolled on and
//! expired, every snapshot that is left holds what it held, and no file is lost or left over.

use std::collections::BTreeMap;

use berglake_format::plan::SnapshotSelector;
use berglake_format::properties::HistoryProperties;
use berglake_ingest::progress::FlowId;
use berglake_maintenance::compact::{self, CompactionOptions};
use berglake_maintenance::{Stop, Watermarks, expire};
use iceberg::spec::{FormatVersion, SnapshotRetention};
use proptest::prelude::*;

use crate::support::{Lake, Rows, reachable, rows, set_ref, tag};

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Upsert(Vec<i64>),
    Compact,
    /// The flow takes what is new.
    Flow,
    /// A tag on the snapshot that is so far from the newest.
    Tag(u8, usize),
    Branch(u8, usize),
    /// Snapshots older than so many of the last ones expire; so many are kept.
    Expire(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u8..5).prop_map(Step::Append),
        3 => prop::collection::vec(0_i64..30, 1..6).prop_map(Step::Upsert),
        2 => Just(Step::Compact),
        2 => Just(Step::Flow),
        1 => (0_u8..3, 0_usize..5).prop_map(|(name, back)| Step::Tag(name, back)),
        1 => (0_u8..2, 0_usize..5).prop_map(|(name, back)| Step::Branch(name, back)),
        2 => (0_usize..6, 1_u32..4).prop_map(|(back, least)| Step::Expire(back, least)),
    ]
}

async fn live_through(version: FormatVersion, partitioned: bool, steps: &[Step]) {
    let lake = Lake::new().await;
    let t = lake.create("t", version, partitioned, &[]).await;
    let source = lake.create("source", FormatVersion::V2, false, &[]).await;
    let flow = FlowId::new("f").unwrap();
    let mut model: BTreeMap<i64, Rows> = BTreeMap::new();
    let mut next_key = 1_000;
    let mut sequence = 0;
    for step in steps {
        let before = lake.table(&t).await;
        let mut now = match before.metadata().current_snapshot_id() {
            Some(head) => model[&head].clone(),
            None => Rows::new(),
        };
        let back = |by: usize| {
            let mut all: Vec<_> = before.metadata().snapshots().collect();
            all.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.sequence_number()));
            all.get(by).map(|s| (s.snapshot_id(), s.timestamp_ms()))
        };
        match step {
            Step::Append(n) => {
                let batch: Vec<(i64, i64)> =
                    (0..i64::from(*n)).map(|i| (next_key + i, i)).collect();
                next_key += i64::from(*n);
                lake.append(&t, &batch).await;
                now.extend(batch);
            }
            Step::Upsert(keys) => {
                sequence += 1;
                let batch: BTreeMap<i64, i64> = keys.iter().map(|k| (*k, sequence)).collect();
                let batch: Vec<(i64, i64)> = batch.into_iter().collect();
                lake.upsert(&t, &batch, sequence).await;
                now.extend(batch);
            }
            Step::Compact => {
                let all = format!("{}rewrite-all", CompactionOptions::PREFIX);
                let options = CompactionOptions::parse(&[(all, "true".into())].into()).unwrap();
                let stop = Stop::new();
                let run = compact::run(lake.catalog.as_ref(), &before, &options, &stop);
                assert!(run.await.unwrap().succeeded());
            }
            Step::Flow => {
                lake.append(&source, &[(next_key, 0)]).await;
                next_key += 1;
                let from = lake.position(&t, &flow).await;
                assert_eq!(lake.flow(&flow, &source, &t).await.unwrap(), 1, "{from:?}");
                now.insert(next_key - 1, 0);
            }
            Step::Tag(name, by) => {
                if let Some((id, _)) = back(*by) {
                    let name = format!("tag-{name}");
                    lake.change(&t, vec![tag(&name, id)]).await;
                }
            }
            Step::Branch(name, by) => {
                if let Some((id, _)) = back(*by) {
                    let retention = SnapshotRetention::branch(Some(2), None, None);
                    let name = format!("branch-{name}");
                    lake.change(&t, vec![set_ref(&name, id, retention)]).await;
                }
            }
            Step::Expire(by, least) => {
                let oldest = back(*by).map_or(0, |(_, time)| time);
                let age = before.environment().clock().now_millis() - oldest;
                let history = HistoryProperties {
                    max_snapshot_age_ms: Some(age),
                    min_snapshots_to_keep: Some(*least),
                    max_ref_age_ms: None,
                };
                for table in [&t, &source] {
                    let loaded = lake.table(table).await;
                    let mut watermarks = Watermarks::default();
                    watermarks.add(&lake.table(&t).await).unwrap();
                    let planned = expire::plan(&loaded, history, &watermarks).await.unwrap();
                    let run = expire::run(lake.catalog.as_ref(), &loaded, history, &watermarks);
                    let report = run.await.unwrap();
                    // The clock runs on between the two, so a little more may have gone.
                    assert!(report.expired.len() >= planned.snapshots.expired.len());
                    let left = lake.table(table).await;
                    assert_eq!(lake.listed(table).await, reachable(&left).await);
                }
            }
        }
        let after = lake.table(&t).await;
        // A compaction may make several snapshots, all of the same rows.
        for snapshot in after.metadata().snapshots() {
            let id = snapshot.snapshot_id();
            if before.metadata().snapshot_by_id(id).is_none() {
                model.insert(id, now.clone());
            }
        }
        assert_eq!(lake.listed(&t).await, reachable(&after).await, "{step:?}");
        for snapshot in after.metadata().snapshots() {
            let id = snapshot.snapshot_id();
            let found = rows(&after, SnapshotSelector::Id(id)).await;
            assert_eq!(found, model[&id], "snapshot {id} after {step:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_snapshot_that_is_left_holds_what_it_held_and_no_file_is_lost_or_left_over(
        v3 in any::<bool>(),
        partitioned in any::<bool>(),
        steps in prop::collection::vec(step(), 1..14),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let version = if v3 { FormatVersion::V3 } else { FormatVersion::V2 };
        runtime.block_on(live_through(version, partitioned, &steps));
    }
}
