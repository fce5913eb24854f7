//! What the tables of a catalog point at, asked for rarely and shared by all who want to know.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use berglake_catalog::Catalog;
use berglake_format::{ErrorKind, Result, TableIdent};
use tokio::sync::watch;
use tokio::time::Instant;

/// The state of a table, as far as it matters whether it is another one than before: the location of
/// its metadata file, which no two states share. None for a table that does not exist.
pub(super) type Head = Option<String>;

/// Knows what tables point at. Cheap to clone; clones share what they know and wake each other.
#[derive(Clone)]
pub struct Heads(Arc<Inner>);

struct Inner {
    catalog: Arc<dyn Catalog>,
    known: Mutex<HashMap<TableIdent, Arc<Entry>>>,
    /// Counts the commits of this process.
    commits: watch::Sender<u64>,
}

/// One table. Whoever asks while another one does waits for that answer.
type Entry = tokio::sync::Mutex<Option<(Instant, Head)>>;

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads")
            .field("catalog", &self.0.catalog.name())
            .finish_non_exhaustive()
    }
}

impl Heads {
    /// The heads of the tables of this catalog.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self(Arc::new(Inner {
            catalog,
            known: Mutex::default(),
            commits: watch::Sender::new(0),
        }))
    }

    /// What the table pointed at, at this moment or later.
    ///
    /// # Errors
    /// Those of the catalog, except that the table does not exist.
    pub(super) async fn head(&self, ident: &TableIdent, since: Instant) -> Result<Head> {
        let entry = {
            let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(ident.clone()).or_default().clone()
        };
        let mut entry = entry.lock().await;
        if let Some((asked, head)) = &*entry
            && *asked >= since
        {
            return Ok(head.clone());
        }
        // The answer may be older than its arrival.
        let asked = Instant::now();
        let head = match self.0.catalog.load(ident).await {
            Ok(table) => Some(table.metadata_location().to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        *entry = Some((asked, head.clone()));
        Ok(head)
    }

    /// Says that something was committed.
    pub(super) fn committed(&self) {
        self.0.commits.send_modify(|count| *count += 1);
    }

    /// Hears of commits from now on.
    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }
}
