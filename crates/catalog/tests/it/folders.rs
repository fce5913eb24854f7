//! Folders of tables: in the warehouse, and each table's own. A part of the conformance suite.

use std::collections::HashMap;

use berglake_catalog::{Catalog, NewTable};
use berglake_format::commit::TableChange;
use berglake_format::storage::Location;
use berglake_format::{ErrorKind, Result, Table};
use bytes::Bytes;
use iceberg::TableUpdate;
use uuid::Uuid;

use crate::support::*;

const PATHS: [&str; 2] = ["write.data.path", "write.metadata.path"];

/// Runs the suite in namespaces of its own.
pub async fn suite(catalog: &dyn Catalog) {
    for name in ["own", "own.deep"] {
        catalog
            .create_namespace(&namespace(name), HashMap::new())
            .await
            .unwrap();
    }
    let a = catalog.create_table(table("own", "a")).await.unwrap();
    let b = catalog.create_table(table("own", "b")).await.unwrap();
    creations(catalog, &b).await;
    changes(catalog, &a, &b).await;
    names_with_dots(catalog).await;
    registrations(catalog, &a).await;
    a_table_stays_the_table_that_it_is(catalog, &a).await;
}

fn refused<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
}

/// Somewhere that no warehouse of these tests is.
fn outside() -> Location {
    Location::parse("memory:///elsewhere/t").unwrap()
}

fn change(of: &Table, update: TableUpdate) -> TableChange {
    TableChange {
        ident: of.ident().clone(),
        requirements: Vec::new(),
        updates: vec![update],
    }
}

fn moved_to(location: &Location) -> TableUpdate {
    TableUpdate::SetLocation {
        location: location.to_string(),
    }
}

fn with_path(property: &str, path: &Location) -> TableUpdate {
    TableUpdate::SetProperties {
        updates: properties(&[(property, &path.to_string())]),
    }
}

async fn creations(catalog: &dyn Catalog, other: &Table) {
    let warehouse = catalog.warehouse().clone();
    let create = |name: &str, property: &str, path: &Location| {
        let new = NewTable {
            properties: properties(&[(property, &path.to_string())]),
            ..table("own", name)
        };
        async move { catalog.create_table(new).await }
    };
    let theirs = other.location().unwrap();
    for property in PATHS {
        for path in [
            outside(),
            theirs.clone(),
            theirs.join("in"),
            warehouse.clone(),
        ] {
            refused(
                create("c", property, &path).await,
                &format!("{property} {path}"),
            );
        }
        let result = catalog
            .create_table(NewTable {
                properties: properties(&[(property, "no location")]),
                ..table("own", "c")
            })
            .await;
        refused(result, property);
    }
    // A folder of one's own may be anywhere in the warehouse, and others are kept out of it.
    let elsewhere = warehouse.join("places for metadata/c");
    let c = create("c", "write.metadata.path", &elsewhere)
        .await
        .unwrap();
    let at = Location::parse(c.metadata_location()).unwrap();
    assert!(at.is_within(&elsewhere), "{at}");
    let within = NewTable {
        location: Some(elsewhere.clone()),
        ..table("own", "d")
    };
    refused(catalog.create_table(within).await, "another's metadata");
    let around = warehouse.join("places for metadata/metadata");
    let result = create("d", "write.metadata.path", &around).await;
    refused(result, "what would be seen around another's");
}

async fn changes(catalog: &dyn Catalog, a: &Table, b: &Table) {
    let theirs = b.location().unwrap();
    let before = files(b).await;
    let mut wrong = vec![moved_to(&theirs), moved_to(&outside())];
    for property in PATHS {
        wrong.push(with_path(property, &theirs));
        wrong.push(with_path(property, &outside()));
    }
    for update in wrong {
        let what = format!("{update:?}");
        let result = catalog.commit(vec![change(a, update)]).await;
        refused(result, &what);
    }
    assert_eq!(files(b).await, before, "nothing was written beside another");

    // Of two that want one folder in one commit the second comes too late.
    let free = catalog.warehouse().join("free");
    let both = [a, b].map(|table| change(table, moved_to(&free)));
    refused(catalog.commit(both.to_vec()).await, "both to one folder");

    // To a free folder a table can go, and back.
    let home = a.location().unwrap();
    for location in [&free, &home] {
        let moved = catalog.commit(vec![change(a, moved_to(location))]).await;
        let moved = committed(moved.unwrap());
        assert_eq!(moved[0].location().unwrap(), *location);
    }
}

/// `own.deep` with the table `t` and `own` with the table `deep.t` are two tables.
async fn names_with_dots(catalog: &dyn Catalog) {
    let dotted = NewTable {
        ident: berglake_format::TableIdent::new(namespace("own"), "deep.t".to_string()),
        ..table("own", "t")
    };
    let dotted = catalog.create_table(dotted).await.unwrap();
    let deep = catalog.create_table(table("own.deep", "t")).await.unwrap();
    let theirs = dotted.location().unwrap();
    let result = catalog.commit(vec![change(&deep, moved_to(&theirs))]).await;
    refused(result, "a name that only looks the same");
}

async fn registrations(catalog: &dyn Catalog, a: &Table) {
    let moves = [
        moved_to(&outside()),
        with_path("write.data.path", &outside()),
    ];
    for (n, update) in moves.into_iter().enumerate() {
        let what = format!("{update:?}");
        // A file that says so of itself.
        let metadata = change(a, update).apply(a.metadata(), a.metadata_location());
        let json = serde_json::to_vec(&metadata.unwrap().unwrap()).unwrap();
        let at = catalog.warehouse().join(&format!("{n}.metadata.json"));
        a.storage().write(&at, Bytes::from(json)).await.unwrap();
        let ident = ident("own", "registered");
        let result = catalog.register_table(&ident, &at.to_string()).await;
        refused(result, &what);
        assert!(!catalog.table_exists(&ident).await.unwrap());
    }
}

async fn a_table_stays_the_table_that_it_is(catalog: &dyn Catalog, a: &Table) {
    let assign = |uuid| change(a, TableUpdate::AssignUuid { uuid });
    let other = Uuid::from_u128(1);
    refused(catalog.commit(vec![assign(other)]).await, "another UUID");
    let same = assign(a.metadata().uuid());
    committed(catalog.commit(vec![same]).await.unwrap());
}
