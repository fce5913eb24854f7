-- Every sample as it was sent. What is no sample is a dead letter, see errors.sql.
CREATE OR REFRESH STREAMING TABLE bronze.health_data_raw (
    device_id STRING NOT NULL COMMENT 'Device identifier',
    user_id STRING NOT NULL COMMENT 'User identifier',
    sample_id STRING NOT NULL COMMENT 'Sample identifier',
    data_type STRING NOT NULL COMMENT 'What was measured: heartRate, steps, …',
    value DOUBLE NOT NULL COMMENT 'Measured value',
    unit STRING NOT NULL COMMENT 'Unit of the value',
    start_date TIMESTAMP NOT NULL COMMENT 'Start of the measurement',
    end_date TIMESTAMP NOT NULL COMMENT 'End of the measurement',
    source_bundle STRING COMMENT 'Application that took the sample',
    metadata MAP<STRING, STRING> COMMENT 'Whatever else the device said',
    is_synced BOOLEAN NOT NULL COMMENT 'Whether the device had synchronised it before',
    created_at TIMESTAMP NOT NULL COMMENT 'When the device stored it',
    payload_timestamp TIMESTAMP NOT NULL COMMENT 'When its payload was made',
    app_version STRING NOT NULL COMMENT 'Version of the sending application',
    processing_time TIMESTAMP NOT NULL COMMENT 'When it was taken into this table'
  )
  PARTITIONED BY (days(start_date), data_type)
  COMMENT 'Health samples as devices sent them'
  TBLPROPERTIES ('berglake.dead-letter' = 'bronze.health_dead_letters')
  AS SELECT *, current_timestamp() AS processing_time
  FROM STREAM read_kafka(
    connection => 'main',
    topic => '${topic}',
    format => 'json',
    schema => '
      device_id STRING NOT NULL,
      user_id STRING NOT NULL,
      sample_id STRING NOT NULL,
      data_type STRING NOT NULL,
      value DOUBLE NOT NULL,
      unit STRING NOT NULL,
      start_date TIMESTAMP NOT NULL,
      end_date TIMESTAMP NOT NULL,
      source_bundle STRING,
      metadata MAP<STRING, STRING>,
      is_synced BOOLEAN NOT NULL,
      created_at TIMESTAMP NOT NULL,
      payload_timestamp TIMESTAMP NOT NULL,
      app_version STRING NOT NULL');
