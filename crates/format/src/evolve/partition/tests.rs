use iceberg::spec::{PartitionField, PrimitiveType, Type};

use super::super::tests::*;
use super::super::{EvolveSchema, SetSortOrder, SortTerm};
use super::*;
use crate::fixture::Fixture;

fn fixture(version: FormatVersion) -> Fixture {
    let timestamp = Type::Primitive(PrimitiveType::Timestamp);
    Fixture::new(
        version,
        vec![
            optional("id", INT),
            optional("ts", timestamp),
            optional("kind", STRING),
            optional("s", group(vec![optional("n", INT)])),
            optional("l", list(500, INT)),
            optional("u", Type::Primitive(PrimitiveType::Uuid)),
        ],
    )
}

fn add_as(column: &str, transform: Transform, name: Option<&str>) -> PartitionEdit {
    PartitionEdit::Add {
        source: path(column),
        transform,
        name: name.map(str::to_string),
    }
}

fn by(column: &str, transform: Transform) -> PartitionEdit {
    add_as(column, transform, None)
}

fn named(name: &str) -> PartitionSelector {
    PartitionSelector::Name(name.to_string())
}

fn drop(name: &str) -> PartitionEdit {
    PartitionEdit::Drop(named(name))
}

fn rename(name: &str, to: &str) -> PartitionEdit {
    PartitionEdit::Rename {
        name: name.to_string(),
        to: to.to_string(),
    }
}

async fn change(fixture: &mut Fixture, edits: Vec<PartitionEdit>) -> bool {
    apply(fixture, &EvolvePartitions { edits }).await.unwrap()
}

async fn refusal(fixture: &Fixture, edits: Vec<PartitionEdit>) -> String {
    refused(fixture, &EvolvePartitions { edits }).await
}

/// The default spec on one line.
fn spec(fixture: &Fixture) -> String {
    let one = |field: &PartitionField| {
        let PartitionField {
            field_id,
            name,
            source_id,
            transform,
        } = field;
        format!("{field_id} {name}={transform}({source_id})")
    };
    let spec = fixture.metadata.default_partition_spec();
    let fields: Vec<String> = spec.fields().iter().map(one).collect();
    format!("{}: {}", spec.spec_id(), fields.join(", "))
}

#[tokio::test]
async fn fields_are_added_dropped_renamed_and_replaced() {
    let mut fixture = fixture(FormatVersion::V2);
    let edits = vec![
        by("ts", Transform::Day),
        by("id", Transform::Bucket(16)),
        by("s.n", Transform::Identity),
    ];
    assert!(change(&mut fixture, edits).await);
    assert_eq!(
        spec(&fixture),
        "1: 1000 ts_day=day(2), 1001 id_bucket=bucket[16](1), 1002 s_n=identity(7)"
    );
    assert!(change(&mut fixture, vec![drop("id_bucket"), rename("s_n", "n")]).await);
    assert_eq!(spec(&fixture), "2: 1000 ts_day=day(2), 1002 n=identity(7)");
    let replaced = PartitionEdit::Replace {
        old: PartitionSelector::Term {
            source: path("ts"),
            transform: Transform::Day,
        },
        source: path("ts"),
        transform: Transform::Hour,
        name: Some("at".to_string()),
    };
    assert!(change(&mut fixture, vec![replaced]).await);
    assert_eq!(spec(&fixture), "3: 1002 n=identity(7), 1003 at=hour(2)");
    assert_eq!(fixture.metadata.last_partition_id(), 1003);
}

#[tokio::test]
async fn a_field_that_was_there_once_gets_its_id_and_its_name_if_that_is_free() {
    let mut fixture = fixture(FormatVersion::V2);
    change(&mut fixture, vec![add_as("ts", Transform::Day, Some("d"))]).await;
    change(
        &mut fixture,
        vec![drop("d"), by("kind", Transform::Identity)],
    )
    .await;
    change(&mut fixture, vec![by("ts", Transform::Day)]).await;
    assert_eq!(spec(&fixture), "3: 1001 kind=identity(3), 1000 d=day(2)");
    change(&mut fixture, vec![drop("d")]).await;
    change(
        &mut fixture,
        vec![add_as("id", Transform::Identity, Some("d"))],
    )
    .await;
    change(&mut fixture, vec![by("ts", Transform::Day)]).await;
    assert_eq!(
        spec(&fixture),
        "5: 1001 kind=identity(3), 1002 d=identity(1), 1000 ts_day=day(2)"
    );
}

