//! One value of an Arrow array as JSON and as text.
//!
//! | type | JSON | text |
//! |---|---|---|
//! | integers | number | digits |
//! | floats | number; NaN and infinities as string | shortest digits that read back |
//! | decimals | string | digits |
//! | date, time, timestamp | string, ISO 8601, `Z` where it is an instant | the same |
//! | binary | string, base64 | the same |
//! | uuid | string, 8-4-4-4-12 hexadecimal digits | the same |
//! | list, struct, map | array, object, object or array of `{key, value}` | their JSON |

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use berglake_format::schema::is_uuid;
use berglake_format::{Error, Result};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

/// How dates and times are written. The `Z` is true of times in UTC alone.
fn options() -> FormatOptions<'static> {
    FormatOptions::new()
        .with_date_format(Some("%Y-%m-%d"))
        .with_time_format(Some("%H:%M:%S%.f"))
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"))
}

/// One value of a column, as it is serialised.
#[derive(Clone, Copy)]
pub struct Cell<'a> {
    /// The column's field, or the part of its type that the value belongs to.
    pub field: &'a Field,
    /// The column.
    pub array: &'a ArrayRef,
    /// The row in it.
    pub row: usize,
}

impl Cell<'_> {
    /// The value as text, for tables and CSV; none for NULL.
    ///
    /// # Errors
    /// [`Corrupt`](berglake_format::ErrorKind::Corrupt) for a value that its type does not allow.
    pub fn text(self) -> Result<Option<String>> {
        let Self { array, row, .. } = self;
        if array.is_null(row) {
            return Ok(None);
        }
        let text = match array.data_type() {
            DataType::Null => return Ok(None),
            DataType::Utf8 => array.as_string::<i32>().value(row).to_string(),
            DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_string(),
            DataType::Utf8View => array.as_string_view().value(row).to_string(),
            _ => {
                let json = serde_json::to_string(&self).map_err(unprintable)?;
                if json.starts_with('"') {
                    serde_json::from_str(&json).map_err(unprintable)?
                } else {
                    json
                }
            }
        };
        Ok(Some(text))
    }
}

fn unprintable(error: serde_json::Error) -> Error {
    Error::corrupt("a value cannot be printed").source_error(error)
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { field, array, row } = *self;
        if array.is_null(row) {
            return serializer.serialize_unit();
        }
        macro_rules! number {
            ($type:ty) => {
                array
                    .as_primitive::<$type>()
                    .value(row)
                    .serialize(serializer)
            };
        }
        match array.data_type() {
            DataType::Null => serializer.serialize_unit(),
            DataType::Boolean => serializer.serialize_bool(array.as_boolean().value(row)),
            DataType::Int8 => number!(Int8Type),
            DataType::Int16 => number!(Int16Type),
            DataType::Int32 => number!(Int32Type),
            DataType::Int64 => number!(Int64Type),
            DataType::UInt8 => number!(UInt8Type),
            DataType::UInt16 => number!(UInt16Type),
            DataType::UInt32 => number!(UInt32Type),
            DataType::UInt64 => number!(UInt64Type),
            DataType::Float16 => float(
                array.as_primitive::<Float16Type>().value(row).to_f64(),
                serializer,
            ),
            DataType::Float32 => {
                let value = array.as_primitive::<Float32Type>().value(row);
                if value.is_finite() {
                    // As a double it would need more digits to read back as the same number.
                    serializer.serialize_f32(value)
                } else {
                    float(f64::from(value), serializer)
                }
            }
            DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row), serializer),
            DataType::Utf8 => serializer.serialize_str(array.as_string::<i32>().value(row)),
            DataType::LargeUtf8 => serializer.serialize_str(array.as_string::<i64>().value(row)),
            DataType::Utf8View => serializer.serialize_str(array.as_string_view().value(row)),
            DataType::Binary => bytes(array.as_binary::<i32>().value(row), serializer),
            DataType::LargeBinary => bytes(array.as_binary::<i64>().value(row), serializer),
            DataType::BinaryView => bytes(array.as_binary_view().value(row), serializer),
            DataType::FixedSizeBinary(_) => {
                let value = array.as_fixed_size_binary().value(row);
                match uuid(field, value) {
                    Some(text) => serializer.serialize_str(&text),
                    None => bytes(value, serializer),
                }
            }
            DataType::List(item) => list(item, &array.as_list::<i32>().value(row), serializer),
            DataType::LargeList(item) => list(item, &array.as_list::<i64>().value(row), serializer),
            DataType::FixedSizeList(item, _) => {
                list(item, &array.as_fixed_size_list().value(row), serializer)
            }
            DataType::Struct(fields) => {
                let mut object = serializer.serialize_map(Some(fields.len()))?;
                for (field, array) in fields.iter().zip(array.as_struct().columns()) {
                    object.serialize_entry(field.name(), &Cell { field, array, row })?;
                }
                object.end()
            }
            DataType::Map(..) => map(&array.as_map().value(row), serializer),
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                let row = dictionary.normalized_keys()[row];
                let array = dictionary.values();
                Cell { field, array, row }.serialize(serializer)
            }
            DataType::Timestamp(unit, Some(zone)) if !is_utc(zone) => {
                // The value is an instant; another zone is only another way to show it.
                let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
                let instant = cast(&array.slice(row, 1), &utc).map_err(S::Error::custom)?;
                formatted(&instant, 0, serializer)
            }
            _ => formatted(array, row, serializer),
        }
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "+00:00" | "UTC" | "Z")
}

