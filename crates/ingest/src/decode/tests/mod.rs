mod columnar;
mod csv;
mod infer;
mod json;
mod property;

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimeUnit};
use tempfile::TempDir;

use super::*;

/// Everything that a file gave.
pub(super) struct Outcome {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) letters: Vec<DeadLetter>,
    pub(super) report: FileReport,
}

impl Outcome {
    /// The rows as JSON lines, without the row number.
    pub(super) fn rows(&self) -> Vec<String> {
        let mut out = Vec::new();
        for batch in &self.batches {
            let columns: Vec<usize> = (0..batch.num_columns() - 1).collect();
            let batch = batch.project(&columns).unwrap();
            let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
            let mut writer = builder.build::<_, arrow_json::writer::LineDelimited>(&mut out);
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The numbers of the records that became rows.
    pub(super) fn numbers(&self) -> Vec<i64> {
        let numbers = self.batches.iter().flat_map(|batch| {
            let column = batch.column(batch.num_columns() - 1);
            column.as_primitive::<Int64Type>().values().to_vec()
        });
        numbers.collect()
    }

    /// Number, type and raw text of the dead letters.
    pub(super) fn dead(&self) -> Vec<(u64, &'static str, String)> {
        let dead = self.letters.iter().map(|letter| {
            let Coordinates::File { row, .. } = &letter.at else {
                panic!("{letter:?}")
            };
            let raw = String::from_utf8_lossy(&letter.raw).into_owned();
            (*row, letter.error_type.name(), raw)
        });
        dead.collect()
    }

    pub(super) fn offsets(&self) -> Vec<Option<u64>> {
        let offsets = self.letters.iter().map(|letter| match &letter.at {
            Coordinates::File { byte_offset, .. } => *byte_offset,
            other => panic!("{other:?}"),
        });
        offsets.collect()
    }
}

pub(super) fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, data_type, nullable)| Field::new(*name, data_type.clone(), *nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

pub(super) fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

pub(super) fn list(item: DataType, nullable: bool) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, nullable)))
}

pub(super) fn map(value: DataType) -> DataType {
    let entries = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ];
    let entries = Field::new("key_value", DataType::Struct(entries.into()), false);
    DataType::Map(Arc::new(entries), false)
}

pub(super) async fn write(bytes: &[u8]) -> (TempDir, SourceFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in put%20.file");
    std::fs::write(&path, bytes).unwrap();
    let file = source_file(&path).await;
    (folder, file)
}

pub(super) async fn source_file(path: &Path) -> SourceFile {
    let listing = FileStore::local()
        .list(path.to_str().unwrap())
        .await
        .unwrap();
    listing.files.into_iter().next().unwrap()
}

pub(super) async fn try_read(bytes: &[u8], options: ReadOptions) -> Result<Outcome> {
    let (_folder, file) = write(bytes).await;
    let options = options.with_row_number("row_number");
    let mut reader = FileReader::open(&FileStore::local(), &file, "test", &options).await?;
    let (mut batches, mut letters) = (Vec::new(), Vec::new());
    while let Some(part) = reader.next().await? {
        assert_eq!(part.batch.schema(), *reader.schema());
        batches.push(part.batch);
        letters.extend(part.dead_letters);
    }
    Ok(Outcome {
        batches,
        letters,
        report: reader.report().clone(),
    })
}

pub(super) async fn read(bytes: &[u8], options: ReadOptions) -> Outcome {
    try_read(bytes, options).await.unwrap()
}
