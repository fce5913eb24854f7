-- Silver has one clean row per film: the newest record of each (title, release date) wins.

CREATE TEMPORARY VIEW movies_dated AS
  SELECT *, to_date(trim(`Release Date`), 'MMM d yyyy') AS parsed_date
  FROM STREAM(bronze.movies_raw);

-- The source was made in 2010 and knows films announced for 2011. A later year is a slip of somebody
-- who expanded two digits: 'Dec 15 2039' means 1939.
CREATE TEMPORARY VIEW movies_cleaned AS
  SELECT
    trim(`Title`) AS title,
    CASE
      WHEN parsed_date > DATE '2011-12-31' THEN add_months(parsed_date, -1200)
      ELSE parsed_date
    END AS release_date,
    trim(`Major Genre`) AS genre,
    `MPAA Rating` AS mpaa_rating,
    `Running Time min` AS running_time_min,
    trim(`Distributor`) AS distributor,
    trim(`Director`) AS director,
    `Source` AS source,
    `Creative Type` AS creative_type,
    `Production Budget` AS budget,
    `US Gross` AS us_revenue,
    `Worldwide Gross` AS revenue,
    `US DVD Sales` AS us_dvd_sales,
    `IMDB Rating` AS rating,
    `IMDB Votes` AS votes,
    `Rotten Tomatoes Rating` AS tomatometer,
    coalesce(updated_at, TIMESTAMP '2010-12-31 00:00:00') AS updated_at
  FROM STREAM(movies_dated);

CREATE OR REFRESH STREAMING TABLE silver.movies_clean (
  CONSTRAINT has_title EXPECT (title IS NOT NULL AND title <> '') ON VIOLATION DROP ROW,
  CONSTRAINT has_release_date EXPECT (release_date IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT sequence_is_set EXPECT (updated_at IS NOT NULL) ON VIOLATION FAIL UPDATE,
  CONSTRAINT has_genre EXPECT (genre IS NOT NULL),
  CONSTRAINT rating_in_range EXPECT (rating IS NULL OR rating BETWEEN 0 AND 10),
  CONSTRAINT world_includes_us EXPECT (revenue IS NULL OR us_revenue IS NULL OR revenue >= us_revenue)
)
  COMMENT 'One row per film, cleaned and corrected'
  PARTITIONED BY (months(release_date), genre);

CREATE FLOW movies_upsert AS AUTO CDC INTO silver.movies_clean
  FROM STREAM(movies_cleaned)
  KEYS (title, release_date)
  SEQUENCE BY updated_at
  STORED AS SCD TYPE 1;
