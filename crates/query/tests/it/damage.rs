//! Tables of which a data file is damaged, in SQL: cut, and with bytes changed at seeded places.
//!
//! Whatever the bytes are, the query ends with an error that names the file, or it has as many rows as it
//! should have: a value that has become another value of its type looks like any other, and so do a least
//! and a greatest value by which pages are left out. Parquet's decoder and DataFusion's reader panic on
//! some of it, and would reserve memory for billions of things.

use std::sync::Arc;

use berglake_format::ErrorKind;
use berglake_format::storage::Location;
use berglake_query::{Engine, EngineOptions};
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::support::{Lake, rows};

const ROWS: usize = 400;

/// A lake with the table `t` of one file with two row groups of four pages each, lists among its columns.
async fn lake(version: WriterVersion) -> Lake {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT, s STRING, d DECIMAL(20, 2), u UUID, l ARRAY<INT>)
         TBLPROPERTIES ('format-version' = '3')",
    )
    .await;
    let all = format!(
        "SELECT value AS id, CASE value % 7 WHEN 3 THEN NULL ELSE concat('v', CAST(value % 50 AS STRING)) END AS s,
           CAST(value AS DECIMAL(20, 2)) AS d, arrow_cast(decode(lpad(CAST(value AS STRING), 32, '0'), 'hex'),
           'FixedSizeBinary(16)') AS u, make_array(value % 3, NULL) AS l
         FROM generate_series(1, {ROWS})"
    );
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_bloom_filter_enabled(true)
        .set_bloom_filter_ndv(50)
        .set_data_page_row_count_limit(50)
        .set_write_batch_size(50);
    lake.add_written("t", &all, ROWS / 2, properties).await;
    lake
}

/// Places and masks of damage, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// The bytes cut and changed: so many times anywhere, and as often behind the pages.
fn damages(whole: &[u8], count: usize) -> Vec<(String, Vec<u8>)> {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let length = u32::from_le_bytes(*whole[..whole.len() - 4].last_chunk().unwrap());
    // Indexes lie before the footer.
    let behind_pages = whole.len() - length as usize - whole.len() / 8;
    let mut found = Vec::new();
    for step in 0..count {
        let start = [0, behind_pages][step % 2];
        let at = start + dice.roll(whole.len() - start);
        let mask = match step % 3 {
            0 => 1 + dice.roll(255),
            _ => 1 << dice.roll(8),
        };
        let mut damaged = whole.to_vec();
        damaged[at] ^= mask as u8;
        found.push((format!("byte {at} xor {mask:#04x}"), damaged));
        if step % 10 == 0 {
            found.push((format!("cut at {at}"), whole[..at].to_vec()));
        }
    }
    found
}

async fn damaged_files_are_errors_or_have_their_rows(lake: &Lake, count: usize, left: usize) {
    let table = lake.table("t").await;
    let path = table.scan().plan().await.unwrap().tasks[0]
        .file
        .file_path()
        .to_string();
    let location = Location::parse(&path).unwrap();
    let whole = table.storage().read(&location).await.unwrap();
    // All pages, some pages, and values looked for in bloom filters.
    let queries = [
        ("SELECT * FROM t", Some(left)),
        ("SELECT id FROM t", Some(left)),
        ("SELECT l FROM t", Some(left)),
        (
            "SELECT id, s, l FROM t WHERE id >= 130 AND id < 260 AND d > 1.5",
            None,
        ),
        ("SELECT id, d FROM t WHERE id = 77 AND s = 'v27'", None),
    ];
    let (mut errors, mut reads) = (0, 0);
    for (what, damaged) in damages(&whole, count) {
        table
            .storage()
            .write(&location, damaged.into())
            .await
            .unwrap();
        // Footers are kept by an engine, and files do not change.
        let options = EngineOptions {
            partitions: Some(2),
            ..EngineOptions::default()
        };
        let engine = Engine::new(Arc::clone(&lake.catalog) as _, options).unwrap();
        let session = engine.connect();
        for (query, expected) in queries {
            let outcome = match session.sql(query).await {
                Ok(output) => output.collect().await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(batches) => {
                    reads += 1;
                    if let Some(expected) = expected {
                        assert_eq!(rows(&batches).len(), expected, "{what}: {query}");
                    }
                }
                Err(error) => {
                    errors += 1;
                    let text = error.to_string();
                    let kind = error.kind();
                    let is_answer = matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported);
                    assert!(is_answer, "{what}: {query}: {kind:?}: {text}");
                    assert!(text.contains(&path), "{what}: {query}: {text}");
                }
            }
        }
    }
    assert!(errors > 0 && reads > 0, "{errors} errors, {reads} reads");
}

#[tokio::test]
async fn damaged_files_are_errors_or_have_as_many_rows() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let lake = lake(version).await;
        damaged_files_are_errors_or_have_their_rows(&lake, 200, ROWS).await;
    }
}

#[tokio::test]
async fn damaged_files_with_deletes_are_errors_or_have_as_many_rows() {
    let lake = lake(WriterVersion::PARQUET_2_0).await;
    let deleted: Vec<u64> = (0..ROWS as u64).filter(|row| row % 10 == 3).collect();
    lake.delete("t", &[&deleted]).await;
    damaged_files_are_errors_or_have_their_rows(&lake, 200, ROWS - deleted.len()).await;
}
