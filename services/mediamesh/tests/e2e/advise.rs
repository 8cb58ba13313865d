//! `mediamesh advise`, on a database that a mesh uses.

use std::process::Output;

use anyhow::Result;
use mediamesh_testkit::{Launcher, TestDatabase, fixture};
use serde_json::Value;

use crate::launcher;

fn advise(launcher: &Launcher, args: &[&str]) -> Result<Output> {
    let mut command = launcher.command();
    command.arg("--data-dir").arg(launcher.data()).arg("advise");
    Ok(command.args(args).output()?)
}

fn json(output: &Output) -> Result<Value> {
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_what_could_be_better_and_have_it_mended_beside_a_running_mesh()
-> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let mut launcher = launcher().env("MEDIAMESH_DATABASE__URL", &database.url());
    let mesh = launcher.start().await?;
    mesh.http()
        .upload_ok("a.jpg", "", fixture::jpeg(1, 64, 48))
        .await?;
    let fresh = json(&advise(&launcher, &["--json"])?)?;
    assert_eq!(
        fresh["findings"].as_array().map(Vec::len),
        Some(0),
        "{fresh}"
    );

    database.psql("DROP INDEX idx_media_items_folder").await?;
    let told = json(&advise(&launcher, &["--json"])?)?;
    let mend = told["findings"][0]["mend"].as_str().unwrap();
    assert!(
        mend.starts_with("CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_media_items_folder ON"),
        "{told}"
    );
    let mended = json(&advise(&launcher, &["--json", "--apply"])?)?;
    assert_eq!(mended["mended"][0]["error"], Value::Null, "{mended}");
    let again = advise(&launcher, &["--apply"])?;
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        again.status.success() && said.contains("nothing was found"),
        "{again:?}"
    );

    let statement = "SELECT * FROM media_items WHERE caption = 'x'";
    let plan = json(&advise(&launcher, &[statement, "--run", "--json"])?)?;
    let text = plan["plan"].as_str().unwrap();
    assert!(
        text.contains("Actual Rows") && text.contains("Shared Hit Blocks"),
        "{plan}"
    );
    assert!(
        plan["advice"][0].as_str().unwrap().contains("media_items"),
        "{plan}"
    );
    let refused = advise(&launcher, &["DELETE FROM media_items", "--run"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("it writes"),
        "{refused:?}"
    );
    assert_eq!(
        database.psql("SELECT count(*) FROM media_items").await?,
        "1"
    );
    Ok(())
}

#[tokio::test]
async fn the_embedded_database_is_advised_on_too() -> Result<()> {
    let mut launcher = launcher();
    let nothing = advise(&launcher, &[])?;
    assert!(!nothing.status.success() && !launcher.data().join("mediamesh.db").is_file());
    let mesh = launcher.start().await?;
    mesh.http()
        .upload_ok("a.jpg", "", fixture::jpeg(1, 64, 48))
        .await?;
    let fresh = advise(&launcher, &[])?;
    assert!(
        String::from_utf8_lossy(&fresh.stdout).contains("nothing was found"),
        "{fresh:?}"
    );
    let plan = json(&advise(
        &launcher,
        &["SELECT * FROM media_items WHERE caption = 'x'", "--json"],
    )?)?;
    assert!(
        plan["advice"][0]
            .as_str()
            .unwrap()
            .contains("all of media_items is read"),
        "{plan}"
    );
    Ok(())
}
