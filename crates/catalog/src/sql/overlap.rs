//! No two tables in one folder: purging or cleaning one would destroy the other.
//!
//! What a table takes for itself is known from its metadata. Of the others the store knows where
//! their metadata files are, and no more: a table whose `write.metadata.path` leads out of its folder
//! is seen where that leads.

use std::collections::HashMap;

use berglake_format::storage::{Location, StoreRoot};
use berglake_format::{Error, NamespaceIdent, Result, TableIdent};
use iceberg::spec::TableMetadata;

use super::database::{Row, Write};
use super::fault::Fault;
use super::{Inner, joined};

/// A statement that finds the tables whose folder may touch a location.
pub(super) struct Search {
    sql: String,
    values: Vec<String>,
    location: Location,
}

impl Search {
    /// Tables at, inside or around this location. Engines spell locations in several ways, and the
    /// store has them as they were spelled, so each spelling is looked for.
    pub(super) fn new(catalog: &str, location: &Location) -> Self {
        let mut values = vec![catalog.to_string()];
        values.extend(spellings(location.root(), &format!("{}/", location.key())));
        let segments: Vec<&str> = location.key().split('/').collect();
        for depth in 1..segments.len() {
            let around = format!("{}/metadata/", segments[..depth].join("/"));
            values.extend(spellings(location.root(), &around));
        }
        let starts: Vec<String> = (2..=values.len())
            .map(|n| format!("substr(metadata_location, 1, length(${n})) = ${n}"))
            .collect();
        Self {
            sql: format!(
                "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables
                 WHERE catalog_name = $1 AND ({})",
                starts.join(" OR ")
            ),
            values,
            location: location.clone(),
        }
    }

    fn values(&self) -> Vec<&str> {
        self.values.iter().map(String::as_str).collect()
    }

    /// The tables that really touch the location.
    fn pick(&self, rows: Vec<Row>) -> impl Iterator<Item = Neighbour> {
        rows.into_iter().filter_map(|row| {
            let mut columns = row.into_iter().flatten();
            let (namespace, name) = (columns.next()?, columns.next()?);
            let folder = folder_of(&columns.next()?)?;
            let touches = folder.is_within(&self.location) || self.location.is_within(&folder);
            touches.then(|| Neighbour {
                namespace,
                name,
                folder,
                wanted: self.location.clone(),
            })
        })
    }
}

/// A table whose folder touches one that another wants.
pub(super) struct Neighbour {
    namespace: String,
    name: String,
    folder: Location,
    wanted: Location,
}

impl Neighbour {
    pub(super) fn refusal(&self, ident: &TableIdent) -> Error {
        Error::invalid("the location is already that of another table, inside it or around it")
            .with("table", ident)
            .with("location", &self.wanted)
            .with("other table", format!("{}.{}", self.namespace, self.name))
            .with("its location", &self.folder)
            .help(
                "give each table a folder of its own, write.data.path and write.metadata.path \
                 included",
            )
    }

    /// Names may hold dots, so that namespace and name are compared one by one.
    fn is(&self, ident: &TableIdent) -> bool {
        self.namespace == joined(ident.namespace()) && self.name == ident.name()
    }

    pub(super) fn into_folder(self) -> Location {
        self.folder
    }
}

/// The folders that a table takes for itself: its own, and those for data and metadata where its
/// properties lead out of that.
pub(super) fn folders_of(metadata: &TableMetadata) -> Result<Vec<Location>> {
    let own = Location::parse(metadata.location())?;
    let mut folders = vec![own.clone()];
    for property in ["write.data.path", "write.metadata.path"] {
        let Some(path) = metadata.properties().get(property) else {
            continue;
        };
        let parsed = Location::parse(path).map_err(|error| error.with("property", property))?;
        if parsed.is_within(&own) {
            continue;
        }
        // Others see the table by its metadata files, and take for its folder what holds theirs.
        let seen = match property {
            "write.metadata.path" => folder_of(&parsed.join("file").to_string()),
            _ => None,
        };
        folders.push(seen.unwrap_or(parsed));
    }
    Ok(folders)
}

impl Inner {
    /// The folders that a table of this metadata takes, all of them in the warehouse.
    pub(super) fn checked_folders(&self, metadata: &TableMetadata) -> Result<Vec<Location>> {
        let folders = folders_of(metadata)?;
        for folder in &folders {
            self.inside_warehouse(folder)?;
        }
        Ok(folders)
    }

    /// The tables whose folders touch one of these, other than the one that is named.
    pub(super) async fn neighbours(
        &self,
        ident: &TableIdent,
        folders: &[Location],
    ) -> Result<Vec<Neighbour>> {
        let mut found = Vec::new();
        for search in self.searches(folders) {
            let rows = self.database.fetch(&search.sql, &search.values()).await?;
            found.extend(search.pick(rows).filter(|one| !one.is(ident)));
        }
        Ok(found)
    }

