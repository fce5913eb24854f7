-- Statistics per user, type of data and day. Days begin at midnight UTC; the window ends where the
-- next begins. The standard deviation is that of the population: one value has 0.
CREATE OR REFRESH MATERIALIZED VIEW gold.health_data_daily_agg (
    user_id STRING NOT NULL,
    data_type STRING NOT NULL,
    aggregation_date STRING NOT NULL COMMENT 'YYYY-MM-DD',
    window_start TIMESTAMP NOT NULL,
    window_end TIMESTAMP NOT NULL,
    min_value DOUBLE NOT NULL,
    max_value DOUBLE NOT NULL,
    avg_value DOUBLE NOT NULL,
    sum_value DOUBLE NOT NULL,
    count BIGINT NOT NULL COMMENT 'Values that are not null',
    stddev_value DOUBLE NOT NULL,
    first_value DOUBLE COMMENT 'Value of the earliest sample, by start_date and sample_id',
    last_value DOUBLE COMMENT 'Value of the latest sample, by start_date and sample_id',
    record_count BIGINT NOT NULL COMMENT 'Samples',
    updated_at TIMESTAMP NOT NULL COMMENT 'When the newest of the samples was taken in'
  )
  PARTITIONED BY (user_id, aggregation_date, data_type)
  COMMENT 'Daily statistics of health samples'
  AS WITH samples AS (
    SELECT *, date_trunc('day', start_date) AS day FROM bronze.health_data_raw
  )
  SELECT
    user_id,
    data_type,
    date_format(day, 'yyyy-MM-dd') AS aggregation_date,
    day AS window_start,
    day + INTERVAL 1 DAY AS window_end,
    min(value) AS min_value,
    max(value) AS max_value,
    avg(value) AS avg_value,
    sum(value) AS sum_value,
    count(value) AS count,
    stddev_pop(value) AS stddev_value,
    first_value(value ORDER BY start_date, sample_id) AS first_value,
    last_value(value ORDER BY start_date, sample_id) AS last_value,
    count(*) AS record_count,
    max(processing_time) AS updated_at
  FROM samples
  GROUP BY user_id, data_type, day;
