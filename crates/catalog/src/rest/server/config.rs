//! `GET /v1/config`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use berglake_format::storage::Location;
use serde::Deserialize;

use super::error::ApiError;
use super::extract::Params;
use super::{State, routes};
use crate::Catalog as _;
use crate::rest::protocol::{ConfigResponse, error_type};

#[derive(Debug, Deserialize)]
pub(super) struct ConfigParams {
    warehouse: Option<String>,
}

pub(super) async fn get(
    FromState(state): FromState<Arc<State>>,
    Params(params): Params<ConfigParams>,
) -> Result<Json<ConfigResponse>, ApiError> {
    let mut overrides = HashMap::from([(
        "warehouse".to_string(),
        state.catalog.warehouse().to_string(),
    )]);
    if let Some(warehouse) = params.warehouse.filter(|asked| !asked.is_empty()) {
        if !is_ours(&state, &warehouse) {
            return Err(no_such_warehouse(&state, &warehouse));
        }
        if let Some(prefix) = &state.prefix {
            overrides.insert("prefix".to_string(), prefix.clone());
        }
    }
    let mut defaults = state.options.hand_out.defaults();
    if !state.options.tokens.is_empty() {
        // Java's client would otherwise try to exchange its token for a newer one.
        defaults.insert("token-refresh-enabled".to_string(), "false".to_string());
    }
    Ok(Json(ConfigResponse {
        defaults,
        overrides,
        endpoints: Some(routes::ENDPOINTS.map(str::to_string).to_vec()),
        idempotency_key_lifetime: None,
    }))
}

/// A warehouse is asked for by the catalog's name or by its location, in any spelling.
fn is_ours(state: &State, asked: &str) -> bool {
    asked == state.catalog.name()
        || Location::parse(asked).is_ok_and(|asked| asked == *state.catalog.warehouse())
}

pub(super) fn no_such_warehouse(state: &State, asked: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        error_type::NO_SUCH_WAREHOUSE,
        format!(
            "there is no warehouse {asked:?} here; this server has {:?} at {}",
            state.catalog.name(),
            state.catalog.warehouse()
        ),
    )
}
