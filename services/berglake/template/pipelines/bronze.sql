-- Bronze keeps every record as it came. New files in the data folder are read by the next run, each
-- record once; what cannot be read becomes a row of bronze.orders_errors, with its reason.
CREATE OR REFRESH STREAMING TABLE bronze.orders_raw
  COMMENT 'Orders as they were delivered'
  PARTITIONED BY (days(ingested_at))
  TBLPROPERTIES ('berglake.dead-letter' = 'bronze.orders_errors')
  AS SELECT *, current_timestamp() AS ingested_at
  FROM STREAM read_files(
    '${data}/orders*.json',
    format => 'json',
    schema => '
      order_id BIGINT,
      customer STRING,
      country STRING,
      amount DOUBLE,
      ordered_at TIMESTAMP,
      updated_at TIMESTAMP');
