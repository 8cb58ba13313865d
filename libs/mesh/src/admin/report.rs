//! `/admin/report`: how this process does: requests, latencies, errors, caches, pools, breakers (S2-27).
//!
//! Everything is read from the metrics of the process, so that both always agree: over its whole life, or,
//! with `?seconds=`, over the seconds after the question. Percentiles are interpolated in the buckets of
//! histograms, as Prometheus does.

mod samples;

use std::{collections::BTreeMap, time::Duration};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use mediamesh_telemetry::Metrics;
use serde::{Deserialize, Serialize};

use self::samples::Samples;

/// Longest look, seconds.
const MAX_SECONDS: u64 = 60;

/// How a process does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Process.
    pub pid: u32,
    /// Time that the numbers are about, seconds.
    pub seconds: f64,
    /// Requests to the edge by method and route, most first.
    pub routes: Vec<Calls>,
    /// Calls to the services of this process by method, most first.
    pub methods: Vec<Calls>,
    /// Caches of this process.
    pub caches: Vec<Cache>,
    /// Pools of connections to the database.
    pub pools: Vec<Pool>,
    /// Endpoints of the services that this process calls, by the state of their breakers.
    pub breakers: Vec<Breakers>,
    /// Operations of the database, most first.
    pub operations: Vec<Operation>,
}

/// Calls of one route or method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// Method and route, or the method of a service.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Per second.
    pub per_second: f64,
    /// Refused for what the client did.
    pub client_errors: u64,
    /// Failed for what we did.
    pub server_errors: u64,
    /// Latencies.
    #[serde(flatten)]
    pub took: Percentiles,
}

/// Percentiles in milliseconds; 0 while nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// Half took no longer.
    pub p50_ms: f64,
    /// 95 % took no longer.
    pub p95_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
}

/// A cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Which.
    pub name: String,
    /// Look-ups that found something.
    pub hits: u64,
    /// Those that did not.
    pub misses: u64,
    /// Share of hits; absent while nobody looked.
    pub hit_rate: Option<f64>,
}

/// A pool of connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// Which.
    pub name: String,
    /// Connections in use now.
    pub in_use: u64,
    /// Open and idle now.
    pub idle: u64,
    /// Most that may be open.
    pub max: u64,
    /// Who waits for one now.
    pub waiting: u64,
    /// Who got none.
    pub timeouts: u64,
    /// Waits for one.
    #[serde(flatten)]
    pub waited: Percentiles,
}

/// Endpoints of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breakers {
    /// Which service.
    pub service: String,
    /// Endpoints by the state of their breakers.
    pub endpoints: BTreeMap<String, u64>,
}

/// An operation of the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Which.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Statements of each, on average: many are one for each row.
    pub statements: f64,
    /// Times, waits for a connection included.
    #[serde(flatten)]
    pub took: Percentiles,
}

/// Query of [`serve`].
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReportQuery {
    #[serde(default)]
    seconds: u64,
}

