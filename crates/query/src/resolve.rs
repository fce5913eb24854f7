//! From the names in a query to tables.
//!
//! Names are found as Spark finds them, without regard to case, with the exact spelling preferred. A
//! name may begin with the catalog's, and end in the name of a metadata table, after `$` (Trino) or
//! after a dot (Spark).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::inspect::MetadataTable;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent};
use datafusion::catalog::TableProvider;
use datafusion::sql::sqlparser::ast::Ident;
use iceberg::spec::MAIN_BRANCH;

use crate::error::advice;
use crate::sql::{normal, placed};

/// Tables that a session has beside those of the catalog, by name.
pub(crate) type Extra = BTreeMap<String, Arc<dyn TableProvider>>;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// A table of the session.
    Extra {
        name: String,
        provider: Arc<dyn TableProvider>,
    },
    /// A table of the catalog, what its metadata says, or one of its branches and tags.
    Table {
        table: Table,
        metadata: Option<MetadataTable>,
        reference: Option<NamedRef>,
    },
}

/// A branch or tag that the name of a table ends in, as Spark names it: `t.branch_x`, `t.tag_y`.
#[derive(Debug, Clone)]
pub(crate) struct NamedRef {
    pub(crate) name: String,
    pub(crate) is_branch: bool,
}

