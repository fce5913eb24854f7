//! One Parquet file: opened, its columns mapped to the table's by field id, read as a stream.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use iceberg::spec::{DataFile, DataFileFormat, NameMapping, NestedFieldRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::{ParquetObjectReader, ParquetRecordBatchStreamBuilder};
use parquet::arrow::{ProjectionMask, RowNumber, parquet_to_arrow_schema};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::missing::{self, IdentityValues};
use super::{CheckedParquet, names, reshape};
use crate::schema::{field_id, to_arrow_type};
use crate::storage::{Location, Storage};
use crate::{Error, Result};

/// Memory that is reserved for a batch of one column of fixed length, at most, as long as a row of it
/// is not longer.
const WIDE: usize = 256 * 1024 * 1024;
/// Memory for such a batch where its rows cannot be fewer.
const WIDEST: u64 = 4 * 1024 * 1024 * 1024;
/// The reader's own name for row numbers; no column of a table can meet it, they are found by id.
const ROW_NUMBER: &str = "_pos";

/// A Parquet file whose footer was read.
pub(crate) struct ParquetFile {
    path: String,
    input: CheckedParquet<ParquetObjectReader>,
    footer: ArrowReaderMetadata,
    /// The row groups that are read, in file order; all where none are named.
    groups: Option<Vec<usize>>,
}

/// A column that is wanted, in Iceberg's and in Arrow's form.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) field: NestedFieldRef,
    pub(crate) arrow: FieldRef,
}

impl Wanted {
    pub(crate) fn new(field: &NestedFieldRef) -> Result<Self> {
        let ty = to_arrow_type(&field.field_type, &field.name)?;
        let metadata = HashMap::from([(
            parquet::arrow::PARQUET_FIELD_ID_META_KEY.to_string(),
            field.id.to_string(),
        )]);
        let arrow = Field::new(&field.name, ty, !field.required).with_metadata(metadata);
        Ok(Self {
            field: field.clone(),
            arrow: Arc::new(arrow),
        })
    }
}

/// What fills columns that a file does not have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fallbacks {
    pub(crate) partition: IdentityValues,
    /// Ids for files without ids.
    pub(crate) names: Option<Arc<NameMapping>>,
}

/// Rows of a file: the wanted columns in their order, and the rows' positions in the file.
pub(crate) struct Rows {
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) positions: Int64Array,
}

/// Whether a file is of a form that is read, before its bytes look like those of a damaged one.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for files of ORC and Avro, and for encrypted ones.
pub fn check_form(file: &DataFile) -> Result<()> {
    let refused = match file.file_format() {
        DataFileFormat::Parquet if file.key_metadata().is_none() => return Ok(()),
        DataFileFormat::Parquet => "encrypted files are not read".to_string(),
        format => format!("files of the format {format} are not read"),
    };
    Err(Error::unsupported(refused).with("path", file.file_path()))
}

/// Whether a file's footer counts as many rows as the manifest. One that does not is that of a damaged
/// file, or the manifest is damaged: rows, or deletes, would be lost.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) with the file's path.
pub fn check_rows(footer: &ParquetMetaData, file: &DataFile) -> Result<()> {
    let groups = footer.row_groups();
    let counts: Vec<i64> = groups.iter().map(|group| group.num_rows()).collect();
    let found = counts.iter().try_fold(0u64, |sum, rows| {
        sum.checked_add(u64::try_from(*rows).ok()?)
    });
    if found == Some(file.record_count()) {
        return Ok(());
    }
    Err(
        Error::corrupt("the file has another number of rows than its manifest records")
            .with("path", file.file_path())
            .with("recorded", file.record_count())
            .with("row-groups", format!("{counts:?}")),
    )
}

