//! Tables: all about them but commits.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, Table, TableIdent};
use iceberg::spec::{FormatVersion, TableMetadata};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::State;
use super::commits::to_the_end;
use super::error::{ApiError, Subject};
use super::extract::{Body, NamespacePath, Params, TablePath};
use super::observe::about;
use super::page::PageParams;
use crate::rest::protocol::{
    CreateTableRequest, ListTablesResponse, LoadTableResult, RegisterTableRequest,
    RenameTableRequest,
};
use crate::{Catalog as _, NewTable};

fn failed(ident: &TableIdent) -> impl Fn(Error) -> ApiError + Copy {
    move |error| ApiError::of(Subject::Table(ident), &error)
}

pub(super) async fn list(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
    Params(params): Params<PageParams>,
) -> Result<Json<ListTablesResponse>, ApiError> {
    let page = params.page()?;
    let found = state
        .catalog
        .list_tables(&namespace)
        .await
        .map_err(|error| ApiError::of(Subject::Namespace(&namespace), &error))?;
    let (identifiers, next_page_token) = page.of(found, |ident: &TableIdent| ident.name());
    Ok(Json(ListTablesResponse {
        identifiers,
        next_page_token,
    }))
}

pub(super) async fn create(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
    Body(request): Body<CreateTableRequest>,
) -> Response {
    let ident = TableIdent::new(namespace, request.name.clone());
    let object = ident.to_string();
    about(object, create_table(&state, ident, request).await)
}

async fn create_table(
    state: &State,
    ident: TableIdent,
    request: CreateTableRequest,
) -> Result<Response, ApiError> {
    let location = request.location.filter(|location| !location.is_empty());
    let table = NewTable {
        ident,
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        location: location
            .map(|location| Location::parse(&location))
            .transpose()
            .map_err(|error| ApiError::general(&error))?,
        properties: request.properties,
        format_version: FormatVersion::V2,
    };
    // What a creation does not find is the namespace.
    let failed = |ident: &TableIdent, error: Error| match error.kind() {
        ErrorKind::NotFound => ApiError::of(Subject::Namespace(ident.namespace()), &error),
        _ => ApiError::of(Subject::Table(ident), &error),
    };
    if request.stage_create {
        let staged = state.catalog.stage_table(&table).await;
        let metadata = staged.map_err(|error| failed(&table.ident, error))?;
        let result = with_settings(state, None, &metadata);
        return Ok(Json(result).into_response());
    }
    let catalog = state.catalog.clone();
    let created = to_the_end(async move {
        let ident = table.ident.clone();
        let created = catalog.create_table(table).await;
        created.map_err(|error| failed(&ident, error))
    });
    loaded(state, &created.await?, Snapshots::All)
}

#[derive(Debug, Deserialize)]
pub(super) struct LoadParams {
    snapshots: Option<String>,
}

/// Which snapshots an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshots {
    All,
    /// Those that a branch or a tag names.
    Refs,
}

pub(super) async fn load(
    FromState(state): FromState<Arc<State>>,
    TablePath(ident): TablePath,
    Params(params): Params<LoadParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let snapshots = match params.snapshots.as_deref() {
        None | Some("" | "all") => Snapshots::All,
        Some("refs") => Snapshots::Refs,
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "snapshots must be all or refs, and is {other:?}"
            )));
        }
    };
    // Whether the client has it already is told by the pointer alone.
    if headers.contains_key(header::IF_NONE_MATCH)
        && let Some(pointer) = state
            .catalog
            .metadata_location(&ident)
            .await
            .map_err(failed(&ident))?
    {
        let tag = tag(&state, &pointer, snapshots);
        if matches(&headers, &tag) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
        }
    }
    let table = state.committer.load(&ident).await;
    let table = table.map_err(failed(&ident))?;
    loaded(&state, &table, snapshots)
}

pub(super) async fn exists(
    FromState(state): FromState<Arc<State>>,
    TablePath(ident): TablePath,
) -> Result<StatusCode, ApiError> {
    let there = state.catalog.table_exists(&ident).await;
    match there.map_err(failed(&ident))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::no_such(Subject::Table(&ident))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DropParams {
    purge_requested: Option<String>,
}

pub(super) async fn drop(
    FromState(state): FromState<Arc<State>>,
    TablePath(ident): TablePath,
    Params(params): Params<DropParams>,
) -> Result<StatusCode, ApiError> {
    let purge = match params.purge_requested.as_deref() {
        None | Some("") => false,
        // Python writes `True`.
        Some(text) => match text.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => {
                return Err(ApiError::bad_request(format!(
                    "purgeRequested must be true or false, and is {text:?}"
                )));
            }
        },
    };
    let catalog = state.catalog.clone();
    // A purge that leaves files behind has dropped the table nevertheless: to a client that asked
    // again the next table of this name would be the one to purge.
    to_the_end(async move {
        let dropped = catalog.drop_table(&ident, purge).await;
        dropped
            .map(|()| StatusCode::NO_CONTENT)
            .map_err(failed(&ident))
    })
    .await
}

