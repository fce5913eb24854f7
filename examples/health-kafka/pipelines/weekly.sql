-- Statistics per user, type of data and ISO week: Monday to Sunday, UTC. The year of a week is that
-- of its Thursday, so 30 December 2024 is in week 1 of 2025, and 3 January 2021 in week 53 of 2020.
CREATE OR REFRESH MATERIALIZED VIEW gold.health_data_weekly_agg (
    user_id STRING NOT NULL,
    data_type STRING NOT NULL,
    week_start_date STRING NOT NULL COMMENT 'Monday, YYYY-MM-DD',
    week_end_date STRING NOT NULL COMMENT 'Sunday, YYYY-MM-DD',
    year BIGINT NOT NULL COMMENT 'Year of the ISO week',
    week_of_year BIGINT NOT NULL COMMENT 'ISO week, 1 to 53',
    window_start TIMESTAMP NOT NULL,
    window_end TIMESTAMP NOT NULL,
    min_value DOUBLE NOT NULL,
    max_value DOUBLE NOT NULL,
    avg_value DOUBLE NOT NULL,
    sum_value DOUBLE NOT NULL,
    count BIGINT NOT NULL COMMENT 'Values that are not null',
    stddev_value DOUBLE NOT NULL,
    daily_avg_of_avg DOUBLE COMMENT 'Mean of the means of the days that have samples',
    record_count BIGINT NOT NULL COMMENT 'Samples',
    updated_at TIMESTAMP NOT NULL COMMENT 'When the newest of the samples was taken in'
  )
  PARTITIONED BY (user_id, year, week_of_year, data_type)
  COMMENT 'Weekly statistics of health samples'
  AS WITH samples AS (
    SELECT *, date_trunc('week', start_date) AS week, date_trunc('day', start_date) AS day
    FROM bronze.health_data_raw
  ),
  days AS (
    SELECT user_id, data_type, week, day, avg(value) AS mean
    FROM samples
    GROUP BY user_id, data_type, week, day
  ),
  means AS (
    SELECT user_id, data_type, week, avg(mean) AS daily_avg_of_avg
    FROM days
    GROUP BY user_id, data_type, week
  ),
  weeks AS (
    SELECT
      user_id,
      data_type,
      week,
      min(value) AS min_value,
      max(value) AS max_value,
      avg(value) AS avg_value,
      sum(value) AS sum_value,
      count(value) AS count,
      stddev_pop(value) AS stddev_value,
      count(*) AS record_count,
      max(processing_time) AS updated_at
    FROM samples
    GROUP BY user_id, data_type, week
  )
  SELECT
    w.user_id,
    w.data_type,
    date_format(w.week, 'yyyy-MM-dd') AS week_start_date,
    date_format(w.week + INTERVAL 6 DAY, 'yyyy-MM-dd') AS week_end_date,
    CAST(year(w.week + INTERVAL 3 DAY) AS BIGINT) AS year,
    CAST(weekofyear(w.week) AS BIGINT) AS week_of_year,
    w.week AS window_start,
    w.week + INTERVAL 7 DAY AS window_end,
    w.min_value,
    w.max_value,
    w.avg_value,
    w.sum_value,
    w.count,
    w.stddev_value,
    m.daily_avg_of_avg,
    w.record_count,
    w.updated_at
  FROM weeks AS w
  JOIN means AS m ON m.user_id = w.user_id AND m.data_type = w.data_type AND m.week = w.week;
