//! What was searched for: each user's own history, what is popular, completions, and warming.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mediamesh_testkit::{Answer, Launcher, Mesh};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{fill, launcher};

/// Makes a key on the data folder: a user.
fn user(launcher: &Launcher, args: &[&str]) -> Result<String> {
    let mut command = launcher.command();
    command.args(["keys", "create", "user", "--scope", "read", "--offline"]);
    command.args(args).arg("--json");
    command.arg("--data-dir").arg(launcher.data());
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout)?;
    Ok(made["secret"].as_str().context("no secret")?.to_owned())
}

async fn call(mesh: &Mesh, user: &str, method: Method, path: &str) -> Result<Answer> {
    let request = mesh.http().request(method, path).bearer_auth(user);
    mesh.http().send(request).await
}

async fn get(mesh: &Mesh, user: &str, path: &str) -> Result<Value> {
    call(mesh, user, Method::GET, path).await?.ok()
}

async fn search(mesh: &Mesh, user: &str, query: &str) -> Result<()> {
    let path = format!("/api/search?query={query}");
    get(mesh, user, &path).await.map(drop)
}

/// Texts of a list of answers.
fn queries(answer: &Value, field: &str) -> Vec<String> {
    let listed = answer[field].as_array().into_iter().flatten();
    listed
        .map(|one| one["query"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_history_is_its_users_own_and_popular_is_what_several_search_for() -> Result<()> {
    let mut launcher = launcher().env("MEDIAMESH_IDENTITY__REQUIRED", "true");
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(user(&launcher, &[])?);
    }
    let stranger = user(&launcher, &["--new-tenant", "strangers"])?;
    let mesh = launcher.start().await?;
    let [one, two, three, four] = &users[..] else {
        unreachable!("there are four")
    };

    for _ in 0..5 {
        search(&mesh, one, "Secret%20diary").await?;
    }
    for (user, query) in [
        (one, "red%20boat"),
        (two, "Red%20%20BOAT%20"),
        (two, "red%20bow"),
    ] {
        search(&mesh, user, query).await?;
    }
    search(&mesh, &stranger, "red%20planet").await?;
    get(
        &mesh,
        one,
        "/v1/mediaItems:search?query=unseen&private=true",
    )
    .await?;
    // a page of a search is no other search
    get(&mesh, one, "/v1/mediaItems:search?query=paged&offset=3").await?;

    let history = get(&mesh, one, "/v1/searches").await?;
    assert_eq!(queries(&history, "searches"), ["red boat", "Secret diary"]);
    assert_eq!(history["searches"][1]["count"], "5", "{history}");
    let page = get(&mesh, two, "/api/search/history?pageSize=1").await?;
    assert_eq!(queries(&page, "searches"), ["red bow"]);
    let token = page["nextPageToken"].as_str().context("no token")?;
    let path = format!("/api/search/history?pageSize=1&pageToken={token}");
    let page = get(&mesh, two, &path).await?;
    assert_eq!(queries(&page, "searches"), ["Red BOAT"]);
    let foreign = call(&mesh, one, Method::GET, &path).await?;
    assert_eq!(foreign.reason(), "ERROR_REASON_INVALID_PAGE_TOKEN");
    let nothing = get(&mesh, four, "/v1/searches").await?;
    assert_eq!(queries(&nothing, "searches"), Vec::<String>::new());

    // two are too few to be told of
    let popular = get(&mesh, four, "/api/search/popular").await?;
    assert_eq!(queries(&popular, "searches"), Vec::<String>::new());
    search(&mesh, three, "red%20boat").await?;
    get(&mesh, three, "/v1/searches").await?;
    let popular = get(&mesh, four, "/v1/searches:popular").await?;
    assert_eq!(queries(&popular, "searches"), ["red boat"]);
    assert_eq!(popular["searches"][0]["count"], "3", "{popular}");
    let popular = get(&mesh, &stranger, "/api/search/popular").await?;
    assert_eq!(queries(&popular, "searches"), Vec::<String>::new());

    // completions: one's own, then what is popular
    for (user, prefix, expected) in [
        (four, "RE", &["red boat"][..]),
        (two, "red", &["red bow", "Red BOAT"]),
        (two, "red%20boat", &[]),
        (two, "red%20bo&limit=1", &["red bow"]),
        (one, "sec", &["Secret diary"]),
        (four, "sec", &[]),
        (&stranger, "red", &["red planet"]),
    ] {
        let path = format!("/api/search/suggest?prefix={prefix}");
        let answer = get(&mesh, user, &path).await?;
        assert_eq!(queries(&answer, "suggestions"), expected, "{prefix}");
    }
    let answer = get(&mesh, four, "/v1/searches:suggest").await?;
    assert_eq!(answer["suggestions"][0]["source"], "SOURCE_POPULAR");
    for path in [
        "/v1/searches:popular?limit=1001",
        "/v1/searches:suggest?limit=-1",
    ] {
        let refused = call(&mesh, one, Method::GET, path).await?;
        assert_eq!(refused.status, 400, "{path}");
    }

    // one's own is removed, and nobody else's
    for (path, expected) in [
        ("/v1/searches?query=SECRET%20%20diary", "1"),
        ("/api/search/history", "1"),
        ("/v1/searches", "0"),
    ] {
        let answer = call(&mesh, one, Method::DELETE, path).await?.ok()?;
        assert_eq!(answer["removed"], expected, "{path}");
    }
    let history = get(&mesh, two, "/v1/searches").await?;
    assert_eq!(queries(&history, "searches"), ["red bow", "Red BOAT"]);
    // a key that may only read cannot have the service work
    let refused = call(&mesh, one, Method::POST, "/v1/searches:warm").await?;
    assert_eq!(refused.status, 403);
    Ok(())
}

#[tokio::test]
async fn popular_searches_are_answered_before_they_are_asked() -> Result<()> {
    let mut launcher = launcher().env("MEDIAMESH_SEARCH__WARM_AFTER_SECS", "1");
    let mesh = launcher.start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 3).await?;
    let asked = async |query: &str| {
        let answer = http.search(json!({"query": query, "limit": 20})).await?;
        anyhow::Ok(answer["fromCache"] == true)
    };
    assert!(!asked("picture 2").await?);
    // however it is written
    assert!(asked(" Picture   2").await?);
    // without sign-in there is one user, who sees what it searches for
    let history = http.get("/v1/searches").await?.ok()?;
    assert_eq!(history["searches"][0]["count"], "2", "{history}");
    let popular = http.get("/api/search/popular").await?.ok()?;
    assert_eq!(queries(&popular, "searches"), ["picture 2"]);

    let warm = async |limit: i32| {
        let request = json!({"limit": limit});
        http.post("/v1/searches:warm", &request).await
    };
    let answer = warm(0).await?.ok()?;
    assert_eq!(answer, json!({"warmed": 0, "cached": 1, "failed": 0}));
    assert_eq!(warm(101).await?.status, 400);

    // a change makes all answers stale; when it is over, the popular ones are made anew
    fill(&mesh, 10, 1).await?;
    let mut warmed = false;
    for _ in 0..100 {
        let metrics = http.get("/metrics").await?.text();
        let line = "mediamesh_search_warmed_total{outcome=\"warmed\"}";
        warmed = metrics.lines().any(|text| text.starts_with(line));
        if warmed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(warmed, "{}", mesh.log());
    assert!(asked("picture 2").await?);

    // a restart loses the cache, and what was popular is known by the history
    mesh.stop().await?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let mut cached = Value::Null;
    for _ in 0..100 {
        let popular = http.get("/api/search/popular").await?.ok()?;
        if queries(&popular, "searches") == ["picture 2"] {
            let answer = http.post("/v1/searches:warm", &json!({})).await?.ok()?;
            cached = answer["cached"].clone();
            if cached == 1 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(cached, 1, "{}", mesh.log());
    Ok(())
}
