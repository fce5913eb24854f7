//! Purging: all files of the table, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use berglake_catalog::{Catalog, IcebergCatalog, NewTable, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{Committer, TableChange};
use berglake_format::storage::{Location, Storage};
use berglake_format::{Environment, ErrorKind, Table};
use bytes::Bytes;
use iceberg::Catalog as _;
use iceberg::TableUpdate;
use iceberg::spec::{PartitionStatisticsFile, StatisticsFile};
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::bridge::data_file;
use crate::support::*;

/// Adds data files by foreign code; each file is really written.
async fn append(catalog: &SqlCatalog, table: &Table, paths: &[String]) {
    for path in paths {
        let location = Location::parse(path).unwrap();
        let bytes = Bytes::from_static(b"data");
        table.storage().write(&location, bytes).await.unwrap();
    }
    let foreign = IcebergCatalog::new(Arc::new(catalog.clone()));
    let table = foreign.load_table(table.ident()).await.unwrap();
    let transaction = Transaction::new(&table);
    let append = transaction
        .fast_append()
        .add_data_files(paths.iter().map(|path| data_file(path)));
    let transaction = append.apply(transaction).unwrap();
    transaction.commit(&foreign).await.unwrap();
}

async fn statistics(catalog: &SqlCatalog, table: &Table) {
    let loaded = catalog.load(table.ident()).await.unwrap();
    let snapshot_id = loaded.current_snapshot().unwrap().snapshot_id();
    let folder = loaded.metadata_folder().unwrap();
    let (columns, partitions) = (folder.join("columns.puffin"), folder.join("parts.parquet"));
    for at in [&columns, &partitions] {
        let bytes = Bytes::from_static(b"statistics");
        table.storage().write(at, bytes).await.unwrap();
    }
    let change = TableChange {
        ident: table.ident().clone(),
        requirements: Vec::new(),
        updates: vec![
            TableUpdate::SetStatistics {
                statistics: StatisticsFile {
                    snapshot_id,
                    statistics_path: columns.to_string(),
                    file_size_in_bytes: 10,
                    file_footer_size_in_bytes: 1,
                    key_metadata: None,
                    blob_metadata: Vec::new(),
                },
            },
            TableUpdate::SetPartitionStatistics {
                partition_statistics: PartitionStatisticsFile {
                    snapshot_id,
                    statistics_path: partitions.to_string(),
                    file_size_in_bytes: 10,
                },
            },
        ],
    };
    committed(catalog.commit(vec![change]).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_what_the_table_reaches_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let table = catalog.load(&ident("n", "a")).await.unwrap();
    let own = table.metadata().location().to_string();
    let elsewhere = catalog.warehouse().join("imported/x.parquet");
    let stray = Location::parse(&own).unwrap().join("data/stray.parquet");
    append(&catalog, &table, &[format!("{own}/data/1.parquet")]).await;
    append(
        &catalog,
        &table,
        &[format!("{own}/data/2.parquet"), elsewhere.to_string()],
    )
    .await;
    statistics(&catalog, &table).await;
    table
        .storage()
        .write(&stray, Bytes::from_static(b"?"))
        .await
        .unwrap();
    let neighbour = catalog.load(&ident("n", "b")).await.unwrap();
    let beside = files(&neighbour).await;
    // metadata of four commits; per append a manifest and a list; three data files in the
    // folder; two of statistics
    assert_eq!(files(&table).await.len(), 4 + 4 + 3 + 2);

    catalog.drop_table(table.ident(), true).await.unwrap();
    assert!(!catalog.table_exists(table.ident()).await.unwrap());
    // A file that no metadata names is not known to be the table's.
    assert_eq!(files(&table).await, [stray.to_string()]);
    // A file that was added from elsewhere may be somebody else's.
    assert!(table.storage().exists(&elsewhere).await.unwrap());
    assert_eq!(files(&neighbour).await, beside);
}

/// Makes the table's row name metadata that this change gives, as another program or an older version
/// may have done: the catalog itself would refuse it.
async fn smuggle(folder: &std::path::Path, base: &Table, updates: Vec<TableUpdate>) {
    let change = TableChange {
        ident: base.ident().clone(),
        requirements: Vec::new(),
        updates,
    };
    let metadata = change.apply(base.metadata(), base.metadata_location());
    let metadata = metadata.unwrap().unwrap();
    // Where a reader looks for it nothing matters but the row.
    let at = base
        .location()
        .unwrap()
        .join("metadata/smuggled.metadata.json");
    let json = serde_json::to_vec(&metadata).unwrap();
    base.storage().write(&at, Bytes::from(json)).await.unwrap();
    let options = SqliteConnectOptions::new().filename(folder.join("catalog.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("UPDATE iceberg_tables SET metadata_location = $1 WHERE table_name = $2")
        .bind(at.to_string())
        .bind(base.ident().name().to_string())
        .execute(&mut connection)
        .await
        .unwrap();
}

fn statistics_at(snapshot_id: i64, path: &Location) -> TableUpdate {
    TableUpdate::SetStatistics {
        statistics: StatisticsFile {
            snapshot_id,
            statistics_path: path.to_string(),
            file_size_in_bytes: 6,
            file_footer_size_in_bytes: 1,
            key_metadata: None,
            blob_metadata: Vec::new(),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_nothing_outside_the_warehouse_and_nothing_of_another_table() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let neighbour = catalog.load(&ident("n", "b")).await.unwrap();
    let beside = files(&neighbour).await;
    let outside = Location::from_path(&folder.path().join("victim")).unwrap();
    let victims = [
        (outside.clone(), outside.join("victim.txt")),
        (
            neighbour.location().unwrap(),
            Location::parse(neighbour.metadata_location()).unwrap(),
        ),
    ];
    for (data, victim) in victims {
        let table = catalog.create_table(table("n", "purged")).await.unwrap();
        if !table.storage().exists(&victim).await.unwrap() {
            let bytes = Bytes::from_static(b"victim");
            table.storage().write(&victim, bytes).await.unwrap();
        }
        let path = properties(&[("write.data.path", &data.to_string())]);
        let updates = vec![
            TableUpdate::SetProperties { updates: path },
            statistics_at(1, &victim),
        ];
        smuggle(folder.path(), &table, updates).await;
        let purged = catalog.purge_table(table.ident()).await.unwrap();
        assert_eq!(purged.left, std::slice::from_ref(&victim));
        assert!(table.storage().exists(&victim).await.unwrap(), "{victim}");
        assert!(!catalog.table_exists(table.ident()).await.unwrap());
        assert!(files(&table).await.is_empty(), "its own files are gone");
    }
    assert_eq!(files(&neighbour).await, beside);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_no_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.db");
    let warehouse = Location::from_path(folder.path()).unwrap();
    let uri = format!("sqlite:{}", file.display());
    let config = SqlCatalogConfig::new("lake", uri, warehouse.clone());
    let catalog = SqlCatalog::open(config, Storage::default(), Environment::default());
    let catalog = catalog.await.unwrap();
    catalog
        .create_namespace(&namespace("n"), HashMap::new())
        .await
        .unwrap();
    let all = properties(&[("write.data.path", &warehouse.to_string())]);
    let new = NewTable {
        properties: all,
        ..table("n", "greedy")
    };
    let greedy = catalog.create_table(new).await.unwrap();
    let victim = Location::from_path(&file).unwrap();
    let change = TableChange {
        ident: greedy.ident().clone(),
        requirements: Vec::new(),
        updates: vec![statistics_at(1, &victim)],
    };
    committed(catalog.commit(vec![change]).await.unwrap());
    let purged = catalog.purge_table(greedy.ident()).await.unwrap();
    assert_eq!(purged.left, [victim]);
    assert!(file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_leaves_a_file_has_dropped_the_table_and_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    for name in ["a", "b"] {
        let table = catalog.load(&ident("n", name)).await.unwrap();
        // A folder where there should be a file cannot be deleted as one.
        let stuck = table.metadata_folder().unwrap().join("stuck");
        let within = stuck.join("within");
        let bytes = Bytes::from_static(b"stuck");
        table.storage().write(&within, bytes).await.unwrap();
        let change = TableChange {
            ident: table.ident().clone(),
            requirements: Vec::new(),
            updates: vec![statistics_at(1, &stuck)],
        };
        committed(catalog.commit(vec![change]).await.unwrap());
        if name == "a" {
            let purged = catalog.purge_table(table.ident()).await.unwrap();
            assert_eq!(purged.left, [stuck]);
            assert!(purged.cause.is_some());
        } else {
            catalog.drop_table(table.ident(), true).await.unwrap();
        }
        assert!(!catalog.table_exists(table.ident()).await.unwrap());
        assert_eq!(files(&table).await, [within.to_string()]);
    }
}

#[tokio::test]
async fn a_protected_table_is_not_purged() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let kept = catalog
        .create_table(NewTable {
            properties: properties(&[("gc.enabled", "FALSE")]),
            ..table("n", "kept")
        })
        .await
        .unwrap();
    let error = catalog.drop_table(kept.ident(), true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("gc.enabled"), "{error}");
    assert!(catalog.table_exists(kept.ident()).await.unwrap());
    catalog.drop_table(kept.ident(), false).await.unwrap();
    assert_eq!(files(&kept).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_manifests_cannot_be_read_is_not_dropped_by_a_purge() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    with_tables(&catalog).await;
    let table = catalog.load(&ident("n", "a")).await.unwrap();
    let path = format!("{}/data/1.parquet", table.metadata().location());
    append(&catalog, &table, &[path]).await;
    let table = catalog.load(table.ident()).await.unwrap();
    let list = table
        .current_snapshot()
        .unwrap()
        .manifest_list()
        .to_string();
    let at = Location::parse(&list).unwrap();
    table.storage().delete(&at).await.unwrap();
    let before = files(&table).await;
    let error = catalog.drop_table(table.ident(), true).await.unwrap_err();
    assert!(error.to_string().contains(&list), "{error}");
    assert!(error.advice().is_some(), "{error}");
    // Not as if there were no such table.
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(files(&table).await, before);
    assert!(catalog.table_exists(table.ident()).await.unwrap());
    catalog.drop_table(table.ident(), false).await.unwrap();
}
