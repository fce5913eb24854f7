//! `berglake.toml`: where catalog, storage and sources are, and what is the default for new tables.
//!
//! A value comes from the file, an environment variable wins over it, a flag over both; what nobody
//! sets has a default. Keys that do not exist are errors, wherever they stand.
//!
//! ```toml
//! [project]
//! name = "movies"               # default: the folder's name
//! pipelines = "pipelines"       # folder of the SQL files
//!
//! [catalog]
//! uri = "sqlite:.berglake/catalog.db"   # or postgres://user:password@host/database
//!                                       # or the address of a REST catalog: http://host:8181
//! name = "berglake"
//! # of a REST catalog: warehouse = "…", prefix = "…", token as BERGLAKE_CATALOG__TOKEN
//!
//! [storage]
//! warehouse = ".berglake/warehouse"     # or s3://bucket/prefix
//!
//! [storage.s3]
//! endpoint = "http://localhost:9000"
//! region = "us-east-1"
//! path-style = true
//! allow-http = true
//! # access-key-id and secret-access-key: better as BERGLAKE_STORAGE__S3__… in the environment
//!
//! [variables]                   # ${data} in SQL files
//! data = "data"
//!
//! [connections.lake]            # read_files(connection => 'lake', …)
//! kind = "files"
//! path = "../deliveries"
//!
//! [connections.main]            # read_kafka(connection => 'main', …)
//! kind = "kafka"
//! bootstrap-servers = "localhost:9092"
//! # sasl-password: better as BERGLAKE_CONNECTIONS__MAIN__SASL_PASSWORD in the environment
//!
//! [query]                       # SQL over HTTP
//! listen = "127.0.0.1:8080"
//! max-rows = 1000000
//!
//! [services.gold]               # how often gold tables follow silver ones, at most
//! interval = "10s"
//!
//! [maintenance]                 # cron expressions, or "off"
//! compact = "15 * * * *"
//! expire = "0 2 * * 0"
//! time-zone = "Europe/Berlin"
//!
//! [defaults]                    # properties of new tables
//! write.target-file-size-bytes = "128MiB"
//!
//! [layers.gold]                 # of new tables in the namespace gold; they win over [defaults]
//! write.parquet.compression-codec = "zstd"
//! history.expire.max-snapshot-age-ms = "30d"
//! ```
//!
//! Relative paths are relative to the project's folder. Properties whose names end in `-bytes` take
//! sizes such as `128MiB`, those that end in `-ms` times such as `7d`.

mod connections;
mod keys;
mod overrides;
mod reference;
mod roles;
mod settings;
mod show;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use berglake_format::properties::{TableDefaults, WriteProperties};
use berglake_format::storage::{Location, S3Config, StorageConfig};
use berglake_format::{Error, ErrorKind, Result, Secret};

use roles::parse_duration;
use settings::{Setting, Settings};

pub use connections::{Connection, FilesConnection};
pub use reference::{keys_reference, properties_reference};
pub use roles::{
    CatalogClientsConfig, Listen, MaintenanceConfig, QueryConfig, ServerConfig, ServicesConfig,
    WorkerConfig,
};
pub use settings::Origin;
pub use show::{ShownSetting, mask_url};

/// The name of the configuration file in a project's folder.
pub const FILE_NAME: &str = "berglake.toml";

/// What a catalog at an HTTP address is asked for, and with which credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestSettings {
    /// The warehouse, on servers that have several.
    pub warehouse: Option<String>,
    /// The first part of all paths, for where the server does not tell.
    pub prefix: Option<String>,
    /// The bearer token.
    pub token: Option<Secret>,
}

/// The effective configuration of a project: file, then environment, then flags.
#[derive(Clone)]
pub struct Config {
    /// The pipeline's name; the folder's name where nothing is said.
    pub name: String,
    /// The catalog's URI with relative SQLite paths made absolute.
    pub catalog_uri: Secret,
    /// The catalog's name as other engines must give it.
    pub catalog_name: String,
    /// What a REST catalog is asked for and with.
    pub rest: RestSettings,
    /// The warehouse: a location or an absolute folder.
    pub warehouse: String,
    /// The stores.
    pub storage: StorageConfig,
    /// Properties of new tables.
    pub defaults: BTreeMap<String, String>,
    /// Properties of new tables by layer (namespace); they win over `defaults`.
    pub layers: BTreeMap<String, BTreeMap<String, String>>,
    /// What `${name}` stands for in SQL files.
    pub variables: BTreeMap<String, String>,
    /// Where sources are, by the name that `connection => '…'` gives.
    pub connections: BTreeMap<String, Connection>,
    /// The folder of the SQL files, relative to the project.
    pub pipelines: String,
    /// The roles that follow sources and tables.
    pub services: ServicesConfig,
    /// When tables are maintained.
    pub maintenance: MaintenanceConfig,
    /// SQL over HTTP.
    pub query: QueryConfig,
    /// The catalog over REST.
    pub catalog_server: ServerConfig,
    /// What clients of the catalog server are told about the storage.
    pub catalog_clients: CatalogClientsConfig,
    settings: Settings,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The settings hold secrets as text; what is shown of them has none.
        f.debug_list().entries(self.settings()).finish()
    }
}

