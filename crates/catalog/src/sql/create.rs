//! Creating and registering tables.

use std::collections::HashMap;
use std::sync::Arc;

use berglake_format::commit::metadata_file;
use berglake_format::storage::Location;
use berglake_format::write::check_partitioning;
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent, failpoint};
use iceberg::spec::{
    FormatVersion, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec,
};

use super::fault::{Cause, CommitFault};
use super::{Inner, check_length, joined, schema};
use crate::{NewTable, names};

const FORMAT_VERSION: &str = "format-version";

/// What became of a new row.
enum Inserted {
    Yes,
    /// Another table got a folder that touches this one's, after we had looked.
    FolderTaken(Error),
}

impl Inner {
    pub(super) async fn create_table(&self, table: NewTable) -> Result<Table> {
        let NewTable {
            ident,
            schema,
            partition_spec,
            sort_order,
            location: given,
            mut properties,
            format_version,
        } = table;
        let format_version = requested_version(&mut properties, format_version)
            .map_err(|error| error.with("table", &ident))?;
        self.check_new_name(&ident).await?;
        let mut attempts = 0;
        loop {
            let location = match &given {
                Some(location) => location.clone(),
                None => self.default_location(&ident).await?,
            };
            self.inside_warehouse(&location)
                .map_err(|error| error.with("table", &ident))?;
            if let Some(neighbour) = self.neighbour(&location).await? {
                // The neighbour may be a table of this name that was created a moment ago.
                if self.name_taken(&ident).await? {
                    return Err(self.exists(&ident));
                }
                return Err(neighbour.refusal(&ident, &location));
            }
            // The builder gives the columns fresh ids, and maps partition and sort fields by name.
            let metadata = TableMetadataBuilder::new(
                schema.clone(),
                partition_spec
                    .clone()
                    .unwrap_or_else(UnboundPartitionSpec::default),
                sort_order.clone().unwrap_or_else(SortOrder::unsorted_order),
                location.to_string(),
                format_version,
                properties.clone(),
            )
            .map_err(|error| does_not_fit(&ident, error))?
            .assign_uuid(self.environment.ids().uuid())
            .build()
            .map_err(|error| does_not_fit(&ident, error))?
            .metadata;
            // A table that could never be filled is refused before it exists.
            check_partitioning(metadata.default_partition_spec(), metadata.current_schema())
                .map_err(|error| error.with("table", &ident))?;
            let pointer =
                metadata_file::write(&self.storage, &self.environment, &metadata, None).await?;
            match self.insert(&ident, &location, &pointer).await {
                Ok(Inserted::Yes) => {
                    failpoint::hit(failpoint::TABLE_CREATED);
                    return Ok(self.created(ident, metadata, &pointer));
                }
                Ok(Inserted::FolderTaken(error)) => {
                    self.remove_unused(&pointer).await;
                    attempts += 1;
                    if given.is_some() || attempts == 5 {
                        return Err(error);
                    }
                }
                Err(error) => {
                    // A file that the catalog may have come to name stays.
                    if error.kind() != ErrorKind::UnknownOutcome {
                        self.remove_unused(&pointer).await;
                    }
                    return Err(error);
                }
            }
        }
    }

    pub(super) async fn register_table(
        &self,
        ident: &TableIdent,
        metadata_location: &str,
    ) -> Result<Table> {
        self.check_new_name(ident).await?;
        let pointer = Location::parse(metadata_location)?.to_string();
        let metadata = metadata_file::read(&self.storage, &pointer)
            .await
            .map_err(|error| error.with("table", ident))?;
        let location = Location::parse(metadata.location())
            .map_err(|error| error.with("table", ident).with("path", &pointer))?;
        match self.insert(ident, &location, &pointer).await? {
            Inserted::Yes => Ok(self.created(ident.clone(), metadata, &pointer)),
            Inserted::FolderTaken(error) => Err(error),
        }
    }

    fn created(&self, ident: TableIdent, metadata: TableMetadata, pointer: &str) -> Table {
        let metadata = Arc::new(metadata);
        self.cache.put(pointer, &metadata);
        Table::new(
            ident,
            metadata,
            pointer,
            self.storage.clone(),
            self.environment.clone(),
        )
    }