    /// One of the tables whose folders touch one of these, other than the one that is named, as the
    /// transaction sees it.
    pub(super) async fn neighbour_in(
        &self,
        write: &mut Write<'_>,
        ident: &TableIdent,
        folders: &[Location],
    ) -> Result<Option<Neighbour>, Fault> {
        for search in self.searches(folders) {
            let rows = write.fetch(&search.sql, &search.values()).await?;
            if let Some(found) = search.pick(rows).find(|one| !one.is(ident)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn searches(&self, folders: &[Location]) -> impl Iterator<Item = Search> {
        folders.iter().map(|folder| Search::new(&self.name, folder))
    }

    /// The folder that a table gets where none is given.
    pub(super) async fn default_location(&self, ident: &TableIdent) -> Result<Location> {
        let namespace = ident.namespace();
        let properties = self.load_namespace(namespace).await?;
        let folder = self.namespace_location(namespace, &properties)?;
        let location = folder.join(ident.name());
        let taken = std::slice::from_ref(&location);
        if self.neighbours(ident, taken).await?.is_empty() {
            return Ok(location);
        }
        // A renamed table keeps its folder, and so may hold the one that its old name stands for.
        let unique = self.environment.ids().uuid().simple().to_string();
        Ok(folder.join(&format!("{}-{}", ident.name(), &unique[..8])))
    }

    /// The folder of a namespace with these properties: its own, or the one that its name stands for.
    pub(super) fn namespace_location(
        &self,
        namespace: &NamespaceIdent,
        properties: &HashMap<String, String>,
    ) -> Result<Location> {
        let Some(location) = properties.get(super::namespaces::LOCATION) else {
            return Ok(self.warehouse.join(&namespace.join("/")));
        };
        let location = Location::parse(location)
            .map_err(|error| error.with("namespace", joined(namespace)))?;
        self.inside_warehouse(&location)
            .map_err(|error| error.with("namespace", joined(namespace)))?;
        Ok(location)
    }
}

fn spellings(root: &StoreRoot, key: &str) -> Vec<String> {
    match root {
        StoreRoot::File => vec![
            format!("file:///{key}"),
            format!("file:/{key}"),
            format!("/{key}"),
        ],
        StoreRoot::Memory => vec![
            format!("memory:///{key}"),
            format!("memory:/{key}"),
            format!("memory://{key}"),
        ],
        StoreRoot::S3 { bucket } => ["s3", "s3a", "s3n"]
            .iter()
            .map(|scheme| format!("{scheme}://{bucket}/{key}"))
            .collect(),
    }
}

/// The folder of the table whose metadata file this is, as far as its name tells.
fn folder_of(metadata_location: &str) -> Option<Location> {
    let location = Location::parse(metadata_location).ok()?;
    let text = location.to_string();
    let (folder, _) = text.rsplit_once('/')?;
    let folder = folder.strip_suffix("/metadata").unwrap_or(folder);
    Location::parse(folder).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touches(location: &str, metadata_location: &str) -> bool {
        let search = Search::new("c", &Location::parse(location).unwrap());
        let found = search.values[1..]
            .iter()
            .any(|prefix| metadata_location.starts_with(prefix));
        let row = ["n", "t", metadata_location].map(|text| Some(text.to_string()));
        found && search.pick(vec![row.to_vec()]).next().is_some()
    }

    #[test]
    fn the_same_folder_is_found_in_each_spelling() {
        for theirs in [
            "file:///w/n/t/metadata/1.json",
            "file:/w/n/t/metadata/1.json",
            "/w/n/t/metadata/1.json",
            "/w/n/t/elsewhere/1.json",
        ] {
            assert!(touches("file:///w/n/t", theirs), "{theirs}");
        }
        assert!(touches("s3a://b/w/t", "s3n://b/w/t/metadata/1.json"));
        assert!(!touches("s3://b/w/t", "s3://c/w/t/metadata/1.json"));
    }

    #[test]
    fn folders_inside_and_around_are_found_and_neighbours_are_not() {
        assert!(touches("/w/n", "/w/n/t/metadata/1.json"));
        assert!(touches("/w/n/t/deep/er", "/w/n/t/metadata/1.json"));
        assert!(!touches("/w/n/t", "/w/n/t2/metadata/1.json"));
        assert!(!touches("/w/n/t2", "/w/n/t/metadata/1.json"));
        // A folder that happens to be named metadata is no table.
        assert!(!touches("/w/n/t", "/w/metadata/t/metadata/1.json"));
    }
}