/// Whether a batch of this many rows can be had of each column with values of fixed length. The decoder of
/// Parquet reserves memory for the whole batch by the length that the footer gives, which may be damaged.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported), with the column, for what takes more than 4 GiB.
pub fn check_widths(footer: &ParquetMetaData, batch_rows: usize) -> Result<()> {
    let columns = footer.file_metadata().schema_descr().columns().iter();
    for column in columns.filter(|column| is_fixed(column)) {
        let width = u64::try_from(column.type_length()).unwrap_or(u64::MAX);
        if width.saturating_mul(batch_rows as u64) > WIDEST {
            return Err(Error::unsupported(
                "a column has values of a fixed length that is too great",
            )
            .with("column", column.path().string())
            .with("length", column.type_length()));
        }
    }
    Ok(())
}

fn is_fixed(column: &ColumnDescPtr) -> bool {
    column.physical_type() == PhysicalType::FIXED_LEN_BYTE_ARRAY
}

/// The text that all rows of a column chunk have, if its statistics say it.
fn only_text(chunk: &ColumnChunkMetaData) -> Option<&str> {
    match chunk.statistics()? {
        Statistics::ByteArray(bounds)
            if bounds.null_count_opt() == Some(0)
                && bounds.min_is_exact()
                && bounds.max_is_exact()
                && bounds.min_opt() == bounds.max_opt() =>
        {
            bounds.min_opt()?.as_utf8().ok()
        }
        _ => None,
    }
}

impl ParquetFile {
    /// Reads the footer.
    pub(crate) async fn open(storage: &Storage, file: &DataFile) -> Result<Self> {
        let path = file.file_path().to_string();
        check_form(file)?;
        let location = Location::parse(&path).map_err(|error| error.with("path", &path))?;
        let size = file.file_size_in_bytes();
        match Self::read_footer(storage, &location, size).await {
            Ok((input, footer)) => {
                let opened = Self {
                    path,
                    input,
                    footer,
                    groups: None,
                };
                check_rows(opened.footer.metadata(), file)?;
                Ok(opened)
            }
            // A wrong size in the metadata and a truncated file look alike to the decoder.
            Err(error) => Err(match storage.head(&location).await {
                Ok(info) if info.size != size => {
                    Error::corrupt("the file does not have the size that its manifest records")
                        .with("path", &path)
                        .with("recorded", size)
                        .with("found", info.size)
                        .source_error(error)
                }
                Err(gone) if gone.kind() == crate::ErrorKind::NotFound => gone,
                _ => failure(error, &path),
            }),
        }
    }

    pub(crate) async fn read_footer(
        storage: &Storage,
        location: &Location,
        size: u64,
    ) -> Result<(CheckedParquet<ParquetObjectReader>, ArrowReaderMetadata), ParquetError> {
        let outer = |error: Error| ParquetError::External(Box::new(error));
        let store = storage.store(location.root()).map_err(outer)?;
        let path = location.object_path().map_err(outer)?;
        let input = ParquetObjectReader::new(store, path).with_file_size(size);
        let mut input = CheckedParquet::new(input, size, None);
        let row_number =
            Field::new(ROW_NUMBER, DataType::Int64, false).with_extension_type(RowNumber);
        // Embedded Arrow schemas are left aside: types follow from Parquet's own, whoever wrote it.
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_virtual_columns(vec![Arc::new(row_number)])?;
        let footer = input.load_footer().await?;
        let options = match in_microseconds(footer.file_metadata().schema_descr())? {
            Some(schema) => options.with_schema(schema),
            None => options,
        };
        Ok((input, ArrowReaderMetadata::try_new(footer, options)?))
    }

