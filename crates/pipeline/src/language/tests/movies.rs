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
    assert_snapshot!(movies().to_string(), @r#"
    bronze.movies_raw (streaming table)
      flow bronze.movies_raw: append
        from stream read_files(format => 'json', path => '/data/movies*.json', schema => '`Title` STRING, `Release Date` STRING, `Major Genre` STRING, `IMDB Rating` DOUBLE, updated_at TIMESTAMP')
    silver.movies_clean (streaming table)
      flow movies_upsert: upsert by title, release_date
        from stream bronze.movies_raw
        through movies_cleaned
    gold.movies_by_year_genre (materialized view)
      flow gold.movies_by_year_genre: replace
        from silver.movies_clean
    "#);
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
    assert_snapshot!(shown, @r#"
    bronze.movies_raw: SELECT *, current_timestamp() AS ingested_at FROM __source_0
      stream: __source_0
    movies_cleaned: SELECT TRIM(`Title`) AS title, to_date(`Release Date`, 'MMM d yyyy') AS release_date, `Major Genre` AS genre, `IMDB Rating` AS rating, updated_at FROM __source_1 AS movies_raw
    movies_upsert: SELECT * FROM __source_2 AS movies_cleaned
      stream: __source_1
    gold.movies_by_year_genre: SELECT year(release_date) AS year, genre, count(*) AS movie_count, avg(rating) AS avg_rating, sum(revenue) AS total_revenue FROM __source_3 AS movies_clean GROUP BY 1, 2
      stream: none
    "#);
}

#[test]
fn the_movies_example_is_sound_and_its_views_pass_the_stream_on() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/movies/pipelines");
    let files = ["gold.sql", "silver.sql", "bronze.sql"]
        .map(|name| SourceFile::new(name, std::fs::read_to_string(folder.join(name)).unwrap()));
    let pipeline =
        Pipeline::from_files(&files, &variables()).unwrap_or_else(|error| panic!("{error}"));
    let order: Vec<String> = pipeline
        .tables()
        .iter()
        .map(|table| table.name().to_string())
        .collect();
    let expected = [
        "bronze.movies_raw",
        "silver.movies_clean",
        "gold.movies_by_year_genre",
        "gold.top_movies",
    ];
    assert_eq!(order, expected);
    let upsert = pipeline
        .flows_into(pipeline.tables()[1].name())
        .next()
        .unwrap();
    let views: Vec<&str> = upsert.views.iter().map(|view| view.name.name()).collect();
    assert_eq!(views, ["movies_dated", "movies_cleaned"]);
    assert_eq!(
        upsert.stream.as_ref().unwrap().from.to_string(),
        "bronze.movies_raw"
    );
    let SourceRef::Function(files) = &pipeline.flows()[0].query.sources[0].from else {
        panic!("bronze reads files");
    };
    assert_eq!(
        parse_schema(files.text("schema").unwrap()).unwrap().len(),
        17
    );
}
