//! The log of requests, and the report of a process.

use std::time::Duration;

use anyhow::Result;
use mediamesh_testkit::{Launcher, Mesh, TestDatabase, fixture};
use serde_json::{Value, json};

use crate::{launcher, start};

/// In no log.
const SECRET: &str = "zanzibar";

/// Makes requests; answers what the log says of them once it has all.
async fn work(mesh: &Mesh) -> Result<Value> {
    let http = mesh.http();
    let picture = fixture::jpeg(1, 64, 48);
    http.upload_ok("a.jpg", "", picture).await?;
    for _ in 0..3 {
        let search = json!({"query": SECRET, "private": true});
        http.search(search).await?;
        let missing = format!("/v1/mediaItems/0190a5a5-0000-7000-8000-000000000000?x={SECRET}");
        assert_eq!(http.get(&missing).await?.status, 400);
        assert_eq!(http.get(&format!("/{SECRET}")).await?.status, 404);
        http.get("/health").await?;
    }
    for _ in 0..100 {
        let log = http
            .get("/v1/requests:summarize?window=600s&allTenants=true")
            .await?
            .ok()?;
        let routes = log["routes"].as_array().cloned().unwrap_or_default();
        let count = |route: &str| route_of(&routes, route)["requestCount"].clone();
        if count("/v1/mediaItems:search") == "3" && count("unmatched") == "3" {
            return Ok(log);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the log does not come");
}

fn route_of(routes: &[Value], name: &str) -> Value {
    let found = routes.iter().find(|route| route["route"] == name);
    found.cloned().unwrap_or_default()
}

fn logging() -> Launcher {
    launcher().env("MEDIAMESH_EDGE__REQUEST_LOG__ENABLED", "true")
}

fn check(log: &Value) {
    let routes = log["routes"].as_array().unwrap();
    let missing = route_of(routes, "/v1/mediaItems/{media_item_id}");
    assert_eq!(
        (&missing["requestCount"], &missing["clientErrorCount"]),
        (&json!("3"), &json!("3")),
        "{log}"
    );
    let upload = route_of(routes, "/v1/mediaItems");
    assert_eq!(upload["method"], "POST", "{log}");
    let picture = fixture::jpeg(1, 64, 48).len().to_string();
    assert_eq!(upload["requestBytes"], json!(picture));
    let took = |name: &str| upload[name].as_f64().unwrap();
    assert!(took("p50Milliseconds") > 0.0 && took("p99Milliseconds") >= took("p50Milliseconds"));
    let answered = upload["responseBytes"].as_str().unwrap().parse::<u64>();
    assert!(answered.unwrap() > 100, "{log}");
    let probes = routes
        .iter()
        .filter(|route| route["route"].as_str().unwrap().starts_with("/health"));
    assert_eq!(probes.count(), 0, "probes are not logged");
}

#[tokio::test]
async fn requests_are_logged_by_route_without_what_was_asked_for() -> Result<()> {
    let mut launcher = logging();
    let mesh = launcher.start().await?;
    check(&work(&mesh).await?);
    // what waits when the process ends is written
    mesh.http().get("/v1/folders").await?.ok()?;
    mesh.stop().await?;
    for entry in std::fs::read_dir(launcher.data())? {
        let path = entry?.path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("mediamesh.db") {
            let bytes = std::fs::read(&path)?;
            let found = bytes
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes());
            assert!(!found, "{name} holds what was asked for");
        }
    }
    let mesh = launcher.start().await?;
    let log = mesh.http().get("/v1/requests:summarize").await?.ok()?;
    let folders = route_of(log["routes"].as_array().unwrap(), "/v1/folders");
    assert_eq!(folders["requestCount"], "1", "{log}");
    for bad in ["0s", "9999999s"] {
        let path = format!("/v1/requests:summarize?window={bad}");
        assert_eq!(mesh.http().get(&path).await?.status, 400, "{bad}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_in_postgres_has_its_partitions_and_columns() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let mut launcher = logging().env("MEDIAMESH_DATABASE__URL", &database.url());
    let mesh = launcher.start().await?;
    check(&work(&mesh).await?);
    let rows = database
        .psql("SELECT string_agg(r::text, ' ') FROM request_log r")
        .await?;
    assert!(!rows.contains(SECRET), "{rows}");
    let known = "SELECT count(*) FROM request_log WHERE subject = 'local' AND length(trace_id) = 32 \
                 AND status = 200 AND route = '/v1/mediaItems:search'";
    assert_eq!(database.psql(known).await?, "3");
    let left = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'request_log'::regclass";
    assert_eq!(database.psql(left).await?, "4");
    Ok(())
}

#[tokio::test]
async fn nothing_is_logged_unless_it_is_wanted_and_a_report_is_there_all_the_same() -> Result<()> {
    let (launcher, mesh) = start().await?;
    let http = mesh.http();
    http.search(json!({"query": SECRET})).await?;
    http.get("/nowhere").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = http.get("/v1/requests:summarize").await?.ok()?;
    assert_eq!(log["routes"], json!([]));

    let report = http.get("/admin/report").await?.ok()?;
    let routes = report["routes"].as_array().unwrap();
    let searched = routes
        .iter()
        .find(|route| route["name"] == "POST /v1/mediaItems:search");
    let searched = searched.unwrap_or_else(|| panic!("no search in {report}"));
    assert_eq!(
        (&searched["count"], &searched["serverErrors"]),
        (&json!(1), &json!(0))
    );
    assert!(searched["p99Ms"].as_f64().unwrap() > 0.0);
    let named = |list: &str, name: &str| {
        let all = report[list].as_array().unwrap().clone();
        all.into_iter()
            .find(|one| one["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {report}"))
    };
    assert_eq!(named("pools", "writer")["max"], 1);
    assert_eq!(named("caches", "searches")["misses"], 1);
    assert!(named("operations", "corpus")["count"].as_u64() > Some(0));
    let methods = report["methods"].to_string();
    assert!(methods.contains("SearchService/SearchMedia"), "{methods}");

    // over two seconds in which one request comes
    let (window, _) = tokio::join!(http.get("/admin/report?seconds=2"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        http.get("/v1/folders").await
    });
    let window = window?.ok()?;
    let routes = window["routes"].as_array().unwrap();
    assert_eq!(routes.len(), 1, "{window}");
    assert_eq!(
        (&routes[0]["name"], &routes[0]["count"]),
        (&json!("GET /v1/folders"), &json!(1))
    );

    let report = |args: &[&str]| -> Result<String> {
        let mut command = launcher.command();
        let output = command
            .arg("report")
            .args(args)
            .arg(mesh.http_address())
            .output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let table = report(&[])?;
    for part in [
        "POST /v1/mediaItems:search",
        "hit rate",
        "writer",
        "statements each",
    ] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let json: Value = serde_json::from_str(&report(&["--json"])?)?;
    assert!(
        json["processes"][0]["report"]["routes"].is_array(),
        "{json}"
    );
    Ok(())
}
