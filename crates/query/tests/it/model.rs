//! Random tables with deletes and random queries, against a model that knows every row.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::Lake;

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    n: Option<i32>,
    s: Option<String>,
    f: Option<f64>,
    d: Option<i32>,
}

#[derive(Debug, Clone)]
enum Column {
    N,
    S,
    F,
    D,
}

#[derive(Debug, Clone)]
enum Literal {
    N(i32),
    S(String),
    F(f64),
    D(i32),
}

#[derive(Debug, Clone)]
enum Filter {
    Compare(Column, &'static str, Literal),
    IsNull(Column, bool),
    In(Column, Vec<Literal>, bool),
    Between(Column, Literal, Literal, bool),
    StartsWith(String, bool),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
}

impl Column {
    fn name(&self) -> &'static str {
        match self {
            Self::N => "n",
            Self::S => "s",
            Self::F => "f",
            Self::D => "d",
        }
    }

    fn of(&self, row: &Row) -> Option<Literal> {
        match self {
            Self::N => row.n.map(Literal::N),
            Self::S => row.s.clone().map(Literal::S),
            Self::F => row.f.map(Literal::F),
            Self::D => row.d.map(Literal::D),
        }
    }
}

impl Literal {
    fn sql(&self) -> String {
        match self {
            Self::N(value) => value.to_string(),
            Self::S(value) => format!("'{value}'"),
            Self::F(value) if value.is_nan() => "CAST('NaN' AS DOUBLE)".to_string(),
            Self::F(value) => format!("CAST({value} AS DOUBLE)"),
            Self::D(value) => format!("DATE '2020-01-{:02}'", value + 1),
        }
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::N(a), Self::N(b)) | (Self::D(a), Self::D(b)) => a.cmp(b),
            (Self::S(a), Self::S(b)) => a.cmp(b),
            (Self::F(a), Self::F(b)) => a.total_cmp(b),
            _ => unreachable!("columns and literals are of one type"),
        }
    }
}

fn not(value: Option<bool>, negated: bool) -> Option<bool> {
    value.map(|value| value != negated)
}

impl Filter {
    fn sql(&self) -> String {
        match self {
            Self::Compare(column, op, literal) => {
                format!("{} {op} {}", column.name(), literal.sql())
            }
            Self::IsNull(column, negated) => {
                format!(
                    "{} IS {}NULL",
                    column.name(),
                    if *negated { "NOT " } else { "" }
                )
            }
            Self::In(column, list, negated) => {
                let list: Vec<String> = list.iter().map(Literal::sql).collect();
                let word = if *negated { "NOT IN" } else { "IN" };
                format!("{} {word} ({})", column.name(), list.join(", "))
            }
            Self::Between(column, low, high, negated) => {
                let word = if *negated { "NOT BETWEEN" } else { "BETWEEN" };
                format!("{} {word} {} AND {}", column.name(), low.sql(), high.sql())
            }
            Self::StartsWith(prefix, negated) => {
                format!(
                    "s {} '{prefix}%'",
                    if *negated { "NOT LIKE" } else { "LIKE" }
                )
            }
            Self::And(a, b) => format!("({} AND {})", a.sql(), b.sql()),
            Self::Or(a, b) => format!("({} OR {})", a.sql(), b.sql()),
            Self::Not(inner) => format!("NOT ({})", inner.sql()),
        }
    }

    fn holds(&self, row: &Row) -> Option<bool> {
        use std::cmp::Ordering as O;
        match self {
            Self::Compare(column, op, literal) => {
                let order = column.of(row)?.order(literal);
                Some(match *op {
                    "=" => order == O::Equal,
                    "<>" => order != O::Equal,
                    "<" => order == O::Less,
                    "<=" => order != O::Greater,
                    ">" => order == O::Greater,
                    _ => order != O::Less,
                })
            }
            Self::IsNull(column, negated) => Some(column.of(row).is_none() != *negated),
            Self::In(column, list, negated) => {
                let value = column.of(row)?;
                let found = list.iter().any(|item| value.order(item) == O::Equal);
                Some(found != *negated)
            }
            Self::Between(column, low, high, negated) => {
                let value = column.of(row)?;
                let inside = value.order(low) != O::Less && value.order(high) != O::Greater;
                Some(inside != *negated)
            }
            Self::StartsWith(prefix, negated) => {
                not(row.s.as_ref().map(|s| s.starts_with(prefix)), *negated)
            }
            Self::And(a, b) => match (a.holds(row), b.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.holds(row), b.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(inner) => not(inner.holds(row), true),
        }
    }
}

fn texts() -> impl Strategy<Value = String> {
    "[ab]{0,3}"
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![4 => (-4..5).prop_map(|n| f64::from(n) / 2.0 + 0.25), 1 => Just(f64::NAN)]
}

fn rows(from: i64) -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::of(-5..6),
        prop::option::of(texts()),
        prop::option::of(floats()),
        prop::option::of(0..28),
    );
    prop::collection::vec(row, 1..12).prop_map(move |rows| {
        (from..)
            .zip(rows)
            .map(|(id, (n, s, f, d))| Row { id, n, s, f, d })
            .collect()
    })
}

