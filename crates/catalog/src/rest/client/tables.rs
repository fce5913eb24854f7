//! Tables over HTTP: everything but commits.

use std::sync::Arc;

use berglake_format::commit::metadata_file;
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent};
use http::header::{ETAG, IF_NONE_MATCH};
use http::{Method, StatusCode};
use iceberg::spec::TableMetadata;
use serde_json::Value;
use uuid::Uuid;

use super::asked::is_as_asked;
use super::credentials::HandedOut;
use super::loaded::Loaded;
use super::namespaces::{can_be_addressed, is_segment};
use super::transport::{Reply, Request};
use super::{Found, Inner};
use crate::rest::protocol::{
    CreateTableRequest, ListTablesResponse, LoadTableResult, RegisterTableRequest,
    RenameTableRequest, endpoints,
};
use crate::{NewTable, purge};

pub(super) const FORMAT_VERSION: &str = "format-version";

impl Inner {
    pub(super) async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.check_address(ident)?;
        let now = self.environment.clock().now_millis();
        let known = self.loaded.get(ident, now);
        let mut request = Request::new(Method::GET, self.paths.table(ident));
        if let Some(known) = &known {
            request = request.header(IF_NONE_MATCH, &known.etag);
        }
        let reply = self.ask(&request).await?;
        match known {
            Some(known) if reply.status == StatusCode::NOT_MODIFIED => Ok(known.table),
            _ if reply.status.is_success() => self.loaded_table(ident, &request, &reply),
            _ => {
                let error = self.refused(&request, &reply);
                if error.kind() == ErrorKind::NotFound {
                    self.loaded.remove(ident);
                }
                Err(error)
            }
        }
    }

    /// The table in an answer.
    pub(super) fn loaded_table(
        &self,
        ident: &TableIdent,
        request: &Request,
        reply: &Reply,
    ) -> Result<Table> {
        let result: LoadTableResult<Value> = self.read(request, reply)?;
        let metadata = self.metadata(ident, result.metadata)?;
        let Some(metadata_location) = result.metadata_location else {
            return Err(
                Error::corrupt("the catalog names no metadata file for the table")
                    .with("table", ident)
                    .with("catalog", self.transport.base()),
            );
        };
        let handed_out = HandedOut {
            config: &result.config,
            credentials: &result.storage_credentials,
        };
        let (storage, expires_ms) = self.storage_of(metadata.location(), &handed_out);
        let table = Table::new(
            ident.clone(),
            Arc::new(metadata),
            metadata_location,
            storage,
            self.environment.clone(),
        );
        self.keep(reply, &table, expires_ms);
        Ok(table)
    }

    /// Keeps a table under the tag of the answer that it came with.
    pub(super) fn keep(&self, reply: &Reply, table: &Table, expires_ms: Option<i64>) {
        if let Some(etag) = reply.header(ETAG) {
            let loaded = Loaded {
                etag: etag.to_string(),
                table: table.clone(),
                expires_ms,
                bytes: reply.body.len(),
            };
            self.loaded.put(table.ident(), loaded);
        }
    }

    pub(super) fn metadata(&self, ident: &TableIdent, json: Value) -> Result<TableMetadata> {
        metadata_file::from_value(json).map_err(|error| {
            error
                .with("table", ident)
                .with("catalog", self.transport.base())
        })
    }

    /// Refuses names that cannot stand in an address.
    pub(super) fn check_address(&self, ident: &TableIdent) -> Result<()> {
        can_be_addressed(ident.namespace())?;
        if is_segment(ident.name()) {
            return Ok(());
        }
        Err(Error::not_found(format!("there is no table {ident}"))
            .with("catalog", self.transport.base())
            .help("no catalog can have a table of this name"))
    }

    pub(super) async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        can_be_addressed(namespace)?;
        let mut all: Vec<TableIdent> = self
            .pages(
                || Request::new(Method::GET, self.paths.tables(namespace)),
                |page: ListTablesResponse| (page.identifiers, page.next_page_token),
            )
            .await?;
        all.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        all.dedup();
        Ok(all)
    }

    pub(super) async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        if self.check_address(ident).is_err() {
            return Ok(false);
        }
        // Older servers have no way to ask without loading.
        let method = if self.server.supports(endpoints::TABLE_EXISTS) {
            Method::HEAD
        } else {
            Method::GET
        };
        let request = Request::new(method, self.paths.table(ident));
        let reply = self.ask(&request).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused(&request, &reply).with("table", ident)),
        }
    }

    pub(super) async fn create_table(&self, new: NewTable) -> Result<Table> {
        self.need(endpoints::CREATE_TABLE, "create tables")?;
        can_be_addressed(new.ident.namespace())?;
        let mut properties = new.properties.clone();
        // The protocol has no other place for it.
        properties
            .entry(FORMAT_VERSION.to_string())
            .or_insert_with(|| (new.format_version as u8).to_string());
        let request = self
            .mutation(Method::POST, self.paths.tables(new.ident.namespace()))
            .json(&CreateTableRequest {
                name: new.ident.name().to_string(),
                location: new.location.as_ref().map(Location::to_string),
                schema: new.schema.clone(),
                partition_spec: new.partition_spec.clone(),
                write_order: new.sort_order.clone(),
                stage_create: false,
                properties,
            })?;
        let accept = |reply: &Reply| self.loaded_table(&new.ident, &request, reply);
        let look = || async {
            match self.load(&new.ident).await {
                // A table that somebody else made in the same moment and in the same way is as good.
                Ok(table) if is_as_asked(&table, &new) => Ok(Found::Done(table)),
                Ok(_) => Ok(Found::Never(self.exists(&new.ident))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Not),
                Err(error) => Err(error),
            }
        };
        self.change(&request, accept, look).await
    }

    pub(super) async fn register_table(
        &self,
        ident: &TableIdent,
        metadata_location: &str,
    ) -> Result<Table> {
        self.need(endpoints::REGISTER_TABLE, "register tables")?;
        can_be_addressed(ident.namespace())?;
        let file = Location::parse(metadata_location)?;
        let request = self
            .mutation(Method::POST, self.paths.register(ident.namespace()))
            .json(&RegisterTableRequest {
                name: ident.name().to_string(),
                metadata_location: file.to_string(),
                overwrite: false,
            })?;
        let accept = |reply: &Reply| self.loaded_table(ident, &request, reply);
        let look = || async {
            match self.load(ident).await {
                Ok(table)
                    if Location::parse(table.metadata_location()).is_ok_and(|at| at == file) =>
                {
                    Ok(Found::Done(table))
                }
                Ok(_) => Ok(Found::Never(self.exists(ident))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Not),
                Err(error) => Err(error),
            }
        };
        self.change(&request, accept, look).await
    }

    pub(super) async fn drop_table(&self, ident: &TableIdent, purge: bool) -> Result<()> {
        self.need(endpoints::DROP_TABLE, "drop tables")?;
        self.check_address(ident)?;
        let before = match self.load(ident).await {
            Ok(table) => {
                if purge {
                    purge::check_allowed(&table)?;
                }
                Some(table.metadata().uuid())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            // A table that cannot be loaded can be dropped, but its files are not known.
            Err(error) if purge => return Err(error),
            Err(_) => None,
        };
        let request = self
            .mutation(Method::DELETE, self.paths.table(ident))
            .query("purgeRequested", if purge { "true" } else { "false" });
        let look = || async {
            Ok(match self.uuid_of(ident).await? {
                None => Found::Done(()),
                // The table that is there now was made after ours was dropped.
                Some(uuid) if before.is_some_and(|before| before != uuid) => Found::Done(()),
                Some(_) => Found::Not,
            })
        };
        let result = self.change(&request, |_| Ok(()), look).await;
        self.loaded.remove(ident);
        result
    }

    pub(super) async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.need(endpoints::RENAME_TABLE, "rename tables")?;
        self.check_address(from)?;
        let before = self.uuid_of(from).await?;
        let request = self
            .mutation(Method::POST, self.paths.rename())
            .taking_away()
            .json(&RenameTableRequest {
                source: from.clone(),
                destination: to.clone(),
            })?;
        let look = || async {
            if before.is_some() && self.uuid_of(to).await? == before {
                return Ok(Found::Done(()));
            }
            // Sent again, it would move whatever has this name now.
            if self.uuid_of(from).await? == before {
                return Ok(Found::Not);
            }
            Err(Error::new(
                ErrorKind::Conflict,
                "the table has neither the old name nor the new one",
            )
            .with("table", from)
            .with("new-name", to)
            .help("list the tables to see what became of it"))
        };
        let result = self.change(&request, |_| Ok(()), look).await;
        self.loaded.remove(from);
        self.loaded.remove(to);
        result
    }

    /// The identity of the table of this name, none if there is none.
    async fn uuid_of(&self, ident: &TableIdent) -> Result<Option<Uuid>> {
        match self.load(ident).await {
            Ok(table) => Ok(Some(table.metadata().uuid())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn exists(&self, ident: &TableIdent) -> Error {
        Error::new(
            ErrorKind::AlreadyExists,
            format!("the table {ident} exists"),
        )
        .with("catalog", self.transport.base())
    }
}