/// Finds tables for one statement. A table that is named twice is loaded once, so that both mean the
/// same snapshot.
pub(crate) struct Resolver<'a> {
    catalog: &'a dyn Catalog,
    namespace: &'a [String],
    extra: &'a Extra,
    loaded: HashMap<TableIdent, Table>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(catalog: &'a dyn Catalog, namespace: &'a [String], extra: &'a Extra) -> Self {
        Self {
            catalog,
            namespace,
            extra,
            loaded: HashMap::new(),
        }
    }

    /// The table of this name.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) with the nearest name there is.
    pub(crate) async fn find(&mut self, name: &[Ident]) -> Result<Found> {
        let parts: Vec<String> = name.iter().map(normal).collect();
        let whole = parts.join(".");
        if let Some((name, provider)) = self.extra.get_key_value(&whole).or_else(|| {
            self.extra
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(&whole))
        }) {
            return Ok(Found::Extra {
                name: name.clone(),
                provider: Arc::clone(provider),
            });
        }
        for (table, metadata) in readings(&parts) {
            for path in self.paths(table) {
                if let Some(table) = self.load(&path).await? {
                    return Ok(Found::Table {
                        table,
                        metadata,
                        reference: None,
                    });
                }
            }
        }
        if let Some((of, is_branch, wanted)) = reference(name) {
            for path in self.paths(&parts[..of]) {
                if let Some(table) = self.load(&path).await? {
                    let name = ref_like(&table, is_branch, wanted, &name[of])?;
                    return Ok(Found::Table {
                        table,
                        metadata: None,
                        reference: Some(NamedRef { name, is_branch }),
                    });
                }
            }
        }
        Err(self.unknown(name, &parts).await)
    }

    /// The table of the catalog with this name.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) async fn find_table(&mut self, name: &[Ident]) -> Result<Table> {
        match self.find_target(name).await? {
            (table, None) => Ok(table),
            (table, Some(branch)) => Err(Error::invalid(
                "a branch can be read and inserted into; this needs the whole table",
            )
            .with("table", table.ident())
            .with("branch", branch)),
        }
    }

    /// The table of the catalog with this name, and the branch that the name may end in.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) async fn find_target(&mut self, name: &[Ident]) -> Result<(Table, Option<String>)> {
        match self.find(name).await? {
            Found::Table {
                table,
                metadata: None,
                reference: None,
            } => Ok((table, None)),
            Found::Table {
                table,
                reference: Some(found),
                ..
            } => match found.is_branch {
                true => Ok((table, Some(found.name))),
                false => Err(Error::invalid("a tag can only be read")
                    .with("table", table.ident())
                    .with("tag", found.name)),
            },
            Found::Table { table, .. } => {
                Err(Error::invalid("a metadata table can only be read")
                    .with("table", table.ident()))
            }
            Found::Extra { name, .. } => {
                Err(Error::invalid("a temporary table can only be read").with("table", name))
            }
        }
    }

    /// Where a table of this name may be: below the current namespace if it has one part, and with
    /// or without the catalog's name at the front.
    fn paths(&self, parts: &[String]) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        if let [name] = parts {
            let mut path = self.namespace.to_vec();
            path.push(name.clone());
            paths.push(path);
        } else {
            paths.push(parts.to_vec());
        }
        if let Some(rest) = self.without_catalog(parts)
            && rest.len() > 1
        {
            paths.push(rest.to_vec());
        }
        paths
    }

    fn without_catalog<'p>(&self, parts: &'p [String]) -> Option<&'p [String]> {
        let (first, rest) = parts.split_first()?;
        first
            .eq_ignore_ascii_case(self.catalog.name())
            .then_some(rest)
    }

    async fn load(&mut self, path: &[String]) -> Result<Option<Table>> {
        let Some((name, namespace)) = path.split_last() else {
            return Ok(None);
        };
        let Ok(namespace) = NamespaceIdent::from_vec(namespace.to_vec()) else {
            return Ok(None);
        };
        let exact = TableIdent::new(namespace.clone(), name.clone());
        if let Some(table) = self.load_exact(&exact).await? {
            return Ok(Some(table));
        }
        let Some(namespace) = self.namespace_like(&namespace).await? else {
            return Ok(None);
        };
        let like = self
            .catalog
            .list_tables(&namespace)
            .await?
            .into_iter()
            .find(|ident| ident.name().eq_ignore_ascii_case(name));
        match like {
            Some(ident) => self.load_exact(&ident).await,
            None => Ok(None),
        }
    }

    async fn load_exact(&mut self, ident: &TableIdent) -> Result<Option<Table>> {
        if let Some(table) = self.loaded.get(ident) {
            return Ok(Some(table.clone()));
        }
        match self.catalog.load(ident).await {
            Ok(table) => {
                self.loaded.insert(ident.clone(), table.clone());
                Ok(Some(table))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The namespace of this name in the catalog's spelling.
    async fn namespace_like(&self, wanted: &NamespaceIdent) -> Result<Option<NamespaceIdent>> {
        let mut found: Option<NamespaceIdent> = None;
        for level in wanted.iter() {
            let next = self
                .catalog
                .list_namespaces(found.as_ref())
                .await?
                .into_iter()
                .filter_map(|namespace| {
                    let last = namespace.iter().last().cloned()?;
                    Some((namespace, last))
                })
                .filter(|(_, last)| last.eq_ignore_ascii_case(level))
                .max_by_key(|(_, last)| last == level);
            match next {
                Some((namespace, _)) => found = Some(namespace),
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    /// The namespace of this name, in the catalog's spelling where it exists and as it was written
    /// where it does not.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty name, and those of the catalog.
    pub(crate) async fn find_namespace(&self, name: &[Ident]) -> Result<NamespaceIdent> {
        let parts: Vec<String> = name.iter().map(normal).collect();
        let written = NamespaceIdent::from_vec(parts.clone())?;
        if let Some(found) = self.namespace_like(&written).await? {
            return Ok(found);
        }
        match self.without_catalog(&parts) {
            Some(rest) if !rest.is_empty() => {
                let rest = NamespaceIdent::from_vec(rest.to_vec())?;
                Ok(self.namespace_like(&rest).await?.unwrap_or(rest))
            }
            _ => Ok(written),
        }
    }

    /// The name of a table to create.
    ///
    /// # Errors
    /// As [`find_namespace`](Self::find_namespace).
    pub(crate) async fn new_name(&self, name: &[Ident]) -> Result<TableIdent> {
        let Some((table, namespace)) = name.split_last() else {
            return Err(Error::invalid("a table needs a name"));
        };
        let table = normal(table);
        if table.contains('$') {
            return Err(
                Error::invalid("a table's name must not contain a dollar sign")
                    .with("table", table),
            );
        }
        let namespace = if namespace.is_empty() {
            NamespaceIdent::from_vec(self.namespace.to_vec())?
        } else {
            self.find_namespace(namespace).await?
        };
        Ok(TableIdent::new(namespace, table))
    }

    async fn unknown(&self, name: &[Ident], parts: &[String]) -> Error {
        let error = Error::not_found(format!("there is no table {:?}", parts.join(".")));
        let error = match name.first() {
            Some(first) if first.span.start.line > 0 => error
                .with("line", first.span.start.line)
                .with("column", first.span.start.column),
            _ => error,
        };
        let namespace = match parts {
            [_] => self.namespace.to_vec(),
            _ => parts[..parts.len() - 1].to_vec(),
        };
        let known = self.tables_near(&namespace).await;
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let wanted = if parts.len() == 1 {
            format!("{}.{}", namespace.join("."), parts[0])
        } else {
            parts.join(".")
        };
        match advice(&wanted, &known, "tables are") {
            Some(advice) => error.help(advice),
            None => error,
        }
    }

    /// Names of tables to suggest: of the namespace, or of all at the top if it does not exist.
    async fn tables_near(&self, namespace: &[String]) -> Vec<String> {
        let near = match NamespaceIdent::from_vec(namespace.to_vec()) {
            Ok(namespace) => self.namespace_like(&namespace).await.ok().flatten(),
            Err(_) => None,
        };
        let namespaces = match near {
            Some(namespace) => vec![namespace],
            None => self.catalog.list_namespaces(None).await.unwrap_or_default(),
        };
        let mut names: Vec<String> = self.extra.keys().cloned().collect();
        for namespace in namespaces {
            let tables = self.catalog.list_tables(&namespace).await;
            names.extend(tables.unwrap_or_default().iter().map(ToString::to_string));
        }
        names
    }
}

/// Reads `t.branch_x` and `t.tag_y`: how many parts are the table's, whether it is a branch, and its
/// name as it was written.
fn reference(name: &[Ident]) -> Option<(usize, bool, &str)> {
    let (last, table) = name.split_last()?;
    if table.is_empty() {
        return None;
    }
    [("branch_", true), ("tag_", false)]
        .into_iter()
        .find_map(|(prefix, is_branch)| {
            let (start, wanted) = last.value.split_at_checked(prefix.len())?;
            (start.eq_ignore_ascii_case(prefix) && !wanted.is_empty()).then_some((
                table.len(),
                is_branch,
                wanted,
            ))
        })
}

/// The branch or tag of this name: as it is written, or the only one that differs in case alone.
fn ref_like(table: &Table, is_branch: bool, wanted: &str, place: &Ident) -> Result<String> {
    let refs = table.refs()?;
    let known: Vec<&str> = refs
        .iter()
        .filter(|(_, reference)| reference.is_branch() == is_branch)
        .map(|(name, _)| name.as_str())
        .collect();
    // A table without snapshot has its main branch all the same.
    if known.contains(&wanted) || (is_branch && wanted == MAIN_BRANCH) {
        return Ok(wanted.to_string());
    }
    let mut like = known
        .iter()
        .filter(|name| place.quote_style.is_none() && name.eq_ignore_ascii_case(wanted));
    if let (Some(only), None) = (like.next(), like.next()) {
        return Ok((*only).to_string());
    }
    let kind = if is_branch { "branch" } else { "tag" };
    let error = Error::not_found(format!("the table has no {kind} {wanted:?}"))
        .with("table", table.ident());
    let error = placed(error, place.span.start);
    let list = if is_branch {
        "branches are"
    } else {
        "tags are"
    };
    Err(match advice(wanted, &known, list) {
        Some(advice) => error.help(advice),
        None => error,
    })
}

/// The ways to read a name: as a table, and as a metadata table.
fn readings(parts: &[String]) -> Vec<(&[String], Option<MetadataTable>)> {
    let mut readings = vec![(parts, None)];
    if let Some((last, table)) = parts.split_last()
        && !table.is_empty()
        && let Some(kind) = MetadataTable::parse(last)
    {
        readings.push((table, Some(kind)));
    }
    readings
}

/// Splits `t$snapshots`.
pub(crate) fn split_dollar(name: &[Ident]) -> Vec<Ident> {
    let mut parts = name.to_vec();
    if let Some(last) = parts.last_mut()
        && let Some((table, kind)) = last.value.split_once('$')
        && MetadataTable::parse(kind).is_some()
    {
        let kind = Ident {
            value: kind.to_string(),
            ..last.clone()
        };
        last.value = table.to_string();
        parts.push(kind);
    }
    parts
}