    pub(super) async fn check_new_name(&self, ident: &TableIdent) -> Result<()> {
        names::check_level("table", ident.name(), true)?;
        check_length("table's name", ident.name(), schema::MAX_NAME)?;
        if !self.namespace_exists(ident.namespace()).await? {
            return Err(self.no_such_namespace(ident.namespace()).await);
        }
        if self.name_taken(ident).await? {
            return Err(self.exists(ident));
        }
        Ok(())
    }

    /// Whether a table or a view has this name.
    async fn name_taken(&self, ident: &TableIdent) -> Result<bool> {
        let rows = self
            .database
            .fetch(
                "SELECT table_name FROM iceberg_tables
                 WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3",
                &[&self.name, &joined(ident.namespace()), ident.name()],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    pub(super) fn exists(&self, ident: &TableIdent) -> Error {
        Error::new(
            ErrorKind::AlreadyExists,
            format!("the table {ident} exists"),
        )
        .with("catalog", &self.name)
        .help("drop it first, or choose another name")
    }

    /// Makes the row, if the namespace still exists and the folder is still free.
    async fn insert(
        &self,
        ident: &TableIdent,
        location: &Location,
        pointer: &str,
    ) -> Result<Inserted> {
        check_length("metadata location", pointer, schema::MAX_VALUE)?;
        let namespace = joined(ident.namespace());
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        if !self
            .namespace_exists_in(&mut write, ident.namespace())
            .await?
        {
            write.rollback().await;
            return Err(self.no_such_namespace(ident.namespace()).await);
        }
        let sql = if self.typed {
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name,
                 metadata_location, iceberg_type) VALUES ($1, $2, $3, $4, 'TABLE')"
        } else {
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name,
                 metadata_location) VALUES ($1, $2, $3, $4)"
        };
        // The name is claimed first: of two creations of one name the later must learn that the
        // table exists, not that its folder is taken.
        let neighbour = self.neighbour_in(&mut write, location).await?;
        let row = [self.name.as_str(), &namespace, ident.name(), pointer];
        match write.execute(sql, &row).await {
            Ok(_) => {}
            Err(fault) if fault.is(Cause::Duplicate) => {
                write.rollback().await;
                return Err(self.exists(ident));
            }
            Err(fault) => return Err(fault.into()),
        }
        if let Some(neighbour) = neighbour {
            write.rollback().await;
            return Ok(Inserted::FolderTaken(neighbour.refusal(ident, location)));
        }
        match write.commit().await {
            Ok(()) => Ok(Inserted::Yes),
            Err(CommitFault::RolledBack(fault)) => Err(fault.error),
            // The pointer is unique to this attempt: if the row has it, the row is ours.
            Err(CommitFault::Unknown(error)) => match self.pointer(ident).await {
                Ok(Some(now)) if now == pointer => Ok(Inserted::Yes),
                _ => Err(error.with("table", ident)),
            },
        }
    }

    /// Deletes a metadata file that the catalog certainly does not name. One that stays is no harm.
    pub(super) async fn remove_unused(&self, pointer: &str) {
        let result = match Location::parse(pointer) {
            Ok(location) => self.storage.delete(&location).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(%error, path = pointer, "a metadata file that is not used stays behind");
        }
    }
}

fn does_not_fit(ident: &TableIdent, error: iceberg::Error) -> Error {
    Error::invalid(format!("the table cannot be created: {}", error.message()))
        .with("table", ident)
        .source_error(error)
}

/// The format version that is asked for by property, as SQL users do, else by the argument.
fn requested_version(
    properties: &mut HashMap<String, String>,
    version: FormatVersion,
) -> Result<FormatVersion> {
    let version = match properties.remove(FORMAT_VERSION).as_deref() {
        None => version,
        Some("1") => FormatVersion::V1,
        Some("2") => FormatVersion::V2,
        Some("3") => FormatVersion::V3,
        Some(other) => {
            return Err(Error::invalid(format!("unknown format version {other:?}"))
                .with("property", FORMAT_VERSION)
                .help("use 2 or 3"));
        }
    };
    if version == FormatVersion::V1 {
        return Err(
            Error::unsupported("new tables of format version 1 are not made")
                .with("property", FORMAT_VERSION)
                .help("use 2, which every engine reads, or 3"),
        );
    }
    Ok(version)
}
