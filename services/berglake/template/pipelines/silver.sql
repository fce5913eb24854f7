-- Silver has one clean row per order: the newest record of each order_id wins, wherever it arrives.
CREATE OR REFRESH STREAMING TABLE silver.orders (
  CONSTRAINT has_id EXPECT (order_id IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT amount_is_positive EXPECT (amount > 0)
)
  COMMENT 'One row per order, corrected'
  PARTITIONED BY (months(ordered_at));

CREATE TEMPORARY VIEW orders_cleaned AS
  SELECT order_id, trim(customer) AS customer, upper(country) AS country, amount, ordered_at, updated_at
  FROM STREAM(bronze.orders_raw);

CREATE FLOW orders_upsert AS AUTO CDC INTO silver.orders
  FROM STREAM(orders_cleaned)
  KEYS (order_id)
  SEQUENCE BY updated_at
  STORED AS SCD TYPE 1;
