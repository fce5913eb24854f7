use std::collections::HashMap;

use iceberg::spec::{
    FormatVersion, NestedField, NullOrder, PrimitiveType, SortDirection, Transform,
};

use super::super::tests::*;
use super::super::{EvolvePartitions, PartitionEdit, SetSortOrder, SortTerm};
use super::*;
use crate::fixture::Fixture;

mod ids;

fn fixture(version: FormatVersion) -> Fixture {
    Fixture::new(
        version,
        vec![
            required("id", LONG),
            optional("name", STRING),
            optional("point", group(vec![optional("x", INT), optional("y", INT)])),
            optional(
                "tags",
                list(500, group(vec![optional("k", STRING), optional("v", INT)])),
            ),
            optional("attrs", map(510, group(vec![optional("n", INT)]))),
        ],
    )
}

async fn change(fixture: &mut Fixture, edits: Vec<SchemaEdit>) -> bool {
    apply(fixture, &EvolveSchema::new(edits)).await.unwrap()
}

async fn refusal(fixture: &Fixture, edits: Vec<SchemaEdit>) -> String {
    refused(fixture, &EvolveSchema::new(edits)).await
}

fn schema(fixture: &Fixture) -> String {
    shown(fixture.metadata.current_schema())
}

fn with(
    edit: SchemaEdit,
    place: Position,
    values: [Option<Literal>; 2],
    is_required: bool,
) -> SchemaEdit {
    let SchemaEdit::Add {
        parent,
        name,
        ty,
        doc,
        if_not_exists,
        ..
    } = edit
    else {
        unreachable!()
    };
    let [initial_default, write_default] = values;
    SchemaEdit::Add {
        parent,
        name,
        ty,
        required: is_required,
        doc,
        initial_default,
        write_default,
        position: place,
        if_not_exists,
    }
}

fn at(name: &str, ty: Type, place: Position) -> SchemaEdit {
    with(add(name, ty), place, [None, None], false)
}

fn widen(name: &str, to: Type) -> SchemaEdit {
    SchemaEdit::Widen {
        path: path(name),
        to,
    }
}

fn moved(name: &str, position: Position) -> SchemaEdit {
    SchemaEdit::Move {
        path: path(name),
        position,
    }
}

fn make_optional(name: &str) -> SchemaEdit {
    SchemaEdit::Optional { path: path(name) }
}

fn require(name: &str) -> SchemaEdit {
    SchemaEdit::Require { path: path(name) }
}

fn doc(name: &str, text: &str) -> SchemaEdit {
    SchemaEdit::Doc {
        path: path(name),
        doc: Some(text.to_string()),
    }
}

#[tokio::test]
async fn each_edit_is_made_on_columns_and_inside_of_them() {
    let mut fixture = fixture(FormatVersion::V2);
    assert_eq!(
        schema(&fixture),
        "1 id! long, 2 name string, 3 point struct<6 x int, 7 y int>, \
         4 tags list<8 struct<9 k string, 10 v int>>, \
         5 attrs map<11! string, 12 struct<13 n int>>"
    );
    let nested = group(vec![
        optional("a", INT),
        optional("b", list(1, DATE)),
        optional("c", INT),
    ]);
    let edits = vec![
        at("age", INT, Position::After("id".into())),
        at("point.z", INT, Position::First),
        add("tags.w", nested),
        add("attrs.value.m", map(700, INT)),
        rename("point.x", "lat"),
        moved("name", Position::First),
        moved("tags.element.v", Position::Before("k".into())),
        widen("tags.v", LONG),
        drop_column("attrs.value.n"),
        make_optional("id"),
        doc("point.lat", "north of the equator"),
    ];
    assert!(change(&mut fixture, edits).await);
    assert_eq!(
        schema(&fixture),
        "2 name string, 1 id long, 14 age int, 3 point struct<15 z int, 6 lat int, 7 y int>, \
         4 tags list<8 struct<10 v long, 9 k string, \
         16 w struct<17 a int, 18 b list<20 date>, 19 c int>>>, \
         5 attrs map<11! string, 12 struct<21 m map<22! string, 23 int>>>"
    );
    let lat = fixture.metadata.current_schema().field_by_id(6).unwrap();
    assert_eq!(lat.doc.as_deref(), Some("north of the equator"));
    assert_eq!(fixture.metadata.last_column_id(), 23);
}