pub(super) async fn rename(
    FromState(state): FromState<Arc<State>>,
    Body(request): Body<RenameTableRequest>,
) -> Result<Response, ApiError> {
    let RenameTableRequest {
        source,
        destination,
    } = request;
    if destination.namespace().is_empty() || source.namespace().is_empty() {
        return Err(ApiError::bad_request("a table's name has a namespace"));
    }
    let object = format!("{source} to {destination}");
    let catalog = state.catalog.clone();
    let renamed = to_the_end(async move {
        let Err(error) = catalog.rename_table(&source, &destination).await else {
            return Ok(StatusCode::NO_CONTENT);
        };
        // Either the table or the namespace to move it to is missing.
        let namespace_missing = error.kind() == ErrorKind::NotFound
            && catalog.table_exists(&source).await.is_ok_and(|there| there);
        let subject = match error.kind() {
            ErrorKind::AlreadyExists => Subject::Table(&destination),
            _ if namespace_missing => Subject::Namespace(destination.namespace()),
            _ => Subject::Table(&source),
        };
        Err(ApiError::of(subject, &error))
    });
    Ok(about(object, renamed.await))
}

pub(super) async fn register(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
    Body(request): Body<RegisterTableRequest>,
) -> Response {
    let ident = TableIdent::new(namespace, request.name);
    let object = ident.to_string();
    let catalog = state.catalog.clone();
    let (location, overwrite) = (request.metadata_location, request.overwrite);
    let registered = to_the_end(async move {
        let registered = match overwrite {
            true => catalog.register_over(&ident, &location).await,
            false => catalog.register_table(&ident, &location).await,
        };
        let error = match registered {
            Ok(table) => return Ok(table),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::NotFound {
            return Err(failed(&ident)(error));
        }
        // Either the namespace or the file is missing.
        let namespace = ident.namespace();
        match catalog.load_namespace(namespace).await {
            Err(_) => Err(ApiError::of(Subject::Namespace(namespace), &error)),
            Ok(_) => Err(ApiError::bad_request(error.to_string()).because(&error)),
        }
    });
    let table = registered.await;
    about(
        object,
        table.and_then(|table| loaded(&state, &table, Snapshots::All)),
    )
}

/// The answer with a table, its tag and what its files need.
pub(super) fn loaded(
    state: &State,
    table: &Table,
    snapshots: Snapshots,
) -> Result<Response, ApiError> {
    let pointer = table.metadata_location();
    let tag = tag(state, pointer, snapshots);
    let metadata = written(table.metadata(), snapshots)?;
    let body = Json(with_settings(state, Some(pointer), metadata));
    Ok(([(header::ETAG, tag)], body).into_response())
}

fn with_settings<M: Serialize>(
    state: &State,
    pointer: Option<&str>,
    metadata: M,
) -> LoadTableResult<M> {
    let hand_out = &state.options.hand_out;
    LoadTableResult {
        metadata_location: pointer.map(str::to_string),
        metadata,
        config: hand_out.table(),
        storage_credentials: hand_out.storage_credentials(state.catalog.warehouse()),
    }
}

/// Metadata as it is answered: with these snapshots, in the order in which they were committed, which
/// the parsed form does not keep and clients show.
pub(super) fn written(metadata: &TableMetadata, which: Snapshots) -> Result<Value, ApiError> {
    let mut json = serde_json::to_value(metadata).map_err(|error| {
        let internal = Error::internal("table metadata cannot be written as JSON");
        ApiError::general(&internal.source_error(error))
    })?;
    let id = |snapshot: &Value| snapshot.get("snapshot-id").and_then(Value::as_i64);
    let mut named: HashSet<i64> = HashSet::new();
    if which == Snapshots::Refs {
        if let Some(refs) = json.get("refs").and_then(Value::as_object) {
            named.extend(refs.values().filter_map(id));
        }
        // Older metadata has a current snapshot and no refs.
        named.extend(metadata.current_snapshot_id());
    }
    if let Some(snapshots) = json.get_mut("snapshots").and_then(Value::as_array_mut) {
        if which == Snapshots::Refs {
            snapshots.retain(|snapshot| id(snapshot).is_some_and(|id| named.contains(&id)));
        }
        let number = |snapshot: &Value, key| snapshot.get(key).and_then(Value::as_i64);
        snapshots.sort_by_key(|snapshot| {
            (
                number(snapshot, "sequence-number"),
                number(snapshot, "timestamp-ms"),
            )
        });
    }
    Ok(json)
}

/// The tag of a table as it is answered now.
///
/// A metadata file never changes, so its location stands for its contents. The settings that go with
/// the table are part of the answer: who has an older key must get the new one. The tag is weak,
/// since answers may be compressed on the way.
pub(super) fn tag(state: &State, pointer: &str, snapshots: Snapshots) -> HeaderValue {
    let mut hash = Sha256::new();
    hash.update(pointer.as_bytes());
    hash.update(match snapshots {
        Snapshots::All => b"\0all\0",
        Snapshots::Refs => b"\0ref\0",
    });
    let mut settings: Vec<_> = state.options.hand_out.table().into_iter().collect();
    settings.sort_unstable();
    for (key, value) in settings {
        hash.update(key.as_bytes());
        hash.update([0]);
        hash.update(value.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    HeaderValue::from_str(&format!("W/\"{hex}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("W/\"unknown\""))
}

/// Whether the client already has what this tag stands for.
fn matches(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).to_string()
    };
    let Ok(ours) = tag.to_str().map(opaque) else {
        return false;
    };
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|theirs| theirs.trim() == "*" || opaque(theirs) == ours)
}
