//! `/admin/faults`: what is in force, and other faults instead.
//!
//! | method | does |
//! |---|---|
//! | GET | answers the faults in force |
//! | POST | puts the faults of the body in force: [`FaultOptions`] as JSON |
//! | DELETE | ends all faults |

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{FaultOptions, Faults};

/// Returns a router with `/admin/faults`.
///
/// It has no authentication of its own: mount it behind the guard of operators. Where the server
/// tells axum its peer's address, others than loopback are refused as well.
pub fn router(faults: Faults) -> Router {
    Router::new()
        .route("/admin/faults", get(read).post(replace).delete(end))
        .with_state(faults)
        .layer(from_fn(from_loopback))
}

async fn from_loopback(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if peer.is_some_and(|ConnectInfo(peer)| !peer.ip().is_loopback()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

async fn read(State(faults): State<Faults>) -> Json<FaultOptions> {
    Json(faults.options())
}

async fn replace(State(faults): State<Faults>, Json(options): Json<FaultOptions>) -> Response {
    match faults.replace(options) {
        Ok(()) => Json(faults.options()).into_response(),
        Err(invalid) => {
            (StatusCode::BAD_REQUEST, Json(json!({ "faults": invalid }))).into_response()
        }
    }
}

async fn end(State(faults): State<Faults>) -> Response {
    match faults.replace(FaultOptions::default()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(invalid) => (StatusCode::INTERNAL_SERVER_ERROR, Json(invalid)).into_response(),
    }
}