#[tokio::test]
async fn what_the_specification_forbids_is_refused_with_column_and_remedy() {
    let fixture = fixture(FormatVersion::V2);
    let ns = Type::Primitive(PrimitiveType::TimestampNs);
    let twice = group(vec![
        NestedField::optional(1, "a", INT).into(),
        NestedField::optional(2, "a", INT).into(),
    ]);
    let beside = |name: &str| Position::After(name.to_string());
    for (edit, expected) in [
        (add("name", INT), "the column exists (column: name"),
        (add("point.x", INT), "the column exists (column: point.x"),
        (add("_row_id", LONG), "metadata column"),
        (add("name.x", INT), "only structs have fields"),
        (add("nope.x", INT), "there is no such column"),
        (add("attrs.key.x", INT), "keys of a map"),
        (add("t", ns), "format version 3"),
        (add("s", twice), "twice in a struct (column: s.a"),
        (add("s", group(vec![])), "at least one field (column: s"),
        (at("a", INT, beside("nmae")), "did you mean name?"),
        (
            with(add("a", INT), Position::Last, [None, None], true),
            "needs a value",
        ),
        (
            with(
                add("a", INT),
                Position::Last,
                [Some(Literal::int(1)), None],
                false,
            ),
            "format version 3 on",
        ),
        (drop_column("nmae"), "did you mean name?"),
        (drop_column("point.z"), "columns are: x, y"),
        (drop_column("tags.element"), "cannot be dropped"),
        (drop_column("attrs.key"), "keys of a map"),
        (
            SchemaEdit::Drop {
                path: path("attrs.key.x"),
                if_exists: true,
            },
            "keys of a map",
        ),
        (rename("name", "id"), "by way of a third"),
        (rename("name", ""), "is empty"),
        (rename("name", "_file"), "metadata column"),
        (rename("tags.element", "e"), "cannot be renamed"),
        (moved("name", beside("name")), "to itself"),
        (
            moved("point.x", beside("name")),
            "there is no such column to stand beside",
        ),
        (moved("attrs.value", Position::First), "cannot be moved"),
        (widen("id", INT), "from: long, to: int"),
        (widen("name", LONG), "int to long"),
        (widen("point", INT), "primitive types"),
        (require("name"), "cannot become required"),
        (doc("tags.element", "d"), "cannot have a doc"),
        (
            SchemaEdit::WriteDefault {
                path: path("name"),
                value: Some(Literal::string("x")),
            },
            "format version 3 on",
        ),
    ] {
        let text = refusal(&fixture, vec![edit.clone()]).await;
        assert!(text.contains(expected), "{edit:?}: {text}");
        assert!(text.contains("db.t"), "{text}");
    }
    let everything = ["id", "name", "point", "tags", "attrs"].map(drop_column);
    let text = refusal(&fixture, everything.to_vec()).await;
    assert!(text.contains("at least one column"), "{text}");
    let text = refusal(&fixture, vec![drop_column("attrs.value.n")]).await;
    assert!(
        text.contains("at least one field (column: attrs.value"),
        "{text}"
    );
    // A name with a dot may mean two columns.
    let text = refusal(
        &fixture,
        vec![SchemaEdit::Rename {
            path: path("name"),
            to: "point.x".into(),
        }],
    )
    .await;
    assert!(text.contains("point.x"), "{text}");
}

#[tokio::test]
async fn incompatible_changes_are_made_for_who_allows_them() {
    let mut fixture = fixture(FormatVersion::V2);
    let edits = vec![
        require("name"),
        with(add("a", INT), Position::Last, [None, None], true),
    ];
    let operation = EvolveSchema {
        edits,
        allow_incompatible: true,
    };
    assert!(apply(&mut fixture, &operation).await.unwrap());
    assert!(schema(&fixture).contains("2 name! string"));
    assert!(schema(&fixture).ends_with("14 a! int"));
}

