//! `top`: the mesh as its processes see it, again and again.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use comfy_table::Table;
use serde::Deserialize;

use super::table::table;
use crate::{cli::Top, config::Config, data_dir::DataDir, import::screen::say};

/// Longest wait for the answer of a process.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Back to the upper left, and nothing below: the screen does not flicker as with a clear.
const REDRAW: &str = "\x1b[H\x1b[J";

/// What `/admin/mesh` answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    pid: u32,
    services: Vec<Service>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    service: String,
    load: Option<Load>,
    endpoints: Vec<Endpoint>,
    retry_tokens: f64,
    retry_tokens_max: f64,
}

/// Of a service in the process itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Load {
    limit: usize,
    working: usize,
    streaming: usize,
    waiting: usize,
    waiting_in_background: usize,
    refused: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    address: String,
    connectivity: String,
    serving: bool,
    breaker: String,
    open_for_ms: u64,
    in_flight: u32,
    latency_ms: f64,
    failed_connects: u64,
    error: Option<String>,
}

pub(super) async fn run(args: Top, config: &Config) -> Result<()> {
    let addresses = addresses(&args.address, config)?;
    let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let redraws = std::io::stdout().is_terminal() && !args.once;
    loop {
        let mut text = String::new();
        let mut answered = 0;
        for address in &addresses {
            match look(&http, address, args.key.api_key.as_deref()).await {
                Ok(seen) => {
                    answered += 1;
                    text.push_str(&draw(address, &seen));
                }
                Err(error) => text.push_str(&format!("{address}: {error:#}\n\n")),
            }
        }
        say(&format!("{}{text}", if redraws { REDRAW } else { "" }));
        if args.once {
            anyhow::ensure!(answered > 0, "no process of a mesh answers");
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(args.interval) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// The processes that are meant.
pub(super) fn addresses(given: &[String], config: &Config) -> Result<Vec<String>> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let ready = DataDir::locate(config.data_dir.as_deref())?.ready();
    Ok(vec![ready.map_or_else(
        || config.listen.to_string(),
        |ready| ready.http,
    )])
}

async fn look(http: &reqwest::Client, address: &str, key: Option<&str>) -> Result<Seen> {
    ask(http, address, "/admin/mesh", key).await
}

/// Asks a process for one of the pages of operators.
pub(super) async fn ask<T: serde::de::DeserializeOwned>(
    http: &reqwest::Client,
    address: &str,
    path: &str,
    key: Option<&str>,
) -> Result<T> {
    let base = match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    };
    let mut request = http.get(format!("{}{path}", base.trim_end_matches('/')));
    if let Some(key) = key {
        request = request.bearer_auth(key.trim());
    }
    let answer = request.send().await.context("does not answer")?;
    let answer = answer.error_for_status().context("refuses")?;
    answer.json().await.context("is no process of a mesh")
}

fn draw(address: &str, seen: &Seen) -> String {
    let mut text = format!("{address} (pid {})\n", seen.pid);
    if let Some(served) = served(&seen.services) {
        text.push_str(&format!("{served}\n"));
    }
    if let Some(called) = called(&seen.services) {
        text.push_str(&format!("{called}\n"));
    }
    let errors = seen
        .services
        .iter()
        .flat_map(|service| &service.endpoints)
        .filter_map(|endpoint| endpoint.error.as_ref().map(|error| (endpoint, error)));
    for (endpoint, error) in errors {
        text.push_str(&format!("  {}: {error}\n", endpoint.address));
    }
    text.push('\n');
    text
}

/// The services in the process.
fn served(services: &[Service]) -> Option<Table> {
    let loads: Vec<_> = services
        .iter()
        .filter_map(|service| Some((service, service.load.as_ref()?)))
        .collect();
    let mut rows = table([
        "service here",
        "working",
        "may work",
        "streaming",
        "waiting",
        "background waiting",
        "refused",
    ]);
    for (service, load) in &loads {
        rows.add_row([
            service.service.clone(),
            load.working.to_string(),
            load.limit.to_string(),
            load.streaming.to_string(),
            load.waiting.to_string(),
            load.waiting_in_background.to_string(),
            load.refused.to_string(),
        ]);
    }
    (!loads.is_empty()).then_some(rows)
}

/// The services elsewhere, as the process sees them.
fn called(services: &[Service]) -> Option<Table> {
    let mut rows = table([
        "service elsewhere",
        "endpoint",
        "connectivity",
        "breaker",
        "in flight",
        "latency",
        "failed connects",
        "retry budget",
    ]);
    let endpoints: Vec<_> = services
        .iter()
        .flat_map(|service| service.endpoints.iter().map(move |one| (service, one)))
        .collect();
    for (service, endpoint) in &endpoints {
        let connectivity = match (&*endpoint.connectivity, endpoint.serving) {
            ("ready", false) => "not serving",
            (other, _) => other,
        };
        let breaker = match endpoint.open_for_ms {
            0 => endpoint.breaker.clone(),
            ms => format!("{}, {ms} ms", endpoint.breaker),
        };
        rows.add_row([
            service.service.clone(),
            endpoint.address.clone(),
            connectivity.to_owned(),
            breaker,
            endpoint.in_flight.to_string(),
            format!("{:.1} ms", endpoint.latency_ms),
            endpoint.failed_connects.to_string(),
            format!(
                "{:.0} of {:.0}",
                service.retry_tokens, service.retry_tokens_max
            ),
        ]);
    }
    (!endpoints.is_empty()).then_some(rows)
}
