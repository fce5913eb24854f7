-- Gold answers questions: what a year brought per genre, and which films are rated best.

CREATE OR REFRESH MATERIALIZED VIEW gold.movies_by_year_genre
  COMMENT 'Films, mean rating and worldwide revenue per release year and genre'
  PARTITIONED BY (year) AS
  SELECT
    year(release_date) AS year,
    genre,
    count(*) AS movie_count,
    avg(rating) AS avg_rating,
    sum(revenue) AS total_revenue
  FROM silver.movies_clean
  GROUP BY 1, 2;

-- Fewer votes than this say little: an obscure film with three friends would lead the list.
CREATE OR REFRESH MATERIALIZED VIEW gold.top_movies
  COMMENT 'The ten best rated films of each genre with at least 10,000 votes'
  AS SELECT genre, place, title, release_date, rating, votes, revenue
  FROM (
    SELECT
      genre, title, release_date, rating, votes, revenue,
      row_number() OVER (
        PARTITION BY genre ORDER BY rating DESC, votes DESC, title, release_date
      ) AS place
    FROM silver.movies_clean
    WHERE genre IS NOT NULL AND votes >= 10000
  ) AS ranked
  WHERE place <= 10;
