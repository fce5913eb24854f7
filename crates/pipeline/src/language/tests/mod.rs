mod meaning;
mod mistakes;
mod movies;
mod properties;

use super::*;

/// The pipeline of one file called `test.sql`.
fn pipeline(sql: &str) -> Result<Pipeline, Diagnostics> {
    Pipeline::from_files(&[SourceFile::new("test.sql", sql)], &Variables::new())
}
