use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use iceberg::spec::{DataFile, FormatVersion, NestedField, Operation, PrimitiveType, Type};
use roaring::RoaringTreemap;

use super::*;
use crate::fixture::Fixture;
use crate::manifest::rebuild;
use crate::read::{ReadOptions, read};

/// Ten rows in each row group.
const GROUP: usize = 10;

fn fixture() -> Fixture {
    let columns = ["id", "more"].into_iter().zip(1..).map(|(name, id)| {
        NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long)).into()
    });
    let mut fixture = Fixture::new(FormatVersion::V2, columns.collect());
    fixture.group = GROUP;
    fixture
}

async fn file(fixture: &mut Fixture, ids: Range<i64>) -> DataFile {
    let column = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(ids.clone())) };
    let batch = fixture.batch(vec![column(), column()]);
    fixture.data(&batch).await
}

async fn ids(plan: &ScanPlan, tasks: Vec<ScanTask>) -> Vec<i64> {
    let plan = ScanPlan {
        tasks,
        ..plan.clone()
    };
    let batches: Vec<_> = read(&plan, ReadOptions::default())
        .try_collect()
        .await
        .unwrap();
    let ids = batches.iter().flat_map(|batch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    });
    ids.collect()
}

fn properties(target_size: u64, open_file_cost: u64) -> SplitProperties {
    SplitProperties {
        target_size,
        open_file_cost,
        ..SplitProperties::default()
    }
}

#[tokio::test]
async fn every_row_is_in_one_part_and_large_files_are_cut_between_row_groups() {
    let mut fixture = fixture();
    let large = file(&mut fixture, 0..200).await;
    let small = file(&mut fixture, 200..207).await;
    let size = large.file_size_in_bytes();
    let deleted: RoaringTreemap = [0, 9, 10, 55, 199].into_iter().collect();
    let rows: Vec<(&str, i64)> = deleted
        .iter()
        .map(|at| (large.file_path(), at as i64))
        .collect();
    let deletes = fixture.position_deletes(&rows, true).await.build().unwrap();
    // The same file as writers record it, as some do, and as nobody should.
    let begins: Vec<i64> = (0..20).map(|at| 4 + at * (size as i64 / 20)).collect();
    for offsets in [
        None,
        Some(begins),
        Some(vec![4]),
        Some(vec![9, 4]),
        Some(vec![-1, 4]),
        Some(vec![4, i64::MAX]),
    ] {
        let recorded = rebuild(&large, 0, |file| {
            file.split_offsets(offsets.clone());
        });
        let mut table = fixture_with(&fixture, &[&recorded.unwrap(), &small, &deletes]).await;
        let plan = table.table().scan().plan().await.unwrap();
        table.group = GROUP;
        let expected: BTreeSet<i64> = (0..207)
            .filter(|id| !deleted.contains(*id as u64))
            .collect();
        for target in [size / 20, size / 3, size - 1, size * 2] {
            let parts = plan.splits(&properties(target, 0));
            let mut read = Vec::new();
            for part in &parts {
                read.extend(ids(&plan, part.clone()).await);
            }
            assert_eq!(read.len(), expected.len(), "{offsets:?} {target}");
            let read: BTreeSet<i64> = read.into_iter().collect();
            assert_eq!(read, expected, "{offsets:?} {target}");
            if target <= size / 3 && offsets.as_ref().is_none_or(|offsets| offsets.len() > 2) {
                assert!(parts.len() > 2, "{offsets:?} {target}: {}", parts.len());
            }
        }
        let whole = plan.splits(&properties(u64::MAX, 0));
        assert!(whole.len() == 1 && whole[0].iter().all(|task| task.range.is_none()));
    }
}

/// A table of these files in the storage of another.
async fn fixture_with(other: &Fixture, files: &[&DataFile]) -> Fixture {
    let mut table = fixture();
    table.storage = other.storage.clone();
    let files = files.iter().map(|file| (0, (*file).clone())).collect();
    table.commit(Operation::Overwrite, files).await;
    table
}

#[tokio::test]
async fn small_files_are_put_together_up_to_what_opening_them_costs() {
    let mut fixture = fixture();
    let mut files = Vec::new();
    for at in 0..10 {
        files.push((0, file(&mut fixture, at * 5..at * 5 + 5).await));
    }
    fixture.commit(Operation::Append, files).await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let paths = |parts: &[Vec<ScanTask>]| -> Vec<usize> { parts.iter().map(Vec::len).collect() };
    // Each weighs 1 MB, whatever its size.
    assert_eq!(
        paths(&plan.splits(&properties(4_000_000, 1_000_000))),
        [4, 4, 2]
    );
    assert_eq!(
        paths(&plan.splits(&properties(1_000_000, 1_000_000))),
        [1; 10]
    );
    assert_eq!(
        paths(&plan.splits(&properties(100_000_000, 1_000_000))),
        [10]
    );
    let all = plan.splits(&properties(100_000_000, 1_000_000)).concat();
    let order = |tasks: &[ScanTask]| -> Vec<String> {
        let tasks = tasks.iter();
        tasks
            .map(|task| task.file.file_path().to_string())
            .collect()
    };
    assert_eq!(order(&all), order(&plan.tasks));
}
