//! Foreign code that knows the `iceberg` crate's catalog alone.

use std::collections::HashMap;
use std::sync::Arc;

use berglake_catalog::{Catalog, IcebergCatalog};
use berglake_format::commit::Committer;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog as _, ErrorKind, TableCreation};

use crate::support::*;

pub fn data_file(path: &str) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1)
        .file_size_in_bytes(4)
        .build()
        .unwrap()
}

#[tokio::test]
async fn fast_append_commits_through_our_path() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Arc::new(sqlite(folder.path()).await);
    let foreign = IcebergCatalog::new(ours.clone());
    let space = namespace("f");
    foreign
        .create_namespace(&space, properties(&[("owner", "ann")]))
        .await
        .unwrap();
    let creation = TableCreation::builder()
        .name("t".to_string())
        .schema(schema())
        .build();
    let table = foreign.create_table(&space, creation).await.unwrap();
    for n in 0..3 {
        // The first handle goes stale: the transaction must load anew by itself.
        let path = format!("{}/data/{n}.parquet", table.metadata().location());
        let transaction = Transaction::new(&table);
        let append = transaction.fast_append().add_data_files([data_file(&path)]);
        let transaction = append.apply(transaction).unwrap();
        transaction.commit(&foreign).await.unwrap();
    }
    let table = ours.load(&ident("f", "t")).await.unwrap();
    assert_eq!(table.metadata().snapshots().len(), 3);
    let summary = table.current_snapshot().unwrap().summary();
    assert_eq!(summary.additional_properties["total-records"], "3");
}

#[tokio::test]
async fn names_and_properties_pass_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Arc::new(sqlite(folder.path()).await);
    let foreign = IcebergCatalog::new(ours.clone());
    with_tables(ours.as_ref()).await;
    let space = namespace("n");
    let (a, moved) = (ident("n", "a"), ident("n", "moved"));

    let error = foreign.load_table(&moved).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
    let again = foreign.create_namespace(&space, HashMap::new()).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::NamespaceAlreadyExists);
    let missing = foreign.get_namespace(&namespace("m")).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NamespaceNotFound);
    assert!(foreign.namespace_exists(&space).await.unwrap());
    assert!(!foreign.namespace_exists(&namespace("m")).await.unwrap());

    // The foreign trait gives the whole set: what it does not name goes.
    for given in [&[("x", "1"), ("y", "2")][..], &[("y", "3")]] {
        foreign
            .update_namespace(&space, properties(given))
            .await
            .unwrap();
        let found = foreign.get_namespace(&space).await.unwrap();
        assert_eq!(found.properties(), &properties(given));
    }

    foreign.rename_table(&a, &moved).await.unwrap();
    let table = foreign.load_table(&moved).await.unwrap();
    let metadata_location = table.metadata_location().unwrap().to_string();
    foreign.drop_table(&moved).await.unwrap();
    assert!(!foreign.table_exists(&moved).await.unwrap());
    foreign
        .register_table(&moved, metadata_location)
        .await
        .unwrap();
    assert_eq!(foreign.list_tables(&space).await.unwrap().len(), 2);
    foreign.purge_table(&moved).await.unwrap();
    assert_eq!(ours.list_tables(&space).await.unwrap(), [ident("n", "b")]);
}
