//! Mistakes that only planning finds are shown as those of the language are: file, line, column, and
//! the words underlined.

use crate::lake::Lake;

/// What `validate` says of these statements, over files with the columns `k` and `v`.
async fn said(sql: &str) -> String {
    let lake = Lake::new(&format!(
        "CREATE OR REFRESH STREAMING TABLE bronze.events
           AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v BIGINT');\n{sql}"
    ))
    .await;
    let error = lake.runner().validate().await.unwrap_err();
    error.message().to_owned()
}

/// The line with its number and the marks under it.
fn marked(text: &str) -> (String, String) {
    let mut lines = text.lines().skip_while(|line| !line.contains("-->"));
    let place = lines.next().unwrap().trim().to_owned();
    let line = lines.nth(1).unwrap();
    let marks = lines.next().unwrap();
    let from = marks.find('^').unwrap();
    let words = line.chars().skip(from).take(marks.matches('^').count());
    (place, words.collect())
}

#[tokio::test]
async fn an_unknown_column_is_underlined_where_it_was_written() {
    let text = said(
        "CREATE OR REFRESH MATERIALIZED VIEW gold.totals AS
           SELECT e.k,
             sum(w) + 1 AS total
           FROM bronze.events AS e
           GROUP BY e.k;",
    )
    .await;
    assert!(text.contains("there is no column \"w\""), "{text}");
    assert!(text.contains("= help:"), "{text}");
    let (place, words) = marked(&text);
    assert_eq!(place, "--> pipelines/all.sql:5:18");
    assert_eq!(words, "w");
}

#[tokio::test]
async fn a_mistake_in_a_view_is_shown_in_the_view() {
    let text = said(
        "CREATE TEMPORARY VIEW clean AS
           SELECT upper(bronze.events.kk) AS k, v FROM STREAM(bronze.events);
         CREATE OR REFRESH STREAMING TABLE silver.events AS SELECT * FROM STREAM(clean);",
    )
    .await;
    let (place, words) = marked(&text);
    assert_eq!(place, "--> pipelines/all.sql:4:39", "{text}");
    assert_eq!(words, "kk");
}

#[tokio::test]
async fn functions_types_and_tables_are_pointed_at() {
    let view = |query: &str| format!("CREATE OR REFRESH MATERIALIZED VIEW gold.x AS\n{query};");
    for (query, message, words) in [
        (
            "SELECT k, uppr(k) AS u FROM bronze.events",
            "there is no function \"uppr\"",
            "uppr",
        ),
        (
            "SELECT a.k FROM bronze.events AS a JOIN bronze.events AS b ON a.k = b.k WHERE v > 1",
            "ambiguous",
            "v",
        ),
        (
            "SELECT x.k FROM bronze.events AS x JOIN bronze.other AS y ON x.k = y.k",
            "there is no table bronze.other",
            "bronze.other",
        ),
    ] {
        let text = said(&view(query)).await;
        assert!(text.contains(message), "{text}");
        assert_eq!(marked(&text).1, words, "{text}");
    }
}

#[tokio::test]
async fn a_mistake_in_an_expectation_is_shown_there() {
    let text = said(
        "CREATE OR REFRESH MATERIALIZED VIEW gold.x (
           CONSTRAINT fits EXPECT (value > 0)
         ) AS SELECT k, v FROM bronze.events;",
    )
    .await;
    assert!(text.contains("there is no column \"value\""), "{text}");
    let (place, words) = marked(&text);
    assert_eq!(place, "--> pipelines/all.sql:4:36", "{text}");
    assert_eq!(words, "value > 0");
}
