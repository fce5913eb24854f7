-- The dead letters of health_data_raw in the layout that this system's error handling knows.
--
-- A record of a file has no topic, partition and offset: its file stands for the topic, 0 for the
-- partition and its number in the file for the offset, so that the three name one record either way.
CREATE TEMPORARY VIEW health_errors_placed AS
  SELECT
    *,
    coalesce(kafka_topic, file) AS topic,
    CAST(coalesce(kafka_partition, 0) AS BIGINT) AS topic_partition,
    coalesce(kafka_offset, row) AS topic_offset,
    try_cast(raw AS STRING) AS text
  FROM STREAM(bronze.health_dead_letters);

CREATE OR REFRESH STREAMING TABLE bronze.health_data_errors (
    error_id STRING NOT NULL COMMENT 'SHA-256 of topic, partition and offset',
    error_type STRING NOT NULL COMMENT 'Kind of error',
    error_message STRING NOT NULL COMMENT 'Field, what was expected, what was found',
    error_timestamp TIMESTAMP NOT NULL COMMENT 'When it was met',
    raw_payload STRING COMMENT 'The record: its text, or base64: and its bytes where it is no UTF-8',
    user_id STRING COMMENT 'User, where the payload says so',
    device_id STRING COMMENT 'Device, where the payload says so',
    sample_id STRING COMMENT 'Sample, where the payload says so',
    data_type STRING COMMENT 'What was measured, where the payload says so',
    kafka_topic STRING NOT NULL COMMENT 'Topic, or file',
    kafka_partition BIGINT NOT NULL COMMENT 'Partition, 0 in a file',
    kafka_offset BIGINT NOT NULL COMMENT 'Offset, or number of the record in its file'
  )
  PARTITIONED BY (days(error_timestamp), error_type)
  COMMENT 'Records that are no health samples'
  AS SELECT
    sha2(concat(topic, ':', topic_partition, ':', topic_offset), 256) AS error_id,
    error_type,
    error_message,
    error_timestamp,
    coalesce(text, concat('base64:', base64(raw))) AS raw_payload,
    get_json_object(text, '$.user_id') AS user_id,
    get_json_object(text, '$.device_id') AS device_id,
    get_json_object(text, '$.sample_id') AS sample_id,
    get_json_object(text, '$.data_type') AS data_type,
    topic AS kafka_topic,
    topic_partition AS kafka_partition,
    topic_offset AS kafka_offset
  FROM STREAM(health_errors_placed);
