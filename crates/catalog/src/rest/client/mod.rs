//! The client: any Iceberg REST catalog as a [`Catalog`].
//!
//! The server at the other end may be berglake's own or another; what it can do is what it
//! advertises in `/v1/config`, and it is asked for nothing else.
//!
//! What the answer to a commit means (the contract is
//! [`berglake_format::commit`]'s):
//!
//! | answer | outcome |
//! |---|---|
//! | 2xx that can be read | committed |
//! | 409 | conflict: planned again |
//! | 404 that names the table | conflict: the table is gone |
//! | 400, 401, 403, 406, 422, a redirection | an error; nothing was changed |
//! | the connection was refused, or 429 to the end of the tries | an error; nothing was changed |
//! | 503 of berglake's own server to the end of the tries | an error; nothing was changed |
//! | another 5xx, a timeout, a connection that broke, a 2xx that broke off | unknown |
//! | a gateway's 503, then anything but 2xx | unknown: the first try may have been carried out |
//!
//! A change that is no commit of a table (create, drop, rename, …) and whose answer was lost is
//! looked for in the catalog and, where it is not there, sent again under the same `Idempotency-Key`.

mod asked;
mod commit;
mod credentials;
mod loaded;
mod namespaces;
mod refusal;
mod retry;
mod tables;
mod telemetry;
mod transport;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berglake_format::commit::{CommitOutcome, Committer, TableChange};
use berglake_format::storage::{Location, Storage, StorageConfig};
use berglake_format::{
    Environment, Error, ErrorKind, NamespaceIdent, Result, Secret, Table, TableIdent,
};
use http::Method;
use http::header::HeaderName;
use serde::de::DeserializeOwned;

use super::protocol::{ConfigResponse, Paths, encode_segment};
use crate::{Catalog, NewTable};
use loaded::LoadedTables;
use retry::Sent;
use transport::{Failure, Reply, Request, Timeouts, Transport};

pub use retry::RequestRetry;

/// Lets a server recognise a change that it has made already.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Settings of a [`RestCatalog`].
#[derive(Debug, Clone)]
pub struct RestCatalogConfig {
    /// The catalog's name, by which SQL and messages know it.
    pub name: String,
    /// The server's address, such as `http://localhost:8181`, without `/v1`.
    pub uri: String,
    /// The folder below which tables lie, for where the server does not tell.
    pub location: Location,
    /// The warehouse to ask for, on servers that have several.
    pub warehouse: Option<String>,
    /// The first part of all paths, for where the server does not tell.
    pub prefix: Option<String>,
    /// The bearer token.
    pub token: Option<Secret>,
    /// How long a connection is waited for; 5 s where nothing is said.
    pub connect_timeout: Duration,
    /// How long an answer is waited for; 60 s where nothing is said. A commit that takes longer is
    /// looked for.
    pub request_timeout: Duration,
    /// How often a request is sent again.
    pub retry: RequestRetry,
    /// How much table metadata is kept, by the size of its JSON; 64 MiB where nothing is said. The
    /// server is asked each time whether it is still true.
    pub metadata_cache_bytes: usize,
}

impl RestCatalogConfig {
    /// A catalog at this address, all else as it is where nothing is said.
    pub fn new(name: impl Into<String>, uri: impl Into<String>, location: Location) -> Self {
        Self {
            name: name.into(),
            uri: uri.into(),
            location,
            warehouse: None,
            prefix: None,
            token: None,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(60),
            retry: RequestRetry::default(),
            metadata_cache_bytes: 64 << 20,
        }
    }
}

/// A catalog behind the Iceberg REST protocol. Cheap to clone.
#[derive(Clone)]
pub struct RestCatalog(Arc<Inner>);

struct Inner {
    name: String,
    warehouse: Location,
    transport: Transport,
    retry: RequestRetry,
    paths: Paths,
    server: ConfigResponse,
    /// The server's settings with ours in between: those of storage are in here.
    properties: HashMap<String, String>,
    /// The project's storage.
    storage: Storage,
    /// Storage of tables whose settings the server hands out, the latest last.
    handed_out: Mutex<Vec<(StorageConfig, Storage)>>,
    environment: Environment,
    loaded: LoadedTables,
}

