//! What takes long is named in the log, with its plan and without what was asked for.

use std::time::Duration;

use anyhow::Result;
use mediamesh_testkit::fixture;
use tokio::time::{Instant, sleep};

use crate::launcher;

#[tokio::test]
async fn slow_statements_are_in_the_log_with_their_plan_and_in_the_metrics() -> Result<()> {
    let mut launcher = launcher().env("MEDIAMESH_DATABASE__SLOW_STATEMENT_MILLIS", "0");
    let mesh = launcher.start().await?;
    let http = mesh.http();
    http.upload_ok("zanzibar.jpg", "zanzibar", fixture::jpeg(1, 64, 48))
        .await?;
    http.settled().await?;
    let found = http.get("/api/search?query=zanzibar").await?.ok()?;
    assert_eq!(found["results"].as_array().map(Vec::len), Some(1));
    let start = Instant::now();
    let lines = loop {
        let log = mesh.log();
        let told = |line: &&str| line.contains("slow statement");
        let lines: Vec<String> = log.lines().filter(told).map(str::to_owned).collect();
        let plans = lines.iter().filter(|line| line.contains("plan of a slow"));
        if plans.count() > 5 {
            break lines;
        }
        anyhow::ensure!(
            start.elapsed() < Duration::from_secs(20),
            "no plans:\n{log}"
        );
        sleep(Duration::from_millis(100)).await;
    };
    assert!(lines.iter().any(|line| line.contains("media_items")));
    for line in &lines {
        assert!(!line.contains("zanzibar"), "a value is in the log: {line}");
    }
    let metrics = http.get("/metrics").await?.text();
    let counted = "mediamesh_database_slow_statements_total{operation=\"insert_item\"}";
    assert!(metrics.contains(counted), "{metrics}");
    Ok(())
}