    /// Leaves of the file the row groups that begin in these bytes. Ranges that lie end to end have each
    /// row group once.
    pub(crate) fn within(&mut self, range: &Range<u64>) {
        let groups = self.footer.metadata().row_groups().iter().enumerate();
        let begins = |group: &RowGroupMetaData| {
            let column = group.columns().first()?;
            let offset = column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset());
            u64::try_from(offset).ok()
        };
        let within = groups
            // One without columns has nothing to read, but it has rows.
            .filter(|(_, group)| range.contains(&begins(group).unwrap_or_default()))
            .map(|(at, _)| at);
        self.groups = Some(within.collect());
    }

    /// The sizes of the row groups in file order.
    pub(crate) fn row_counts(&self) -> Vec<u64> {
        let groups = self.footer.metadata().row_groups();
        groups
            .iter()
            .map(|group| u64::try_from(group.num_rows()).unwrap_or_default())
            .collect()
    }

    /// The text that all rows have in this column, if the footer says it: in each row group the least and
    /// the greatest value are the same, neither was cut, and no value is NULL.
    pub(crate) fn only_text(&self, column: &Wanted, fallbacks: &Fallbacks) -> Option<&str> {
        let fields = self.ids(fallbacks)?.give(&self.own_fields());
        let (leaf, _) = find(&fields, column.field.id)?;
        let mut groups = self.footer.metadata().row_groups().iter();
        let first = only_text(groups.next()?.column(leaf))?;
        groups
            .all(|group| only_text(group.column(leaf)) == Some(first))
            .then_some(first)
    }

    /// The file's own columns. The schema of the footer may have the row numbers behind them.
    fn own_fields(&self) -> Fields {
        let parquet = self.footer.parquet_schema().root_schema();
        self.footer.schema().fields()[..parquet.get_fields().len()].into()
    }

    fn ids(&self, fallbacks: &Fallbacks) -> Option<Ids> {
        match names::has_ids(&self.own_fields()) {
            true => Some(Ids::InFile),
            false => fallbacks.names.clone().map(Ids::Mapped),
        }
    }

    /// Reads the wanted columns of the rows that the selections leave.
    pub(crate) fn rows(
        self,
        wanted: &[Wanted],
        fallbacks: &Fallbacks,
        selections: Option<Vec<Option<RowSelection>>>,
        batch_size: usize,
    ) -> Result<BoxStream<'static, Result<Rows>>> {
        let no_ids = || names::no_ids().with("path", &self.path);
        let ids = self.ids(fallbacks).ok_or_else(no_ids)?;
        let fields = self.own_fields();
        let fields = ids.give(&fields);

        let mut leaves = HashSet::new();
        for column in wanted {
            if let Some((first, field)) = find(&fields, column.field.id) {
                needed(field, &column.arrow, first, &mut leaves);
            }
        }
        let Self {
            path,
            input,
            footer,
            groups,
            ..
        } = self;
        // The reader reserves memory for a batch of such values before it sees how many there are.
        let widest = leaves
            .iter()
            .map(|leaf| footer.parquet_schema().column(*leaf))
            .filter(is_fixed)
            .filter_map(|column| usize::try_from(column.type_length()).ok())
            .max();
        let batch_size = batch_size.min(WIDE / widest.unwrap_or_default().max(1));
        let mask = ProjectionMask::leaves(footer.parquet_schema(), leaves);
        let all = footer.metadata().row_groups();
        let groups = groups.unwrap_or_else(|| (0..all.len()).collect());
        let row_counts: Vec<i64> = groups.iter().map(|at| all[*at].num_rows()).collect();
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(input, footer)
            .with_batch_size(batch_size.max(1))
            .with_projection(mask);
        let mut expected: u64 = row_counts
            .iter()
            .map(|rows| u64::try_from(*rows).unwrap_or_default())
            .sum();
        if let Some(mut selections) = selections {
            let of_groups = groups
                .iter()
                .map(|at| selections.get_mut(*at).and_then(Option::take));
            let selection = whole(of_groups, &row_counts);
            expected = selection.row_count() as u64;
            builder = builder.with_row_selection(selection);
        }
        builder = builder.with_row_groups(groups);
        let stream = builder.build().map_err(|error| failure(error, &path))?;
        let mapper = Mapper {
            path: path.clone(),
            ids,
            wanted: wanted.to_vec(),
            partition: fallbacks.partition.clone(),
        };
        let rows = stream.map(move |batch| match batch {
            Ok(batch) => mapper
                .map(&batch)
                .map_err(|error| error.with("path", &mapper.path)),
            Err(error) => Err(failure(error, &mapper.path)),
        });
        Ok(counted(rows, expected, path).boxed())
    }
}

