//! What every catalog must do, whatever store is behind it.

use std::collections::HashMap;

use berglake_catalog::{Catalog, NewTable};
use berglake_format::commit::{ConflictReason, TableChange};
use berglake_format::storage::Location;
use berglake_format::{ErrorKind, Result, Table};
use bytes::Bytes;
use iceberg::spec::{
    FormatVersion, NullOrder, Operation, Snapshot, SortDirection, SortField, SortOrder, Summary,
    Transform, UnboundPartitionSpec,
};
use iceberg::{TableRequirement, TableUpdate};

use crate::support::*;
use crate::{creations, folders};

/// Runs the whole suite on an empty catalog.
pub async fn suite(catalog: &dyn Catalog) {
    namespaces(catalog).await;
    namespace_names(catalog).await;
    tables(catalog).await;
    unknown_names(catalog).await;
    creation(catalog).await;
    locations(catalog).await;
    renames(catalog).await;
    registration(catalog).await;
    metadata_files_of_other_names(catalog).await;
    commits(catalog).await;
    commits_of_several_tables(catalog).await;
    stale_snapshots(catalog).await;
    old_metadata(catalog).await;
    creations::by_commit(catalog).await;
    folders::suite(catalog).await;
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

async fn children(catalog: &dyn Catalog, parent: Option<&str>) -> Vec<String> {
    let parent = parent.map(namespace);
    let found = catalog.list_namespaces(parent.as_ref()).await.unwrap();
    found.iter().map(ToString::to_string).collect()
}

async fn namespaces(catalog: &dyn Catalog) {
    assert_eq!(children(catalog, None).await, [""; 0]);
    let given = properties(&[("owner", "ann"), ("comment", "raw")]);
    catalog
        .create_namespace(&namespace("spaces"), given.clone())
        .await
        .unwrap();
    for name in ["spaces.b", "spaces.a", "spaces.a.deep", "implied.child"] {
        catalog
            .create_namespace(&namespace(name), HashMap::new())
            .await
            .unwrap();
    }
    assert_eq!(children(catalog, None).await, ["implied", "spaces"]);
    assert_eq!(
        children(catalog, Some("spaces")).await,
        ["spaces.a", "spaces.b"]
    );
    assert_eq!(children(catalog, Some("implied")).await, ["implied.child"]);
    assert_eq!(children(catalog, Some("spaces.b")).await, [""; 0]);

    for twice in ["spaces", "spaces.a", "implied"] {
        let result = catalog
            .create_namespace(&namespace(twice), HashMap::new())
            .await;
        assert_eq!(kind(result), ErrorKind::AlreadyExists, "{twice}");
    }
    // A server tells the folder too.
    let load = |name: &'static str| async move {
        let properties = catalog.load_namespace(&namespace(name)).await;
        properties.map(|mut properties| {
            properties.remove("location");
            properties
        })
    };
    assert_eq!(load("spaces").await.unwrap(), given);
    assert_eq!(load("spaces.b").await.unwrap(), HashMap::new());

    let change = |updates: &[(&str, &str)], removals: &[&str]| {
        let updates = properties(updates);
        let removals = removals.iter().map(|key| (*key).to_string()).collect();
        async move {
            let spaces = namespace("spaces");
            catalog.update_namespace(&spaces, updates, removals).await
        }
    };
    change(&[("owner", "bob"), ("new", "1")], &["comment", "missing"])
        .await
        .unwrap();
    let expected = properties(&[("owner", "bob"), ("new", "1")]);
    assert_eq!(load("spaces").await.unwrap(), expected);
    assert_eq!(
        kind(change(&[("x", "1")], &["x"]).await),
        ErrorKind::InvalidInput
    );
    let long = "x".repeat(1001);
    assert_eq!(
        kind(change(&[("x", &long)], &[]).await),
        ErrorKind::InvalidInput
    );
    // A namespace without any property is a namespace still.
    change(&[], &["owner", "new", "exists"]).await.unwrap();
    assert_eq!(load("spaces").await.unwrap(), HashMap::new());

    let drop = |name: &'static str| async move { catalog.drop_namespace(&namespace(name)).await };
    let error = drop("spaces").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("spaces.a"), "{error}");
    for name in ["spaces.a.deep", "spaces.a", "spaces.b", "spaces"] {
        drop(name).await.unwrap();
        assert_eq!(kind(drop(name).await), ErrorKind::NotFound, "{name}");
    }
    drop("implied.child").await.unwrap();
    assert_eq!(kind(load("implied").await), ErrorKind::NotFound);
    assert_eq!(children(catalog, None).await, [""; 0]);
}

