use iceberg::expr::Reference;
use iceberg::spec::{Datum, Transform};

use super::*;
use crate::snapshot::Overwrite;

fn by(column: &str, transform: Transform) -> PartitionEdit {
    PartitionEdit::Add {
        source: path(column),
        transform,
        name: None,
    }
}

fn named(name: &str) -> PartitionSelector {
    PartitionSelector::Name(name.to_string())
}

async fn sales(version: FormatVersion) -> Lake {
    Lake::new(version, vec![required("id", INT), optional("kind", STRING)]).await
}

fn kind(value: &str) -> Predicate {
    Reference::new("kind").equal_to(Datum::string(value))
}

#[tokio::test]
async fn files_of_each_spec_are_pruned_by_it_and_read_right() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = sales(version).await;
        let first = lake
            .write("{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"kind\":\"b\"}")
            .await;
        lake.repartition(vec![by("kind", Transform::Identity)])
            .await;
        lake.write("{\"id\":3,\"kind\":\"a\"}\n{\"id\":4,\"kind\":\"b\"}")
            .await;
        let replaced = PartitionEdit::Replace {
            old: named("kind"),
            source: path("id"),
            transform: Transform::Truncate(10),
            name: None,
        };
        lake.repartition(vec![replaced]).await;
        lake.write("{\"id\":5,\"kind\":\"c\"}\n{\"id\":15,\"kind\":\"c\"}")
            .await;
        assert_eq!(lake.rows().await.len(), 6);
        assert_eq!(lake.rows_at(first).await.len(), 2);

        let a = lake.plan(kind("a")).await;
        assert_eq!(
            rows_of(&a).await,
            [
                r#"{"id":1,"kind":"a"}"#,
                r#"{"id":2,"kind":"b"}"#,
                r#"{"id":3,"kind":"a"}"#
            ],
            "one file is not partitioned, one of two is pruned by its partition, two by bounds"
        );
        let late = lake
            .plan(Reference::new("id").greater_than(Datum::int(12)))
            .await;
        assert_eq!(rows_of(&late).await, [r#"{"id":15,"kind":"c"}"#]);
    }
}

#[tokio::test]
async fn manifests_of_a_spec_whose_column_is_gone_are_written_again_and_read() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = sales(version).await;
        lake.repartition(vec![by("kind", Transform::Identity)])
            .await;
        lake.write("{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"kind\":\"b\"}")
            .await;
        lake.repartition(vec![PartitionEdit::Drop(named("kind"))])
            .await;
        lake.evolve(vec![drop_column("kind")]).await;
        lake.write(r#"{"id":3}"#).await;
        let all = [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#];
        assert_eq!(lake.rows().await, all);
        // One of the two files of a manifest goes, the other stays in a new manifest of the old spec.
        let remove = |id| Overwrite {
            filter: Reference::new("id").equal_to(Datum::int(id)),
            files: Vec::new(),
            notes: CommitNotes::default(),
        };
        lake.run(remove(1)).await;
        assert_eq!(lake.rows().await, all[1..]);

        // A column that takes the partition field's name is another one.
        lake.write(r#"{"id":4}"#).await;
        lake.evolve(vec![add("kind", STRING)]).await;
        lake.write(r#"{"id":5,"kind":"b"}"#).await;
        let expected = [
            r#"{"id":2,"kind":null}"#,
            r#"{"id":3,"kind":null}"#,
            r#"{"id":4,"kind":null}"#,
            r#"{"id":5,"kind":"b"}"#,
        ];
        assert_eq!(lake.rows().await, expected);
        let b = lake.plan(kind("b")).await;
        assert!(rows_of(&b).await.contains(&expected[3].to_string()));
    }
}

#[tokio::test]
async fn a_manifest_is_written_again_where_another_column_has_the_name_of_its_partition_field() {
    let lake = sales(FormatVersion::V2).await;
    lake.repartition(vec![by("kind", Transform::Identity)])
        .await;
    lake.write("{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"kind\":\"b\"}")
        .await;
    lake.repartition(vec![PartitionEdit::Drop(named("kind"))])
        .await;
    lake.evolve(vec![rename("kind", "sort"), add("kind", INT)])
        .await;
    lake.run(Overwrite {
        filter: Reference::new("id").equal_to(Datum::int(1)),
        files: Vec::new(),
        notes: CommitNotes::default(),
    })
    .await;
    assert_eq!(lake.rows().await, [r#"{"id":2,"sort":"b","kind":null}"#]);
    let b = Reference::new("sort").equal_to(Datum::string("b"));
    assert_eq!(lake.plan(b).await.tasks.len(), 1);
    let a = Reference::new("sort").equal_to(Datum::string("a"));
    assert_eq!(lake.plan(a).await.tasks.len(), 0);
}

#[tokio::test]
async fn a_partition_column_that_was_widened_prunes_old_and_new_files() {
    let lake = sales(FormatVersion::V2).await;
    lake.repartition(vec![by("id", Transform::Identity)]).await;
    lake.write("{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"kind\":\"b\"}")
        .await;
    lake.evolve(vec![SchemaEdit::Widen {
        path: path("id"),
        to: LONG,
    }])
    .await;
    lake.write(r#"{"id":5000000000,"kind":"c"}"#).await;
    for (id, kind) in [(1_i64, "a"), (5_000_000_000, "c")] {
        let filter = Reference::new("id").equal_to(Datum::long(id));
        let row = format!(r#"{{"id":{id},"kind":"{kind}"}}"#);
        assert_eq!(rows_of(&lake.plan(filter).await).await, [row]);
    }
}

/// Spark writes the current schema into the manifests that it merges, and binds no spec to it.
#[tokio::test]
async fn manifests_that_name_a_column_that_their_schema_lacks_are_read() {
    let lake = sales(FormatVersion::V2).await;
    lake.repartition(vec![by("kind", Transform::Identity)])
        .await;
    lake.write("{\"id\":1,\"kind\":\"a\"}\n{\"id\":2,\"kind\":\"b\"}")
        .await;
    lake.repartition(vec![PartitionEdit::Drop(named("kind"))])
        .await;
    lake.evolve(vec![drop_column("kind"), add("kind", STRING)])
        .await;
    let table = lake.table().await;
    let list = crate::plan::manifest_list(&table, table.current_snapshot().unwrap());
    let path = list.await.unwrap()[0].manifest_path.clone();
    let at = crate::storage::Location::parse(&path).unwrap();
    let mut bytes = table.storage().read(&at).await.unwrap().to_vec();
    // The column of the header's schema becomes the one of today; the spec's source is still the old.
    let old = br#"{"id":2,"name":"kind""#;
    let id = bytes
        .windows(old.len())
        .position(|part| part == old)
        .unwrap()
        + 6;
    assert_eq!(bytes[id], b'2');
    bytes[id] = b'3';
    table.storage().write(&at, bytes.into()).await.unwrap();
    let expected = [r#"{"id":1,"kind":null}"#, r#"{"id":2,"kind":null}"#];
    assert_eq!(lake.rows().await, expected);
    lake.run(Overwrite {
        filter: Reference::new("id").equal_to(Datum::int(1)),
        files: Vec::new(),
        notes: CommitNotes::default(),
    })
    .await;
    assert_eq!(lake.rows().await, expected[1..]);
}
