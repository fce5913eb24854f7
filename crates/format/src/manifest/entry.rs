//! Entries of manifests, taken from their bytes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, Literal, ManifestContentType,
    ManifestEntry, ManifestFile, ManifestStatus, PrimitiveLiteral, PrimitiveType, Struct,
};
use uuid::Uuid;

use super::decoder::{Decoder, EntryField, FileField, PartitionValue};
use super::values::{
    bytes, count, impossible, int, list, long, narrow, required, text, unexpected, utf8,
};
use crate::avro::{Block, Form, Input, Shape};
use crate::{Error, Result};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Of which columns an entry has sizes, counts and bounds.
#[derive(Debug, Clone, Default)]
pub(crate) enum Metrics {
    /// Of all.
    #[default]
    All,
    /// Of these, by field id. The others are skipped, which is faster and needs less memory.
    Of(Arc<BTreeSet<i32>>),
}

impl Metrics {
    #[inline]
    fn wants(&self, column: i32) -> bool {
        match self {
            Self::All => true,
            Self::Of(columns) => columns.contains(&column),
        }
    }

    fn none(&self) -> bool {
        matches!(self, Self::Of(columns) if columns.is_empty())
    }
}

/// Takes the entries of one manifest, with what they inherit from its line in the manifest list
/// (specification, "Manifest Entry Fields", "Sequence Number Inheritance", "First Row ID Inheritance").
pub(super) struct Entries<'a> {
    decoder: &'a Decoder,
    manifest: &'a ManifestFile,
    metrics: &'a Metrics,
    next_row_id: Option<i64>,
    /// How many columns the file before had in each of [`Kept`].
    columns: [usize; 6],
}

/// What is kept by column.
#[derive(Clone, Copy)]
enum Kept {
    Sizes,
    Values,
    Nulls,
    Nans,
    Lower,
    Upper,
}

/// The fields of an entry beside its file.
#[derive(Default)]
struct Numbers {
    status: Option<ManifestStatus>,
    snapshot_id: Option<i64>,
    sequence_number: Option<i64>,
    file_sequence_number: Option<i64>,
}

/// What of a file decides about its row ids.
struct Rows {
    content: DataContentType,
    count: u64,
    first_id: Option<i64>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(
        decoder: &'a Decoder,
        manifest: &'a ManifestFile,
        metrics: &'a Metrics,
    ) -> Result<Self> {
        let next_row_id = match manifest.first_row_id {
            Some(first) if manifest.content == ManifestContentType::Data => Some(
                i64::try_from(first)
                    .map_err(|_| Error::corrupt("the manifest's first row id is out of range"))?,
            ),
            _ => None,
        };
        Ok(Self {
            decoder,
            manifest,
            metrics,
            next_row_id,
            columns: [0; 6],
        })
    }

    /// Takes the entries of a block, those of deleted files too.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt), without the path, and what `each` returns.
    pub(super) fn take(
        &mut self,
        block: &Block,
        mut each: impl FnMut(ManifestEntry) -> Result<()>,
    ) -> Result<()> {
        block.values(|input| each(self.entry(input)?))
    }

    fn entry(&mut self, input: &mut Input<'_>) -> Result<ManifestEntry> {
        let decoder = self.decoder;
        let mut numbers = Numbers::default();
        let mut file = None;
        for (field, shape) in &decoder.fields {
            match field {
                EntryField::Status => {
                    let status = required(int(input, shape)?, "status")?;
                    let status = ManifestStatus::try_from(status);
                    numbers.status = Some(status.map_err(impossible)?);
                }
                EntryField::SnapshotId => numbers.snapshot_id = long(input, shape)?,
                EntryField::SequenceNumber => numbers.sequence_number = long(input, shape)?,
                EntryField::FileSequenceNumber => {
                    numbers.file_sequence_number = long(input, shape)?;
                }
                EntryField::File(fields) => file = Some(self.file(fields, input)?),
                EntryField::Other => input.skip(shape)?,
            }
        }
        let status = required(numbers.status, "status")?;
        let (mut file, rows) = required(file, "data_file")?;
        if let Some(next) = self.next_row_id
            && status != ManifestStatus::Deleted
            && rows.content == DataContentType::Data
            && rows.first_id.is_none()
        {
            // Files that have a first row id do not advance the count.
            file.first_row_id(Some(next));
            self.next_row_id = Some(next.saturating_add_unsigned(rows.count));
        }
        let file = file.build().map_err(|error| {
            Error::corrupt("an entry of the manifest lacks a field of its file").source_error(error)
        })?;
        Ok(self.inherited(status, &numbers, file))
    }

    fn inherited(
        &self,
        status: ManifestStatus,
        numbers: &Numbers,
        file: iceberg::spec::DataFile,
    ) -> ManifestEntry {
        let own = self.manifest.sequence_number;
        let inherits = status == ManifestStatus::Added || own == 0;
        let number = |number: Option<i64>| match number {
            _ if self.decoder.is_v1 => Some(0),
            None if inherits => Some(own),
            number => number,
        };
        ManifestEntry::builder()
            .status(status)
            .snapshot_id(
                numbers
                    .snapshot_id
                    .unwrap_or(self.manifest.added_snapshot_id),
            )
            .sequence_number_opt(number(numbers.sequence_number))
            .file_sequence_number_opt(number(numbers.file_sequence_number))
            .data_file(file)
            .build()
    }

