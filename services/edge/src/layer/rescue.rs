//! A panic is a 500, not a broken connection.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::FutureExt as _;
use http::request::Parts;

use super::trace::without_secret;
use crate::{Shared, problem};

/// Catches panics of everything inside; the panic hook has logged the cause.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let head = head(&parts);
    let request = Request::from_parts(parts, body);
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(path = without_secret(head.uri.path()), "handler panicked");
            shared.answers.answer(problem::internal(), &head)
        }
    }
}

/// What an error answer needs of a request that is gone by then.
pub(super) fn head(parts: &Parts) -> Parts {
    let mut head = http::Request::new(Body::empty()).into_parts().0;
    head.method = parts.method.clone();
    head.uri = parts.uri.clone();
    if let Some(trace_id) = parts.extensions.get::<super::trace::TraceId>() {
        head.extensions.insert(trace_id.clone());
    }
    head
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::{Router, middleware::from_fn_with_state, routing::get};
    use http::StatusCode;
    use mediamesh_mesh::{Policy, PolicyOptions, Registry, ServiceName};
    use mediamesh_telemetry::{HealthRegistry, Metrics};
    use tower::ServiceExt as _;

    use super::*;
    use crate::{Deps, Options, build};

    async fn broken() -> StatusCode {
        panic!("a bug of the edge itself")
    }

    #[tokio::test]
    async fn a_panic_of_the_edge_is_a_problem() {
        let metrics = Metrics::new();
        let policy = Policy::from_options(&PolicyOptions::default());
        let registry = Registry::new(policy, &metrics);
        let channel = registry.channel(ServiceName::Media);
        let deps = Deps {
            media: channel.clone(),
            search: channel.clone(),
            embedding: channel.clone(),
            cache: channel,
            metrics,
            health: HealthRegistry::new(),
            registry,
            authenticator: Arc::new(mediamesh_mesh::LocalAuthenticator),
            keys: None,
            guard: mediamesh_mesh::admin::Guard::open(),
            faults: Policy::default().faults(),
        };
        let shared = build(Options::default(), deps).shared;
        let router: Router = Router::new()
            .route("/", get(broken))
            .layer(from_fn_with_state(shared, apply));
        let request = Request::new(Body::empty());
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let kind = &response.headers()[http::header::CONTENT_TYPE];
        assert_eq!(kind, "application/problem+json");
    }
}
