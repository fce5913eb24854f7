-- The daily files into the table that sql/create.sql makes. A file is taken once: to load a day twice
-- changes nothing.
CREATE OR REFRESH STREAMING TABLE lakehouse.sales
  PARTITIONED BY (ingestion_date)
  TBLPROPERTIES ('berglake.dead-letter' = 'lakehouse.sales_errors')
  AS SELECT * FROM STREAM read_files(
    '${data}/sales_*.csv',
    format => 'csv',
    schema => '
      order_id STRING NOT NULL,
      customer_id STRING NOT NULL,
      amount DECIMAL(12,2) NOT NULL,
      country STRING,
      ingestion_date DATE NOT NULL');
