//! `/metrics` and `/health` as an axum router, for every process.
//!
//! | path | answers |
//! |---|---|
//! | `/metrics` | OpenMetrics text |
//! | `/health` | `{"status"}`; with `?detailed=true` every component |
//! | `/health/live`, `/health/ready`, `/health/startup` | the three probes |
//! | `/admin/report` | how the process does: requests, latencies, errors, caches, pools, breakers; with `?seconds=10` over the coming ten seconds |
//! | `/admin/mesh` | the services this process calls: endpoints, breakers, calls in flight, budgets; a page for browsers, JSON for others |
//!
//! Probes answer 200 when the answer is yes, else 503. Builds with the feature `fault` answer
//! `/admin/faults` too. Who may see `/metrics`, `/admin` and details is up to [`guard`].

pub mod guard;
mod page;
pub mod report;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mediamesh_telemetry::metrics::CONTENT_TYPE;
use mediamesh_telemetry::{HealthRegistry, HealthSnapshot, HealthStatus, Metrics};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Registry;
use crate::fault::{self, Faults};

pub use guard::{AdminOptions, Guard};

/// Returns a router with all routes of this module, to be merged behind a guard.
pub fn router(
    metrics: Metrics,
    health: HealthRegistry,
    registry: Registry,
    faults: Faults,
) -> Router {
    Router::new()
        .merge(metrics_router(metrics))
        .merge(health_router(health))
        .merge(mesh_router(registry))
        .merge(fault::router(faults))
}

/// Returns what a process without edge serves: all routes, and `guard` before them.
pub fn guarded(router: Router, guard: Guard) -> Router {
    router.layer(from_fn_with_state(guard, guard::apply))
}

/// Returns a router with `/admin/mesh` only.
pub fn mesh_router(registry: Registry) -> Router {
    Router::new()
        .route("/admin/mesh", get(serve_mesh))
        .with_state(registry)
}

/// Returns a router with `/metrics` and `/admin/report`, which is made of them.
pub fn metrics_router(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(serve_metrics))
        .route("/admin/report", get(report::serve))
        .with_state(metrics)
}

/// Returns a router with the `/health` routes only.
pub fn health_router(health: HealthRegistry) -> Router {
    Router::new()
        .route("/health", get(serve_health))
        .route("/health/live", get(serve_live))
        .route("/health/ready", get(serve_ready))
        .route("/health/startup", get(serve_startup))
        .with_state(health)
}

/// Query of [`serve_health`].
#[derive(Debug, Default, Deserialize)]
pub struct HealthQuery {
    /// Adds every component to the answer.
    #[serde(default)]
    pub detailed: bool,
}

/// Handles `/health`; public so that it can be mounted under other paths too.
pub async fn serve_health(
    State(health): State<HealthRegistry>,
    Query(query): Query<HealthQuery>,
) -> Response {
    let snapshot = health.snapshot();
    let status = snapshot.status();
    let body = if query.detailed {
        detailed(&snapshot)
    } else {
        json!({ "status": status })
    };
    answer(status != HealthStatus::NotServing, body)
}

fn detailed(snapshot: &HealthSnapshot) -> Value {
    json!({
        "status": snapshot.status(),
        "live": snapshot.is_live(),
        "ready": snapshot.is_ready(),
        "started": snapshot.started,
        "draining": snapshot.draining,
        "version": env!("CARGO_PKG_VERSION"),
        "components": snapshot.components,
    })
}

async fn serve_mesh(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    let services = registry.snapshot();
    let accept = headers.get(header::ACCEPT);
    let browser = accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match browser {
        true => (no_store, Html(page::render(&services))).into_response(),
        false => (
            no_store,
            Json(json!({ "pid": std::process::id(), "services": services })),
        )
            .into_response(),
    }
}

async fn serve_live(State(health): State<HealthRegistry>) -> Response {
    probe("live", health.snapshot().is_live())
}

async fn serve_ready(State(health): State<HealthRegistry>) -> Response {
    probe("ready", health.snapshot().is_ready())
}

async fn serve_startup(State(health): State<HealthRegistry>) -> Response {
    probe("started", health.snapshot().started)
}

async fn serve_metrics(State(metrics): State<Metrics>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode()).into_response()
}

fn probe(name: &str, yes: bool) -> Response {
    answer(yes, json!({ name: yes }))
}

fn answer(yes: bool, body: Value) -> Response {
    let status = if yes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // A cached probe answer is a wrong one.
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
