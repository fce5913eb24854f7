CREATE TABLE IF NOT EXISTS iceberg.lakehouse.sales (
    order_id       VARCHAR     NOT NULL,
    customer_id    VARCHAR     NOT NULL,
    amount         DECIMAL(12,2) NOT NULL,
    country        VARCHAR,
    ingestion_date DATE        NOT NULL
)
WITH (
    format         = 'PARQUET',
    partitioning   = ARRAY['ingestion_date']
);
