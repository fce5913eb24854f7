//! CSV rows to cells.

use std::borrow::Cow;

use super::json::utf8;
use super::plan::{Cell, Columns, Kind, Reject};
use crate::dead_letter::{ErrorType, shortened};

/// A field of a row: its text without quotes, and whether it had them.
pub(crate) type CsvField<'a> = (Cow<'a, str>, bool);

/// The fields of one row.
pub(crate) fn fields<'a>(
    record: &'a [u8],
    delimiter: u8,
    quote: u8,
) -> Result<Vec<CsvField<'a>>, Reject> {
    let text = utf8(record)?;
    // Delimiter and quote are ASCII, so cutting at them cuts at characters.
    let (delimiter, quote) = (char::from(delimiter), char::from(quote));
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(mut quoted) = rest.strip_prefix(quote) else {
            let Some((field, behind)) = rest.split_once(delimiter) else {
                fields.push((Cow::Borrowed(rest), false));
                return Ok(fields);
            };
            fields.push((Cow::Borrowed(field), false));
            rest = behind;
            continue;
        };
        let mut field: Cow<'a, str> = Cow::Borrowed("");
        loop {
            let Some((part, behind)) = quoted.split_once(quote) else {
                return Err(Reject::new(
                    ErrorType::Malformed,
                    format!("field {} has no closing quote", fields.len() + 1),
                ));
            };
            if field.is_empty() {
                field = Cow::Borrowed(part);
            } else {
                field.to_mut().push_str(part);
            }
            match behind.strip_prefix(quote) {
                Some(more) => {
                    field.to_mut().push(quote);
                    quoted = more;
                }
                None => {
                    rest = behind;
                    break;
                }
            }
        }
        fields.push((field, true));
        match rest.strip_prefix(delimiter) {
            Some(behind) => rest = behind,
            None if rest.is_empty() => return Ok(fields),
            None => {
                return Err(Reject::new(
                    ErrorType::Malformed,
                    format!(
                        "field {} goes on behind its closing quote: {:?}",
                        fields.len(),
                        shortened(rest)
                    ),
                ));
            }
        }
    }
}

/// Where the declared columns are in the rows of a file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// How many fields a row has.
    pub(crate) width: usize,
    /// The field of each declared column.
    pub(crate) places: Vec<Option<usize>>,
}

/// The cells of one row.
pub(crate) fn decode<'a>(
    fields: Vec<CsvField<'a>>,
    columns: &Columns,
    layout: &Layout,
    null_value: &str,
) -> Result<Vec<Cell<'a>>, Reject> {
    if fields.len() != layout.width {
        return Err(Reject::new(
            ErrorType::FieldCount,
            format!(
                "the row has {} fields, and the file has {}",
                fields.len(),
                layout.width
            ),
        ));
    }
    let mut fields: Vec<_> = fields.into_iter().map(Some).collect();
    let mut cells = Vec::with_capacity(columns.list.len());
    for (column, place) in columns.list.iter().zip(&layout.places) {
        let field = place
            .and_then(|place| fields.get_mut(place))
            .and_then(Option::take);
        let value = field.and_then(|(text, quoted)| {
            let is_text = matches!(column.kind, Kind::Text | Kind::Binary);
            let is_null = if quoted {
                text.is_empty() && !is_text
            } else {
                text == null_value
            };
            (!is_null).then_some(text)
        });
        cells.push(match value {
            Some(text) => column.csv(text)?,
            None if column.field.is_nullable() => Cell::Null,
            None => return Err(column.missing("has no value there")),
        });
    }
    Ok(cells)
}