impl fmt::Debug for RestCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestCatalog")
            .field("name", &self.0.name)
            .field("uri", &self.0.transport.base())
            .field("warehouse", &self.0.warehouse.to_string())
            .finish_non_exhaustive()
    }
}

impl RestCatalog {
    /// Asks the server what it is and can do.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an address or a token that is not possible,
    /// [`Unavailable`](ErrorKind::Unavailable) for a server that is away,
    /// [`Denied`](ErrorKind::Denied) for a token that it refuses,
    /// [`NotFound`](ErrorKind::NotFound) for a warehouse that it does not have, or an address that is
    /// no catalog's. Each says which catalog it was, never with the token.
    pub async fn connect(
        config: RestCatalogConfig,
        storage: Storage,
        environment: Environment,
    ) -> Result<Self> {
        if config.name.is_empty() {
            return Err(Error::invalid("the catalog's name must not be empty"));
        }
        let timeouts = Timeouts {
            connect: config.connect_timeout,
            request: config.request_timeout,
        };
        let transport = Transport::new(&config.uri, config.token, timeouts)?;
        let mut request = Request::new(Method::GET, Paths::CONFIG.to_string());
        if let Some(warehouse) = &config.warehouse {
            request = request.query("warehouse", encode_segment(warehouse));
        }
        let sent = retry::send(&transport, &environment, &config.retry, &request).await;
        let reply = sent.result?;
        if !reply.status.is_success() {
            return Err(refusal::error(transport.base(), &request, &reply));
        }
        let server: ConfigResponse = serde_json::from_slice(&reply.body).map_err(|error| {
            refusal::unreadable(transport.base(), &request, error)
                .help("check that catalog.uri is the address of an Iceberg REST catalog")
        })?;
        let own = [
            ("warehouse", config.warehouse.clone()),
            ("prefix", config.prefix),
        ];
        let own = own
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_string(), value?)))
            .collect();
        let properties = server.merge(&own);
        let mut paths = Paths::new(properties.get("prefix").map(String::as_str));
        if let Some(separator) = properties.get("namespace-separator") {
            paths = paths.with_separator(separator);
        }
        let warehouse = properties
            .get("warehouse")
            .and_then(|warehouse| Location::parse(warehouse).ok())
            .unwrap_or(config.location);
        tracing::debug!(catalog = transport.base(), "connected to the REST catalog");
        Ok(Self(Arc::new(Inner {
            name: config.name,
            warehouse,
            transport,
            retry: config.retry,
            paths,
            server,
            properties,
            storage,
            handed_out: Mutex::default(),
            environment,
            loaded: LoadedTables::new(config.metadata_cache_bytes),
        })))
    }

    /// The server's address.
    pub fn uri(&self) -> &str {
        self.0.transport.base()
    }

    /// What the server said of itself.
    pub fn server(&self) -> &ConfigResponse {
        &self.0.server
    }

    /// Clock, identifiers and identity that this catalog gives to its tables.
    pub fn environment(&self) -> &Environment {
        &self.0.environment
    }
}

/// What looking for a change whose answer was lost has found.
enum Found<T> {
    /// It is there.
    Done(T),
    /// It is not there, and may be sent again.
    Not,
    /// What is there says that it cannot be made any more.
    Never(Error),
}

impl Inner {
    async fn send(&self, request: &Request) -> Sent {
        retry::send(&self.transport, &self.environment, &self.retry, request).await
    }

    /// Sends a request that only looks, and gives its answer, success or not.
    async fn ask(&self, request: &Request) -> Result<Reply> {
        Ok(self.send(request).await.result?)
    }