impl Config {
    /// Loads `berglake.toml` and applies `BERGLAKE_*` overrides.
    ///
    /// # Errors
    /// See [`Project::load`](crate::Project::load).
    pub fn load(
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        Self::load_with(root, environment, [])
    }

    /// Loads `berglake.toml` and applies `BERGLAKE_*` overrides, then flags: dotted keys such as
    /// `storage.s3.region`, and their values.
    ///
    /// # Errors
    /// See [`Project::load`](crate::Project::load).
    pub fn load_with(
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let file = root.join(FILE_NAME);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::not_found("the folder holds no berglake project")
                    .with("file", file.display())
                    .help(
                        "make one with `berglake init`, or name its folder with `--project DIR`",
                    ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(Error::invalid("the configuration is not UTF-8 text")
                    .with("file", file.display()));
            }
            Err(error) => {
                return Err(Error::from(error).with("file", file.display()));
            }
        };
        let mut settings = Settings::parse(&file, &text)?;
        settings.apply_environment(environment)?;
        settings.apply_flags(flags)?;
        Self::build(root, settings)
    }

    fn build(root: &Path, settings: Settings) -> Result<Self> {
        let mut reader = Reader { root, settings };
        let name = reader.name()?;
        let catalog_uri = reader.catalog_uri()?;
        let catalog_name = reader.text(&["catalog", "name"])?;
        let rest = RestSettings {
            warehouse: reader.optional(&["catalog", "warehouse"]),
            prefix: reader.optional(&["catalog", "prefix"]),
            token: reader.secret(&["catalog", "token"]),
        };
        let warehouse = reader.folder(&["storage", "warehouse"])?;
        let storage = StorageConfig {
            s3: S3Config {
                endpoint: reader.endpoint()?,
                region: reader.optional(&["storage", "s3", "region"]),
                access_key_id: reader.secret(&["storage", "s3", "access-key-id"]),
                secret_access_key: reader.secret(&["storage", "s3", "secret-access-key"]),
                session_token: reader.secret(&["storage", "s3", "session-token"]),
                path_style: reader.flag(&["storage", "s3", "path-style"])?,
                allow_http: reader.flag(&["storage", "s3", "allow-http"])?,
            },
            metadata_cache_bytes: reader.size(&["storage", "metadata-cache"])?,
        };
        let pipelines = reader.text(&["project", "pipelines"])?;
        let connections = reader.connections()?;
        let services = reader.services()?;
        let maintenance = reader.maintenance()?;
        let query = reader.query()?;
        let catalog_server = reader.catalog_server()?;
        let catalog_clients = reader.catalog_clients()?;
        reader.sizes()?;
        reader.ages()?;
        let family = |section: &str| -> BTreeMap<String, String> {
            let all = reader.settings.0.iter();
            all.filter(|(path, _)| path.len() == 2 && path[0] == section)
                .map(|(path, setting)| (path[1].clone(), setting.value.clone()))
                .collect()
        };
        let defaults = family("defaults");
        let variables = family("variables");
        let mut layers: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (path, setting) in &reader.settings.0 {
            if let [section, layer, property] = &path[..]
                && section == "layers"
            {
                layers
                    .entry(layer.clone())
                    .or_default()
                    .insert(property.clone(), setting.value.clone());
            }
        }
        reader.check_properties("defaults", None, &defaults)?;
        for (layer, properties) in &layers {
            let mut all = defaults.clone();
            all.extend(properties.clone());
            reader.check_properties("layers", Some(layer), &all)?;
        }
        Ok(Self {
            name,
            catalog_uri,
            catalog_name,
            rest,
            warehouse,
            storage,
            defaults,
            layers,
            variables,
            connections,
            pipelines,
            services,
            maintenance,
            query,
            catalog_server,
            catalog_clients,
            settings: reader.settings,
        })
    }

    /// What new tables get: `defaults`, and `layers` by namespace.
    pub fn table_defaults(&self) -> TableDefaults {
        TableDefaults {
            all: self.defaults.clone(),
            namespaces: self.layers.clone(),
        }
    }

    /// Whether the catalog is one behind the REST protocol.
    pub fn is_rest_catalog(&self) -> bool {
        let uri = self.catalog_uri.reveal();
        uri.starts_with("http://") || uri.starts_with("https://")
    }

    /// The file of a SQLite catalog; none for a catalog on a server or in memory.
    pub fn catalog_file(&self) -> Option<PathBuf> {
        let path = self.catalog_uri.reveal().strip_prefix("sqlite:")?;
        let path = path.split('?').next().unwrap_or(path);
        path.starts_with('/').then(|| PathBuf::from(path))
    }
}

