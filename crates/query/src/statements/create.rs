//! `CREATE TABLE … AS SELECT`.
//!
//! A table that exists can be written by everybody. So the rows do not go into a table of the name that
//! was asked for: they go into one with a name that nobody else knows, and that one is renamed when it is
//! complete. Others see no table and then all of it, and what fails is removed without touching what
//! others have made under the name meanwhile.

use std::sync::Arc;

use berglake_catalog::{Catalog, NewTable};
use berglake_format::{Error, ErrorKind, Result, Table, TableIdent};
use datafusion::dataframe::DataFrame;
use iceberg::spec::{FormatVersion, NestedField, Schema};
use tokio::runtime::Handle;

use super::insert::{self, Appended};
use super::values;
use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::CreateTable;

/// Letters of a table's name that are kept in the name it has while it is filled.
const KEPT: usize = 200;

/// Creates a table with the rows of a query.
pub(super) async fn from_query(
    session: &Session,
    new: NewTable,
    if_not_exists: bool,
    rows: DataFrame,
) -> Result<QueryOutput> {
    let catalog = session.engine().catalog();
    let ident = new.ident.clone();
    if catalog.table_exists(&ident).await? {
        return match if_not_exists {
            true => Ok(QueryOutput::nothing()),
            false => Err(exists(&ident)),
        };
    }
    let own = own_name(session, &ident);
    let made = catalog.create_table(NewTable { ident: own, ..new }).await?;
    let mut unfinished = Unfinished::new(catalog, made.clone());
    let count = match insert::append(session, &made, &ident, rows).await {
        Ok(Appended { rows, table }) => {
            unfinished.table = table;
            rows
        }
        Err(error) => return Err(unfinished.give_up(error).await),
    };
    let filled = &unfinished.table;
    let renamed = match catalog.rename_table(filled.ident(), &ident).await {
        Err(error) if error.kind() == ErrorKind::UnknownOutcome => {
            match catalog.load(&ident).await {
                Ok(found) if found.metadata().uuid() == filled.metadata().uuid() => Ok(()),
                _ => Err(error),
            }
        }
        renamed => renamed,
    };
    match renamed {
        Ok(()) => {
            unfinished.keep();
            insert::count(count)
        }
        Err(error) => {
            let error = unfinished.give_up(error).await;
            if if_not_exists && error.kind() == ErrorKind::AlreadyExists {
                return Ok(QueryOutput::nothing());
            }
            Err(error)
        }
    }
}

/// The schema with the defaults that the statement gives its columns.
pub(super) async fn with_defaults(
    session: &Session,
    statement: &CreateTable,
    schema: Schema,
    version: FormatVersion,
) -> Result<Schema> {
    let mut defaults = Vec::new();
    for (name, value) in statement.defaults() {
        let Some(field) = schema.as_struct().field_by_name(name) else {
            continue;
        };
        if version < FormatVersion::V3 {
            return Err(
                Error::invalid("columns have default values from format version 3 on")
                    .with("name", name)
                    .help("add TBLPROPERTIES ('format-version' = '3'), or leave the default away"),
            );
        }
        let value = values::constant(session, value, name, &field.field_type).await?;
        if let Some(value) = values::default(&value, name, &field.field_type)? {
            defaults.push((field.id, value));
        }
    }
    if defaults.is_empty() {
        return Ok(schema);
    }
    let fields = schema.as_struct().fields().iter().map(|field| {
        let default = defaults.iter().find(|(id, _)| *id == field.id);
        match default {
            Some((_, value)) => Arc::new(
                NestedField::clone(field)
                    .with_initial_default(value.clone())
                    .with_write_default(value.clone()),
            ),
            None => field.clone(),
        }
    });
    Ok(Schema::builder()
        .with_fields(fields.collect::<Vec<_>>())
        .build()?)
}

fn exists(ident: &TableIdent) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("the table {ident} exists"),
    )
    .help("drop it first, or choose another name")
}

/// A name that no table has.
fn own_name(session: &Session, ident: &TableIdent) -> TableIdent {
    let kept: String = ident.name().chars().take(KEPT).collect();
    let unique = session.engine().environment().ids().uuid().simple();
    TableIdent::new(ident.namespace().clone(), format!("{kept}-{unique}"))
}

/// A table that goes unless it is kept: also when the statement is given up in the middle.
struct Unfinished {
    catalog: Arc<dyn Catalog>,
    /// As it was when this statement left it.
    table: Table,
    kept: bool,
}

impl Unfinished {
    fn new(catalog: &Arc<dyn Catalog>, table: Table) -> Self {
        Self {
            catalog: Arc::clone(catalog),
            table,
            kept: false,
        }
    }

    fn keep(mut self) {
        self.kept = true;
    }

    /// Removes the table after an error, if the error says what there is.
    async fn give_up(mut self, error: Error) -> Error {
        self.kept = true;
        if error.kind() == ErrorKind::UnknownOutcome {
            return error.with("rows", self.table.ident());
        }
        remove(self.catalog.as_ref(), &self.table).await;
        error
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept
            && let Ok(runtime) = Handle::try_current()
        {
            let (catalog, table) = (Arc::clone(&self.catalog), self.table.clone());
            runtime.spawn(async move { remove(catalog.as_ref(), &table).await });
        }
    }
}

/// Drops the table if it is still what it was. Whoever has found it and written to it keeps it.
async fn remove(catalog: &dyn Catalog, table: &Table) {
    let ident = table.ident();
    let removed = match catalog.load(ident).await {
        Ok(now)
            if now.metadata().uuid() == table.metadata().uuid()
                && now.metadata_location() == table.metadata_location() =>
        {
            catalog.drop_table(ident, true).await
        }
        Ok(_) => Err(Error::new(
            ErrorKind::Conflict,
            "the table was changed by others",
        )),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        tracing::warn!(table = %ident, %error, "a table that was not completed stays behind");
    }
}
