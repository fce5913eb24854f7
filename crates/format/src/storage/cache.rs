//! Files that never change, kept in memory up to a number of bytes.

use bytes::Bytes;

use super::Location;

/// What a file costs beside its bytes: its name, and its place among the others.
const OVERHEAD: usize = 256;

/// Files by their locations. What is asked for often stays.
#[derive(Debug)]
pub(super) struct Cache(Option<moka::future::Cache<Location, Bytes>>);

impl Cache {
    /// A cache of this many bytes; one that keeps nothing for 0.
    pub(super) fn new(capacity: u64) -> Self {
        let cache = moka::future::Cache::builder()
            .max_capacity(capacity)
            .weigher(|_: &Location, bytes: &Bytes| {
                u32::try_from(bytes.len() + OVERHEAD).unwrap_or(u32::MAX)
            })
            .build();
        Self((capacity > 0).then_some(cache))
    }

    pub(super) async fn get(&self, location: &Location) -> Option<Bytes> {
        self.0.as_ref()?.get(location).await
    }

    pub(super) async fn insert(&self, location: &Location, bytes: &Bytes) {
        if let Some(cache) = &self.0 {
            cache.insert(location.clone(), bytes.clone()).await;
        }
    }

    /// For files that are written again or deleted after all.
    pub(super) async fn forget(&self, location: &Location) {
        if let Some(cache) = &self.0 {
            cache.invalidate(location).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: usize) -> Location {
        Location::parse(&format!("memory:///{name}")).unwrap()
    }

    #[tokio::test]
    async fn no_more_bytes_are_kept_than_allowed() {
        let cache = Cache::new(100_000);
        for name in 0..1_000 {
            cache.insert(&at(name), &vec![0; 1_000].into()).await;
        }
        let inner = cache.0.as_ref().unwrap();
        inner.run_pending_tasks().await;
        let (files, bytes) = (inner.entry_count(), inner.weighted_size());
        assert!(bytes <= 100_000, "{bytes}");
        assert!((50..=100).contains(&files), "{files}");
        // One that is larger than all of it is not kept.
        cache.insert(&at(7_000), &vec![0; 200_000].into()).await;
        inner.run_pending_tasks().await;
        assert_eq!(cache.get(&at(7_000)).await, None);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_gone_and_nothing_is_kept_in_no_bytes() {
        let bytes = Bytes::from_static(b"bytes");
        let cache = Cache::new(1_000);
        cache.insert(&at(1), &bytes).await;
        assert_eq!(cache.get(&at(1)).await, Some(bytes.clone()));
        cache.forget(&at(1)).await;
        assert_eq!(cache.get(&at(1)).await, None);
        let none = Cache::new(0);
        none.insert(&at(1), &bytes).await;
        assert_eq!(none.get(&at(1)).await, None);
    }
}
