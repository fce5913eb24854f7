CREATE SCHEMA IF NOT EXISTS iceberg.lakehouse;
