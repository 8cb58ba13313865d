//! `/admin/mesh` for browsers: a table that loads itself anew every two seconds, without scripts.

use std::fmt::Write as _;

use crate::client::snapshot::{EndpointState, ServiceState};
use crate::server::load::ServiceLoad;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta http-equiv=\"refresh\" content=\"2\"><title>mediamesh: the mesh</title><style>\
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}body{margin:2rem;max-width:70rem}\
table{border-collapse:collapse;width:100%;margin:0 0 2rem}th,td{text-align:left;padding:.3rem .8rem;\
border-bottom:1px solid #8884}td.n{text-align:right;font-variant-numeric:tabular-nums}\
.bad{color:#c33;font-weight:600}.good{color:#284}@media(prefers-color-scheme:dark){.bad{color:#f88}\
.good{color:#8d8}}</style></head><body><h1>The mesh, as this process sees it</h1>";

/// Renders the page.
pub(super) fn render(services: &[ServiceState]) -> String {
    let mut page = HEAD.to_owned();
    for service in services {
        let _ = write!(page, "<h2>{}</h2>", escape(service.service));
        if service.local {
            page.push_str("<p>runs in this process</p>");
            if let Some(load) = &service.load {
                load_table(&mut page, load);
            }
            continue;
        }
        let _ = write!(
            page,
            "<p>retry budget: {:.1} of {:.0} tokens{}</p><table><tr><th>endpoint<th>connectivity\
             <th>breaker<th>in flight<th>latency<th>silent for<th>failed connects<th>last error</tr>",
            service.retry_tokens,
            service.retry_tokens_max,
            match service.retry_tokens * 2.0 > service.retry_tokens_max {
                true => "",
                false => ", <b class=\"bad\">no retries</b>",
            },
        );
        for endpoint in &service.endpoints {
            row(&mut page, endpoint);
        }
        page.push_str("</table>");
    }
    page.push_str("</body></html>");
    page
}

fn load_table(page: &mut String, load: &ServiceLoad) {
    let _ = write!(
        page,
        "<table><tr><th>may work<th>working<th>of them background<th>streaming<th>waiting\
         <th>background waiting<th>refused since the start</tr><tr><td class=\"n\">{} ({} to {})\
         <td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
         <td class=\"n {}\">{}</tr></table>",
        load.limit,
        load.min_limit,
        load.max_limit,
        load.working,
        load.working_in_background,
        load.streaming,
        load.waiting,
        load.waiting_in_background,
        if load.refused == 0 { "good" } else { "bad" },
        load.refused,
    );
}

fn row(page: &mut String, endpoint: &EndpointState) {
    let class = |good: bool| if good { "good" } else { "bad" };
    let connectivity = match endpoint.connectivity() {
        "ready" if !endpoint.serving => "not serving",
        other => other,
    };
    let breaker = match endpoint.open_for_ms {
        0 => endpoint.breaker().to_owned(),
        ms => format!("{} for {ms} ms", endpoint.breaker()),
    };
    let _ = write!(
        page,
        "<tr><td>{}<td class=\"{}\">{connectivity}<td class=\"{}\">{breaker}<td class=\"n\">{}\
         <td class=\"n\">{:.1} ms<td class=\"n\">{:.0} ms<td class=\"n\">{}<td>{}</tr>",
        escape(&endpoint.address),
        class(connectivity == "ready" || connectivity == "idle"),
        class(endpoint.breaker() == "closed"),
        endpoint.in_flight,
        endpoint.latency_ms,
        endpoint.silence_ms,
        endpoint.failed_connects,
        escape(endpoint.error.as_deref().unwrap_or("")),
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