#[tokio::test]
async fn a_spec_that_was_there_once_is_the_same_spec_again() {
    let mut fixture = fixture(FormatVersion::V2);
    change(&mut fixture, vec![by("kind", Transform::Identity)]).await;
    change(&mut fixture, vec![drop("kind")]).await;
    assert_eq!(spec(&fixture), "0: ");
    change(&mut fixture, vec![by("kind", Transform::Identity)]).await;
    assert_eq!(spec(&fixture), "1: 1000 kind=identity(3)");
    // Dropped and added again at once, it stays where it is.
    let edits = vec![drop("kind"), by("kind", Transform::Identity)];
    assert!(!change(&mut fixture, edits).await);
    assert!(!change(&mut fixture, vec![]).await);
    assert!(
        !change(
            &mut fixture,
            vec![by("id", Transform::Identity), drop("id")]
        )
        .await
    );
    assert_eq!(fixture.metadata.partition_specs_iter().count(), 2);
}

#[tokio::test]
async fn in_version_1_a_dropped_field_is_void_and_its_name_moves_out_of_the_way() {
    let mut fixture = fixture(FormatVersion::V1);
    let edits = vec![by("ts", Transform::Day), by("kind", Transform::Identity)];
    change(&mut fixture, edits).await;
    change(&mut fixture, vec![drop("ts_day")]).await;
    assert_eq!(
        spec(&fixture),
        "2: 1000 ts_day=void(2), 1001 kind=identity(3)"
    );
    let text = refusal(&fixture, vec![drop("ts_day")]).await;
    assert!(text.contains("no such partition field"), "{text}");
    change(&mut fixture, vec![by("ts", Transform::Day)]).await;
    assert_eq!(
        spec(&fixture),
        "3: 1000 ts_day_1000=void(2), 1001 kind=identity(3), 1002 ts_day=day(2)"
    );
    let text = refusal(&fixture, vec![drop("ts_day")]).await;
    assert!(text.contains("upgrade the table"), "{text}");
    let to = FormatVersion::V2;
    apply(&mut fixture, &super::super::UpgradeFormat { to })
        .await
        .unwrap();
    change(&mut fixture, vec![drop("ts_day_1000"), drop("ts_day")]).await;
    assert_eq!(spec(&fixture), "4: 1001 kind=identity(3)");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let mut fixture = fixture(FormatVersion::V2);
    change(&mut fixture, vec![by("ts", Transform::Day)]).await;
    for (edit, expected) in [
        (by("ts", Transform::Day), "partitioned by this already"),
        (by("ts", Transform::Hour), "two times of the same column"),
        (by("tss", Transform::Year), "did you mean ts?"),
        (
            by("kind", Transform::Hour),
            "does not fit the column's type (column: kind",
        ),
        (by("l", Transform::Identity), "not of a primitive type"),
        (by("l.element", Transform::Identity), "in lists and maps"),
        (by("s", Transform::Bucket(4)), "not of a primitive type"),
        (by("id", Transform::Bucket(0)), "at least 1"),
        (by("id", Transform::Void), "identity, bucket"),
        (
            add_as("id", Transform::Identity, Some("1d")),
            "letters, digits",
        ),
        (
            add_as("id", Transform::Identity, Some("kind")),
            "a column has the name",
        ),
        (
            add_as("kind", Transform::Bucket(2), Some("kind")),
            "a column has the name",
        ),
        (
            add_as("id", Transform::Identity, Some("ts_day")),
            "of this name exists",
        ),
        (rename("ts_day", "id"), "a column has the name"),
        (rename("day", "d"), "partition fields are: ts_day"),
        (drop("ts_dya"), "did you mean ts_day?"),
    ] {
        let text = refusal(&fixture, vec![edit.clone()]).await;
        assert!(text.contains(expected), "{edit:?}: {text}");
    }
    change(&mut fixture, vec![by("id", Transform::Bucket(4))]).await;
    change(&mut fixture, vec![by("id", Transform::Bucket(8))]).await;
    assert!(
        spec(&fixture).ends_with("1002 id_bucket_8=bucket[8](1)"),
        "{}",
        spec(&fixture)
    );
}