#[tokio::test]
async fn defaults_are_those_that_metadata_gives_back() {
    let mut fixture = fixture(FormatVersion::V3);
    let ty = Type::Primitive;
    let decimal = |precision| {
        ty(PrimitiveType::Decimal {
            precision,
            scale: 2,
        })
    };
    let good = [
        ("b", ty(PrimitiveType::Boolean), Literal::bool(true)),
        ("i", INT, Literal::int(-4)),
        ("f", ty(PrimitiveType::Float), Literal::float(0.1)),
        ("s", STRING, Literal::string("it's")),
        ("d", DATE, Literal::date(19_000)),
        ("t", ty(PrimitiveType::Time), Literal::time(1)),
        ("ts", ty(PrimitiveType::Timestamp), Literal::timestamp(-1)),
        (
            "tz",
            ty(PrimitiveType::Timestamptz),
            Literal::timestamptz(1),
        ),
        (
            "u",
            ty(PrimitiveType::Uuid),
            Literal::uuid(uuid::Uuid::from_u128(5)),
        ),
        (
            "x",
            ty(PrimitiveType::Binary),
            Literal::binary(vec![0, 255]),
        ),
        ("y", ty(PrimitiveType::Fixed(2)), Literal::fixed(vec![1, 2])),
        ("n", decimal(5), Literal::decimal(-12_345)),
    ];
    let edits = good.iter().map(|(name, ty, value)| {
        let values = [Some(value.clone()), Some(value.clone())];
        with(add(name, ty.clone()), Position::Last, values, true)
    });
    // `apply` reads the metadata again from its JSON.
    assert!(change(&mut fixture, edits.collect()).await);
    for (name, _, value) in &good {
        let field = fixture
            .metadata
            .current_schema()
            .field_by_name(name)
            .unwrap();
        assert_eq!(field.initial_default.as_ref(), Some(value), "{name}");
    }
    let wider = vec![
        widen("i", LONG),
        widen("f", ty(PrimitiveType::Double)),
        widen("n", decimal(9)),
    ];
    assert!(change(&mut fixture, wider).await);
    let initial = |name: &str| {
        let field = fixture
            .metadata
            .current_schema()
            .field_by_name(name)
            .unwrap();
        field.initial_default.clone().unwrap()
    };
    assert_eq!(initial("i"), Literal::long(-4));
    assert_eq!(initial("f"), Literal::double(f64::from(0.1_f32)));

    let ns = ty(PrimitiveType::TimestampNs);
    for (ty, value, expected) in [
        (INT, Literal::long(1), "not of its column's type"),
        (decimal(5), Literal::decimal(100_000), "more digits"),
        (DATE, Literal::date(i32::MAX), "cannot be stored"),
        (
            ty(PrimitiveType::Time),
            Literal::time(-1),
            "cannot be stored",
        ),
        (
            ty(PrimitiveType::Timestamp),
            Literal::timestamp(i64::MAX),
            "cannot be stored",
        ),
        (
            ty(PrimitiveType::Double),
            Literal::double(f64::NAN),
            "cannot be stored",
        ),
        (
            ty(PrimitiveType::Fixed(2)),
            Literal::fixed(vec![1]),
            "cannot be stored",
        ),
        (
            ns,
            Literal::Primitive(iceberg::spec::PrimitiveLiteral::Long(1)),
            "cannot be stored",
        ),
        (list(1, INT), Literal::int(1), "primitive types"),
    ] {
        let edit = with(
            add("z", ty.clone()),
            Position::Last,
            [Some(value), None],
            false,
        );
        let text = refusal(&fixture, vec![edit]).await;
        assert!(
            text.contains(expected) && text.contains("column: z"),
            "{ty}: {text}"
        );
    }
    // Added with a value for older rows, a column has no NULLs, and can be required at once.
    let value = [Some(Literal::int(1)), None];
    let edits = vec![
        with(add("r", INT), Position::Last, value, false),
        require("r"),
    ];
    assert!(change(&mut fixture, edits).await);
    let none = vec![SchemaEdit::WriteDefault {
        path: path("i"),
        value: None,
    }];
    assert!(change(&mut fixture, none).await);
}