    fn file(
        &mut self,
        fields: &[(FileField, Arc<Shape>)],
        input: &mut Input<'_>,
    ) -> Result<(DataFileBuilder, Rows)> {
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data)
            .partition_spec_id(self.decoder.spec_id);
        let mut rows = Rows {
            content: DataContentType::Data,
            count: 0,
            first_id: None,
        };
        for (field, shape) in fields {
            match field {
                FileField::Content => {
                    let content = int(input, shape)?.unwrap_or_default();
                    rows.content = content.try_into().map_err(impossible)?;
                    file.content(rows.content);
                }
                FileField::Path => {
                    // No place is none.
                    let path = text(input, shape)?.filter(|path| !path.is_empty());
                    file.file_path(required(path, "file_path")?.to_string());
                }
                FileField::Format => {
                    let format = required(text(input, shape)?, "file_format")?;
                    let format: DataFileFormat = format.parse().map_err(impossible)?;
                    file.file_format(format);
                }
                FileField::Partition(values) => {
                    file.partition(self.partition(values, input)?);
                }
                FileField::RecordCount => {
                    rows.count = count(input, shape, "record_count")?;
                    file.record_count(rows.count);
                }
                FileField::Size => {
                    file.file_size_in_bytes(count(input, shape, "file_size_in_bytes")?);
                }
                FileField::ColumnSizes => {
                    file.column_sizes(self.counts(Kept::Sizes, input, shape)?);
                }
                FileField::ValueCounts => {
                    file.value_counts(self.counts(Kept::Values, input, shape)?);
                }
                FileField::NullValueCounts => {
                    file.null_value_counts(self.counts(Kept::Nulls, input, shape)?);
                }
                FileField::NanValueCounts => {
                    file.nan_value_counts(self.counts(Kept::Nans, input, shape)?);
                }
                FileField::LowerBounds => {
                    file.lower_bounds(self.bounds(Kept::Lower, input, shape)?);
                }
                FileField::UpperBounds => {
                    file.upper_bounds(self.bounds(Kept::Upper, input, shape)?);
                }
                FileField::KeyMetadata => {
                    file.key_metadata(bytes(input, shape)?.map(<[u8]>::to_vec));
                }
                FileField::SplitOffsets => {
                    file.split_offsets(list(input, shape, Ok)?);
                }
                FileField::EqualityIds => {
                    file.equality_ids(list(input, shape, narrow)?);
                }
                FileField::SortOrder => {
                    if let Some(order) = int(input, shape)? {
                        file.sort_order_id(order);
                    }
                }
                FileField::FirstRowId => {
                    rows.first_id = long(input, shape)?;
                    file.first_row_id(rows.first_id);
                }
                FileField::ReferencedDataFile => {
                    file.referenced_data_file(text(input, shape)?.map(str::to_string));
                }
                FileField::ContentOffset => {
                    file.content_offset(long(input, shape)?);
                }
                FileField::ContentSize => {
                    file.content_size_in_bytes(long(input, shape)?);
                }
                FileField::Other => input.skip(shape)?,
            }
        }
        Ok((file, rows))
    }

    fn partition(&self, values: &[PartitionValue], input: &mut Input<'_>) -> Result<Struct> {
        let mut partition = vec![None; self.decoder.partition_fields];
        for value in values {
            let Some(place) = value.place else {
                input.skip(&value.shape)?;
                continue;
            };
            partition[place] = literal(input, &value.shape, value.ty.as_ref())?;
        }
        Ok(partition.into_iter().collect())
    }

    /// A count of each column. What cannot be a count is left out.
    fn counts(
        &mut self,
        kept: Kept,
        input: &mut Input<'_>,
        shape: &Shape,
    ) -> Result<HashMap<i32, u64>> {
        if self.metrics.none() {
            input.skip(shape)?;
            return Ok(HashMap::new());
        }
        let mut counts = HashMap::with_capacity(self.columns[kept as usize]);
        columns(input, shape, |input, column, value| {
            let count = long(input, value)?.and_then(|count| u64::try_from(count).ok());
            if let Some(count) = count
                && self.metrics.wants(column)
            {
                counts.insert(column, count);
            }
            Ok(())
        })?;
        self.columns[kept as usize] = counts.len();
        Ok(counts)
    }

    /// A bound of each column (specification, "Appendix D: Single-value serialization").
    fn bounds(
        &mut self,
        kept: Kept,
        input: &mut Input<'_>,
        shape: &Shape,
    ) -> Result<HashMap<i32, Datum>> {
        if self.metrics.none() {
            input.skip(shape)?;
            return Ok(HashMap::new());
        }
        let mut bounds = HashMap::with_capacity(self.columns[kept as usize]);
        columns(input, shape, |input, column, value| {
            let bound = bytes(input, value)?;
            if let Some(bound) = bound
                && self.metrics.wants(column)
                && let Some(ty) = self.decoder.ty(column)
            {
                let bound = datum(bound, ty).map_err(|error| error.with("column", column))?;
                bounds.insert(column, bound);
            }
            Ok(())
        })?;
        self.columns[kept as usize] = bounds.len();
        Ok(bounds)
    }
}