#[tokio::test]
async fn two_changes_of_one_thing_at_once_are_a_conflict() {
    let fixture = fixture(FormatVersion::V2);
    let partition: Box<dyn Operation> = Box::new(EvolvePartitions {
        edits: vec![by("kind", Transform::Identity)],
    });
    let drop: Box<dyn Operation> = Box::new(EvolveSchema::new(vec![drop_column("kind")]));
    let sort: Box<dyn Operation> = Box::new(SetSortOrder {
        fields: vec![SortTerm {
            source: path("kind"),
            transform: Transform::Identity,
            direction: iceberg::spec::SortDirection::Ascending,
            null_order: iceberg::spec::NullOrder::First,
        }],
    });
    let other: Box<dyn Operation> = Box::new(EvolvePartitions {
        edits: vec![by("ts", Transform::Day)],
    });
    let more: Box<dyn Operation> = Box::new(EvolveSchema::new(vec![add("n", INT)]));
    let base = fixture.table();
    for (first, second) in [
        (&partition, &drop),
        (&drop, &partition),
        (&partition, &other),
        (&sort, &drop),
        (&drop, &sort),
        (&drop, &more),
        (&more, &drop),
    ] {
        let first = first.plan(&base).await.unwrap().unwrap().change;
        let second = second.plan(&base).await.unwrap().unwrap().change;
        let after = first.apply(base.metadata(), "a").unwrap().unwrap();
        let outcome = second.apply(&after, "b").unwrap();
        assert!(outcome.is_err(), "{first:?} then {second:?}");
    }
    // What has nothing to do with each other goes together.
    let first = partition.plan(&base).await.unwrap().unwrap().change;
    let second = sort.plan(&base).await.unwrap().unwrap().change;
    let after = first.apply(base.metadata(), "a").unwrap().unwrap();
    assert!(second.apply(&after, "b").unwrap().is_ok());
}

#[tokio::test]
async fn a_sort_order_is_set_found_again_and_taken_away() {
    use iceberg::spec::{NullOrder, SortDirection};
    let mut fixture = fixture(FormatVersion::V2);
    let term = |column: &str, transform| SortTerm {
        source: path(column),
        transform,
        direction: SortDirection::Descending,
        null_order: NullOrder::Last,
    };
    let order = |fields| SetSortOrder { fields };
    let by_kind = order(vec![
        term("kind", Transform::Identity),
        term("s.n", Transform::Bucket(4)),
    ]);
    assert!(!apply(&mut fixture, &order(vec![])).await.unwrap());
    assert!(apply(&mut fixture, &by_kind).await.unwrap());
    assert!(!apply(&mut fixture, &by_kind).await.unwrap());
    let now = fixture.metadata.default_sort_order().clone();
    assert_eq!((now.order_id, now.fields[1].source_id), (1, 7));
    assert!(apply(&mut fixture, &order(vec![])).await.unwrap());
    assert!(fixture.metadata.default_sort_order().is_unsorted());
    assert!(
        apply(&mut fixture, &order(vec![term("id", Transform::Identity)]))
            .await
            .unwrap()
    );
    assert_eq!(fixture.metadata.default_sort_order_id(), 2);
    assert!(apply(&mut fixture, &by_kind).await.unwrap());
    assert_eq!(fixture.metadata.default_sort_order_id(), 1);
    for (fields, expected) in [
        (
            vec![term("kidn", Transform::Identity)],
            "did you mean kind?",
        ),
        (
            vec![term("l", Transform::Identity)],
            "not of a primitive type",
        ),
        (vec![term("kind", Transform::Day)], "does not fit"),
        (
            vec![
                term("id", Transform::Identity),
                term("id", Transform::Identity),
            ],
            "twice",
        ),
    ] {
        let text = refused(&fixture, &order(fields)).await;
        assert!(text.contains(expected), "{text}");
    }
}