fn typed() -> impl Strategy<Value = (Column, Vec<Literal>)> {
    prop_oneof![
        prop::collection::vec((-6..7).prop_map(Literal::N), 3).prop_map(|l| (Column::N, l)),
        prop::collection::vec(texts().prop_map(Literal::S), 3).prop_map(|l| (Column::S, l)),
        prop::collection::vec(floats().prop_map(Literal::F), 3).prop_map(|l| (Column::F, l)),
        prop::collection::vec((0..28).prop_map(Literal::D), 3).prop_map(|l| (Column::D, l)),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    let op = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        4 => (typed(), op).prop_map(|((column, list), op)| Filter::Compare(column, op, list[0].clone())),
        1 => (typed(), any::<bool>()).prop_map(|((column, _), negated)| Filter::IsNull(column, negated)),
        1 => (typed(), any::<bool>()).prop_map(|((column, list), negated)| Filter::In(column, list, negated)),
        1 => (typed(), any::<bool>()).prop_map(|((column, list), negated)| {
            Filter::Between(column, list[0].clone(), list[1].clone(), negated)
        }),
        1 => ("[ab]{1,2}", any::<bool>()).prop_map(|(prefix, negated)| Filter::StartsWith(prefix, negated)),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::And(a.into(), b.into())),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Filter::Or(a.into(), b.into())),
            inner.prop_map(|inner| Filter::Not(inner.into())),
        ]
    })
}

#[derive(Debug, Clone)]
struct Case {
    version: u8,
    partitioning: &'static str,
    inserts: Vec<Vec<Row>>,
    /// Which rows go, after which insert.
    deletes: Vec<Vec<bool>>,
    queries: Vec<(Filter, usize, bool)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let partitioning = prop::sample::select(vec![
        "",
        "PARTITIONED BY (n)",
        "PARTITIONED BY (truncate(1, s), bucket(2, n))",
        "PARTITIONED BY (days(d))",
    ]);
    (
        prop_oneof![Just(2_u8), Just(3_u8)],
        partitioning,
        (rows(0), rows(100), rows(200)).prop_map(|(a, b, c)| vec![a, b, c]),
        prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.2), 36), 3),
        prop::collection::vec((filters(), 0_usize..6, any::<bool>()), 12),
    )
        .prop_map(|(version, partitioning, inserts, deletes, queries)| Case {
            version,
            partitioning,
            inserts,
            deletes,
            queries,
        })
}

fn insert(rows: &[Row]) -> String {
    let mut sql = String::from("INSERT INTO t VALUES ");
    for (place, row) in rows.iter().enumerate() {
        let value = |literal: Option<Literal>, ty: &str| match literal {
            Some(literal) => literal.sql(),
            None => format!("CAST(NULL AS {ty})"),
        };
        let _ = write!(
            sql,
            "{}({}, {}, {}, {}, {})",
            if place == 0 { "" } else { ", " },
            row.id,
            value(row.n.map(Literal::N), "INT"),
            value(row.s.clone().map(Literal::S), "STRING"),
            value(row.f.map(Literal::F), "DOUBLE"),
            value(row.d.map(Literal::D), "DATE"),
        );
    }
    sql
}

