//! Creating and registering tables.

use std::collections::HashMap;
use std::sync::Arc;

use berglake_format::commit::metadata_file;
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent, failpoint};
use iceberg::spec::{
    FormatVersion, NestedFieldRef, PrimitiveType, Schema, SortOrder, TableMetadata,
    TableMetadataBuilder, Type,
};

use super::database::Write;
use super::fault::{CommitFault, Fault};
use super::{Inner, Pointer, check_length, joined, schema};
use crate::{NewTable, names};

const FORMAT_VERSION: &str = "format-version";

/// What became of a new row.
pub(super) enum Inserted {
    Yes,
    /// A table or a view has the name.
    NameTaken,
    /// The namespace is gone.
    NoNamespace,
    /// Another table got a folder that touches this one's, after we had looked.
    FolderTaken(Error),
}

/// A row where there is none of the name, or none at all.
const INSERT: &str = "INSERT INTO iceberg_tables
    (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
    VALUES ($1, $2, $3, $4, 'TABLE')
    ON CONFLICT DO NOTHING";

const INSERT_UNTYPED: &str = "INSERT INTO iceberg_tables
    (catalog_name, table_namespace, table_name, metadata_location)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING";

pub(super) const REPLACE: &str = "UPDATE iceberg_tables
    SET metadata_location = $5, previous_metadata_location = $4
    WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
        AND metadata_location = $4";

/// A table that is to be created, checked.
struct Draft {
    metadata: TableMetadata,
    folders: Vec<Location>,
}

impl Inner {
    pub(super) async fn create_table(&self, table: NewTable) -> Result<Table> {
        let ident = table.ident.clone();
        let mut attempts = 0;
        loop {
            let Draft { metadata, folders } = self.draft(&table).await?;
            let pointer =
                metadata_file::write(&self.storage, &self.environment, &metadata, None).await?;
            let refusal = match self.insert(&ident, &folders, &pointer).await {
                Ok(Inserted::Yes) => {
                    failpoint::hit(failpoint::TABLE_CREATED);
                    return Ok(self.created(ident, metadata, &pointer));
                }
                Ok(Inserted::NameTaken) => self.exists(&ident),
                Ok(Inserted::NoNamespace) => self.no_such_namespace(ident.namespace()).await,
                // A default location is chosen anew.
                Ok(Inserted::FolderTaken(_)) if table.location.is_none() && attempts < 5 => {
                    self.remove_unused(&pointer).await;
                    attempts += 1;
                    continue;
                }
                Ok(Inserted::FolderTaken(error)) => error,
                Err(error) => {
                    // A file that the catalog may have come to name stays.
                    if error.kind() != ErrorKind::UnknownOutcome {
                        self.remove_unused(&pointer).await;
                    }
                    return Err(error);
                }
            };
            self.remove_unused(&pointer).await;
            return Err(refusal);
        }
    }

    /// The metadata of a table as it would be created now. Nothing is written.
    pub(super) async fn stage_table(&self, table: &NewTable) -> Result<TableMetadata> {
        Ok(self.draft(table).await?.metadata)
    }

    async fn draft(&self, table: &NewTable) -> Result<Draft> {
        let ident = &table.ident;
        let mut properties = table.properties.clone();
        let format_version = requested_version(&mut properties, table.format_version)
            .map_err(|error| error.with("table", ident))?;
        self.check_new_name(ident).await?;
        let location = match &table.location {
            Some(location) => location.clone(),
            None => self.default_location(ident).await?,
        };
        // The builder gives the columns fresh ids, and maps partition and sort fields by name.
        let metadata = TableMetadataBuilder::new(
            table.schema.clone(),
            table.partition_spec.clone().unwrap_or_default(),
            table
                .sort_order
                .clone()
                .unwrap_or_else(SortOrder::unsorted_order),
            location.to_string(),
            format_version,
            properties,
        )
        .map_err(|error| does_not_fit(ident, error))?
        .assign_uuid(self.environment.ids().uuid())
        .build()
        .map_err(|error| does_not_fit(ident, error))?
        .metadata;
        let folders = self
            .check_new_table(&metadata)
            .map_err(|error| error.with("table", ident))?;
        if let Some(neighbour) = self.neighbours(ident, &folders).await?.first() {
            // A table of this name may have been created a moment ago.
            if self.name_taken(ident).await? {
                return Err(self.exists(ident));
            }
            return Err(neighbour.refusal(ident));
        }
        Ok(Draft { metadata, folders })
    }

    /// Checks what a new table is made of, and gives its folders.
    pub(super) fn check_new_table(&self, metadata: &TableMetadata) -> Result<Vec<Location>> {
        let folders = self.checked_folders(metadata)?;
        check_decimals(metadata.current_schema())?;
        Ok(folders)
    }

    pub(super) async fn register_table(
        &self,
        ident: &TableIdent,
        metadata_location: &str,
        overwrite: bool,
    ) -> Result<Table> {
        let current = self.load_to_overwrite(ident, overwrite).await?;
        if current.is_none() {
            self.check_new_name(ident).await?;
        }
        let pointer = Location::parse(metadata_location)?.to_string();
        let metadata = metadata_file::read(&self.storage, &pointer)
            .await
            .map_err(|error| error.with("table", ident))?;
        let folders = self
            .checked_folders(&metadata)
            .map_err(|error| error.with("table", ident).with("path", &pointer))?;
        if let Some(current) = current {
            return self
                .replace(ident, &current, metadata, &folders, &pointer)
                .await;
        }
        match self.insert(ident, &folders, &pointer).await? {
            Inserted::Yes => Ok(self.created(ident.clone(), metadata, &pointer)),
            Inserted::NameTaken => Err(self.exists(ident)),
            Inserted::NoNamespace => Err(self.no_such_namespace(ident.namespace()).await),
            Inserted::FolderTaken(error) => Err(error),
        }
    }

    /// Where the metadata of the table is that may be overwritten; none if there is no such table.
    async fn load_to_overwrite(
        &self,
        ident: &TableIdent,
        overwrite: bool,
    ) -> Result<Option<Pointer>> {
        if !overwrite {
            return Ok(None);
        }
        self.pointer(ident).await
    }

    /// Makes a table point at another metadata file.
    async fn replace(
        &self,
        ident: &TableIdent,
        current: &str,
        metadata: TableMetadata,
        folders: &[Location],
        pointer: &str,
    ) -> Result<Table> {
        check_length("metadata location", pointer, schema::MAX_VALUE)?;
        let namespace = joined(ident.namespace());
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        if let Some(neighbour) = self.neighbour_in(&mut write, ident, folders).await? {
            write.rollback().await;
            return Err(neighbour.refusal(ident));
        }
        let row = [
            self.name.as_str(),
            &namespace,
            ident.name(),
            current,
            pointer,
        ];
        if write.execute(REPLACE, &row).await? == 0 {
            write.rollback().await;
            return Err(Error::new(
                ErrorKind::Conflict,
                "the table was changed while it was being registered anew",
            )
            .with("table", ident)
            .help("look at the table, then try again"));
        }
        write
            .commit()
            .await
            .map_err(|fault| Error::from(fault).with("table", ident))?;
        self.cache.remove(current);
        Ok(self.created(ident.clone(), metadata, pointer))
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

    /// Makes the row, if name and folders are free and the namespace exists.
    pub(super) async fn insert_in(
        &self,
        write: &mut Write<'_>,
        ident: &TableIdent,
        folders: &[Location],
        pointer: &str,
    ) -> Result<Inserted, Fault> {
        if !self.namespace_exists_in(write, ident.namespace()).await? {
            return Ok(Inserted::NoNamespace);
        }
        let sql = if self.typed { INSERT } else { INSERT_UNTYPED };
        // The name is claimed first: of two creations of one name the later must learn that the
        // table exists, not that its folder is taken.
        let neighbour = self.neighbour_in(write, ident, folders).await?;
        let namespace = joined(ident.namespace());
        let row = [self.name.as_str(), &namespace, ident.name(), pointer];
        if write.execute(sql, &row).await? == 0 {
            return Ok(Inserted::NameTaken);
        }
        Ok(match neighbour {
            Some(neighbour) => Inserted::FolderTaken(neighbour.refusal(ident)),
            None => Inserted::Yes,
        })
    }

    /// Makes the row in a transaction of its own.
    async fn insert(
        &self,
        ident: &TableIdent,
        folders: &[Location],
        pointer: &str,
    ) -> Result<Inserted> {
        check_length("metadata location", pointer, schema::MAX_VALUE)?;
        let mut write = self.database.begin().await?;
        write.lock_listing(&self.name).await?;
        match self.insert_in(&mut write, ident, folders, pointer).await? {
            Inserted::Yes => {}
            refused => {
                write.rollback().await;
                return Ok(refused);
            }
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

/// Refuses decimals that no file can hold; the `iceberg` crate takes any.
pub(super) fn check_decimals(schema: &Schema) -> Result<()> {
    fn walk(fields: &[NestedFieldRef]) -> Result<()> {
        for field in fields {
            match field.field_type.as_ref() {
                Type::Primitive(PrimitiveType::Decimal { precision, scale })
                    if *precision == 0 || *precision > 38 || scale > precision =>
                {
                    return Err(Error::invalid(format!(
                        "decimal({precision}, {scale}) is no type: a decimal has 1 to 38 digits, \
                         and at most as many after the point"
                    ))
                    .with("column", &field.name));
                }
                Type::Primitive(_) => {}
                Type::Struct(inner) => walk(inner.fields())?,
                Type::List(list) => walk(std::slice::from_ref(&list.element_field))?,
                Type::Map(map) => walk(&[map.key_field.clone(), map.value_field.clone()])?,
            }
        }
        Ok(())
    }
    walk(schema.as_struct().fields())
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
