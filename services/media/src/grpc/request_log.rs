//! The log of requests.

use std::sync::Arc;

use mediamesh_mesh::{Identity, LOCAL_TENANT_ID, identity};
use mediamesh_proto::{
    ErrorKind, ErrorReason, TenantId,
    media::v1::{
        AppendRequestsRequest, AppendRequestsResponse, LoggedRequest as Message, RouteSummary,
        SummarizeRequestsRequest, SummarizeRequestsResponse,
        request_log_service_server::RequestLogService,
    },
    time::{micros, now_micros, std_duration, timestamp},
};
use mediamesh_store::{
    RequestLogStore,
    request_log::{self, LoggedRequest},
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{convert::request::violation, error::Error};

/// Most requests of one call: a few hundred KiB.
const MAX_REQUESTS: usize = 1000;
/// Longest text of a request that is kept, bytes.
const MAX_TEXT_BYTES: usize = 256;
/// By how much the clock of an edge may differ, microseconds: a day. Times beyond it are the time of
/// writing, so that each has its partition.
const CLOCK: i64 = 24 * 3600 * 1_000_000;
/// Window unless another is asked for, microseconds: an hour.
const WINDOW: i64 = 3600 * 1_000_000;
/// Longest window, microseconds: 31 days.
const MAX_WINDOW: i64 = 31 * CLOCK;
/// Most routes of a summary; the contract has a tenth of that.
const MAX_ROUTES: i64 = 500;

/// `RequestLogService` over gRPC.
#[derive(Clone)]
pub struct RequestLogGrpc(pub(crate) Arc<dyn RequestLogStore>);

fn denied(text: &str) -> Status {
    mediamesh_proto::Error::new(
        ErrorKind::PermissionDenied,
        ErrorReason::PermissionDenied,
        text,
    )
    .into()
}

#[tonic::async_trait]
impl RequestLogService for RequestLogGrpc {
    async fn append_requests(
        &self,
        request: Request<AppendRequestsRequest>,
    ) -> Result<Response<AppendRequestsResponse>, Status> {
        let tenant = identity(&request)?.tenant_id;
        if !tenant.is_nil() && tenant != LOCAL_TENANT_ID {
            return Err(denied("requests are logged by processes of the mesh only"));
        }
        let requests = request.into_inner().requests;
        if requests.len() > MAX_REQUESTS {
            let rule = format!("must be at most {MAX_REQUESTS}");
            return Err(violation("requests", &rule).into());
        }
        let now = now_micros();
        let requests: Vec<LoggedRequest> = requests
            .into_iter()
            .map(|message| read(message, now))
            .collect::<Result<_, _>>()?;
        let written = self.0.log_requests(requests).await.map_err(Error::from)?;
        Ok(Response::new(AppendRequestsResponse {
            written_count: i32::try_from(written).unwrap_or(i32::MAX),
        }))
    }

    async fn summarize_requests(
        &self,
        request: Request<SummarizeRequestsRequest>,
    ) -> Result<Response<SummarizeRequestsResponse>, Status> {
        let tenant = of(identity(&request)?, request.get_ref().all_tenants)?;
        let window = match &request.get_ref().window {
            None => WINDOW,
            Some(window) => i64::try_from(std_duration(window).as_micros()).unwrap_or(i64::MAX),
        };
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(violation("window", "must be above 0 and at most 31 days").into());
        }
        let until = now_micros();
        let since = until - window;
        let found = self.0.summarize_requests(tenant, since, until, MAX_ROUTES);
        let routes = found.await.map_err(Error::from)?;
        Ok(Response::new(SummarizeRequestsResponse {
            routes: routes.into_iter().map(summary).collect(),
            start_time: Some(timestamp(since)),
            end_time: Some(timestamp(until)),
        }))
    }
}

/// Whose requests a caller may see: its tenant's, and all if it is the mesh's own.
fn of(caller: &Identity, all: bool) -> Result<Option<TenantId>, Status> {
    match (all, caller.tenant_id == LOCAL_TENANT_ID) {
        (true, true) => Ok(None),
        (true, false) => Err(denied(
            "requests of every tenant are shown to operators only",
        )),
        (false, _) => Ok(Some(TenantId(caller.tenant_id))),
    }
}

fn read(message: Message, now: i64) -> Result<LoggedRequest, Status> {
    let id = |field: &str, text: &str| {
        text.parse::<Uuid>()
            .map_err(|_| Status::from(violation(field, "must be a UUID")))
    };
    let end_time = message.end_time.as_ref().map_or(now, micros);
    let duration = message.duration.as_ref().map(std_duration);
    Ok(LoggedRequest {
        id: id("requests.id", &message.id)?,
        end_time: match end_time.abs_diff(now) <= CLOCK.unsigned_abs() {
            true => end_time,
            false => now,
        },
        tenant_id: TenantId(match message.tenant_id.as_str() {
            "" => Uuid::nil(),
            text => id("requests.tenant_id", text)?,
        }),
        subject: shortened(message.user_id),
        method: shortened(message.method),
        route: shortened(message.route),
        status: i16::try_from(message.status).unwrap_or_default(),
        duration_micros: duration.map_or(0, |duration| {
            i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
        }),
        // sums over a month stay far below the end of the type
        request_bytes: message.request_bytes.clamp(0, 1 << 50),
        response_bytes: message.response_bytes.clamp(0, 1 << 50),
        trace_id: shortened(message.trace_id),
    })
}

/// At most so many bytes, and none that PostgreSQL does not take.
fn shortened(mut text: String) -> String {
    text.retain(|letter| !letter.is_control());
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}

fn summary(route: request_log::RouteSummary) -> RouteSummary {
    let milliseconds = |micros: i64| micros as f64 / 1e3;
    RouteSummary {
        method: route.method,
        route: route.route,
        request_count: route.requests,
        client_error_count: route.client_errors,
        server_error_count: route.server_errors,
        request_bytes: route.request_bytes,
        response_bytes: route.response_bytes,
        p50_milliseconds: milliseconds(route.p50_micros),
        p95_milliseconds: milliseconds(route.p95_micros),
        p99_milliseconds: milliseconds(route.p99_micros),
    }
}
