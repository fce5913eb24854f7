//! Purging: all files of the table, and nothing else.

use std::sync::Arc;

use berglake_catalog::{Catalog, IcebergCatalog, NewTable, SqlCatalog};
use berglake_format::commit::{Committer, TableChange};
use berglake_format::storage::Location;
use berglake_format::{ErrorKind, Table};
use bytes::Bytes;
use iceberg::Catalog as _;
use iceberg::TableUpdate;
use iceberg::spec::{PartitionStatisticsFile, StatisticsFile};
use iceberg::transaction::{ApplyTransactionAction, Transaction};

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
    assert_eq!(files(&table).await, before);
    assert!(catalog.table_exists(table.ident()).await.unwrap());
    catalog.drop_table(table.ident(), false).await.unwrap();
}
