use std::sync::Mutex;

use async_trait::async_trait;
use iceberg::expr::Reference;
use iceberg::spec::{Datum, Literal};

use super::*;
use crate::commit::PlannedChange;

fn files(plan: &ScanPlan) -> usize {
    plan.tasks.len()
}

#[tokio::test]
async fn a_column_that_was_added_is_null_in_older_rows_and_filters_find_the_newer() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = Lake::new(version, vec![required("id", LONG)]).await;
        let before = lake.write(r#"{"id":1}"#).await;
        lake.evolve(vec![add("n", INT)]).await;
        lake.write(r#"{"id":2,"n":4}"#).await;
        lake.write(r#"{"id":3,"n":40}"#).await;
        assert_eq!(
            lake.rows().await,
            [
                r#"{"id":1,"n":null}"#,
                r#"{"id":2,"n":4}"#,
                r#"{"id":3,"n":40}"#
            ]
        );
        assert_eq!(lake.rows_at(before).await, [r#"{"id":1}"#]);
        let less = lake
            .plan(Reference::new("n").less_than(Datum::int(5)))
            .await;
        let found = rows_of(&less).await;
        assert!(
            found.contains(&r#"{"id":2,"n":4}"#.to_string()),
            "{found:?}"
        );
        assert!(
            !found.contains(&r#"{"id":3,"n":40}"#.to_string()),
            "{found:?}"
        );
        let null = lake.plan(Reference::new("n").is_null()).await;
        assert_eq!(rows_of(&null).await, [r#"{"id":1,"n":null}"#]);
    }
}

#[tokio::test]
async fn older_rows_have_the_initial_default_and_newer_ones_the_write_default_of_then() {
    let lake = Lake::new(FormatVersion::V3, vec![required("id", LONG)]).await;
    lake.write(r#"{"id":1}"#).await;
    let SchemaEdit::Add { name, ty, .. } = add("n", INT) else {
        unreachable!()
    };
    lake.evolve(vec![SchemaEdit::Add {
        parent: None,
        name,
        ty,
        required: true,
        doc: None,
        initial_default: Some(Literal::int(7)),
        write_default: None,
        position: Position::First,
        if_not_exists: false,
    }])
    .await;
    // A required column with a value may be left away by who writes.
    let table = lake.table().await;
    let ids = arrow::array::Int64Array::from(vec![2]);
    let batch = arrow::record_batch::RecordBatch::try_from_iter([(
        "id",
        Arc::new(ids) as arrow::array::ArrayRef,
    )])
    .unwrap();
    let mut writer = DataWriter::new(&table).unwrap();
    writer.write(&batch).await.unwrap();
    lake.run(append(writer.finish().await.unwrap())).await;
    let table = lake
        .evolve(vec![SchemaEdit::WriteDefault {
            path: path("n"),
            value: Some(Literal::int(8)),
        }])
        .await;
    let mut writer = DataWriter::new(&table).unwrap();
    writer.write(&batch).await.unwrap();
    lake.run(append(writer.finish().await.unwrap())).await;
    let expected = [
        r#"{"n":7,"id":1}"#,
        r#"{"n":7,"id":2}"#,
        r#"{"n":8,"id":2}"#,
    ];
    assert_eq!(lake.rows().await, expected);
    // The file that lacks the column is not pruned by what it would hold were it NULL.
    let seven = lake
        .plan(Reference::new("n").less_than(Datum::int(8)))
        .await;
    assert_eq!(rows_of(&seven).await, expected[..2]);
    // Wider, it is the same value.
    lake.evolve(vec![SchemaEdit::Widen {
        path: path("n"),
        to: LONG,
    }])
    .await;
    assert_eq!(lake.rows().await, expected);
}

#[tokio::test]
async fn columns_whose_names_are_swapped_keep_their_values() {
    let pair = || vec![optional("a", STRING), optional("b", STRING)];
    let lake = Lake::new(
        FormatVersion::V2,
        vec![
            optional("a", INT),
            optional("b", INT),
            optional("s", group(pair())),
        ],
    )
    .await;
    let before = lake.write(r#"{"a":1,"b":2,"s":{"a":"x","b":"y"}}"#).await;
    lake.evolve(vec![
        rename("a", "tmp"),
        rename("b", "a"),
        rename("tmp", "b"),
        rename("s.a", "tmp"),
        rename("s.b", "a"),
        rename("s.tmp", "b"),
    ])
    .await;
    lake.write(r#"{"a":3,"b":4,"s":{"a":"v","b":"w"}}"#).await;
    assert_eq!(
        lake.rows().await,
        [
            r#"{"b":1,"a":2,"s":{"b":"x","a":"y"}}"#,
            r#"{"b":4,"a":3,"s":{"b":"w","a":"v"}}"#
        ]
    );
    assert_eq!(
        lake.rows_at(before).await,
        [r#"{"a":1,"b":2,"s":{"a":"x","b":"y"}}"#]
    );
    let two = lake.plan(Reference::new("a").equal_to(Datum::int(2))).await;
    assert_eq!(
        rows_of(&two).await,
        [r#"{"b":1,"a":2,"s":{"b":"x","a":"y"}}"#]
    );
}

#[tokio::test]
async fn a_column_that_was_dropped_and_added_again_is_another_one() {
    let lake = Lake::new(
        FormatVersion::V2,
        vec![required("id", LONG), optional("a", INT)],
    )
    .await;
    let before = lake.write(r#"{"id":1,"a":9}"#).await;
    lake.evolve(vec![drop_column("a"), add("a", INT)]).await;
    lake.write(r#"{"id":2,"a":5}"#).await;
    assert_eq!(
        lake.rows().await,
        [r#"{"id":1,"a":null}"#, r#"{"id":2,"a":5}"#]
    );
    assert_eq!(lake.rows_at(before).await, [r#"{"id":1,"a":9}"#]);
    // What the old one had bounds no value of the new one.
    let null = lake.plan(Reference::new("a").is_null()).await;
    assert_eq!(rows_of(&null).await, [r#"{"id":1,"a":null}"#]);
}

#[tokio::test]
async fn widened_moved_and_optional_columns_are_read_from_older_files() {
    let decimal = |precision| {
        Type::Primitive(PrimitiveType::Decimal {
            precision,
            scale: 2,
        })
    };
    let lake = Lake::new(
        FormatVersion::V2,
        vec![
            required("n", INT),
            optional("f", Type::Primitive(PrimitiveType::Float)),
            optional("d", decimal(5)),
        ],
    )
    .await;
    let before = lake.write(r#"{"n":1,"f":0.5,"d":"12.34"}"#).await;
    let wide = |name, to| SchemaEdit::Widen {
        path: path(name),
        to,
    };
    lake.evolve(vec![
        wide("n", LONG),
        wide("f", Type::Primitive(PrimitiveType::Double)),
        wide("d", decimal(30)),
        SchemaEdit::Optional { path: path("n") },
        SchemaEdit::Move {
            path: path("d"),
            position: Position::First,
        },
    ])
    .await;
    lake.write(r#"{"n":5000000000,"f":1e300,"d":"1234567890123456789012345678.91"}"#)
        .await;
    lake.write(r#"{"n":null,"f":null,"d":null}"#).await;
    assert_eq!(
        lake.rows().await,
        [
            r#"{"d":12.34,"n":1,"f":0.5}"#,
            r#"{"d":1234567890123456789012345678.91,"n":5000000000,"f":1.0e300}"#,
            r#"{"d":null,"n":null,"f":null}"#,
        ]
    );
    assert_eq!(lake.rows_at(before).await, [r#"{"n":1,"f":0.5,"d":12.34}"#]);
    // Bounds of the narrow type prune.
    let more = lake
        .plan(Reference::new("n").greater_than(Datum::long(2)))
        .await;
    assert_eq!(files(&more), 1);
}

#[tokio::test]
async fn fields_inside_of_structs_lists_and_maps_change_as_columns_do() {
    let point = || group(vec![optional("x", INT), optional("y", INT)]);
    let lake = Lake::new(
        FormatVersion::V2,
        vec![
            optional("p", point()),
            optional("l", list(900, point())),
            optional("m", map(910, point())),
        ],
    )
    .await;
    let before = lake
        .write(r#"{"p":{"x":1,"y":2},"l":[{"x":3,"y":4}],"m":{"k":{"x":5,"y":6}}}"#)
        .await;
    lake.evolve(vec![
        drop_column("p.x"),
        add("p.z", STRING),
        rename("l.element.x", "first"),
        SchemaEdit::Widen {
            path: path("l.y"),
            to: LONG,
        },
        SchemaEdit::Move {
            path: path("m.value.y"),
            position: Position::First,
        },
        add("m.value.more", list(1, INT)),
    ])
    .await;
    lake.write(
        r#"{"p":{"y":7,"z":"z"},"l":[{"first":8,"y":9000000000}],"m":{"k":{"y":1,"x":2,"more":[3]}}}"#,
    )
    .await;
    assert_eq!(
        lake.rows().await,
        [
            r#"{"p":{"y":2,"z":null},"l":[{"first":3,"y":4}],"m":{"k":{"y":6,"x":5,"more":null}}}"#,
            r#"{"p":{"y":7,"z":"z"},"l":[{"first":8,"y":9000000000}],"m":{"k":{"y":1,"x":2,"more":[3]}}}"#,
        ]
    );
    assert_eq!(
        lake.rows_at(before).await,
        [r#"{"p":{"x":1,"y":2},"l":[{"x":3,"y":4}],"m":{"k":{"x":5,"y":6}}}"#]
    );
}

/// Lets another commit be first, once.
struct Overtaken<'a> {
    lake: &'a Lake,
    by: Mutex<Option<EvolveSchema>>,
    operation: EvolveSchema,
}

#[async_trait]
impl Operation for Overtaken<'_> {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let planned = self.operation.plan(base).await;
        let by = self.by.lock().unwrap().take();
        if let Some(by) = by {
            self.lake.run(by).await;
        }
        planned
    }
}

#[tokio::test]
async fn an_edit_that_lost_is_planned_on_what_is_there_then() {
    let lake = Lake::new(FormatVersion::V2, vec![required("id", LONG)]).await;
    let overtaken = |by, operation| Overtaken {
        lake: &lake,
        by: Mutex::new(Some(EvolveSchema::new(vec![by]))),
        operation: EvolveSchema::new(vec![operation]),
    };
    let table = lake.run(overtaken(add("a", INT), add("b", INT))).await;
    assert_eq!(shown(table.schema()), "1 id! long, 2 a int, 3 b int");
    // What the other one did is checked, too.
    let lost = overtaken(rename("a", "c"), add("c", INT));
    let lost = Transaction::new(&lake.committer).step(ident(), lost);
    let text = lost.commit().await.unwrap_err().to_string();
    assert!(text.contains("the column exists"), "{text}");
    let lost = overtaken(drop_column("b"), rename("b", "d"));
    let lost = Transaction::new(&lake.committer).step(ident(), lost);
    let text = lost.commit().await.unwrap_err().to_string();
    assert!(text.contains("there is no such column"), "{text}");
    assert_eq!(shown(lake.table().await.schema()), "1 id! long, 2 c int");
}
