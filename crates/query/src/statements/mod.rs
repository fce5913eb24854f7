//! Statements that are not queries.

mod alter;
mod call;
mod columns;
mod create;
mod insert;
mod show;
mod show_create;
mod values;

use berglake_catalog::NewTable;
use berglake_format::commit::{Applied, Operation, Transaction};
use berglake_format::properties::retry_policy;
use berglake_format::schema::from_arrow;
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table};
use datafusion::arrow::datatypes::{Field, Schema as ArrowSchema};
use datafusion::sql::sqlparser::ast::ObjectName;

use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::{CreateTable, Statement, parts};

/// The property that names the pipeline that owns a table.
pub(crate) const OWNER: &str = "berglake.pipeline";

/// Runs a statement.
pub(crate) async fn run(session: &Session, statement: Statement) -> Result<QueryOutput> {
    match statement {
        Statement::CreateNamespace {
            name,
            if_not_exists,
            comment,
        } => create_namespace(session, &name, if_not_exists, comment).await,
        Statement::DropNamespace { name, if_exists } => {
            drop_namespace(session, &name, if_exists).await
        }
        Statement::CreateTable(create) => create_table(session, *create).await,
        Statement::DropTable {
            name,
            if_exists,
            purge,
        } => drop_table(session, &name, if_exists, purge).await,
        Statement::AlterTable(alter) => alter::run(session, *alter).await,
        Statement::Insert(statement) => insert::run(session, *statement).await,
        Statement::Call(statement) => call::run(session, &statement).await,
        Statement::ShowTables { namespace, pattern } => {
            show::tables(session, namespace.as_ref(), pattern.as_deref()).await
        }
        Statement::ShowNamespaces { parent, pattern } => {
            show::namespaces(session, parent.as_ref(), pattern.as_deref()).await
        }
        Statement::Describe { table, extended } => show::describe(session, &table, extended).await,
        Statement::DescribeNamespace(name) => show::describe_namespace(session, &name).await,
        Statement::ShowCreateTable(table) => show_create::run(session, &table).await,
        Statement::ShowProperties { table, key } => {
            show::properties(session, &table, key.as_deref()).await
        }
        Statement::Query(_)
        | Statement::Explain { .. }
        | Statement::Set { .. }
        | Statement::Use(_) => Err(Error::internal("the session runs this statement itself")),
    }
}

async fn create_namespace(
    session: &Session,
    name: &ObjectName,
    if_not_exists: bool,
    comment: Option<String>,
) -> Result<QueryOutput> {
    let namespace = find_namespace(session, name).await?;
    let properties = comment
        .into_iter()
        .map(|comment| ("comment".to_string(), comment))
        .collect();
    let created = session
        .engine()
        .catalog()
        .create_namespace(&namespace, properties)
        .await;
    unless(if_not_exists, ErrorKind::AlreadyExists, created)?;
    Ok(QueryOutput::nothing())
}

async fn drop_namespace(
    session: &Session,
    name: &ObjectName,
    if_exists: bool,
) -> Result<QueryOutput> {
    let namespace = find_namespace(session, name).await?;
    let dropped = session.engine().catalog().drop_namespace(&namespace).await;
    unless(if_exists, ErrorKind::NotFound, dropped)?;
    Ok(QueryOutput::nothing())
}

async fn create_table(session: &Session, mut statement: CreateTable) -> Result<QueryOutput> {
    let settings = session.settings();
    let ident = session
        .resolver(&settings)
        .new_name(&parts(&statement.name)?)
        .await?;
    let catalog = session.engine().catalog();
    if statement.if_not_exists && catalog.table_exists(&ident).await? {
        return Ok(QueryOutput::nothing());
    }
    let mut properties = session.engine().table_defaults().of(ident.namespace());
    properties.extend(std::mem::take(&mut statement.properties));
    statement.properties = properties;
    let format_version = statement.take_format_version()?;
    let source = match statement.query.take() {
        Some(query) => Some(session.plan(query).await?),
        None => None,
    };
    let schema = match (&source, statement.schema()?) {
        (_, Some(schema)) => schema,
        (Some(frame), None) => {
            // A column that holds no NULL today may hold one tomorrow.
            let columns: Vec<Field> = frame
                .schema()
                .fields()
                .iter()
                .map(|field| Field::new(field.name(), field.data_type().clone(), true))
                .collect();
            from_arrow(&ArrowSchema::new(columns)).map_err(|error| {
                error.help("name each column of the query with AS, and cast what Iceberg lacks")
            })?
        }
        (None, None) => return Err(Error::invalid("a table needs columns")),
    };
    let schema = create::with_defaults(session, &statement, schema, format_version).await?;
    let new = NewTable {
        partition_spec: statement.partition_spec(&schema)?,
        sort_order: statement.sort_order(&schema)?,
        location: statement
            .location
            .as_deref()
            .map(Location::parse)
            .transpose()?,
        properties: std::mem::take(&mut statement.properties),
        format_version,
        ..NewTable::new(ident.clone(), schema)
    };
    match source {
        Some(rows) => create::from_query(session, new, statement.if_not_exists, rows).await,
        None => {
            let created = catalog.create_table(new).await;
            unless(statement.if_not_exists, ErrorKind::AlreadyExists, created)?;
            Ok(QueryOutput::nothing())
        }
    }
}

async fn drop_table(
    session: &Session,
    name: &ObjectName,
    if_exists: bool,
    purge: bool,
) -> Result<QueryOutput> {
    let found = find_table(session, name).await;
    let Some(table) = unless(if_exists, ErrorKind::NotFound, found)? else {
        return Ok(QueryOutput::nothing());
    };
    may_write(&table, session.settings().force_write)?;
    session
        .engine()
        .catalog()
        .drop_table(table.ident(), purge)
        .await?;
    Ok(QueryOutput::nothing())
}

/// Commits an operation on a table, and gives the table as it stands then.
pub(crate) async fn commit(
    session: &Session,
    table: &Table,
    operation: impl Operation,
) -> Result<Table> {
    let applied = Transaction::new(session.engine().catalog().as_ref())
        .retry(retry_policy(table.metadata())?)
        .step(table.ident().clone(), operation)
        .commit()
        .await?;
    let table = applied.first().map_or(table, Applied::table);
    Ok(table.clone())
}

/// The namespace that a name stands for in this session.
async fn find_namespace(session: &Session, name: &ObjectName) -> Result<NamespaceIdent> {
    let settings = session.settings();
    let resolver = session.resolver(&settings);
    resolver.find_namespace(&parts(name)?).await
}

/// The table that a name stands for in this session.
async fn find_table(session: &Session, name: &ObjectName) -> Result<Table> {
    let settings = session.settings();
    let mut resolver = session.resolver(&settings);
    resolver.find_table(&parts(name)?).await
}

/// What was done, or nothing where an error of this kind is one that the statement puts up with.
fn unless<T>(tolerated: bool, kind: ErrorKind, result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if tolerated && error.kind() == kind => Ok(None),
        other => other.map(Some),
    }
}

/// A pipeline's tables are written by the pipeline: rows from elsewhere would be lost at its next full
/// refresh, or counted twice.
pub(crate) fn may_write(table: &Table, forced: bool) -> Result<()> {
    match table.metadata().properties().get(OWNER) {
        Some(pipeline) if !forced => Err(Error::invalid(format!(
            "the table is written by the pipeline {pipeline:?}"
        ))
        .with("table", table.ident())
        .help("change the pipeline, or SET berglake.force_write = true")),
        _ => Ok(()),
    }
}
