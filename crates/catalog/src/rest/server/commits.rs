//! Commits, and what their outcomes are as answers.

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use berglake_format::commit::{CommitOutcome, ConflictReason, TableChange};
use berglake_format::{Error, ErrorKind, Table, TableIdent};
use tracing::Instrument as _;

use super::State;
use super::error::{ApiError, Subject};
use super::extract::{Body, TablePath};
use super::observe::about;
use super::tables::{Snapshots, tag, written};
use crate::rest::protocol::{
    CommitTableRequest, CommitTableResponse, CommitTransactionRequest, conflict, error_type,
};
use crate::{Catalog as _, SqlCatalog};

pub(super) async fn update(
    FromState(state): FromState<Arc<State>>,
    TablePath(ident): TablePath,
    Body(request): Body<CommitTableRequest>,
) -> Result<Response, ApiError> {
    if let Some(other) = request.identifier.filter(|other| *other != ident) {
        return Err(ApiError::bad_request(format!(
            "the path names {ident}, and the body names {other}"
        )));
    }
    let change = TableChange {
        ident,
        requirements: request.requirements,
        updates: request.updates,
    };
    let tables = commit(&state, vec![change]).await?;
    let Some(table) = tables.first() else {
        return Err(ApiError::unknown(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the commit was answered without its table",
        ));
    };
    let tag = tag(&state, table.metadata_location(), Snapshots::All);
    let body = Json(CommitTableResponse {
        metadata_location: table.metadata_location().to_string(),
        metadata: written(table.metadata(), Snapshots::All)?,
    });
    Ok(([(header::ETAG, tag)], body).into_response())
}

pub(super) async fn transaction(
    FromState(state): FromState<Arc<State>>,
    Body(request): Body<CommitTransactionRequest>,
) -> Result<Response, ApiError> {
    let mut changes = Vec::with_capacity(request.table_changes.len());
    for change in request.table_changes {
        let Some(ident) = change.identifier else {
            return Err(ApiError::bad_request(
                "each change of a transaction names its table",
            ));
        };
        if ident.namespace().is_empty() {
            return Err(ApiError::bad_request("a table's name has a namespace"));
        }
        changes.push(TableChange {
            ident,
            requirements: change.requirements,
            updates: change.updates,
        });
    }
    let tables: Vec<String> = changes
        .iter()
        .map(|change| change.ident.to_string())
        .collect();
    let committed = commit(&state, changes).await;
    Ok(about(
        tables.join(", "),
        committed.map(|_| StatusCode::NO_CONTENT),
    ))
}

/// Commits, and runs to the end even if the client goes away or the time is up.
async fn commit(state: &State, changes: Vec<TableChange>) -> Result<Vec<Table>, ApiError> {
    let (committer, catalog) = (state.committer.clone(), state.catalog.clone());
    let idents: Vec<TableIdent> = changes.iter().map(|change| change.ident.clone()).collect();
    let running = to_the_end(async move {
        match committer.commit(changes).await {
            Ok(CommitOutcome::Committed(tables)) => Ok(tables),
            Ok(CommitOutcome::Conflict { ident, reason }) => Err(lost(&ident, &reason)),
            Ok(CommitOutcome::Unknown(error)) => Err(ApiError::unknown(
                StatusCode::BAD_GATEWAY,
                error.to_string(),
            )),
            // Nothing was changed. It remains to say whose fault it is.
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound => no_namespace(&catalog, &idents, &error).await,
                ErrorKind::Corrupt if all_load(committer.as_ref(), &idents).await => {
                    ApiError::bad_request(error.to_string()).because(&error)
                }
                _ => ApiError::general(&error),
            }),
        }
    });
    match tokio::time::timeout(state.options.commit_timeout, running).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::unknown(
            StatusCode::GATEWAY_TIMEOUT,
            format!(
                "the commit took longer than {:?} and goes on; load the table and look whether it was made",
                state.options.commit_timeout
            ),
        )),
    }
}

/// It is certain that nothing was changed.
fn lost(ident: &TableIdent, reason: &ConflictReason) -> ApiError {
    match reason {
        ConflictReason::TableGone => ApiError::no_such(Subject::Table(ident)),
        ConflictReason::Requirement(_) | ConflictReason::PointerMoved => ApiError::new(
            StatusCode::CONFLICT,
            error_type::COMMIT_FAILED,
            conflict::message(ident, reason),
        ),
    }
}

/// A change that creates a table did not find its namespace: says which.
async fn no_namespace(catalog: &SqlCatalog, idents: &[TableIdent], error: &Error) -> ApiError {
    for ident in idents {
        let namespace = ident.namespace();
        if let Err(error) = catalog.load_namespace(namespace).await {
            return ApiError::of(Subject::Namespace(namespace), &error);
        }
    }
    // It has been created meanwhile, and nothing was changed.
    ApiError::general(error)
}

/// Whether the tables are in order, so that the change was at fault.
async fn all_load(
    committer: &dyn berglake_format::commit::Committer,
    idents: &[TableIdent],
) -> bool {
    for ident in idents {
        match committer.load(ident).await {
            Ok(_) => {}
            // A table that the change was to create.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(_) => return false,
        }
    }
    true
}

/// Runs something that changes the catalog on a task of its own: a client that goes away does not
/// stop it halfway, and after a panic it is not known whether it was done.
pub(super) async fn to_the_end<T, F>(work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => result,
        Err(error) => {
            let error = Error::internal("a defect stopped the change halfway").source_error(error);
            Err(ApiError::unknown(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            ))
        }
    }
}
