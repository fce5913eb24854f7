-- Gold answers questions.
CREATE OR REFRESH MATERIALIZED VIEW gold.revenue_by_country
  COMMENT 'Orders and revenue per month and country'
  AS SELECT
    year(ordered_at) AS year,
    month(ordered_at) AS month,
    country,
    count(*) AS orders,
    sum(amount) AS revenue
  FROM silver.orders
  GROUP BY 1, 2, 3;