pub(super) async fn serve(
    State(metrics): State<Metrics>,
    Query(query): Query<ReportQuery>,
) -> Response {
    let earlier = match query.seconds.min(MAX_SECONDS) {
        0 => Samples::default(),
        seconds => {
            let earlier = Samples::read(&metrics.encode());
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            earlier
        }
    };
    let report = report(&Samples::read(&metrics.encode()), &earlier);
    ([(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

fn report(now: &Samples, earlier: &Samples) -> Report {
    let uptime = |samples: &Samples| samples.sum("process_uptime_seconds", &[]);
    let since = now.since(earlier);
    let seconds = uptime(now) - uptime(earlier);
    let http = "mediamesh_http_request_duration_seconds";
    let rpc = "mediamesh_rpc_duration_seconds";
    Report {
        pid: std::process::id(),
        seconds,
        routes: calls(&since, http, &["method", "route"], &[], seconds),
        methods: calls(
            &since,
            rpc,
            &["service", "method"],
            &[("side", "server")],
            seconds,
        ),
        caches: caches(&since),
        pools: pools(now, &since),
        breakers: breakers(now),
        operations: operations(&since),
    }
}

/// Codes and statuses that say that the client is at fault.
fn is_client_error(status: &str) -> bool {
    matches!(
        status,
        "INVALID_ARGUMENT"
            | "NOT_FOUND"
            | "ALREADY_EXISTS"
            | "PERMISSION_DENIED"
            | "UNAUTHENTICATED"
            | "FAILED_PRECONDITION"
            | "OUT_OF_RANGE"
            | "ABORTED"
            | "CANCELLED"
    ) || status.starts_with('4')
}

fn calls(
    samples: &Samples,
    histogram: &str,
    by: &[&str],
    only: &[(&str, &str)],
    seconds: f64,
) -> Vec<Calls> {
    let count = format!("{histogram}_count");
    let mut all = Vec::new();
    for group in samples.groups(&count, by, only) {
        let labels: Vec<(&str, &str)> =
            std::iter::zip(by.iter().copied(), group.iter().map(String::as_str))
                .chain(only.iter().copied())
                .collect();
        let mut calls = Calls {
            name: group.join(if by.contains(&"service") { "/" } else { " " }),
            took: percentiles(samples, histogram, &labels),
            ..Calls::default()
        };
        for sample in samples.of(&count, &labels) {
            let many = sample.value as u64;
            let status = sample
                .label("status")
                .or(sample.label("code"))
                .unwrap_or("");
            calls.count += many;
            if is_client_error(status) {
                calls.client_errors += many;
            } else if !status.starts_with(['1', '2', '3']) && status != "OK" {
                calls.server_errors += many;
            }
        }
        if seconds > 0.0 {
            calls.per_second = calls.count as f64 / seconds;
        }
        all.push(calls);
    }
    all.retain(|calls| calls.count > 0);
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    all
}

fn percentiles(samples: &Samples, histogram: &str, labels: &[(&str, &str)]) -> Percentiles {
    let buckets = samples.buckets(histogram, labels);
    let at = |share| samples::quantile(&buckets, share) * 1e3;
    Percentiles {
        p50_ms: at(0.5),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
    }
}

fn caches(samples: &Samples) -> Vec<Cache> {
    let searches = "mediamesh_search_duration_seconds_count";
    let vectors = "mediamesh_embedding_cache_lookups_total";
    let pairs = [
        (
            "cache",
            ("mediamesh_cache_hits_total", None),
            ("mediamesh_cache_misses_total", None),
        ),
        (
            "near",
            ("mediamesh_near_cache_hits_total", None),
            ("mediamesh_near_cache_misses_total", None),
        ),
        (
            "searches",
            (searches, Some(("cache", "hit"))),
            (searches, Some(("cache", "miss"))),
        ),
        (
            "vectors",
            (vectors, Some(("outcome", "hit"))),
            (vectors, Some(("outcome", "miss"))),
        ),
    ];
    let sum = |(name, label): (&str, Option<(&str, &str)>)| {
        let labels: Vec<_> = label.into_iter().collect();
        samples.sum(name, &labels) as u64
    };
    let known = pairs
        .into_iter()
        .filter(|(_, (hits, _), _)| samples.has(hits));
    known
        .map(|(name, hits, misses)| {
            let (hits, misses) = (sum(hits), sum(misses));
            let all = hits + misses;
            Cache {
                name: name.to_owned(),
                hits,
                misses,
                hit_rate: (all > 0).then(|| hits as f64 / all as f64),
            }
        })
        .collect()
}

fn pools(now: &Samples, since: &Samples) -> Vec<Pool> {
    let max = "mediamesh_database_pool_max_connections";
    let groups = now.groups(max, &["pool"], &[]);
    let pool = |group: Vec<String>| {
        let name = group.into_iter().next().unwrap_or_default();
        let of = |state| {
            let labels = [("pool", name.as_str()), ("state", state)];
            now.sum("mediamesh_database_pool_connections", &labels) as u64
        };
        let own = [("pool", name.as_str())];
        Pool {
            in_use: of("in_use"),
            idle: of("idle"),
            max: now.sum(max, &own) as u64,
            waiting: now.sum("mediamesh_database_pool_waiting", &own) as u64,
            timeouts: since.sum("mediamesh_database_pool_timeouts_total", &own) as u64,
            waited: percentiles(since, "mediamesh_database_pool_wait_seconds", &own),
            name,
        }
    };
    groups.into_iter().map(pool).collect()
}

fn breakers(now: &Samples) -> Vec<Breakers> {
    let mut services: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for sample in now.of("mediamesh_mesh_endpoints", &[]) {
        let label = |name| sample.label(name).unwrap_or_default().to_owned();
        let states = services.entry(label("service")).or_default();
        *states.entry(label("breaker")).or_default() += sample.value as u64;
    }
    let breakers = |(service, endpoints)| Breakers { service, endpoints };
    services.into_iter().map(breakers).collect()
}

fn operations(samples: &Samples) -> Vec<Operation> {
    let histogram = "mediamesh_database_operation_duration_seconds";
    let count = format!("{histogram}_count");
    let operation = |group: Vec<String>| {
        let name = group.into_iter().next().unwrap_or_default();
        let own = [("operation", name.as_str())];
        let many = samples.sum(&count, &own);
        let statements = samples.sum("mediamesh_database_statements_total", &own);
        Operation {
            count: many as u64,
            statements: if many > 0.0 { statements / many } else { 0.0 },
            took: percentiles(samples, histogram, &own),
            name,
        }
    };
    let mut all: Vec<Operation> = samples
        .groups(&count, &["operation"], &[])
        .into_iter()
        .map(operation)
        .filter(|operation| operation.count > 0)
        .collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = r#"
process_uptime_seconds 10
mediamesh_http_request_duration_seconds_count{route="/a",method="GET",status="200"} 10
mediamesh_http_request_duration_seconds_bucket{le="0.1",route="/a",method="GET",status="200"} 10
mediamesh_http_request_duration_seconds_bucket{le="0.2",route="/a",method="GET",status="200"} 10
mediamesh_http_request_duration_seconds_bucket{le="+Inf",route="/a",method="GET",status="200"} 10
"#;
    const NOW: &str = r#"# HELP x y
process_uptime_seconds 20
mediamesh_http_request_duration_seconds_count{route="/a",method="GET",status="200"} 108
mediamesh_http_request_duration_seconds_bucket{le="0.1",route="/a",method="GET",status="200"} 60 # {trace_id="x y"} 0.05 1.5
mediamesh_http_request_duration_seconds_bucket{le="0.2",route="/a",method="GET",status="200"} 108
mediamesh_http_request_duration_seconds_bucket{le="+Inf",route="/a",method="GET",status="200"} 108
mediamesh_http_request_duration_seconds_count{route="/a",method="GET",status="503"} 1
mediamesh_http_request_duration_seconds_count{route="/a",method="GET",status="404"} 1
mediamesh_cache_hits_total{tier="memory"} 6
mediamesh_cache_hits_total{tier="redis"} 2
mediamesh_cache_misses_total 2
mediamesh_database_pool_max_connections{pool="primary"} 20
mediamesh_database_pool_connections{pool="primary",state="in_use"} 3
mediamesh_mesh_endpoints{service="media",breaker="open"} 1
mediamesh_mesh_endpoints{service="media",breaker="closed"} 2
mediamesh_database_operation_duration_seconds_count{operation="list \"x\""} 4
mediamesh_database_statements_total{operation="list \"x\""} 12
# EOF
"#;

    #[test]
    fn a_report_is_what_happened_in_between() {
        let report = report(&Samples::read(NOW), &Samples::read(EARLIER));
        assert_eq!(report.routes.len(), 1);
        let route = &report.routes[0];
        assert_eq!((route.name.as_str(), route.count), ("GET /a", 100));
        assert_eq!((route.client_errors, route.server_errors), (1, 1));
        assert!((route.per_second - 10.0).abs() < 1e-9 && (report.seconds - 10.0).abs() < 1e-9);
        // 50 of 98 are in the first bucket, which begins at 0
        assert!((route.took.p50_ms - 98.0).abs() < 0.1, "{route:?}");
        assert!(route.took.p99_ms > 190.0 && route.took.p99_ms <= 200.0);
        assert_eq!(report.caches[0].hit_rate, Some(0.8));
        assert_eq!((report.pools[0].in_use, report.pools[0].max), (3, 20));
        assert_eq!(report.breakers[0].endpoints["open"], 1);
        let operation = &report.operations[0];
        assert_eq!(operation.name, "list \"x\"");
        assert!((operation.statements - 3.0).abs() < 1e-9);
        let life = super::report(&Samples::read(NOW), &Samples::default());
        assert_eq!(life.routes[0].count, 110);
        // of a process that has done nothing yet
        let nothing = super::report(&Samples::default(), &Samples::default());
        assert_eq!(nothing.routes, Vec::new());
    }
}