/// Where field ids come from.
enum Ids {
    InFile,
    Mapped(Arc<NameMapping>),
}

impl Ids {
    fn give(&self, fields: &Fields) -> Fields {
        match self {
            Self::InFile => fields.clone(),
            Self::Mapped(mapping) => names::with_ids(fields, &names::top_level(mapping)),
        }
    }
}

/// Turns batches of a file into the wanted columns.
struct Mapper {
    path: String,
    ids: Ids,
    wanted: Vec<Wanted>,
    partition: IdentityValues,
}

impl Mapper {
    fn map(&self, batch: &RecordBatch) -> Result<Rows> {
        let schema = batch.schema();
        let (fields, arrays) = (schema.fields(), batch.columns());
        let positions = arrays
            .last()
            .and_then(|array| array.as_any().downcast_ref::<Int64Array>())
            .ok_or_else(|| Error::internal("the reader gave no row numbers"))?
            .clone();
        let fields = self.ids.give(&file_columns(fields));
        let columns = self
            .wanted
            .iter()
            .map(|column| {
                let at = fields
                    .iter()
                    .position(|field| field_id(field) == Some(column.field.id));
                match at {
                    Some(at) => {
                        reshape::reshape_to(&arrays[at], &fields[at], &column.arrow, &column.field)
                    }
                    None => missing::fill(
                        &column.field,
                        column.arrow.data_type(),
                        &self.partition,
                        batch.num_rows(),
                    ),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Rows { columns, positions })
    }
}

/// The rows, and an error behind them if they were not as many as expected: pages that were damaged
/// may end early.
fn counted(
    rows: impl Stream<Item = Result<Rows>> + Send + 'static,
    expected: u64,
    path: String,
) -> impl Stream<Item = Result<Rows>> + Send + 'static {
    let state = (Box::pin(rows), Some((0, path)));
    stream::unfold(state, move |(mut rows, counted)| async move {
        // Nothing is counted any more after an error.
        match (rows.next().await, counted) {
            (Some(Ok(batch)), counted) => {
                let more = batch.positions.len() as u64;
                let counted = counted.map(|(count, path)| (count + more, path));
                Some((Ok(batch), (rows, counted)))
            }
            (Some(Err(error)), _) => Some((Err(error), (rows, None))),
            (None, Some((found, path))) if found != expected => {
                let error =
                    Error::corrupt("the file has another number of rows than its footer says")
                        .with("path", path)
                        .with("expected", expected)
                        .with("found", found);
                Some((Err(error), (rows, None)))
            }
            (None, _) => None,
        }
    })
}

/// The file's own columns: the row number stands behind them.
fn file_columns(fields: &Fields) -> Fields {
    let own = fields.len().saturating_sub(1);
    fields.iter().take(own).cloned().collect()
}

/// The columns with timestamps of 96 bits in microseconds, if there are such. Arrow takes nanoseconds for
/// them unless it is told otherwise, which reach from 1677 to 2262 alone, and wraps around.
fn in_microseconds(schema: &SchemaDescriptor) -> Result<Option<SchemaRef>, ParquetError> {
    fn shortened(field: &FieldRef, schema: &SchemaDescriptor, leaf: &mut usize) -> FieldRef {
        let mut inside = |field: &FieldRef| shortened(field, schema, leaf);
        let ty = match field.data_type() {
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
            DataType::List(element) => DataType::List(inside(element)),
            DataType::Map(entries, sorted) => DataType::Map(inside(entries), *sorted),
            other => {
                let own = schema.column(*leaf).physical_type();
                *leaf += 1;
                match own {
                    PhysicalType::INT96 => DataType::Timestamp(TimeUnit::Microsecond, None),
                    _ => other.clone(),
                }
            }
        };
        Arc::new(field.as_ref().clone().with_data_type(ty))
    }
    let mut columns = schema.columns().iter();
    if !columns.any(|column| column.physical_type() == PhysicalType::INT96) {
        return Ok(None);
    }
    let mut leaf = 0;
    let fields = parquet_to_arrow_schema(schema, None)?;
    let fields = fields.fields().iter();
    let fields: Fields = fields
        .map(|field| shortened(field, schema, &mut leaf))
        .collect();
    Ok(Some(Arc::new(Schema::new(fields))))
}

/// The top-level field with this id, and the index of its first leaf.
fn find(fields: &Fields, id: i32) -> Option<(usize, &FieldRef)> {
    let mut first = 0;
    for field in fields {
        if field_id(field) == Some(id) {
            return Some((first, field));
        }
        first += leaf_count(field);
    }
    None
}

fn leaf_count(field: &Field) -> usize {
    children(field).map_or(1, |children| {
        children.iter().map(|child| leaf_count(child)).sum()
    })
}

fn children(field: &Field) -> Option<Fields> {
    match field.data_type() {
        DataType::Struct(fields) => Some(fields.clone()),
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => Some(Fields::from(vec![inner.clone()])),
        _ => None,
    }
}

/// Adds the leaves of a file's field that the wanted field needs. Leaves are counted in depth-first
/// order, as Parquet does.
fn needed(have: &Field, want: &Field, first: usize, leaves: &mut HashSet<usize>) {
    let all = |leaves: &mut HashSet<usize>| leaves.extend(first..first + leaf_count(have));
    match (have.data_type(), want.data_type()) {
        (DataType::Struct(have), DataType::Struct(want)) => {
            let before = leaves.len();
            let mut at = first;
            for field in have {
                let wanted = want
                    .iter()
                    .find(|want| field_id(want).is_some() && field_id(want) == field_id(field));
                if let Some(wanted) = wanted {
                    needed(field, wanted, at, leaves);
                }
                at += leaf_count(field);
            }
            if leaves.len() == before {
                // None of its fields is wanted; one is still needed to tell where the struct is NULL.
                leaves.insert(first);
            }
        }
        (
            DataType::List(have) | DataType::LargeList(have) | DataType::FixedSizeList(have, _),
            DataType::List(want),
        ) => needed(have, want, first, leaves),
        (DataType::Map(have_entries, _), DataType::Map(want_entries, _)) => {
            match (have_entries.data_type(), want_entries.data_type()) {
                (DataType::Struct(have), DataType::Struct(want))
                    if have.len() == 2 && want.len() == 2 =>
                {
                    // Keys are always read whole: a map without them is none.
                    let keys = leaf_count(&have[0]);
                    leaves.extend(first..first + keys);
                    needed(&have[1], &want[1], first + keys, leaves);
                }
                _ => all(leaves),
            }
        }
        _ => all(leaves),
    }
}

/// One selection over the whole file.
fn whole(
    selections: impl Iterator<Item = Option<RowSelection>>,
    row_counts: &[i64],
) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    for (selection, rows) in selections.zip(row_counts) {
        match selection {
            Some(selection) => selectors.extend(Vec::<RowSelector>::from(selection)),
            None => selectors.push(RowSelector::select(
                usize::try_from(*rows).unwrap_or_default(),
            )),
        }
    }
    RowSelection::from(selectors)
}

/// A Parquet error as ours: what the store says stays what it is, the rest is a corrupt file.
fn failure(error: ParquetError, path: &str) -> Error {
    let error = match error {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(store) => Error::from(*store),
            Err(other) => match other.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::corrupt("the Parquet file cannot be read").source_error(other),
            },
        },
        error => Error::corrupt("the Parquet file cannot be read").source_error(error),
    };
    error.with("path", path)
}
