//! Tables as they were loaded, with the tag by which the server says whether they still are so.
//!
//! A table from here is only ever given out after the server has said *not modified* to its tag, so
//! nothing here can be stale.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use berglake_format::{Table, TableIdent};

/// The least recently used tables go when the bound is reached.
#[derive(Debug)]
pub(super) struct LoadedTables {
    bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<TableIdent, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    loaded: Loaded,
    used: u64,
}

/// A table with its tag.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) etag: String,
    pub(super) table: Table,
    /// When the credentials in its storage expire, in milliseconds since 1970.
    pub(super) expires_ms: Option<i64>,
    /// The size of its metadata as JSON.
    pub(super) bytes: usize,
}

/// Credentials that expire so soon are fetched anew with the table.
const MARGIN_MS: i64 = 5 * 60 * 1_000;

impl LoadedTables {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            inner: Mutex::default(),
        }
    }

    /// The table as it was, if its credentials hold for a while yet.
    pub(super) fn get(&self, ident: &TableIdent, now_ms: i64) -> Option<Loaded> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(ident)?;
        entry.used = now;
        let holds = |expires: i64| expires.saturating_sub(MARGIN_MS) > now_ms;
        entry
            .loaded
            .expires_ms
            .is_none_or(holds)
            .then(|| entry.loaded.clone())
    }

    pub(super) fn put(&self, ident: &TableIdent, loaded: Loaded) {
        if loaded.bytes > self.bytes {
            self.remove(ident);
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        inner.bytes += loaded.bytes;
        let entry = Entry {
            used: inner.clock,
            loaded,
        };
        if let Some(old) = inner.entries.insert(ident.clone(), entry) {
            inner.bytes -= old.loaded.bytes;
        }
        // Eviction is rare and the number of tables small, so a scan for the oldest is enough.
        while inner.bytes > self.bytes {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(ident, _)| ident.clone()) else {
                break;
            };
            if let Some(gone) = inner.entries.remove(&oldest) {
                inner.bytes -= gone.loaded.bytes;
            }
        }
    }

    pub(super) fn remove(&self, ident: &TableIdent) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = inner.entries.remove(ident) {
            inner.bytes -= gone.loaded.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berglake_format::storage::Storage;
    use berglake_format::{Environment, NamespaceIdent};
    use iceberg::spec::{
        FormatVersion, Schema, SortOrder, TableMetadataBuilder, UnboundPartitionSpec,
    };

    use super::*;

    fn ident(name: &str) -> TableIdent {
        TableIdent::new(NamespaceIdent::new("n".to_string()), name.to_string())
    }

    fn loaded(bytes: usize, expires_ms: Option<i64>) -> Loaded {
        let metadata = TableMetadataBuilder::new(
            Schema::builder().build().unwrap(),
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            "memory:///t".into(),
            FormatVersion::V2,
            HashMap::new(),
        );
        let metadata = Arc::new(metadata.unwrap().build().unwrap().metadata);
        let (storage, environment) = (Storage::default(), Environment::default());
        Loaded {
            etag: "\"1\"".to_string(),
            table: Table::new(ident("t"), metadata, "memory:///m", storage, environment),
            expires_ms,
            bytes,
        }
    }

    #[test]
    fn the_bound_holds_and_the_least_recently_used_goes_first() {
        let tables = LoadedTables::new(30);
        for name in ["a", "b", "c"] {
            tables.put(&ident(name), loaded(10, None));
        }
        assert!(tables.get(&ident("a"), 0).is_some());
        tables.put(&ident("d"), loaded(10, None));
        assert!(tables.get(&ident("b"), 0).is_none());
        for name in ["a", "c", "d"] {
            assert!(tables.get(&ident(name), 0).is_some(), "{name}");
        }
        tables.put(&ident("d"), loaded(10, None));
        assert!(tables.get(&ident("a"), 0).is_some(), "twice counts once");
        tables.put(&ident("a"), loaded(31, None));
        assert!(
            tables.get(&ident("a"), 0).is_none(),
            "larger than the bound"
        );
    }

    #[test]
    fn a_table_whose_credentials_are_about_to_expire_is_loaded_in_full() {
        let tables = LoadedTables::new(30);
        tables.put(&ident("a"), loaded(10, Some(MARGIN_MS + 1_000)));
        assert!(tables.get(&ident("a"), 999).is_some());
        assert!(tables.get(&ident("a"), 1_000).is_none());
    }
}
