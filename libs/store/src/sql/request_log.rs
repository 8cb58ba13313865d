//! [`RequestLogStore`].

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryableByName,
    sql_types::{BigInt, Text},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::TenantId;

use super::{
    Store, bulk, dialect,
    filter::{Bind, Sql},
    schema::request_log::dsl as q,
    types::raw,
};
use crate::{
    error::Result,
    request_log::{LoggedRequest, RequestLogStore, RouteSummary},
};

#[derive(QueryableByName)]
struct SummaryRow {
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Text)]
    route: String,
    #[diesel(sql_type = BigInt)]
    requests: i64,
    #[diesel(sql_type = BigInt)]
    client_errors: i64,
    #[diesel(sql_type = BigInt)]
    server_errors: i64,
    #[diesel(sql_type = BigInt)]
    request_bytes: i64,
    #[diesel(sql_type = BigInt)]
    response_bytes: i64,
    #[diesel(sql_type = BigInt)]
    p50: i64,
    #[diesel(sql_type = BigInt)]
    p95: i64,
    #[diesel(sql_type = BigInt)]
    p99: i64,
}

/// The columns of [`row`].
const COLUMNS: &str = "request_log (create_time, id, tenant_id, subject, method, route, status, \
     duration_micros, request_bytes, response_bytes, trace_id)";

fn row(request: LoggedRequest) -> Vec<Bind> {
    vec![
        Bind::Long(request.end_time),
        Bind::Id(raw(request.id)),
        Bind::Id(raw(request.tenant_id.0)),
        Bind::Text(request.subject),
        Bind::Text(request.method),
        Bind::Text(request.route),
        Bind::Small(request.status),
        Bind::Long(request.duration_micros),
        Bind::Long(request.request_bytes),
        Bind::Long(request.response_bytes),
        Bind::Text(request.trace_id),
    ]
}

/// Percentiles are those of the nearest rank: the smallest value that is no less than so many of them.
fn summary(tenant: Option<TenantId>, since: i64, until: i64, limit: i64) -> Sql {
    let sum = |what: &str| format!("CAST(coalesce(sum({what}), 0) AS bigint)");
    let rank = |percent: u32| {
        format!("max(CASE WHEN place = (total * {percent} + 99) / 100 THEN duration_micros END)")
    };
    let mut sql = Sql::new(&format!(
        "SELECT method, route, count(*) AS requests, {} AS client_errors, {} AS server_errors, \
         {} AS request_bytes, {} AS response_bytes, {} AS p50, {} AS p95, {} AS p99 FROM \
         (SELECT method, route, status, duration_micros, request_bytes, response_bytes, \
         row_number() OVER (PARTITION BY method, route ORDER BY duration_micros) AS place, \
         count(*) OVER (PARTITION BY method, route) AS total FROM request_log",
        sum("CASE WHEN status BETWEEN 400 AND 499 THEN 1 ELSE 0 END"),
        sum("CASE WHEN status >= 500 THEN 1 ELSE 0 END"),
        sum("request_bytes"),
        sum("response_bytes"),
        rank(50),
        rank(95),
        rank(99),
    ));
    sql.push(
        " WHERE create_time >= ? AND create_time < ?",
        [Bind::Long(since), Bind::Long(until)],
    );
    if let Some(tenant) = tenant {
        sql.push(" AND tenant_id = ?", [Bind::Id(raw(tenant.0))]);
    }
    sql.push(
        ") ranked GROUP BY method, route ORDER BY requests DESC, method, route LIMIT ?",
        [Bind::Long(limit)],
    );
    sql
}

#[async_trait]
impl RequestLogStore for Store {
    async fn log_requests(&self, requests: Vec<LoggedRequest>) -> Result<u64> {
        if requests.is_empty() {
            return Ok(0);
        }
        self.db
            .write("log_requests", move |conn| {
                Box::pin(async move {
                    dialect::make_log_partitions(conn).await?;
                    let rows = requests.into_iter().map(row).collect();
                    let then = " ON CONFLICT (create_time, id) DO NOTHING";
                    Ok(bulk::insert(conn, COLUMNS, rows, then).await? as u64)
                })
            })
            .await
    }

    async fn summarize_requests(
        &self,
        tenant: Option<TenantId>,
        since: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<RouteSummary>> {
        // analytics need not be up to date (S4-25)
        self.replica()
            .read("summarize_requests", move |conn| {
                Box::pin(async move {
                    let rows: Vec<SummaryRow> =
                        summary(tenant, since, until, limit).load(conn).await?;
                    let read = |row: SummaryRow| RouteSummary {
                        method: row.method,
                        route: row.route,
                        requests: row.requests,
                        client_errors: row.client_errors,
                        server_errors: row.server_errors,
                        request_bytes: row.request_bytes,
                        response_bytes: row.response_bytes,
                        p50_micros: row.p50,
                        p95_micros: row.p95,
                        p99_micros: row.p99,
                    };
                    Ok(rows.into_iter().map(read).collect())
                })
            })
            .await
    }

    async fn turn_request_log(&self, before: i64, archive: bool) -> Result<Vec<String>> {
        self.db
            .write("turn_request_log", move |conn| {
                Box::pin(async move {
                    dialect::make_log_partitions(conn).await?;
                    dialect::take_log_partitions(conn, before, archive).await
                })
            })
            .await
    }

    fn is_partitioned(&self) -> bool {
        dialect::PARTITIONS
    }

    async fn sweep_requests(&self, before: i64, limit: i64) -> Result<u64> {
        self.db
            .write("sweep_requests", move |conn| {
                Box::pin(async move {
                    // the time of the last row of this sweep; none if fewer are left
                    let last: Option<i64> = q::request_log
                        .filter(q::create_time.lt(before))
                        .order(q::create_time)
                        .offset(limit - 1)
                        .select(q::create_time)
                        .first(conn)
                        .await
                        .optional()?;
                    let until = last.map_or(before, |last| last.saturating_add(1));
                    let old = q::request_log.filter(q::create_time.lt(until));
                    Ok(diesel::delete(old).execute(conn).await? as u64)
                })
            })
            .await
    }
}