#[tokio::test]
async fn a_date_that_becomes_a_timestamp_is_named_as_what_is_missing() {
    let mut fixture = fixture(FormatVersion::V3);
    change(&mut fixture, vec![add("d", DATE)]).await;
    let to = Type::Primitive(PrimitiveType::Timestamp);
    let error = EvolveSchema::new(vec![widen("d", to)])
        .plan(&fixture.table())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
}

#[tokio::test]
async fn an_id_is_never_given_twice() {
    let mut fixture = fixture(FormatVersion::V2);
    change(&mut fixture, vec![add("a", INT)]).await;
    assert!(schema(&fixture).ends_with("14 a int"));
    change(&mut fixture, vec![drop_column("a")]).await;
    assert_eq!(
        fixture.metadata.current_schema_id(),
        0,
        "it is the schema of before"
    );
    assert_eq!(fixture.metadata.schemas_iter().count(), 2);
    change(&mut fixture, vec![add("a", INT)]).await;
    assert!(schema(&fixture).ends_with("15 a int"));
    let edits = vec![
        drop_column("a"),
        add("a", INT),
        drop_column("a"),
        add("a", INT),
    ];
    change(&mut fixture, edits).await;
    assert!(schema(&fixture).ends_with("17 a int"));
}

#[tokio::test]
async fn what_changes_nothing_is_no_commit() {
    let mut fixture = fixture(FormatVersion::V2);
    let SchemaEdit::Add { name, ty, .. } = add("name", INT) else {
        unreachable!()
    };
    let if_not_exists = SchemaEdit::Add {
        parent: None,
        name,
        ty,
        required: true,
        doc: None,
        initial_default: None,
        write_default: None,
        position: Position::First,
        if_not_exists: true,
    };
    for edits in [
        vec![],
        vec![if_not_exists],
        vec![SchemaEdit::Drop {
            path: path("nope.x"),
            if_exists: true,
        }],
        vec![rename("name", "name")],
        vec![make_optional("name"), require("id")],
        vec![widen("id", LONG)],
        vec![moved("id", Position::First)],
        vec![add("a", INT), drop_column("a")],
        vec![rename("name", "a"), rename("a", "name")],
    ] {
        assert!(!change(&mut fixture, edits.clone()).await, "{edits:?}");
    }
}

#[tokio::test]
async fn columns_that_partitions_sort_order_or_identity_need_stay() {
    let mut fixture = fixture(FormatVersion::V2);
    let current = fixture.metadata.current_schema().as_ref().clone();
    let with_key = current.into_builder().with_identifier_field_ids([1]);
    let with_key = with_key.build().unwrap();
    fixture.change(|builder| builder.add_current_schema(with_key).unwrap());
    let edits = vec![PartitionEdit::Add {
        source: path("point.x"),
        transform: Transform::Bucket(4),
        name: Some("px".into()),
    }];
    apply(&mut fixture, &EvolvePartitions { edits })
        .await
        .unwrap();
    let sort = SetSortOrder {
        fields: vec![SortTerm {
            source: path("name"),
            transform: Transform::Identity,
            direction: SortDirection::Ascending,
            null_order: NullOrder::First,
        }],
    };
    apply(&mut fixture, &sort).await.unwrap();
    for (edit, expected) in [
        (drop_column("point"), "partition field: px"),
        (drop_column("point.x"), "drop the partition field first"),
        (drop_column("name"), "set another sort order"),
        (drop_column("id"), "an identifier field cannot be dropped"),
        (make_optional("id"), "stay required"),
        (add("px", INT), "has the name of the column"),
        (rename("tags", "px"), "has the name of the column"),
    ] {
        let text = refusal(&fixture, vec![edit.clone()]).await;
        assert!(text.contains(expected), "{edit:?}: {text}");
    }
    // They can be renamed, moved and widened.
    let edits = vec![
        rename("point.x", "lat"),
        rename("name", "title"),
        widen("point.lat", LONG),
    ];
    assert!(change(&mut fixture, edits).await);
    let key: Vec<i32> = fixture
        .metadata
        .current_schema()
        .identifier_field_ids()
        .collect();
    assert_eq!(key, [1]);
    // A name that an older spec has is still that of its files.
    let edits = vec![PartitionEdit::Drop(super::super::PartitionSelector::Name(
        "px".into(),
    ))];
    apply(&mut fixture, &EvolvePartitions { edits })
        .await
        .unwrap();
    let text = refusal(&fixture, vec![add("px", INT)]).await;
    assert!(text.contains("files of the table still have"), "{text}");
    assert!(change(&mut fixture, vec![drop_column("point.lat")]).await);
}

