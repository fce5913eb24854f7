//! Where messages are sent: paths, and names inside of them.

use std::fmt::Write as _;

use berglake_format::{Error, NamespaceIdent, Result, TableIdent};

/// What stands between the levels of a namespace in a path, percent-encoded, where a server says
/// nothing else: the unit separator.
pub const DEFAULT_NAMESPACE_SEPARATOR: &str = "%1F";

/// The paths of one server. They begin with `/v1` and are appended to the server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    base: String,
    separator: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Paths {
    /// The path of the configuration, which is the same for every prefix.
    pub const CONFIG: &'static str = "/v1/config";

    /// The paths below this prefix, the one that the server's configuration names.
    pub fn new(prefix: Option<&str>) -> Self {
        let base = match prefix.map(|prefix| prefix.trim_matches('/')) {
            None | Some("") => "/v1".to_string(),
            // A prefix may have several segments.
            Some(prefix) => prefix.split('/').fold("/v1".to_string(), |base, segment| {
                base + "/" + &encode_segment(segment)
            }),
        };
        Self {
            base,
            separator: DEFAULT_NAMESPACE_SEPARATOR.to_string(),
        }
    }

    /// The same paths with another separator between the levels of namespaces, percent-encoded as
    /// the server's `namespace-separator` is.
    #[must_use]
    pub fn with_separator(mut self, encoded: impl Into<String>) -> Self {
        self.separator = encoded.into();
        self
    }

    /// All namespaces.
    pub fn namespaces(&self) -> String {
        format!("{}/namespaces", self.base)
    }

    /// One namespace.
    pub fn namespace(&self, namespace: &NamespaceIdent) -> String {
        format!("{}/{}", self.namespaces(), self.encode(namespace))
    }

    /// The properties of a namespace.
    pub fn namespace_properties(&self, namespace: &NamespaceIdent) -> String {
        format!("{}/properties", self.namespace(namespace))
    }

    /// The tables of a namespace.
    pub fn tables(&self, namespace: &NamespaceIdent) -> String {
        format!("{}/tables", self.namespace(namespace))
    }

    /// One table.
    pub fn table(&self, ident: &TableIdent) -> String {
        let name = encode_segment(ident.name());
        format!("{}/{name}", self.tables(ident.namespace()))
    }

    /// The metrics of a table.
    pub fn metrics(&self, ident: &TableIdent) -> String {
        format!("{}/metrics", self.table(ident))
    }

    /// Registering tables of a namespace.
    pub fn register(&self, namespace: &NamespaceIdent) -> String {
        format!("{}/register", self.namespace(namespace))
    }

    /// Renaming tables.
    pub fn rename(&self) -> String {
        format!("{}/tables/rename", self.base)
    }

    /// Commits of several tables.
    pub fn commit_transaction(&self) -> String {
        format!("{}/transactions/commit", self.base)
    }

    /// A namespace as a path segment or, in `?parent=`, as the value of a query.
    pub fn encode(&self, namespace: &NamespaceIdent) -> String {
        let levels: Vec<String> = namespace
            .iter()
            .map(|level| encode_segment(level))
            .collect();
        levels.join(&self.separator)
    }
}

/// A name as a path segment or as the value of a query: everything but letters, digits and `-_.~`
/// is percent-encoded, dots too where they would mean a folder.
pub fn encode_segment(name: &str) -> String {
    let dots = matches!(name, "." | "..");
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
        if plain || (byte == b'.' && !dots) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The name that a path segment stands for.
///
/// Java's client encodes a space as `+` and a plus as `%2B`; others encode a plus as `%2B` too, so
/// that `+` is a space.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a broken escape or a name that is
/// not UTF-8.
pub fn decode_segment(segment: &str) -> Result<String> {
    let wrong = |what: &str| {
        Error::invalid(format!("a name in the path {what}")).with("name", format!("{segment:?}"))
    };
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let pair = digit(bytes.next()).zip(digit(bytes.next()));
                let (high, low) = pair.ok_or_else(|| wrong("has a broken percent escape"))?;
                // Two hexadecimal digits are at most 255.
                decoded.push((high * 16 + low) as u8);
            }
            b'+' => decoded.push(b' '),
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).map_err(|_| wrong("is not UTF-8"))
}

/// The namespace that a path segment stands for, its levels separated by [`DEFAULT_NAMESPACE_SEPARATOR`].
///
/// # Errors
/// As [`decode_segment`]; and [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for an
/// empty level.
pub fn decode_namespace(segment: &str) -> Result<NamespaceIdent> {
    let decoded = decode_segment(segment)?;
    namespace_of(&decoded)
}

/// The namespace of a text that is already decoded, as the value of a query is.
pub(crate) fn namespace_of(decoded: &str) -> Result<NamespaceIdent> {
    let levels: Vec<String> = decoded.split('\u{1f}').map(str::to_string).collect();
    if levels.iter().any(String::is_empty) {
        return Err(Error::invalid("a namespace has an empty level")
            .with("namespace", format!("{decoded:?}")));
    }
    Ok(NamespaceIdent::from_vec(levels)?)
}