fn datum(bytes: &[u8], ty: PrimitiveType) -> Result<Datum> {
    let days = |bytes: &[u8]| {
        let days = i32::from_le_bytes(bytes.try_into().ok()?);
        Some(i64::from(days))
    };
    // A date may have become a timestamp.
    let widened = match ty {
        PrimitiveType::Timestamp => days(bytes).map(|days| (days * DAY).to_le_bytes()),
        PrimitiveType::TimestampNs => days(bytes)
            .and_then(|days| (days * DAY).checked_mul(1_000))
            .map(i64::to_le_bytes),
        _ => None,
    };
    let bytes = widened.as_ref().map_or(bytes, |bytes| &bytes[..]);
    Datum::try_from_bytes(bytes, ty)
        .map_err(|error| Error::corrupt("a bound is none of its column's type").source_error(error))
}

/// Whatever is kept by column: an array of pairs of a column's id and a value.
fn columns(
    input: &mut Input<'_>,
    shape: &Shape,
    mut each: impl FnMut(&mut Input<'_>, i32, &Shape) -> Result<()>,
) -> Result<()> {
    let shape = input.variant(shape)?;
    let item = match &shape.form {
        Form::Null => return Ok(()),
        Form::Array(item) => item,
        _ => return Err(unexpected("an array of pairs")),
    };
    let Form::Record(fields) = &item.form else {
        return Err(unexpected("an array of pairs"));
    };
    let [key, value] = fields.as_slice() else {
        return Err(unexpected("an array of pairs"));
    };
    input.items(|input| {
        let column = required(int(input, &key.shape)?, "key")?;
        each(input, column, &value.shape)
    })
}

fn literal(
    input: &mut Input<'_>,
    shape: &Shape,
    ty: Option<&PrimitiveType>,
) -> Result<Option<Literal>> {
    use PrimitiveType as T;
    let shape = input.variant(shape)?;
    let value = match &shape.form {
        Form::Null => return Ok(None),
        Form::Boolean => PrimitiveLiteral::Boolean(input.array::<1>()? != [0]),
        Form::Int | Form::Long => {
            let value = input.long()?;
            let is_narrow = match ty {
                Some(T::Int | T::Date) => true,
                None => matches!(shape.form, Form::Int),
                Some(_) => false,
            };
            if is_narrow {
                PrimitiveLiteral::Int(narrow(value)?)
            } else {
                PrimitiveLiteral::Long(value)
            }
        }
        Form::Float => {
            let value = f32::from_le_bytes(input.array()?);
            match ty {
                Some(T::Double) => PrimitiveLiteral::Double(f64::from(value).into()),
                _ => PrimitiveLiteral::Float(value.into()),
            }
        }
        Form::Double => PrimitiveLiteral::Double(f64::from_le_bytes(input.array()?).into()),
        Form::String => {
            let value = utf8(input.bytes()?)?;
            match ty {
                Some(T::Uuid) => {
                    let uuid = Uuid::parse_str(value).map_err(|error| {
                        Error::corrupt("a partition value is no UUID").source_error(error)
                    })?;
                    PrimitiveLiteral::UInt128(uuid.as_u128())
                }
                _ => PrimitiveLiteral::String(value.to_string()),
            }
        }
        Form::Bytes => binary(input.bytes()?, ty)?,
        Form::Fixed(length) => binary(input.take(*length)?, ty)?,
        Form::Enum | Form::Array(_) | Form::Map(_) | Form::Union(_) | Form::Record(_) => {
            return Err(unexpected("a primitive value"));
        }
    };
    let fits = ty.is_none_or(|ty| ty.compatible(&value));
    if !fits {
        return Err(Error::corrupt(
            "a partition value is of another type than its partition field",
        ));
    }
    Ok(Some(Literal::Primitive(value)))
}

fn binary(bytes: &[u8], ty: Option<&PrimitiveType>) -> Result<PrimitiveLiteral> {
    let corrupt = || {
        Error::corrupt("a partition value has another length than its type")
            .with("length", bytes.len())
    };
    Ok(match ty {
        Some(PrimitiveType::Uuid) => {
            let bytes = bytes.try_into().map_err(|_| corrupt())?;
            PrimitiveLiteral::UInt128(u128::from_be_bytes(bytes))
        }
        Some(PrimitiveType::Decimal { .. }) => {
            if bytes.is_empty() || bytes.len() > 16 {
                return Err(corrupt());
            }
            let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xFF };
            let mut whole = [sign; 16];
            whole[16 - bytes.len()..].copy_from_slice(bytes);
            PrimitiveLiteral::Int128(i128::from_be_bytes(whole))
        }
        Some(PrimitiveType::Fixed(length)) if *length != bytes.len() as u64 => {
            return Err(corrupt());
        }
        _ => PrimitiveLiteral::Binary(bytes.to_vec()),
    })
}
