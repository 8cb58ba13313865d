//! `report`: how the processes of a mesh do.

use std::time::Duration;

use anyhow::Result;
use mediamesh_mesh::admin::report::{Calls, Percentiles, Report};
use serde_json::json;

use super::{
    table::table,
    top::{addresses, ask},
};
use crate::{cli, config::Config, import::screen::say};

/// Longest wait for an answer, beside the look that was asked for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of a table; JSON has all.
const LINES: usize = 20;

pub(super) async fn run(args: cli::Report, config: &Config) -> Result<()> {
    let seconds = args.window.as_secs().min(60);
    let path = format!("/admin/report?seconds={seconds}");
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT + Duration::from_secs(seconds))
        .build()?;
    let addresses = addresses(&args.address, config)?;
    let key = args.key.api_key.as_deref();
    let asked = addresses
        .iter()
        .map(|address| ask(&http, address, &path, key));
    // all at once: each looks for as long
    let answers: Vec<Result<Report>> = futures::future::join_all(asked).await;
    let known = answers.iter().filter(|answer| answer.is_ok()).count();
    let told = addresses.iter().zip(&answers);
    if args.json {
        let processes: Vec<_> = told
            .map(|(address, answer)| match answer {
                Ok(report) => json!({ "address": address, "report": report }),
                Err(error) => json!({ "address": address, "error": format!("{error:#}") }),
            })
            .collect();
        let processes = json!({ "processes": processes });
        say(&serde_json::to_string_pretty(&processes)?);
    } else {
        for (address, answer) in told {
            match answer {
                Ok(report) => say(&draw(address, report)),
                Err(error) => say(&format!("{address}: {error:#}\n")),
            }
        }
    }
    anyhow::ensure!(known > 0, "no process of a mesh answers");
    Ok(())
}

fn draw(address: &str, report: &Report) -> String {
    let mut text = format!("{address} (pid {}), {:.0} s\n", report.pid, report.seconds);
    for (title, all) in [
        ("request", &report.routes),
        ("call of a service here", &report.methods),
    ] {
        if !all.is_empty() {
            text.push_str(&format!("{}\n", calls(title, all)));
        }
    }
    let mut caches = table(["cache", "hits", "misses", "hit rate"]);
    for cache in &report.caches {
        let rate = cache
            .hit_rate
            .map_or_else(String::new, |rate| format!("{:.1} %", rate * 100.0));
        caches.add_row([
            cache.name.clone(),
            cache.hits.to_string(),
            cache.misses.to_string(),
            rate,
        ]);
    }
    let mut pools = table([
        "pool",
        "in use",
        "idle",
        "max",
        "waiting",
        "timeouts",
        "wait p95 ms",
    ]);
    for pool in &report.pools {
        let counts = [
            pool.in_use,
            pool.idle,
            pool.max,
            pool.waiting,
            pool.timeouts,
        ];
        let mut row = vec![pool.name.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(format!("{:.1}", pool.waited.p95_ms));
        pools.add_row(row);
    }
    let mut breakers = table(["service called", "breakers"]);
    for service in &report.breakers {
        let states = service.endpoints.iter().filter(|(_, count)| **count > 0);
        let states: Vec<String> = states
            .map(|(state, count)| format!("{count} {state}"))
            .collect();
        breakers.add_row([service.service.clone(), states.join(", ")]);
    }
    let mut operations = table([
        "database operation",
        "count",
        "statements each",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ]);
    for operation in report.operations.iter().take(LINES) {
        let mut row = vec![
            operation.name.clone(),
            operation.count.to_string(),
            format!("{:.1}", operation.statements),
        ];
        row.extend(times(&operation.took));
        operations.add_row(row);
    }
    for (rows, count) in [
        (caches, report.caches.len()),
        (pools, report.pools.len()),
        (breakers, report.breakers.len()),
        (operations, report.operations.len()),
    ] {
        if count > 0 {
            text.push_str(&format!("{rows}\n"));
        }
    }
    text
}

fn calls(title: &str, all: &[Calls]) -> comfy_table::Table {
    let mut rows = table([
        title, "count", "per s", "4xx", "5xx", "p50 ms", "p95 ms", "p99 ms",
    ]);
    for calls in all.iter().take(LINES) {
        let mut row = vec![
            calls.name.clone(),
            calls.count.to_string(),
            format!("{:.1}", calls.per_second),
            calls.client_errors.to_string(),
            calls.server_errors.to_string(),
        ];
        row.extend(times(&calls.took));
        rows.add_row(row);
    }
    rows
}

fn times(took: &Percentiles) -> [String; 3] {
    [took.p50_ms, took.p95_ms, took.p99_ms].map(|time| format!("{time:.1}"))
}
