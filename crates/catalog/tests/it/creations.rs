//! Tables that a commit makes: a part of the conformance suite.

use std::collections::HashMap;

use berglake_catalog::Catalog;
use berglake_format::commit::{ConflictReason, TableChange};
use berglake_format::{ErrorKind, TableIdent};
use iceberg::spec::UnboundPartitionSpec;
use iceberg::{TableRequirement, TableUpdate};

use crate::support::*;

/// A commit that requires that there is no table makes it, with the ids that it brings.
pub async fn by_commit(catalog: &dyn Catalog) {
    catalog
        .create_namespace(&namespace("made"), HashMap::new())
        .await
        .unwrap();
    let creation = |ident: &TableIdent, owner: &str| TableChange {
        ident: ident.clone(),
        requirements: vec![TableRequirement::NotExist],
        updates: vec![
            TableUpdate::AddSchema { schema: schema() },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
            TableUpdate::AddSpec {
                spec: UnboundPartitionSpec::default(),
            },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
            TableUpdate::SetProperties {
                updates: properties(&[("owner", owner)]),
            },
        ],
    };
    let t = ident("made", "t");
    let made = committed(catalog.commit(vec![creation(&t, "ann")]).await.unwrap());
    let loaded = catalog.load(&t).await.unwrap();
    assert_eq!(loaded.metadata_location(), made[0].metadata_location());
    assert_eq!(loaded.metadata().properties()["owner"], "ann");
    let ids: Vec<i32> = loaded
        .schema()
        .as_struct()
        .fields()
        .iter()
        .map(|field| field.id)
        .collect();
    assert_eq!(ids, [10, 20]);
    let location = loaded.location().unwrap();
    assert!(location.is_within(catalog.warehouse()), "{location}");

    let (lost, reason) = conflict(catalog.commit(vec![creation(&t, "bob")]).await.unwrap());
    assert_eq!(lost, t);
    assert!(matches!(reason, ConflictReason::Requirement(_)), "{reason}");
    let owner = catalog.load(&t).await.unwrap();
    assert_eq!(owner.metadata().properties()["owner"], "ann");

    // With another table it is made together or not at all.
    let u = ident("made", "u");
    let mut stale = set(&t, &loaded, &[("n", "1")]);
    stale
        .requirements
        .push(TableRequirement::CurrentSchemaIdMatch {
            current_schema_id: 99,
        });
    let outcome = catalog.commit(vec![creation(&u, "ann"), stale]).await;
    conflict(outcome.unwrap());
    assert!(!catalog.table_exists(&u).await.unwrap());
    let both = vec![creation(&u, "ann"), set(&t, &loaded, &[("n", "1")])];
    committed(catalog.commit(both).await.unwrap());
    assert!(catalog.table_exists(&u).await.unwrap());

    let nowhere = creation(&ident("no_such", "t"), "ann");
    let result = catalog.commit(vec![nowhere]).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    let empty = TableChange {
        updates: Vec::new(),
        ..creation(&ident("made", "empty"), "ann")
    };
    let result = catalog.commit(vec![empty]).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    for table in [t, u] {
        catalog.drop_table(&table, true).await.unwrap();
    }
}
