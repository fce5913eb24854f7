-- Bronze keeps every record as it came, under its original names, with the message it came in.
--
-- The schema is declared, never inferred. `Title` is text: where the source has a number (300, 1408)
-- its digits become the text, and null stays null. What cannot be read as these types becomes a row
-- of bronze.movies_errors, with its reason and its raw bytes.
CREATE OR REFRESH STREAMING TABLE bronze.movies_raw
  COMMENT 'Film records as they were delivered'
  PARTITIONED BY (days(ingested_at))
  TBLPROPERTIES ('berglake.dead-letter' = 'bronze.movies_errors')
  AS SELECT *, current_timestamp() AS ingested_at
  FROM STREAM read_kafka(
    connection => 'main',
    topic => '${topic}',
    format => 'json',
    schema => '
      `Title` STRING,
      `US Gross` BIGINT,
      `Worldwide Gross` BIGINT,
      `US DVD Sales` BIGINT,
      `Production Budget` BIGINT,
      `Release Date` STRING,
      `MPAA Rating` STRING,
      `Running Time min` INT,
      `Distributor` STRING,
      `Source` STRING,
      `Major Genre` STRING,
      `Creative Type` STRING,
      `Director` STRING,
      `Rotten Tomatoes Rating` INT,
      `IMDB Rating` DOUBLE,
      `IMDB Votes` BIGINT,
      `updated_at` TIMESTAMP',
    timestamp => 'message_time',
    partition => 'message_partition',
    offset => 'message_offset');