/// Reads settings one by one; those that nobody set are filled in with their defaults.
struct Reader<'a> {
    root: &'a Path,
    settings: Settings,
}

impl Reader<'_> {
    /// The setting of a key, its default where there is one.
    fn setting(&mut self, path: &[&str]) -> Option<&mut Setting> {
        let path: Vec<String> = path.iter().map(|segment| (*segment).to_string()).collect();
        let default = keys::find(&path).and_then(|known| known.default);
        if let Some(default) = default {
            self.settings.0.entry(path.clone()).or_insert(Setting {
                value: default.to_string(),
                origin: Origin::Default,
            });
        }
        self.settings.0.get_mut(&path)
    }

    fn optional(&mut self, path: &[&str]) -> Option<String> {
        self.setting(path).map(|setting| setting.value.clone())
    }

    fn secret(&mut self, path: &[&str]) -> Option<Secret> {
        self.optional(path).map(Secret::new)
    }

    /// A text that must not be empty.
    fn text(&mut self, path: &[&str]) -> Result<String> {
        let value = self.optional(path).unwrap_or_default();
        if value.trim().is_empty() {
            return Err(self.at(path, Error::invalid("the value must not be empty")));
        }
        Ok(value)
    }

    fn flag(&mut self, path: &[&str]) -> Result<bool> {
        let value = self.optional(path).unwrap_or_default();
        value.parse().map_err(|_| {
            self.at(
                path,
                Error::invalid(format!("true or false is expected, not {value:?}")),
            )
        })
    }

    /// Says which key an error is about and where its value comes from.
    fn at(&self, path: &[&str], error: Error) -> Error {
        let path: Vec<String> = path.iter().map(|segment| (*segment).to_string()).collect();
        let error = error.with("key", keys::dotted(&path));
        match self.settings.0.get(&path).map(|setting| &setting.origin) {
            Some(Origin::File { path, line }) => {
                error.with("file", path.display()).with("line", line)
            }
            Some(Origin::Environment { variable }) => error.with("variable", variable),
            Some(Origin::Flag) => error.with("flag", "--set"),
            Some(Origin::Default) | None => error,
        }
    }

    fn replace(&mut self, path: &[&str], value: &str) {
        if let Some(setting) = self.setting(path) {
            setting.value = value.to_string();
        }
    }

    fn name(&mut self) -> Result<String> {
        const PATH: &[&str] = &["project", "name"];
        if self.optional(PATH).is_some() {
            return self.text(PATH);
        }
        let folder = self.root.file_name().and_then(|name| name.to_str());
        let name = folder.unwrap_or("berglake").to_string();
        self.settings.0.insert(
            PATH.iter().map(|segment| (*segment).to_string()).collect(),
            Setting {
                value: name.clone(),
                origin: Origin::Default,
            },
        );
        Ok(name)
    }

    fn catalog_uri(&mut self) -> Result<Secret> {
        const PATH: &[&str] = &["catalog", "uri"];
        let uri = self.text(PATH)?;
        let uri = match uri.split_once(':') {
            Some(("sqlite", ":memory:")) => uri,
            Some(("sqlite", path)) => {
                // `sqlite:path`, `sqlite:///absolute` and `sqlite://relative` are all in use.
                let path = path.strip_prefix("//").unwrap_or(path);
                let (path, options) = match path.split_once('?') {
                    Some((path, options)) => (path, format!("?{options}")),
                    None => (path, String::new()),
                };
                if path.is_empty() {
                    let error = Error::invalid("the catalog's URI names no file")
                        .help("write sqlite:PATH, relative to the project's folder");
                    return Err(self.at(PATH, error));
                }
                let path = clean(&self.root.join(path));
                format!("sqlite:{}{options}", path.display())
            }
            Some(("postgres" | "postgresql", _)) => uri,
            Some(("http" | "https", _)) => {
                let is_url = url::Url::parse(&uri).is_ok_and(|url| {
                    url.has_host() && url.username().is_empty() && url.password().is_none()
                });
                if !is_url {
                    let error = Error::invalid("the address of the REST catalog is not possible")
                        .help(
                            "write it as in http://localhost:8181, and a credential as catalog.token",
                        );
                    return Err(self.at(PATH, error));
                }
                uri
            }
            _ => {
                let scheme = uri.split([':', '/']).next().unwrap_or_default();
                let error = Error::invalid(format!("{scheme:?} is no kind of catalog")).help(
                    "write sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or \
                         http://HOST:PORT of a REST catalog",
                );
                return Err(self.at(PATH, error));
            }
        };
        self.replace(PATH, &uri);
        Ok(Secret::new(uri))
    }

    fn endpoint(&mut self) -> Result<Option<String>> {
        const PATH: &[&str] = &["storage", "s3", "endpoint"];
        let Some(endpoint) = self.optional(PATH) else {
            return Ok(None);
        };
        let is_url = url::Url::parse(&endpoint)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_url {
            let error = Error::invalid("the endpoint is no http or https URL")
                .help("write it as in http://localhost:9000");
            return Err(self.at(PATH, error));
        }
        Ok(Some(endpoint))
    }

    /// A location as it is, a path made absolute.
    fn folder(&mut self, path: &[&str]) -> Result<String> {
        let value = self.text(path)?;
        let absolute = absolute(self.root, &value).map_err(|error| self.at(path, error))?;
        self.replace(path, &absolute);
        Ok(absolute)
    }

    /// Whether tables can have these properties together.
    fn check_properties(
        &self,
        section: &str,
        layer: Option<&str>,
        properties: &BTreeMap<String, String>,
    ) -> Result<()> {
        let properties = properties.clone().into_iter().collect();
        let Err(error) = WriteProperties::parse(&properties) else {
            return Ok(());
        };
        let named = error.context().iter().find(|(key, _)| *key == "property");
        let name = named.map_or(String::new(), |(_, name)| name.clone());
        let path: Vec<&str> = [section].into_iter().chain(layer).chain([&*name]).collect();
        Err(self.at(&path, error))
    }

    /// Turns times such as `7d` into the numbers that properties in milliseconds have.
    fn ages(&mut self) -> Result<()> {
        let paths: Vec<Vec<String>> = self.settings.0.keys().cloned().collect();
        for path in paths {
            let is_property =
                keys::find(&path).is_some_and(|known| known.kind == keys::Kind::Property);
            let is_age = path
                .last()
                .is_some_and(|name| name.ends_with("-ms") && !name.contains(".column."));
            let segments: Vec<&str> = path.iter().map(String::as_str).collect();
            if !is_property || !is_age {
                continue;
            }
            let value = self.text(&segments)?;
            if value.trim().parse::<u64>().is_ok() {
                continue;
            }
            let age = parse_duration(&value).ok_or_else(|| {
                let error = Error::invalid(format!("{value:?} is no time"))
                    .help("write a number of milliseconds, or one with ms, s, m, h or d, as in 7d");
                self.at(&segments, error)
            })?;
            self.replace(&segments, &age.as_millis().to_string());
        }
        Ok(())
    }

    /// Turns sizes such as `128MiB` into the numbers that table properties have.
    fn sizes(&mut self) -> Result<()> {
        let paths: Vec<Vec<String>> = self.settings.0.keys().cloned().collect();
        for path in paths {
            let is_property =
                keys::find(&path).is_some_and(|known| known.kind == keys::Kind::Property);
            let is_size = path
                .last()
                // A column may be called so, too.
                .is_some_and(|name| name.ends_with("-bytes") && !name.contains(".column."));
            if !is_property || !is_size {
                continue;
            }
            let segments: Vec<&str> = path.iter().map(String::as_str).collect();
            let value = self.text(&segments)?;
            let bytes = parse_size(&value).ok_or_else(|| {
                let error = Error::new(ErrorKind::InvalidInput, format!("{value:?} is no size"))
                    .help("write a number of bytes, or one with KiB, MiB, GiB, kB, MB or GB");
                self.at(&segments, error)
            })?;
            self.replace(&segments, &bytes.to_string());
        }
        Ok(())
    }
}

/// A location in its normal spelling, or an absolute path below `root`.
fn absolute(root: &Path, value: &str) -> Result<String> {
    // `C:` is no scheme that anybody means; `s3:`, `file:` and `memory:` are longer.
    let has_scheme = value.split_once(':').is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric())
    });
    if has_scheme {
        return Ok(Location::parse(value)?.to_string());
    }
    let path = clean(&root.join(value));
    Location::from_path(&path)?;
    path.to_str()
        .map(str::to_string)
        .ok_or_else(|| Error::invalid("the path is not UTF-8"))
}

/// An absolute path without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// A size with or without a unit, in bytes.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests;
