//! The lakehouse's catalog as DataFusion sees it.
//!
//! DataFusion asks for catalogs and schemas without waiting, and only for tables with it. So a
//! schema is given for every name, and a table that does not exist is found missing when it is
//! loaded. Namespaces with several levels are schemas whose names have dots.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use berglake_catalog::Catalog;
use berglake_format::plan::SnapshotSelector;
use berglake_format::{Error, ErrorKind, NamespaceIdent, TableIdent};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;

use crate::error::to_datafusion;
use crate::table::IcebergTable;

/// Tables that a statement has pinned, by schema and name.
pub(crate) type Pinned = HashMap<(String, String), Arc<dyn TableProvider>>;

/// The one catalog of a session, with the tables that its statement has pinned.
#[derive(Debug, Clone)]
pub(crate) struct Lake {
    catalog: Arc<dyn Catalog>,
    pinned: Arc<RwLock<Pinned>>,
}

impl Lake {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, pinned: Pinned) -> Self {
        Self {
            catalog,
            pinned: Arc::new(RwLock::new(pinned)),
        }
    }

    fn pinned(&self) -> RwLockReadGuard<'_, Pinned> {
        self.pinned.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pinned_mut(&self) -> RwLockWriteGuard<'_, Pinned> {
        self.pinned.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CatalogProviderList for Lake {
    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        // One catalog is all there is; the trait has no way to refuse.
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![self.catalog.name().to_string()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == self.catalog.name()).then(|| Arc::new(self.clone()) as _)
    }
}

impl CatalogProvider for Lake {
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(LakeSchema {
            lake: self.clone(),
            name: name.to_string(),
        }))
    }
}

#[derive(Debug)]
struct LakeSchema {
    lake: Lake,
    name: String,
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn table_names(&self) -> Vec<String> {
        self.lake
            .pinned()
            .keys()
            .filter(|(schema, _)| *schema == self.name)
            .map(|(_, table)| table.clone())
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(pinned) = self.lake.pinned().get(&self.key(name)) {
            return Ok(Some(Arc::clone(pinned)));
        }
        let Ok(namespace) = NamespaceIdent::from_strs(self.name.split('.')) else {
            return Ok(None);
        };
        let ident = TableIdent::new(namespace, name.to_string());
        match self.lake.catalog.load(&ident).await {
            Ok(table) => {
                let table =
                    IcebergTable::new(table, SnapshotSelector::Head).map_err(to_datafusion)?;
                Ok(Some(Arc::new(table)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(to_datafusion(error)),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.lake.pinned().contains_key(&self.key(name))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.lake.pinned_mut().entry(self.key(&name)) {
            Entry::Occupied(_) => Err(to_datafusion(
                Error::new(
                    ErrorKind::AlreadyExists,
                    "the session has a table of this name",
                )
                .with("table", name),
            )),
            Entry::Vacant(place) => {
                place.insert(table);
                Ok(None)
            }
        }
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.lake.pinned_mut().remove(&self.key(name)))
    }
}

impl LakeSchema {
    fn key(&self, name: &str) -> (String, String) {
        (self.name.clone(), name.to_string())
    }
}