async fn namespace_names(catalog: &dyn Catalog) {
    for name in ["a_b", "aXb", "A_B", "50%", "Ünïcode", "with space"] {
        catalog
            .create_namespace(&namespace(name), HashMap::new())
            .await
            .unwrap();
    }
    catalog
        .create_namespace(&namespace("aXb.child"), HashMap::new())
        .await
        .unwrap();
    // `_` and `%` mean themselves, and case counts.
    assert_eq!(children(catalog, Some("a_b")).await, [""; 0]);
    catalog.drop_namespace(&namespace("a_b")).await.unwrap();
    catalog.drop_namespace(&namespace("50%")).await.unwrap();
    assert_eq!(children(catalog, None).await.len(), 4);
    for name in ["aXb.child", "aXb", "A_B", "Ünïcode", "with space"] {
        catalog.drop_namespace(&namespace(name)).await.unwrap();
    }
    let long = "x".repeat(256);
    for wrong in ["..", "a..b", "a/b", "a\nb", " a", &long] {
        let result = catalog
            .create_namespace(&namespace(wrong), HashMap::new())
            .await;
        assert_eq!(kind(result), ErrorKind::InvalidInput, "{wrong:?}");
    }
}

async fn tables(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("tables"), HashMap::new())
        .await
        .unwrap();
    let listed = || async {
        let found = catalog.list_tables(&namespace("tables")).await.unwrap();
        let names = found.iter().map(|ident| ident.name().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [""; 0]);
    for name in ["b", "a", "B", "a b%20"] {
        let created = catalog.create_table(table("tables", name)).await.unwrap();
        let loaded = catalog.load(&ident("tables", name)).await.unwrap();
        assert_eq!(created.metadata(), loaded.metadata(), "{name}");
        assert_eq!(created.metadata_location(), loaded.metadata_location());
        assert!(catalog.table_exists(&ident("tables", name)).await.unwrap());
    }
    assert_eq!(listed().await, ["B", "a", "a b%20", "b"]);
    let again = catalog.create_table(table("tables", "a")).await;
    assert_eq!(kind(again), ErrorKind::AlreadyExists);
    let error = catalog
        .drop_namespace(&namespace("tables"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    for name in ["b", "a", "B", "a b%20"] {
        let ident = ident("tables", name);
        let table = catalog.load(&ident).await.unwrap();
        catalog.drop_table(&ident, false).await.unwrap();
        assert!(!catalog.table_exists(&ident).await.unwrap());
        assert_eq!(
            kind(catalog.drop_table(&ident, false).await),
            ErrorKind::NotFound
        );
        assert_eq!(files(&table).await.len(), 1, "without purge files stay");
    }
    catalog.drop_namespace(&namespace("tables")).await.unwrap();
}

async fn unknown_names(catalog: &dyn Catalog) {
    for name in ["bronze", "silver"] {
        catalog
            .create_namespace(&namespace(name), HashMap::new())
            .await
            .unwrap();
    }
    catalog
        .create_table(table("bronze", "movies_raw"))
        .await
        .unwrap();
    for (namespace, name, meant) in [
        ("bronze", "movie_raw", "bronze.movies_raw"),
        ("bronze", "MOVIES_RAW", "bronze.movies_raw"),
        ("silver", "movies_raw", "bronze.movies_raw"),
        ("bronce", "movies_raw", "bronze.movies_raw"),
    ] {
        let ident = ident(namespace, name);
        let error = catalog.load(&ident).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains(&ident.to_string()), "{error}");
        assert_eq!(error.advice(), Some(&*format!("did you mean {meant}?")));
    }
    let missing = namespace("bronz");
    let error = catalog.list_tables(&missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.advice(), Some("did you mean bronze?"));
    assert_eq!(
        kind(catalog.list_namespaces(Some(&missing)).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(catalog.load_namespace(&missing).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(
            catalog
                .update_namespace(&missing, HashMap::new(), Vec::new())
                .await
        ),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(catalog.create_table(table("bronz", "t")).await),
        ErrorKind::NotFound
    );
    catalog
        .drop_table(&ident("bronze", "movies_raw"), true)
        .await
        .unwrap();
    for name in ["bronze", "silver"] {
        catalog.drop_namespace(&namespace(name)).await.unwrap();
    }
}

async fn creation(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("new"), HashMap::new())
        .await
        .unwrap();
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(20, "bucketed", Transform::Bucket(4))
        .unwrap()
        .build();
    let order = SortOrder::builder()
        .with_sort_field(SortField {
            source_id: 20,
            transform: Transform::Identity,
            direction: SortDirection::Ascending,
            null_order: NullOrder::First,
        })
        .build_unbound()
        .unwrap();
    let created = catalog
        .create_table(NewTable {
            partition_spec: Some(spec),
            sort_order: Some(order),
            properties: properties(&[("format-version", "3"), ("owner", "ann")]),
            ..table("new", "full")
        })
        .await
        .unwrap();
    let metadata = created.metadata();
    // The columns came with the ids 10 and 20, and are numbered anew with all that refers to them.
    assert_eq!(
        metadata.current_schema().field_by_id(2).unwrap().name,
        "name"
    );
    assert_eq!(metadata.default_partition_spec().fields()[0].source_id, 2);
    assert_eq!(metadata.default_sort_order().fields[0].source_id, 2);
    assert_eq!(metadata.format_version(), FormatVersion::V3);
    assert_eq!(metadata.properties(), &properties(&[("owner", "ann")]));
    let plain = catalog.create_table(table("new", "plain")).await.unwrap();
    assert_eq!(plain.metadata().format_version(), FormatVersion::V2);
    assert_ne!(plain.metadata().uuid(), metadata.uuid());

    let wrong_source = UnboundPartitionSpec::builder()
        .add_partition_field(2, "p", Transform::Identity)
        .unwrap()
        .build();
    let result = catalog
        .create_table(NewTable {
            partition_spec: Some(wrong_source),
            ..table("new", "wrong")
        })
        .await;
    assert_eq!(kind(result), ErrorKind::InvalidInput);
    for (version, expected) in [
        ("1", ErrorKind::Unsupported),
        ("9", ErrorKind::InvalidInput),
    ] {
        let result = catalog
            .create_table(NewTable {
                properties: properties(&[("format-version", version)]),
                ..table("new", "wrong")
            })
            .await;
        assert_eq!(kind(result), expected);
    }
    let long = "x".repeat(256);
    for wrong in ["", "..", "a/b", &long] {
        let result = catalog.create_table(table("new", wrong)).await;
        assert_eq!(kind(result), ErrorKind::InvalidInput, "{wrong:?}");
    }
    assert_eq!(
        catalog.list_tables(&namespace("new")).await.unwrap().len(),
        2
    );
}

async fn locations(catalog: &dyn Catalog) {
    let warehouse = catalog.warehouse().clone();
    let own = warehouse.join("own place");
    catalog
        .create_namespace(&namespace("places"), HashMap::new())
        .await
        .unwrap();
    catalog
        .create_namespace(
            &namespace("places.own"),
            properties(&[("location", &own.to_string())]),
        )
        .await
        .unwrap();
    let outside = Location::parse("memory:///elsewhere/t").unwrap();
    let result = catalog
        .create_namespace(
            &namespace("places.outside"),
            properties(&[("location", &outside.to_string())]),
        )
        .await;
    assert_eq!(kind(result), ErrorKind::InvalidInput);

    let at = |namespace: &str, name: &str, location: Option<Location>| {
        let table = NewTable {
            location,
            ..table(namespace, name)
        };
        async move { catalog.create_table(table).await }
    };
    let default = at("places", "t", None).await.unwrap();
    assert_eq!(default.location().unwrap(), warehouse.join("places/t"));
    let owned = at("places.own", "t", None).await.unwrap();
    assert_eq!(owned.location().unwrap(), own.join("t"));
    let given = warehouse.join("given/folder");
    let explicit = at("places", "given", Some(given.clone())).await.unwrap();
    assert_eq!(explicit.location().unwrap(), given);

    for (case, location) in [
        ("outside", outside),
        ("the same", given.clone()),
        ("inside", given.join("deep/er")),
        ("around", warehouse.join("given")),
        ("around all", warehouse.clone()),
    ] {
        let error = at("places", "wrong", Some(location)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{case}");
    }
    at("places", "beside", Some(warehouse.join("given/folder2")))
        .await
        .unwrap();
    // The name and the folder are both taken, and the name is what the user must hear of.
    let error = at("places", "given", Some(given)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);

    // A renamed table keeps its folder; the next one of its old name gets another.
    catalog
        .rename_table(&ident("places", "t"), &ident("places", "moved"))
        .await
        .unwrap();
    let next = at("places", "t", None).await.unwrap();
    let (next, default) = (next.location().unwrap(), default.location().unwrap());
    assert!(!next.is_within(&default) && !default.is_within(&next));
    assert!(next.is_within(&warehouse.join("places")), "{next}");
    // A table whose default folder would lie inside another table's.
    catalog
        .create_namespace(&namespace("places.beside"), HashMap::new())
        .await
        .unwrap();
    at("places.beside", "t", None).await.unwrap();
}

async fn renames(catalog: &dyn Catalog) {
    for name in ["from", "to"] {
        catalog
            .create_namespace(&namespace(name), HashMap::new())
            .await
            .unwrap();
    }
    let created = catalog.create_table(table("from", "a")).await.unwrap();
    catalog.create_table(table("from", "b")).await.unwrap();
    let rename = |from: (&str, &str), to: (&str, &str)| {
        let (from, to) = (ident(from.0, from.1), ident(to.0, to.1));
        async move { catalog.rename_table(&from, &to).await }
    };
    for (from, to, expected) in [
        (("from", "a"), ("from", "b"), ErrorKind::AlreadyExists),
        (("from", "a"), ("from", "a"), ErrorKind::AlreadyExists),
        (("from", "a"), ("nowhere", "a"), ErrorKind::NotFound),
        (("from", "missing"), ("to", "a"), ErrorKind::NotFound),
        (("from", "a"), ("to", "a/b"), ErrorKind::InvalidInput),
    ] {
        assert_eq!(kind(rename(from, to).await), expected, "{from:?} {to:?}");
    }
    rename(("from", "a"), ("to", "c")).await.unwrap();
    assert!(!catalog.table_exists(&ident("from", "a")).await.unwrap());
    let moved = catalog.load(&ident("to", "c")).await.unwrap();
    assert_eq!(moved.metadata(), created.metadata());
    assert_eq!(moved.ident(), &ident("to", "c"));
}

async fn registration(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("reg"), HashMap::new())
        .await
        .unwrap();
    let created = catalog.create_table(table("reg", "a")).await.unwrap();
    let at = created.metadata_location();
    let register = |name: &str, at: &str| {
        let (ident, at) = (ident("reg", name), at.to_string());
        async move { catalog.register_table(&ident, &at).await }
    };
    assert_eq!(kind(register("a", at).await), ErrorKind::AlreadyExists);
    // Two tables on the same files would destroy each other.
    assert_eq!(kind(register("b", at).await), ErrorKind::InvalidInput);
    catalog.drop_table(&ident("reg", "a"), false).await.unwrap();
    let registered = register("b", at).await.unwrap();
    assert_eq!(registered.metadata().uuid(), created.metadata().uuid());
    let loaded = catalog.load(&ident("reg", "b")).await.unwrap();
    let outcome = catalog
        .commit(vec![set(loaded.ident(), &loaded, &[("x", "1")])])
        .await;
    committed(outcome.unwrap());

    let garbage = catalog.warehouse().join("garbage.metadata.json");
    let storage = loaded.storage();
    storage
        .write(&garbage, Bytes::from_static(b"{}"))
        .await
        .unwrap();
    let result = register("c", &garbage.to_string()).await;
    assert_eq!(kind(result), ErrorKind::Corrupt);
    let missing = catalog.warehouse().join("missing.metadata.json");
    let result = register("c", &missing.to_string()).await;
    assert_eq!(kind(result), ErrorKind::NotFound);
    assert_eq!(
        kind(register("c", "not a location").await),
        ErrorKind::InvalidInput
    );
    assert!(!catalog.table_exists(&ident("reg", "c")).await.unwrap());
}

/// Other catalogs number their metadata files otherwise and keep them elsewhere. Their tables are taken over
/// as they are, and the next file has a name and a place of ours.
async fn metadata_files_of_other_names(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("named"), HashMap::new())
        .await
        .unwrap();
    for (number, (name, next)) in [
        ("metadata/v1.metadata.json", "00002-"),
        ("elsewhere/v41.metadata.json", "00042-"),
        ("metadata/00007-nothing.metadata.json", "00008-"),
        ("metadata/latest.metadata.json", "00001-"),
    ]
    .into_iter()
    .enumerate()
    {
        let ident = ident("named", &format!("t{number}"));
        let created = catalog
            .create_table(table("named", ident.name()))
            .await
            .unwrap();
        let folder = Location::parse(created.metadata().location()).unwrap();
        let foreign = folder.join(name);
        let bytes = serde_json::to_vec(created.metadata().as_ref()).unwrap();
        let storage = created.storage();
        storage.write(&foreign, bytes.into()).await.unwrap();
        catalog.drop_table(&ident, false).await.unwrap();

        let foreign = foreign.to_string();
        let registered = catalog.register_table(&ident, &foreign).await.unwrap();
        assert_eq!(registered.metadata(), created.metadata(), "{name}");
        assert_eq!(registered.metadata_location(), foreign);
        let change = set(&ident, &registered, &[("x", "1")]);
        committed(catalog.commit(vec![change]).await.unwrap());
        let loaded = catalog.load(&ident).await.unwrap();
        let at = Location::parse(loaded.metadata_location()).unwrap();
        assert!(at.name().starts_with(next), "{name}: {at}");
        assert!(at.is_within(&folder.join("metadata")), "{name}: {at}");
        let log = loaded.metadata().metadata_log();
        assert_eq!(log.last().unwrap().metadata_file, foreign);
    }
}

async fn commits(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("commits"), HashMap::new())
        .await
        .unwrap();
    let base = catalog.create_table(table("commits", "t")).await.unwrap();
    let ident = base.ident().clone();
    let change = set(&ident, &base, &[("x", "1")]);
    let tables = committed(catalog.commit(vec![change.clone()]).await.unwrap());
    let loaded = catalog.load(&ident).await.unwrap();
    assert_eq!(tables[0].metadata(), loaded.metadata());
    assert_eq!(tables[0].metadata_location(), loaded.metadata_location());
    assert_eq!(loaded.metadata().properties()["x"], "1");
    let log = loaded.metadata().metadata_log();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].metadata_file, base.metadata_location());
    // What was committed is what the file says, not only what memory holds.
    let read =
        berglake_format::commit::metadata_file::read(loaded.storage(), loaded.metadata_location());
    assert_eq!(&read.await.unwrap(), loaded.metadata().as_ref());

    let before = files(&loaded).await;
    let stale = TableChange {
        requirements: vec![TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: 7,
        }],
        ..change.clone()
    };
    let (lost, reason) = conflict(catalog.commit(vec![stale]).await.unwrap());
    assert_eq!(lost, ident);
    assert!(matches!(reason, ConflictReason::Requirement(_)), "{reason}");

    let gone = set(&crate::support::ident("commits", "gone"), &base, &[]);
    let (_, reason) = conflict(catalog.commit(vec![gone]).await.unwrap());
    assert_eq!(reason, ConflictReason::TableGone);

    let twice = catalog.commit(vec![change.clone(), change.clone()]).await;
    assert_eq!(kind(twice), ErrorKind::InvalidInput);

    let impossible = TableChange {
        updates: vec![TableUpdate::SetCurrentSchema { schema_id: 99 }],
        ..change.clone()
    };
    catalog.commit(vec![impossible]).await.unwrap_err();
    let outside = TableChange {
        updates: vec![TableUpdate::SetLocation {
            location: "memory:///elsewhere".to_string(),
        }],
        ..change.clone()
    };
    let result = catalog.commit(vec![outside]).await;
    assert_eq!(kind(result), ErrorKind::InvalidInput);

    let nothing = TableChange {
        updates: Vec::new(),
        ..change
    };
    let tables = committed(catalog.commit(vec![nothing]).await.unwrap());
    assert_eq!(tables[0].metadata_location(), loaded.metadata_location());
    assert!(committed(catalog.commit(Vec::new()).await.unwrap()).is_empty());
    assert_eq!(
        files(&loaded).await,
        before,
        "what was not committed left nothing behind"
    );
}