fn formatted<S: Serializer>(
    array: &ArrayRef,
    row: usize,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let options = options();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(S::Error::custom)?;
    let text = formatter.value(row).try_to_string();
    serializer.serialize_str(&text.map_err(S::Error::custom)?)
}

fn float<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value > 0.0 {
        serializer.serialize_str("Infinity")
    } else {
        serializer.serialize_str("-Infinity")
    }
}

fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

/// The text of a UUID, or none where the 16 bytes are something else.
fn uuid(field: &Field, bytes: &[u8]) -> Option<String> {
    if !is_uuid(field) {
        return None;
    }
    let digits = format!("{:032x}", u128::from_be_bytes(bytes.try_into().ok()?));
    let parts = [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ];
    Some(parts.join("-"))
}

fn list<S: Serializer>(field: &Field, array: &ArrayRef, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(array.len()))?;
    for row in 0..array.len() {
        list.serialize_element(&Cell { field, array, row })?;
    }
    list.end()
}

fn map<S: Serializer>(entries: &StructArray, serializer: S) -> Result<S::Ok, S::Error> {
    let ([key, value], [keys, values]) = (&entries.fields()[..], entries.columns()) else {
        return Err(S::Error::custom("a map has keys and values"));
    };
    let is_text = matches!(
        keys.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let pair = |row| {
        let cell = |field, array| Cell { field, array, row };
        (cell(key, keys), cell(value, values))
    };
    if is_text {
        let mut object = serializer.serialize_map(Some(keys.len()))?;
        for row in 0..keys.len() {
            let (key, value) = pair(row);
            object.serialize_entry(&key, &value)?;
        }
        return object.end();
    }
    #[derive(serde::Serialize)]
    struct Pair<'a> {
        key: Cell<'a>,
        value: Cell<'a>,
    }
    let mut list = serializer.serialize_seq(Some(keys.len()))?;
    for row in 0..keys.len() {
        let (key, value) = pair(row);
        list.serialize_element(&Pair { key, value })?;
    }
    list.end()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
        Float32Array, Float64Array, Int64Array, ListArray, MapBuilder, StringArray, StringBuilder,
        Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use serde_json::{Value, json as expected};

    use super::*;

    fn first(array: impl Array + 'static) -> Value {
        let field = Field::new("x", array.data_type().clone(), true);
        let array: ArrayRef = Arc::new(array);
        serde_json::to_value(Cell {
            field: &field,
            array: &array,
            row: 0,
        })
        .unwrap()
    }

    #[test]
    fn values_are_as_documented() {
        assert_eq!(first(Int64Array::from(vec![i64::MAX])), expected!(i64::MAX));
        assert_eq!(first(Int64Array::from(vec![None])), Value::Null);
        assert_eq!(first(Float64Array::from(vec![0.1])), expected!(0.1));
        let float: ArrayRef = Arc::new(Float32Array::from(vec![0.1]));
        let field = Field::new("x", DataType::Float32, true);
        let cell = Cell {
            field: &field,
            array: &float,
            row: 0,
        };
        assert_eq!(serde_json::to_string(&cell).unwrap(), "0.1");
        assert_eq!(first(Float64Array::from(vec![f64::NAN])), expected!("NaN"));
        assert_eq!(
            first(Float64Array::from(vec![f64::NEG_INFINITY])),
            expected!("-Infinity")
        );
        let decimal = Decimal128Array::from(vec![1234567])
            .with_precision_and_scale(20, 2)
            .unwrap();
        assert_eq!(first(decimal), expected!("12345.67"));
        assert_eq!(
            first(BinaryArray::from(vec![&b"\x00\xff"[..]])),
            expected!("AP8=")
        );
        assert_eq!(first(Date32Array::from(vec![0])), expected!("1970-01-01"));
        assert_eq!(
            first(Time64MicrosecondArray::from(vec![3_600_000_001])),
            expected!("01:00:00.000001")
        );
        let micros = 1_700_000_000_123_456;
        assert_eq!(
            first(TimestampMicrosecondArray::from(vec![micros])),
            expected!("2023-11-14T22:13:20.123456")
        );
        for zone in ["UTC", "+00:00", "Europe/Zurich", "-03:30", "Asia/Kolkata"] {
            assert_eq!(
                first(TimestampMicrosecondArray::from(vec![micros]).with_timezone(zone)),
                expected!("2023-11-14T22:13:20.123456Z")
            );
        }
        assert_eq!(
            first(TimestampMicrosecondArray::from(vec![0])),
            expected!("1970-01-01T00:00:00")
        );
    }

    #[test]
    fn nested_instants_are_in_utc_and_years_far_away_too() {
        let times = TimestampMicrosecondArray::from(vec![Some(0), None, Some(i64::MAX / 1_000)]);
        let times: ArrayRef = Arc::new(times.with_timezone("Europe/Zurich"));
        let field = Arc::new(Field::new("at", times.data_type().clone(), true));
        let rows: ArrayRef = Arc::new(StructArray::from(vec![(field, times)]));
        let field = Field::new("x", rows.data_type().clone(), true);
        let shown = |row| {
            serde_json::to_value(Cell {
                field: &field,
                array: &rows,
                row,
            })
            .unwrap()
        };
        assert_eq!(shown(0), expected!({"at": "1970-01-01T00:00:00Z"}));
        assert_eq!(shown(1), expected!({"at": null}));
        assert_eq!(shown(2), expected!({"at": "2262-04-11T23:47:16.854775Z"}));
    }

    #[test]
    fn nested_values_are_json() {
        assert_eq!(
            first(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
                Some(vec![Some(1), None])
            ])),
            expected!([1, null])
        );
        let field = Arc::new(Field::new("a", DataType::Utf8, true));
        let value: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        assert_eq!(
            first(StructArray::from(vec![(field, value)])),
            expected!({"a": "x"})
        );
        let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        builder.keys().append_value("k");
        builder.values().append_value("v");
        builder.append(true).unwrap();
        assert_eq!(first(builder.finish()), expected!({"k": "v"}));
        let words: DictionaryArray<Int32Type> = vec!["word"].into_iter().collect();
        assert_eq!(first(words), expected!("word"));
    }

    #[test]
    fn a_uuid_is_written_as_people_write_it_wherever_it_stands() {
        let bytes = FixedSizeBinaryArray::try_from_iter(std::iter::once(
            0x00112233_4455_6677_8899_aabbccddeeff_u128.to_be_bytes(),
        ))
        .unwrap();
        assert_eq!(first(bytes.clone()), expected!("ABEiM0RVZneImaq7zN3u/w=="));
        let marked = |name: &str| {
            Field::new(name, DataType::FixedSizeBinary(16), true).with_metadata(
                [("ARROW:extension:name".to_string(), "arrow.uuid".to_string())].into(),
            )
        };
        let array: ArrayRef = Arc::new(bytes.clone());
        let field = marked("u");
        let cell = Cell {
            field: &field,
            array: &array,
            row: 0,
        };
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(cell.text().unwrap().as_deref(), Some(text));
        let nested = StructArray::from(vec![(Arc::new(marked("a")), array)]);
        assert_eq!(first(nested), expected!({"a": text}));
    }

    #[test]
    fn text_has_no_quotes_and_null_is_none() {
        let text = |array: ArrayRef| {
            Cell {
                field: &Field::new("x", array.data_type().clone(), true),
                array: &array,
                row: 0,
            }
            .text()
            .unwrap()
        };
        assert_eq!(
            text(Arc::new(StringArray::from(vec!["a \"b\""]))).unwrap(),
            "a \"b\""
        );
        assert_eq!(
            text(Arc::new(Date32Array::from(vec![1]))).unwrap(),
            "1970-01-02"
        );
        assert_eq!(text(Arc::new(Int64Array::from(vec![-5]))).unwrap(), "-5");
        assert_eq!(text(Arc::new(StringArray::from(vec![None::<&str>]))), None);
    }
}
