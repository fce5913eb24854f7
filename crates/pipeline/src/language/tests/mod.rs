mod meaning;
mod mistakes;
mod movies;
mod properties;
mod streams;

use super::*;

/// The pipeline of one file called `test.sql`.
fn pipeline(sql: &str) -> Result<Pipeline, Diagnostics> {
    Pipeline::from_files(&[SourceFile::new("test.sql", sql)], &Variables::new())
}
