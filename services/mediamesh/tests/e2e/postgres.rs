//! The same product on PostgreSQL.

use std::sync::Arc;

use anyhow::Result;
use mediamesh_testkit::{Postgres, TestDatabase, fixture, postgres};
use serde_json::json;

use crate::{id, launcher};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_on_postgres_is_found_and_outlives_the_process() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let mut launcher = launcher().env("MEDIAMESH_DATABASE__URL", &database.url());
    let migrated = launcher.command().arg("migrate").output()?;
    assert!(migrated.status.success(), "{migrated:?}");
    let said = String::from_utf8(migrated.stdout)?;
    assert!(said.contains("pgvector"), "{said}");

    let mesh = launcher.start().await?;
    let mut items = Vec::new();
    for seed in 0..6 {
        let item = mesh
            .http()
            .upload_ok(
                &format!("lighthouse {seed}.jpg"),
                "coast",
                fixture::jpeg(seed, 320, 240),
            )
            .await?;
        items.push(id(&item).to_owned());
    }
    mesh.http().settled().await?;
    mesh.kill()?;

    let mesh = launcher.start().await?;
    let http = mesh.http();
    let found = http
        .search_ids(json!({"query": "lighthouses 3", "mode": "MODE_FULL_TEXT"}))
        .await?;
    assert_eq!(found.first(), Some(&items[3]), "{found:?}");
    let like = json!({
        "examples": [{"mediaItemId": items[0]}], "limit": 3, "minScore": 0.0, "explain": true
    });
    let answer = http.search(like.clone()).await?;
    assert_eq!(
        answer["results"].as_array().map(Vec::len),
        Some(3),
        "{answer}"
    );
    assert_eq!(
        answer["explanation"]["vectorPlans"][0]["plan"], "exact_scan",
        "{answer}"
    );
    let filtered = http
        .search_ids(json!({"filter": {"folder": "coast"}, "limit": 10}))
        .await?;
    assert_eq!(filtered.len(), 6);
    let rows = database
        .psql("SELECT count(*) FROM media_items WHERE state = 3")
        .await?;
    assert_eq!(rows, "6", "they are in PostgreSQL");
    assert!(
        !launcher.data().join("mediamesh.db").is_file(),
        "nothing is in the embedded database"
    );

    // processes that share the database and nothing else
    let mut doctor = launcher.command();
    doctor.arg("doctor").arg("--data-dir").arg(launcher.data());
    let doctor = doctor.output()?;
    let said = String::from_utf8(doctor.stdout)?;
    assert!(said.contains("ok    PostgreSQL answers"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_needs_no_restart_of_ours() -> Result<()> {
    let Some(programs) = postgres::programs() else {
        return Ok(());
    };
    let cluster = Arc::new(Postgres::start(&programs, &[]).await?);
    let database = TestDatabase::create_in(&cluster).await?;
    let mut launcher = launcher().env("MEDIAMESH_DATABASE__URL", &database.url());
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let item = http
        .upload_ok("a.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    http.settled().await?;
    let path = format!("/v1/mediaItems/{}", id(&item));
    assert_eq!(http.get(&path).await?.status, 200);

    cluster.stop().await?;
    let down = http.get(&path).await?;
    assert_eq!(down.status, 503, "{}", down.text());
    assert!(down.text().contains("DEPENDENCY_DOWN"), "{}", down.text());

    cluster.resume().await?;
    let mut status = 0;
    for _ in 0..100 {
        status = http.get(&path).await?.status.as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(status, 200, "well again within 5 s");
    http.upload_ok("b.jpg", "", fixture::jpeg(2, 320, 240))
        .await?;
    http.settled().await?;
    Ok(())
}

#[test]
fn an_address_with_a_password_is_never_shown() -> Result<()> {
    let mut command = launcher().command();
    command.args(["config", "print"]).env(
        "MEDIAMESH_DATABASE__URL",
        "postgres://me:hunter2@127.0.0.1:1/x",
    );
    let shown = String::from_utf8(command.output()?.stdout)?;
    assert!(shown.contains("database.url"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let mut command = launcher().command();
    command.arg("migrate").env(
        "MEDIAMESH_DATABASE__URL",
        "postgres://me:hunter2@127.0.0.1:1/x",
    );
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("does not answer"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    Ok(())
}
