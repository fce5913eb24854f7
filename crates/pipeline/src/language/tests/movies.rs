//! The movies pipeline, from files to the plans of its flows.

use insta::assert_snapshot;

use super::*;

pub(super) const MOVIES: &str = r#"
CREATE OR REFRESH STREAMING TABLE bronze.movies_raw
  PARTITIONED BY (days(ingested_at)) TBLPROPERTIES ('berglake.dead-letter' = 'bronze.movies_errors')
  AS SELECT *, current_timestamp() AS ingested_at FROM STREAM read_files('${data}/movies*.json', format => 'json',
    schema => '`Title` STRING, `Release Date` STRING, `Major Genre` STRING, `IMDB Rating` DOUBLE, updated_at TIMESTAMP');

CREATE TEMPORARY VIEW movies_cleaned AS
  SELECT trim(`Title`) AS title, to_date(`Release Date`, 'MMM d yyyy') AS release_date, `Major Genre` AS genre,
    `IMDB Rating` AS rating, updated_at
  FROM STREAM(bronze.movies_raw);

CREATE OR REFRESH STREAMING TABLE silver.movies_clean (
  CONSTRAINT has_title EXPECT (title IS NOT NULL) ON VIOLATION DROP ROW)
  PARTITIONED BY (months(release_date), genre);
CREATE FLOW movies_upsert AS AUTO CDC INTO silver.movies_clean
  FROM STREAM(movies_cleaned) KEYS (title, release_date) SEQUENCE BY updated_at STORED AS SCD TYPE 1;

CREATE OR REFRESH MATERIALIZED VIEW gold.movies_by_year_genre PARTITIONED BY (year) AS
  SELECT year(release_date) AS year, genre, count(*) AS movie_count, avg(rating) AS avg_rating, sum(revenue) AS total_revenue
  FROM silver.movies_clean GROUP BY 1, 2;
"#;

pub(super) fn variables() -> Variables {
    Variables::from([("data".to_owned(), "/data".to_owned())])
}

fn movies() -> Pipeline {
    Pipeline::from_files(&[SourceFile::new("movies.sql", MOVIES)], &variables()).unwrap()
}

#[test]
fn the_movies_pipeline_becomes_three_tables_in_order() {
    assert_snapshot!(movies().to_string(), @"");
}

#[test]
fn queries_read_generated_tables() {
    let pipeline = movies();
    let mut shown = String::new();
    for flow in pipeline.flows() {
        for view in &flow.views {
            shown += &format!("{}: {}\n", view.name, view.query.sql);
        }
        let stream = flow
            .stream
            .as_ref()
            .map_or("none", |stream| stream.id.as_str());
        shown += &format!("{}: {}\n  stream: {stream}\n", flow.name, flow.query.sql);
    }
    assert_snapshot!(shown, @"");
}
