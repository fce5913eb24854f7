//! The limit of an append: the same rows to one Parquet file per month, with nothing around it: no
//! table, no manifests, no commit.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use arrow::array::{AsArray, BooleanArray, Int32Array, RecordBatch};
use arrow::compute::{DatePart, date_part, filter_record_batch};
use arrow::datatypes::Int32Type;
use berglake_benches::{Error, Watch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::input;
use crate::protocol::{Answer, Outcome, Setup};

/// Months since the year 0, enough to tell partitions apart.
type Month = i32;

pub struct BareParquet {
    setup: Setup,
    /// The input, decoded once: reading it is not what is measured.
    input: Option<Vec<RecordBatch>>,
}

impl BareParquet {
    pub fn new(setup: Setup) -> Self {
        Self { setup, input: None }
    }

    /// Routes the rows by month to as many writing threads as the set-up says. The months are shared
    /// out among the threads, so that each file has one writer.
    pub fn append(&mut self, folder: &Path) -> Result<Answer, Error> {
        let input = match self.input.take() {
            Some(input) => input,
            None => input::read(&self.setup.input)?,
        };
        std::fs::create_dir_all(folder)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(
                self.setup.zstd_level,
            )?))
            .set_max_row_group_row_count(Some(self.setup.row_group_rows))
            .set_dictionary_page_size_limit(self.setup.dictionary_bytes)
            .build();

        let watch = Watch::start();
        let written = std::thread::scope(|scope| {
            let mut senders = Vec::new();
            let mut writers = Vec::new();
            for _ in 0..self.setup.threads {
                // Unbounded, since batches only share their buffers with the input.
                let (sender, receiver) = channel();
                senders.push(sender);
                let properties = properties.clone();
                writers.push(scope.spawn(move || write(&receiver, folder, &properties)));
            }
            for _ in 0..self.setup.replication {
                for batch in &input {
                    route(batch, &senders)?;
                }
            }
            drop(senders);
            let mut written = 0;
            for writer in writers {
                written += writer.join().map_err(|_| "a writing thread panicked")??;
            }
            Ok::<usize, Error>(written)
        })?;
        let answer = Answer::after(&watch, Outcome::Written(written));
        self.input = Some(input);
        Ok(answer)
    }
}

fn route(batch: &RecordBatch, writers: &[Sender<(Month, RecordBatch)>]) -> Result<(), Error> {
    let dates = batch
        .column_by_name("date")
        .ok_or("the input has no column `date`")?;
    let (years, months) = (
        date_part(dates, DatePart::Year)?,
        date_part(dates, DatePart::Month)?,
    );
    let months: Int32Array = arrow::compute::binary(
        years.as_primitive::<Int32Type>(),
        months.as_primitive::<Int32Type>(),
        |year, month| year * 12 + month - 1,
    )?;
    let (Some(first), Some(last)) = (arrow::compute::min(&months), arrow::compute::max(&months))
    else {
        return Ok(());
    };
    for month in first..=last {
        let part = if first == last {
            batch.clone()
        } else {
            let selected: BooleanArray = months.iter().map(|m| Some(m == Some(month))).collect();
            filter_record_batch(batch, &selected)?
        };
        let writer = usize::try_from(month)? % writers.len();
        writers[writer]
            .send((month, part))
            .map_err(|_| "a writing thread is gone")?;
    }
    Ok(())
}

fn write(
    batches: &Receiver<(Month, RecordBatch)>,
    folder: &Path,
    properties: &WriterProperties,
) -> Result<usize, Error> {
    let mut files: BTreeMap<Month, ArrowWriter<File>> = BTreeMap::new();
    let mut written = 0;
    for (month, batch) in batches {
        let file = match files.entry(month) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let file = File::create(path(folder, month))?;
                let properties = Some(properties.clone());
                entry.insert(ArrowWriter::try_new(file, batch.schema(), properties)?)
            }
        };
        file.write(&batch)?;
        written += batch.num_rows();
    }
    for file in files.into_values() {
        file.close()?;
    }
    Ok(written)
}

fn path(folder: &Path, month: Month) -> PathBuf {
    folder.join(format!(
        "date_month={:04}-{:02}.parquet",
        month / 12,
        month % 12 + 1
    ))
}
