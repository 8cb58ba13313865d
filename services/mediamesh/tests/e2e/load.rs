//! `mediamesh load`, small, on both stacks: every call is made and counted once, what was uploaded is there,
//! and bars that are missed are an exit code.

use std::{path::Path, process::Output};

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Launcher, Mesh, Redis, S3, TestDatabase, redis};
use serde_json::Value;

use crate::launcher;

/// Ramp and full load, and what is due in them at these rates: half of it in the ramp.
const RAMP_SECS: f64 = 2.0;
const FULL_SECS: f64 = 10.0;
const USERS: f64 = 20.0;
const SEARCHES: f64 = 300.0;
const UPLOADS: f64 = 60.0;
const PREPARED: u64 = 4;

fn due(per_minute: f64) -> u64 {
    (per_minute / 60.0 * (RAMP_SECS / 2.0 + FULL_SECS)).round() as u64
}

/// Runs `load`; bars that only a broken mesh misses, so that a busy machine fails no test.
async fn load(launcher: &Launcher, mesh: &Mesh, more: &[&str]) -> Result<(Output, Value)> {
    let report = launcher.scratch().join("load.json");
    let mut command = launcher.command();
    command
        .args(["load", "--address", mesh.http_address()])
        .args(["--users", "20", "--ramp", "2s", "--duration", "10s"])
        .args(["--think", "2s", "--prepare", "4"])
        .args(["--searches-per-minute", "300", "--uploads-per-minute", "60"])
        .arg("--json")
        .arg(&report)
        .args(more);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    Ok((output, read(&report)?))
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| format!("no {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn call<'r>(report: &'r Value, name: &str) -> &'r Value {
    let calls = report["calls"].as_array().into_iter().flatten();
    let mut of = calls.filter(|call| call["call"] == name);
    of.next().unwrap_or_else(|| panic!("no {name} in {report}"))
}

const PATIENT: [&str; 4] = ["--api-p95-ms", "20000", "--search-p95-ms", "20000"];

async fn bears_it(launcher: &Launcher, mesh: &Mesh) -> Result<()> {
    let http = mesh.http();
    let (kept, report) = load(launcher, mesh, &[&PATIENT[..], &["--keep"]].concat()).await?;
    let said = format!("{} {report}", String::from_utf8_lossy(&kept.stderr));
    assert!(kept.status.success(), "{said}");
    assert_eq!(report["held"], true, "{said}");
    for (name, planned) in [
        ("page", due(USERS / 2.0 * 60.0)),
        ("search", due(SEARCHES)),
        ("upload", due(UPLOADS)),
    ] {
        let call = call(&report, name);
        assert_eq!(call["planned"], planned, "{said}");
        assert_eq!(call["answered"], planned, "{said}");
        assert_eq!(call["failed"], 0, "{said}");
        assert!(call["p95Ms"].as_f64() > Some(0.0), "{said}");
    }
    let no_hits = call(&report, "search")["noHits"].as_u64();
    assert!(no_hits < Some(due(SEARCHES) / 2), "{said}");
    // the mesh counted the same calls
    http.settled().await?;
    let stored = http.list_all("").await?;
    assert_eq!(stored.len() as u64, PREPARED + due(UPLOADS));
    assert!(stored.iter().all(|item| item["state"] == "STATE_READY"));

    // what was uploaded goes again, and only that; nobody answers within no time
    let (missed, report) = load(launcher, mesh, &["--search-p95-ms", "0"]).await?;
    assert_eq!(missed.status.code(), Some(1), "{missed:?}");
    assert_eq!(report["held"], false);
    let said = String::from_utf8_lossy(&missed.stdout);
    assert!(
        said.contains("search p95") && said.contains("MISSED"),
        "{said}"
    );
    assert_eq!(http.list_all("").await?.len(), stored.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_load_is_made_and_counted_on_the_embedded_stack() -> Result<()> {
    let mut launcher = launcher();
    let mesh = launcher.start().await?;
    bears_it(&launcher, &mesh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_load_is_made_and_counted_on_postgres_redis_and_s3() -> Result<()> {
    let (Some(database), Some(programs)) = (TestDatabase::create().await?, redis::programs())
    else {
        return Ok(());
    };
    let cache = Redis::start(&programs).await?;
    let bucket = S3::start()?;
    let mut launcher = launcher()
        .env("MEDIAMESH_DATABASE__URL", &database.url())
        .envs(cache.env())
        .envs(bucket.env());
    let mesh = launcher.start().await?;
    bears_it(&launcher, &mesh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_says_what_is_wrong_with_it_or_with_the_mesh() -> Result<()> {
    let launcher = launcher();
    for (arguments, code, says) in [
        (&["--think", "1ms"][..], 64, "--think must be at least 10ms"),
        (&["--duration", "0s"], 64, "--duration must be over 0s"),
        (&["--users", "0"], 2, "--users"),
        (&["--max-error-percent", "NaN"], 64, "--max-error-percent"),
        (&["--photos", "/dev/null"], 1, "no JPEG"),
        (&["--address", "127.0.0.1:1"], 1, "no connection"),
    ] {
        let output = launcher.command().arg("load").args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    }
    Ok(())
}
