//! Parsed metadata by location. A metadata file never changes, so an entry never expires; the
//! pointer to it is read from the database each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::spec::TableMetadata;

/// The least recently used entries go when the bound is reached.
#[derive(Debug)]
pub(super) struct MetadataCache {
    bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    metadata: Arc<TableMetadata>,
    bytes: usize,
    used: u64,
}

impl MetadataCache {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            inner: Mutex::default(),
        }
    }

    pub(super) fn get(&self, location: &str) -> Option<Arc<TableMetadata>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let entry = inner.entries.get_mut(location)?;
        entry.used = now;
        Some(entry.metadata.clone())
    }

    pub(super) fn put(&self, location: &str, metadata: &Arc<TableMetadata>) {
        let bytes = weight(metadata) + location.len();
        if bytes > self.bytes {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let entry = Entry {
            metadata: metadata.clone(),
            bytes,
            used: inner.clock,
        };
        inner.bytes += bytes;
        if let Some(old) = inner.entries.insert(location.to_string(), entry) {
            inner.bytes -= old.bytes;
        }
        // Eviction is rare and the number of entries small, so a scan for the oldest is enough.
        while inner.bytes > self.bytes {
            let oldest = inner.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(location, _)| location.clone()) else {
                break;
            };
            if let Some(gone) = inner.entries.remove(&oldest) {
                inner.bytes -= gone.bytes;
            }
        }
    }

    pub(super) fn remove(&self, location: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = inner.entries.remove(location) {
            inner.bytes -= gone.bytes;
        }
    }
}

/// About the bytes that metadata takes in memory, counted by what tables have many of.
fn weight(metadata: &TableMetadata) -> usize {
    let snapshots: usize = metadata
        .snapshots()
        .map(|snapshot| {
            let summary = &snapshot.summary().additional_properties;
            let summary: usize = summary.iter().map(|(k, v)| 64 + k.len() + v.len()).sum();
            256 + snapshot.manifest_list().len() + summary
        })
        .sum();
    let fields: usize = metadata
        .schemas_iter()
        .map(|schema| 512 * schema.field_id_to_name_map().len())
        .sum();
    let log: usize = metadata
        .metadata_log()
        .iter()
        .map(|entry| 48 + entry.metadata_file.len())
        .sum();
    let properties: usize = metadata
        .properties()
        .iter()
        .map(|(key, value)| 64 + key.len() + value.len())
        .sum();
    4096 + snapshots + fields + log + properties + 24 * metadata.history().len()
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{
        FormatVersion, Schema, SortOrder, TableMetadataBuilder, UnboundPartitionSpec,
    };

    use super::*;

    fn metadata() -> Arc<TableMetadata> {
        let schema = Schema::builder().build().unwrap();
        let builder = TableMetadataBuilder::new(
            schema,
            UnboundPartitionSpec::default(),
            SortOrder::unsorted_order(),
            "memory:///t".into(),
            FormatVersion::V2,
            HashMap::new(),
        );
        Arc::new(builder.unwrap().build().unwrap().metadata)
    }

    #[test]
    fn the_bound_holds_and_the_least_recently_used_goes_first() {
        let metadata = metadata();
        let cache = MetadataCache::new(3 * (weight(&metadata) + 1));
        for location in ["a", "b", "c"] {
            cache.put(location, &metadata);
        }
        assert!(cache.get("a").is_some());
        cache.put("d", &metadata);
        assert!(cache.get("b").is_none());
        for location in ["a", "c", "d"] {
            assert!(cache.get(location).is_some(), "{location}");
        }
        cache.put("d", &metadata);
        assert!(cache.get("a").is_some(), "putting twice counts once");
        cache.remove("a");
        cache.put("e", &metadata);
        assert!(cache.get("c").is_some(), "removing makes room");
    }

    #[test]
    fn what_is_larger_than_the_bound_is_not_kept() {
        let cache = MetadataCache::new(10);
        cache.put("a", &metadata());
        assert!(cache.get("a").is_none());
    }
}
