//! The records of a JSON file, exactly as they stand there.

use std::path::{Path, PathBuf};

/// Why a file has no records.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordsError {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The array of the file does not end.
    Unfinished {
        /// The file.
        path: PathBuf,
    },
}

impl std::fmt::Display for RecordsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Unfinished { path } => write!(
                f,
                "the JSON array in {} does not end: the file is cut off",
                path.display()
            ),
        }
    }
}

impl std::error::Error for RecordsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Unfinished { .. } => None,
        }
    }
}

/// The records of a file: the elements of a JSON array if it begins with `[`, else its lines. Whatever
/// is wrong in a record is left as it is.
///
/// # Errors
/// When the file cannot be read, or its array does not end.
pub fn records(path: &Path) -> Result<Vec<Vec<u8>>, RecordsError> {
    let bytes = std::fs::read(path).map_err(|source| RecordsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = text.trim_ascii();
    match text.strip_prefix(b"[") {
        Some(elements) => array(elements).ok_or_else(|| RecordsError::Unfinished {
            path: path.to_owned(),
        }),
        None => Ok(lines(text)),
    }
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// The elements of an array behind its opening bracket; nothing where it does not end.
fn array(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b']' if depth == 0 => {
                push(&mut records, &text[start..at]);
                return Some(records);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                push(&mut records, &text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

fn push(records: &mut Vec<Vec<u8>>, element: &[u8]) {
    let element = element.trim_ascii();
    if !element.is_empty() {
        records.push(element.to_vec());
    }
}

/// The key of a record: the value of one of its fields as text. A record without the field, or one that
/// is no JSON object, has none.
pub fn key_of(record: &[u8], field: &str) -> Option<String> {
    let record: serde_json::Value = serde_json::from_slice(record).ok()?;
    match record.get(field)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_an_array_are_kept_as_they_stand() {
        let text = br#" {"a": 1.50, "b": "x,]\"}"} , [1, 2],
            {"broken": nul}, 7 ] "#;
        let found = array(text).unwrap();
        let expected: [&[u8]; 4] = [
            br#"{"a": 1.50, "b": "x,]\"}"}"#,
            b"[1, 2]",
            br#"{"broken": nul}"#,
            b"7",
        ];
        assert_eq!(found, expected);
        assert_eq!(array(b"]"), Some(Vec::new()));
        assert_eq!(array(br#"{"a": 1}"#), None);
    }

    #[test]
    fn lines_are_records_and_blank_ones_are_not() {
        let found = lines(b"{\"a\": 1}\r\n\n  {broken\n");
        assert_eq!(found, [b"{\"a\": 1}".to_vec(), b"{broken".to_vec()]);
    }

    #[test]
    fn a_key_is_the_text_of_a_field() {
        let record = br#"{"title": "Vertigo", "year": 1958, "none": null}"#;
        assert_eq!(key_of(record, "title").as_deref(), Some("Vertigo"));
        assert_eq!(key_of(record, "year").as_deref(), Some("1958"));
        assert_eq!(key_of(record, "none"), None);
        assert_eq!(key_of(record, "other"), None);
        assert_eq!(key_of(b"{broken", "title"), None);
    }

    #[test]
    fn the_films_of_the_example_are_all_there() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../movies/data/movies.json");
        let films = records(&path).unwrap();
        assert_eq!(films.len(), 3201);
        for film in &films {
            assert!(serde_json::from_slice::<serde_json::Value>(film).is_ok());
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = records(Path::new("/no/such/file.json")).unwrap_err();
        assert!(error.to_string().contains("/no/such/file.json"), "{error}");
    }
}
