-- Statistics per user, type of data and calendar month, UTC.
CREATE OR REFRESH MATERIALIZED VIEW gold.health_data_monthly_agg (
    user_id STRING NOT NULL,
    data_type STRING NOT NULL,
    year BIGINT NOT NULL,
    month BIGINT NOT NULL COMMENT '1 to 12',
    month_start_date STRING NOT NULL COMMENT 'First day, YYYY-MM-DD',
    month_end_date STRING NOT NULL COMMENT 'Last day, YYYY-MM-DD',
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
  PARTITIONED BY (user_id, year, month, data_type)
  COMMENT 'Monthly statistics of health samples'
  AS WITH samples AS (
    SELECT *, date_trunc('month', start_date) AS month, date_trunc('day', start_date) AS day
    FROM bronze.health_data_raw
  ),
  days AS (
    SELECT user_id, data_type, month, day, avg(value) AS mean
    FROM samples
    GROUP BY user_id, data_type, month, day
  ),
  means AS (
    SELECT user_id, data_type, month, avg(mean) AS daily_avg_of_avg
    FROM days
    GROUP BY user_id, data_type, month
  ),
  months AS (
    SELECT
      user_id,
      data_type,
      month,
      min(value) AS min_value,
      max(value) AS max_value,
      avg(value) AS avg_value,
      sum(value) AS sum_value,
      count(value) AS count,
      stddev_pop(value) AS stddev_value,
      count(*) AS record_count,
      max(processing_time) AS updated_at
    FROM samples
    GROUP BY user_id, data_type, month
  )
  SELECT
    t.user_id,
    t.data_type,
    CAST(year(t.month) AS BIGINT) AS year,
    CAST(month(t.month) AS BIGINT) AS month,
    date_format(t.month, 'yyyy-MM-dd') AS month_start_date,
    date_format(t.month + INTERVAL 1 MONTH - INTERVAL 1 DAY, 'yyyy-MM-dd') AS month_end_date,
    t.month AS window_start,
    t.month + INTERVAL 1 MONTH AS window_end,
    t.min_value,
    t.max_value,
    t.avg_value,
    t.sum_value,
    t.count,
    t.stddev_value,
    m.daily_avg_of_avg,
    t.record_count,
    t.updated_at
  FROM months AS t
  JOIN means AS m ON m.user_id = t.user_id AND m.data_type = t.data_type AND m.month = t.month;