async fn commits_of_several_tables(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("several"), HashMap::new())
        .await
        .unwrap();
    let a = catalog.create_table(table("several", "a")).await.unwrap();
    let b = catalog.create_table(table("several", "b")).await.unwrap();
    let change = |base, value| set(Table::ident(base), base, &[("x", value)]);
    let outcome = catalog.commit(vec![change(&b, "1"), change(&a, "2")]).await;
    let tables = committed(outcome.unwrap());
    // in the order of the changes
    assert_eq!(tables[0].ident(), b.ident());
    assert_eq!(tables[0].metadata().properties()["x"], "1");
    assert_eq!(tables[1].metadata().properties()["x"], "2");

    let before = (files(&a).await, files(&b).await);
    let failing = TableChange {
        requirements: vec![TableRequirement::UuidMatch {
            uuid: a.metadata().uuid(),
        }],
        ..change(&b, "4")
    };
    let outcome = catalog.commit(vec![change(&a, "3"), failing]).await;
    let (lost, _) = conflict(outcome.unwrap());
    assert_eq!(&lost, b.ident());
    let loaded = catalog.load(a.ident()).await.unwrap();
    assert_eq!(loaded.metadata().properties()["x"], "2", "all or none");
    assert_eq!((files(&a).await, files(&b).await), before);
}

