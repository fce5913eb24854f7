//! Many writers at once, over two handles on one store, and answers that get lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berglake_catalog::Catalog;
use berglake_format::ErrorKind;
use berglake_format::commit::faults::{Fault, FaultyCommitter};
use berglake_format::commit::{CommitOutcome, Committer, RetryPolicy, Transaction};

use crate::support::*;

const WRITERS: usize = 16;

/// Runs all races on an empty catalog that is open twice.
pub async fn suite<C: Catalog + 'static>(handles: [C; 2]) {
    let handles = handles.map(|handle| -> Arc<dyn Catalog> { Arc::new(handle) });
    creations(&handles).await;
    a_namespace_is_there_with_its_properties_or_not_at_all(&handles).await;
    with_tables(handles[0].as_ref()).await;
    properties_of_all_writers_are_there(&handles).await;
    snapshots_of_all_writers_are_there_once(&handles).await;
    tables_committed_together_stay_together(&handles).await;
    lost_answers(&handles).await;
}

fn patient() -> RetryPolicy {
    RetryPolicy {
        retries: 500,
        min_wait: Duration::from_millis(2),
        max_wait: Duration::from_millis(100),
        ..RetryPolicy::default()
    }
}

fn expected(count: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    let mut all: Vec<String> = (0..count).map(name).collect();
    all.sort_unstable();
    all
}

async fn creations(handles: &[Arc<dyn Catalog>; 2]) {
    let mut tasks = Vec::new();
    for n in 0..50 {
        let catalog = handles[n % 2].clone();
        tasks.push(tokio::spawn(async move {
            let made = catalog
                .create_namespace(&namespace("race"), HashMap::new())
                .await;
            let created = catalog.create_table(table("race", "t")).await;
            (made, created)
        }));
    }
    let (mut namespaces, mut tables) = (0, Vec::new());
    for task in tasks {
        let (made, created) = task.await.unwrap();
        match made {
            Ok(()) => namespaces += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
        match created {
            Ok(table) => tables.push(table),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!((namespaces, tables.len()), (1, 1));
    let loaded = handles[0].load(&ident("race", "t")).await.unwrap();
    assert_eq!(loaded.metadata(), tables[0].metadata());
    let mut litter = files(&loaded).await;
    litter.retain(|file| file != loaded.metadata_location());
    assert!(litter.is_empty(), "the losers' files: {litter:?}");
}

async fn a_namespace_is_there_with_its_properties_or_not_at_all(handles: &[Arc<dyn Catalog>; 2]) {
    const ROUNDS: usize = 40;
    let enough = Arc::new(AtomicBool::new(false));
    let comes_and_goes = tokio::spawn({
        let (catalog, enough) = (handles[0].clone(), enough.clone());
        async move {
            let at = namespace("fleeting");
            for round in 0.. {
                if round >= ROUNDS && enough.load(Ordering::Relaxed) {
                    break;
                }
                let owner = properties(&[("owner", "ann")]);
                catalog.create_namespace(&at, owner).await.unwrap();
                catalog.drop_namespace(&at).await.unwrap();
            }
        }
    });
    let mut seen = [0, 0];
    while !comes_and_goes.is_finished() {
        match handles[1].load_namespace(&namespace("fleeting")).await {
            Ok(there) => {
                // A server adds the location.
                assert_eq!(there.get("owner").map(String::as_str), Some("ann"));
                seen[0] += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                seen[1] += 1;
            }
        }
        enough.store(seen.iter().all(|times| *times > 0), Ordering::Relaxed);
    }
    comes_and_goes.await.unwrap();
}

async fn properties_of_all_writers_are_there(handles: &[Arc<dyn Catalog>; 2]) {
    let mut tasks = Vec::new();
    for n in 0..WRITERS {
        let catalog = handles[n % 2].clone();
        tasks.push(tokio::spawn(async move {
            let ident = ident("n", "a");
            let base = catalog.load(&ident).await.unwrap();
            let key = format!("writer.{n}");
            let change = set(&ident, &base, &[(&key, "1")]);
            // Nothing in the change depends on the head, so that it may simply be tried again.
            loop {
                match catalog.commit(vec![change.clone()]).await.unwrap() {
                    CommitOutcome::Committed(_) => break,
                    CommitOutcome::Conflict { .. } => {}
                    CommitOutcome::Unknown(error) => panic!("{error}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let table = handles[1].load(&ident("n", "a")).await.unwrap();
    for n in 0..WRITERS {
        let properties = table.metadata().properties();
        assert!(properties.contains_key(&format!("writer.{n}")), "{n}");
    }
    assert_eq!(files(&table).await.len(), 1 + WRITERS, "no loser's file");
}

async fn snapshots_of_all_writers_are_there_once(handles: &[Arc<dyn Catalog>; 2]) {
    let mut tasks = Vec::new();
    for n in 0..WRITERS {
        let catalog = handles[n % 2].clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..3 {
                Transaction::new(catalog.as_ref())
                    .step(ident("n", "a"), token(&format!("{n}.{round}")))
                    .retry(patient())
                    .commit()
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let table = handles[0].load(&ident("n", "a")).await.unwrap();
    let all = expected(WRITERS * 3, |i| format!("{}.{}", i / 3, i % 3));
    assert_eq!(tokens(&table), all);
    assert_eq!(
        table
            .ancestors(table.metadata().current_snapshot_id())
            .count(),
        all.len()
    );
}

async fn tables_committed_together_stay_together(handles: &[Arc<dyn Catalog>; 2]) {
    let before = handles[0].load(&ident("n", "a")).await.unwrap();
    let before = tokens(&before).len();
    let mut tasks = Vec::new();
    for n in 0..8 {
        let catalog = handles[n % 2].clone();
        tasks.push(tokio::spawn(async move {
            let token = || token(&format!("both.{n}"));
            // Half of the writers name the tables the other way round: no deadlock comes of it.
            let (first, second) = if n % 4 < 2 { ("a", "b") } else { ("b", "a") };
            Transaction::new(catalog.as_ref())
                .step(ident("n", first), token())
                .step(ident("n", second), token())
                .retry(patient())
                .commit()
                .await
                .unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let a = handles[0].load(&ident("n", "a")).await.unwrap();
    let b = handles[1].load(&ident("n", "b")).await.unwrap();
    assert_eq!(tokens(&a).len(), before + 8);
    assert_eq!(tokens(&b), expected(8, |n| format!("both.{n}")));
}

async fn lost_answers(handles: &[Arc<dyn Catalog>; 2]) {
    let at = ident("n", "lossy");
    handles[0].create_table(table("n", "lossy")).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..6 {
        let inner: Arc<dyn Committer> = handles[n % 2].clone();
        let at = at.clone();
        tasks.push(tokio::spawn(async move {
            let all = [
                Fault::LostAnswer,
                Fault::Late,
                Fault::LostRequest,
                Fault::Conflict,
                Fault::None,
            ];
            let faults: Vec<Fault> = all.iter().cycle().skip(n).take(12).copied().collect();
            let lossy = FaultyCommitter::new(inner, faults);
            for round in 0..4 {
                Transaction::new(&lossy)
                    .step(at.clone(), token(&format!("{n}.{round}")))
                    .retry(patient())
                    .commit()
                    .await
                    .unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let table = handles[0].load(&at).await.unwrap();
    let all = expected(24, |i| format!("{}.{}", i / 4, i % 4));
    assert_eq!(tokens(&table), all, "each once, none lost");
}
