//! Namespaces.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::Response;
use berglake_format::{Error, NamespaceIdent};
use serde::Deserialize;

use super::State;
use super::error::{ApiError, Subject};
use super::extract::{Body, NamespacePath, Params};
use super::observe::about;
use super::page::PageParams;
use crate::Catalog as _;
use crate::rest::protocol::{
    CreateNamespaceRequest, CreateNamespaceResponse, GetNamespaceResponse, ListNamespacesResponse,
    UpdateNamespacePropertiesRequest, UpdateNamespacePropertiesResponse, error_type, namespace_of,
};

#[derive(Debug, Deserialize)]
pub(super) struct ListParams {
    parent: Option<String>,
    #[serde(flatten)]
    page: PageParams,
}

fn failed(namespace: &NamespaceIdent) -> impl Fn(Error) -> ApiError + Copy {
    move |error| ApiError::of(Subject::Namespace(namespace), &error)
}

pub(super) async fn list(
    FromState(state): FromState<Arc<State>>,
    Params(params): Params<ListParams>,
) -> Result<Json<ListNamespacesResponse>, ApiError> {
    let page = params.page.page()?;
    let parent = match params.parent.as_deref() {
        None | Some("") => None,
        Some(parent) => {
            let parent = namespace_of(parent);
            Some(parent.map_err(|error| ApiError::bad_request(error.to_string()))?)
        }
    };
    let found = state.catalog.list_namespaces(parent.as_ref()).await;
    let found = found.map_err(|error| match &parent {
        Some(parent) => failed(parent)(error),
        None => ApiError::general(&error),
    })?;
    // All have the same levels but the last, and are sorted by it.
    let (namespaces, next_page_token) = page.of(found, |namespace: &NamespaceIdent| {
        namespace.last().map_or("", String::as_str)
    });
    Ok(Json(ListNamespacesResponse {
        namespaces,
        next_page_token,
    }))
}

pub(super) async fn create(
    FromState(state): FromState<Arc<State>>,
    Body(request): Body<CreateNamespaceRequest>,
) -> Result<Response, ApiError> {
    let CreateNamespaceRequest {
        namespace,
        properties,
    } = request;
    if namespace.is_empty() {
        return Err(ApiError::bad_request("a namespace has at least one level"));
    }
    let created = state
        .catalog
        .create_namespace(&namespace, properties.clone())
        .await
        .map_err(failed(&namespace));
    let object = namespace.join(".");
    let response = CreateNamespaceResponse {
        namespace,
        properties,
    };
    Ok(about(object, created.map(|()| Json(response))))
}

pub(super) async fn load(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
) -> Result<Json<GetNamespaceResponse>, ApiError> {
    let mut properties = state
        .catalog
        .load_namespace(&namespace)
        .await
        .map_err(failed(&namespace))?;
    // As Java's catalogs do. Trino puts new tables below it; without it, it asks for a table at once
    // and refuses that, since its folder has a file already.
    if let Ok(location) = state.catalog.namespace_location(&namespace, &properties) {
        properties
            .entry("location".to_string())
            .or_insert_with(|| location.to_string());
    }
    Ok(Json(GetNamespaceResponse {
        namespace,
        properties,
    }))
}

pub(super) async fn exists(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
) -> Result<StatusCode, ApiError> {
    state
        .catalog
        .load_namespace(&namespace)
        .await
        .map_err(failed(&namespace))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn drop(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
) -> Result<StatusCode, ApiError> {
    state
        .catalog
        .drop_namespace(&namespace)
        .await
        .map_err(failed(&namespace))?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn update(
    FromState(state): FromState<Arc<State>>,
    NamespacePath(namespace): NamespacePath,
    Body(request): Body<UpdateNamespacePropertiesRequest>,
) -> Result<Json<UpdateNamespacePropertiesResponse>, ApiError> {
    let UpdateNamespacePropertiesRequest { removals, updates } = request;
    let removals: BTreeSet<String> = removals.into_iter().collect();
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            error_type::UNPROCESSABLE_ENTITY,
            format!("the property {both:?} is both set and removed"),
        ));
    }
    let before = state
        .catalog
        .load_namespace(&namespace)
        .await
        .map_err(failed(&namespace))?;
    let response = summary(&before, &removals, &updates);
    state
        .catalog
        .update_namespace(&namespace, updates, removals.into_iter().collect())
        .await
        .map_err(failed(&namespace))?;
    Ok(Json(response))
}

fn summary(
    before: &HashMap<String, String>,
    removals: &BTreeSet<String>,
    updates: &HashMap<String, String>,
) -> UpdateNamespacePropertiesResponse {
    let mut updated: Vec<String> = updates.keys().cloned().collect();
    updated.sort_unstable();
    let (removed, missing) = removals
        .iter()
        .cloned()
        .partition(|key| before.contains_key(key));
    UpdateNamespacePropertiesResponse {
        updated,
        removed,
        missing,
    }
}