    /// Sends a request that only looks, and reads its answer.
    async fn get<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let reply = self.ask(request).await?;
        if !reply.status.is_success() {
            return Err(self.refused(request, &reply));
        }
        self.read(request, &reply)
    }

    fn read<T: DeserializeOwned>(&self, request: &Request, reply: &Reply) -> Result<T> {
        serde_json::from_slice(&reply.body)
            .map_err(|error| refusal::unreadable(self.transport.base(), request, error))
    }

    fn refused(&self, request: &Request, reply: &Reply) -> Error {
        refusal::error(self.transport.base(), request, reply)
    }

    /// A request that changes something, with a key of its own by which a server knows it again.
    fn mutation(&self, method: Method, path: String) -> Request {
        // Version 7, as the specification asks: the time, then chance.
        let millis = u64::try_from(self.environment.clock().now_millis()).unwrap_or(0);
        let chance = self.environment.ids().uuid().into_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&chance[6..]);
        let key = uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
        Request::new(method, path).header(IDEMPOTENCY_KEY, &key.to_string())
    }

    /// Fails where the server does not have the endpoint.
    fn need(&self, endpoint: &str, what: &str) -> Result<()> {
        if self.server.supports(endpoint) {
            return Ok(());
        }
        Err(Error::unsupported(format!("the catalog cannot {what}"))
            .with("catalog", self.transport.base())
            .with("endpoint", endpoint))
    }

    /// Makes a change, and finds out what became of it when the answer is lost.
    async fn change<T, Accept, Look, Looking>(
        &self,
        request: &Request,
        accept: Accept,
        look: Look,
    ) -> Result<T>
    where
        Accept: Fn(&Reply) -> Result<T>,
        Look: Fn() -> Looking,
        Looking: Future<Output = Result<Found<T>>>,
    {
        let mut doubt: Option<Error> = None;
        let mut rounds = 0;
        loop {
            let sent = self.send(request).await;
            doubt = sent.doubt.or(doubt);
            // What the last try proves: nothing, or that it was refused.
            let refusal = match sent.result {
                Ok(reply) if reply.status.is_success() => match accept(&reply) {
                    Ok(value) => return Ok(value),
                    Err(error) => {
                        doubt = Some(error);
                        None
                    }
                },
                Ok(reply) if refusal::is_doubtful(&reply) => {
                    doubt = Some(self.refused(request, &reply));
                    None
                }
                Ok(reply) => Some(self.refused(request, &reply)),
                Err(Failure::NotSent(error)) => Some(error),
                Err(Failure::Lost(error)) => {
                    doubt = Some(error);
                    None
                }
            };
            match (&doubt, refusal) {
                (None, Some(refusal)) => return Err(refusal),
                (doubt, refusal) => {
                    let lost = doubt.as_ref().map(ToString::to_string);
                    tracing::warn!(%request, lost, "the catalog's answer was lost, looking for the change");
                    match look().await {
                        Ok(Found::Done(value)) => return Ok(value),
                        Ok(Found::Never(error)) => return Err(error),
                        Ok(Found::Not) => {
                            if let Some(refusal) = refusal {
                                return Err(refusal);
                            }
                        }
                        Err(error) => return Err(unknown(request, error)),
                    }
                }
            }
            rounds += 1;
            let jitter = self.environment.ids().uuid().as_u64_pair().1;
            let Some(wait) = self.retry.wait(rounds, None, jitter) else {
                let cause = doubt.unwrap_or_else(|| Error::internal("no try gave an answer"));
                return Err(unknown(request, cause));
            };
            tokio::time::sleep(wait).await;
        }
    }
}

fn unknown(request: &Request, cause: Error) -> Error {
    Error::new(
        ErrorKind::UnknownOutcome,
        "the answer of the catalog was lost, and what became of the request could not be found out",
    )
    .with("request", request)
    .help("look at the catalog before trying again")
    .source_error(cause)
}

#[async_trait]
impl Committer for RestCatalog {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.0.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        self.0.commit(changes).await
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn warehouse(&self) -> &Location {
        &self.0.warehouse
    }

    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        self.0.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.0.create_namespace(namespace, properties).await
    }

    async fn load_namespace(&self, namespace: &NamespaceIdent) -> Result<HashMap<String, String>> {
        self.0.load_namespace(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        updates: HashMap<String, String>,
        removals: Vec<String>,
    ) -> Result<()> {
        self.0.update_namespace(namespace, updates, removals).await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.0.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.0.list_tables(namespace).await
    }

    async fn create_table(&self, table: NewTable) -> Result<Table> {
        self.0.create_table(table).await
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        self.0.table_exists(ident).await
    }

    async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        self.0.drop_table(ident, purge).await
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.0.rename_table(from, to).await
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: &str) -> Result<Table> {
        self.0.register_table(ident, metadata_location).await
    }
}