#[tokio::test]
async fn names_in_the_name_mapping_follow_the_columns() {
    let mut fixture = fixture(FormatVersion::V2);
    let mapping = r#"[{"field-id":1,"names":["id","ID"]},{"field-id":2,"names":["name"]},{"field-id":3,"names":["point"],"fields":[{"field-id":6,"names":["x"]},{"field-id":7,"names":["y"]}]}]"#;
    fixture.set("schema.name-mapping.default", mapping);
    change(
        &mut fixture,
        vec![
            rename("name", "title"),
            add("name", STRING),
            rename("point.x", "tmp"),
            rename("point.y", "x"),
            rename("point.tmp", "y"),
            add("more", list(1, group(vec![optional("a", INT)]))),
            drop_column("attrs"),
        ],
    )
    .await;
    let json = &fixture.metadata.properties()["schema.name-mapping.default"];
    let expected = r#"[{"field-id":1,"names":["id","ID"]},{"field-id":2,"names":["title"]},{"field-id":3,"names":["point"],"fields":[{"field-id":6,"names":["y"]},{"field-id":7,"names":["x"]}]},{"field-id":14,"names":["name"]},{"field-id":15,"names":["more"],"fields":[{"field-id":16,"names":["element"],"fields":[{"field-id":17,"names":["a"]}]}]}]"#;
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parsed(json), parsed(expected));
    // A name that nobody else takes stays beside the new one.
    change(&mut fixture, vec![rename("id", "key")]).await;
    let json = &fixture.metadata.properties()["schema.name-mapping.default"];
    assert!(json.contains(r#"["id","ID","key"]"#), "{json}");
    // One that cannot be read stops nobody.
    fixture.set("schema.name-mapping.default", "{");
    assert!(change(&mut fixture, vec![rename("key", "id")]).await);
    assert_eq!(
        fixture.metadata.properties()["schema.name-mapping.default"],
        "{"
    );
}

#[tokio::test]
async fn properties_of_a_column_follow_it() {
    let mut fixture = fixture(FormatVersion::V2);
    let metrics = "write.metadata.metrics.column.";
    let bloom = "write.parquet.bloom-filter-enabled.column.";
    for (prefix, column, value) in [
        (metrics, "id", "full"),
        (metrics, "name", "counts"),
        (metrics, "point.x", "none"),
        (metrics, "nobody", "none"),
        (bloom, "name", "true"),
        (bloom, "attrs.value.n", "true"),
        ("write.parquet.bloom-filter-fpp.column.", "point.y", "0.1"),
    ] {
        fixture.set(&format!("{prefix}{column}"), value);
    }
    change(
        &mut fixture,
        vec![
            rename("id", "tmp"),
            rename("name", "id"),
            rename("tmp", "name"),
            rename("point", "place"),
            drop_column("attrs"),
        ],
    )
    .await;
    let properties = fixture.metadata.properties();
    let found: HashMap<&str, &str> = properties.iter().map(|(k, v)| (&**k, &**v)).collect();
    let expected = HashMap::from([
        ("write.metadata.metrics.column.name", "full"),
        ("write.metadata.metrics.column.id", "counts"),
        ("write.metadata.metrics.column.place.x", "none"),
        ("write.metadata.metrics.column.nobody", "none"),
        ("write.parquet.bloom-filter-enabled.column.id", "true"),
        ("write.parquet.bloom-filter-fpp.column.place.y", "0.1"),
    ]);
    assert_eq!(found, expected);
}
