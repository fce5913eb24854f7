//! No two tables in one folder: purging or cleaning one would destroy the other.

use std::collections::HashMap;

use berglake_format::storage::{Location, StoreRoot};
use berglake_format::{Error, NamespaceIdent, Result, TableIdent};

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
            let name = format!("{}.{}", columns.next()?, columns.next()?);
            let folder = folder_of(&columns.next()?)?;
            (folder.is_within(&self.location) || self.location.is_within(&folder))
                .then_some(Neighbour { name, folder })
        })
    }
}

/// A table whose folder touches another's.
pub(super) struct Neighbour {
    name: String,
    folder: Location,
}

impl Neighbour {
    pub(super) fn refusal(&self, ident: &TableIdent, location: &Location) -> Error {
        Error::invalid("the location is already that of another table, inside it or around it")
            .with("table", ident)
            .with("location", location)
            .with("other table", &self.name)
            .with("its location", &self.folder)
            .help("give each table a folder of its own")
    }
}

impl Inner {
    pub(super) async fn neighbour(&self, location: &Location) -> Result<Option<Neighbour>> {
        let search = Search::new(&self.name, location);
        let rows = self.database.fetch(&search.sql, &search.values()).await?;
        Ok(search.pick(rows).next())
    }

    pub(super) async fn neighbour_in(
        &self,
        write: &mut Write<'_>,
        location: &Location,
    ) -> Result<Option<Neighbour>, Fault> {
        let search = Search::new(&self.name, location);
        let rows = write.fetch(&search.sql, &search.values()).await?;
        Ok(search.pick(rows).next())
    }

    /// A table whose folder touches the location, other than the one that is named.
    pub(super) async fn neighbour_of(
        &self,
        write: &mut Write<'_>,
        ident: &TableIdent,
        location: &Location,
    ) -> Result<Option<Neighbour>, Fault> {
        let search = Search::new(&self.name, location);
        let rows = write.fetch(&search.sql, &search.values()).await?;
        let own = format!("{}.{}", joined(ident.namespace()), ident.name());
        let mut neighbours = search.pick(rows);
        Ok(neighbours.find(|neighbour| neighbour.name != own))
    }

    /// The folder that a table gets where none is given.
    pub(super) async fn default_location(&self, ident: &TableIdent) -> Result<Location> {
        let namespace = ident.namespace();
        let properties = self.load_namespace(namespace).await?;
        let folder = self.namespace_location(namespace, &properties)?;
        let location = folder.join(ident.name());
        if self.neighbour(&location).await?.is_none() {
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