/// Deletes rows by their ids: looks up in which file and where each is.
async fn delete(lake: &Lake, ids: &[i64]) {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use berglake_format::read::{ReadOptions, read_task};
    use futures::TryStreamExt;

    let table = lake.table("t").await;
    let plan = table.scan().plan().await.unwrap();
    let options = ReadOptions {
        positions: true,
        ..ReadOptions::default()
    };
    let mut positions = Vec::new();
    for task in &plan.tasks {
        let batches: Vec<_> = read_task(&plan, task, options).try_collect().await.unwrap();
        let mut found = Vec::new();
        for batch in batches {
            let column = |name: &str| {
                batch
                    .column_by_name(name)
                    .unwrap()
                    .as_primitive::<Int64Type>()
                    .clone()
            };
            let (rows, places) = (column("id"), column("_pos"));
            for (id, place) in rows.values().iter().zip(places.values()) {
                if ids.contains(id) {
                    found.push(u64::try_from(*place).unwrap());
                }
            }
        }
        positions.push(found);
    }
    if positions.iter().all(Vec::is_empty) {
        return;
    }
    let positions: Vec<&[u64]> = positions.iter().map(Vec::as_slice).collect();
    lake.delete("t", &positions).await;
}

async fn check(case: Case) -> Result<(), TestCaseError> {
    let lake = Lake::new().await;
    lake.run(&format!(
        "CREATE TABLE t (id BIGINT, n INT, s STRING, f DOUBLE, d DATE) {}
         TBLPROPERTIES ('format-version' = '{}', 'write.parquet.row-group-size-bytes' = '100')",
        case.partitioning, case.version
    ))
    .await;
    let mut model: Vec<Row> = Vec::new();
    for (rows, delete_flags) in case.inserts.iter().zip(&case.deletes) {
        lake.run(&insert(rows)).await;
        model.extend(rows.iter().cloned());
        let gone: Vec<i64> = model
            .iter()
            .zip(delete_flags.iter().cycle())
            .filter(|(_, gone)| **gone)
            .map(|(row, _)| row.id)
            .collect();
        delete(&lake, &gone).await;
        model.retain(|row| !gone.contains(&row.id));
    }
    prop_assert_eq!(
        lake.rows("SELECT count(*) FROM t").await,
        [model.len().to_string()]
    );
    for (filter, limit, pushdown) in &case.queries {
        lake.run(&format!(
            "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
        ))
        .await;
        let sql = filter.sql();
        let mut expected: Vec<i64> = model
            .iter()
            .filter(|row| filter.holds(row) == Some(true))
            .map(|row| row.id)
            .collect();
        expected.sort_unstable();
        let ids = |rows: Vec<String>| -> Vec<i64> {
            rows.iter().map(|row| row.parse().unwrap()).collect()
        };
        let mut found = ids(lake.rows(&format!("SELECT id FROM t WHERE {sql}")).await);
        found.sort_unstable();
        prop_assert_eq!(&found, &expected, "WHERE {}", sql);
        let limited = ids(lake
            .rows(&format!("SELECT id FROM t WHERE {sql} LIMIT {limit}"))
            .await);
        prop_assert_eq!(
            limited.len(),
            expected.len().min(*limit),
            "WHERE {} LIMIT",
            sql
        );
        prop_assert!(
            limited.iter().all(|id| expected.contains(id)),
            "WHERE {} LIMIT",
            sql
        );
        let top = ids(lake
            .rows(&format!(
                "SELECT id FROM t WHERE {sql} ORDER BY id DESC LIMIT {limit}"
            ))
            .await);
        let best: Vec<i64> = expected.iter().rev().take(*limit).copied().collect();
        prop_assert_eq!(top, best, "WHERE {} ORDER BY", sql);
        let count = lake
            .rows(&format!(
                "SELECT count(*), count(n), min(n), max(n) FROM t WHERE {sql}"
            ))
            .await;
        let numbers: Vec<i32> = model
            .iter()
            .filter(|row| expected.contains(&row.id))
            .filter_map(|row| row.n)
            .collect();
        let shown = |value: Option<&i32>| value.map_or("NULL".to_string(), ToString::to_string);
        let counted = format!(
            "{}|{}|{}|{}",
            expected.len(),
            numbers.len(),
            shown(numbers.iter().min()),
            shown(numbers.iter().max())
        );
        prop_assert_eq!(count, [counted], "WHERE {} count", sql);
    }
    Ok(())
}

#[test]
fn random_queries_over_random_tables_with_deletes_agree_with_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 10,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&cases(), |case| runtime.block_on(check(case)))
        .unwrap();
}