async fn stale_snapshots(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("stale"), HashMap::new())
        .await
        .unwrap();
    let base = catalog.create_table(table("stale", "t")).await.unwrap();
    let add = |id: i64, parent: Option<i64>, number: i64| {
        let snapshot = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(number)
            .with_timestamp_ms(base.environment().clock().now_millis())
            .with_manifest_list(format!("{}/metadata/{id}.avro", base.metadata().location()))
            .with_summary(Summary {
                operation: Operation::Append,
                additional_properties: HashMap::new(),
            })
            .with_schema_id(0)
            .build();
        TableChange {
            ident: base.ident().clone(),
            requirements: Vec::new(),
            updates: vec![TableUpdate::AddSnapshot { snapshot }],
        }
    };
    committed(catalog.commit(vec![add(1, None, 1)]).await.unwrap());
    committed(catalog.commit(vec![add(2, Some(1), 5)]).await.unwrap());
    for (parent, number) in [
        (Some(1), 0),
        (Some(1), 4),
        (Some(1), 5),
        (None, 0),
        (None, 4),
    ] {
        // Planned on an older head, on another branch: no requirement notices, the number does.
        let outcome = catalog.commit(vec![add(3, parent, number)]).await.unwrap();
        let (_, reason) = conflict(outcome);
        assert!(matches!(reason, ConflictReason::Requirement(_)), "{reason}");
    }
    committed(catalog.commit(vec![add(3, Some(1), 6)]).await.unwrap());
    // One that starts anew has no older rows, so that two replacements may have one number.
    committed(catalog.commit(vec![add(4, None, 6)]).await.unwrap());
}

async fn old_metadata(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("old"), HashMap::new())
        .await
        .unwrap();
    for (name, deletes, left) in [("kept", "false", 6), ("cleaned", "true", 3)] {
        let base = catalog
            .create_table(NewTable {
                properties: properties(&[
                    ("write.metadata.previous-versions-max", "2"),
                    ("write.metadata.delete-after-commit.enabled", deletes),
                ]),
                ..table("old", name)
            })
            .await
            .unwrap();
        for n in 0..5 {
            let change = set(base.ident(), &base, &[("n", &n.to_string())]);
            committed(catalog.commit(vec![change]).await.unwrap());
        }
        let table = catalog.load(base.ident()).await.unwrap();
        assert_eq!(table.metadata().metadata_log().len(), 2);
        let files = files(&table).await;
        assert_eq!(files.len(), left, "{name}");
        assert!(files.iter().any(|file| file == table.metadata_location()));
    }
}
