//! Browsers that log in with a key and go on with a cookie; and what happens to those who should not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mediamesh_testkit::{Answer, Cluster, Http, Launcher, Redis, fixture, redis::programs};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::launcher;

const PATH: &str = "/api/session";
const NAME: &str = "mediamesh_session";

/// A launcher of a mesh that asks for keys and goes by its cache for one second.
pub(crate) fn guarded() -> Launcher {
    launcher()
        .env("MEDIAMESH_IDENTITY__REQUIRED", "true")
        .env("MEDIAMESH_IDENTITY__KEY_CACHE_SECS", "1")
        .env("MEDIAMESH_IDENTITY__KEY_STALE_SECS", "1")
}

/// Makes a key on the data folder; answers its id and its secret.
pub(crate) fn key(launcher: &Launcher, scope: &str, more: &[&str]) -> Result<(String, String)> {
    let mut command = launcher.command();
    command
        .args([
            "keys",
            "create",
            scope,
            "--scope",
            scope,
            "--offline",
            "--json",
        ])
        .args(more)
        .arg("--data-dir")
        .arg(launcher.data());
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    Ok((text(&made["apiKey"]["id"])?, text(&made["secret"])?))
}

/// A browser that is logged in.
struct Browser {
    /// `name=value`.
    cookie: String,
    id: String,
    csrf: String,
    handle: String,
}

impl Browser {
    fn of(answer: &Answer) -> Result<Self> {
        ensure!(answer.status == 201, "{}", answer.text());
        let set = answer.header("set-cookie");
        let cookie = set.split(';').next().context("no cookie")?.to_owned();
        let id = cookie.split_once('=').context("no value")?.1.to_owned();
        let body = answer.json();
        ensure!(!answer.text().contains(&id), "the id is in the body");
        Ok(Self {
            id,
            csrf: body["csrfToken"].as_str().context("no token")?.to_owned(),
            handle: body["session"]["handle"]
                .as_str()
                .context("no handle")?
                .to_owned(),
            cookie,
        })
    }

    async fn get(&self, http: &Http, path: &str) -> Result<Answer> {
        let request = http.request(Method::GET, path);
        http.send(request.header("cookie", &self.cookie)).await
    }

    /// A request that changes something, with the token of the session.
    async fn change(&self, http: &Http, method: Method, path: &str, body: Value) -> Result<Answer> {
        let request = http.request(method, path);
        let request = request.header("cookie", &self.cookie);
        let request = request.header("x-csrf-token", &self.csrf).json(&body);
        http.send(request).await
    }

    async fn upload(&self, http: &Http, headers: &[(&'static str, &str)]) -> Result<Answer> {
        let mut request = http
            .request(Method::POST, "/v1/mediaItems?displayName=a.jpg")
            .header("cookie", &self.cookie)
            .header("content-type", "image/jpeg")
            .body(fixture::jpeg(1, 64, 48));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        http.send(request).await
    }
}

async fn log_in_with(http: &Http, key: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut request = http.request(Method::POST, PATH).bearer_auth(key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    http.send(request).await
}

async fn log_in(http: &Http, key: &str) -> Result<Browser> {
    Browser::of(&log_in_with(http, key, &[]).await?)
}

fn is_ended(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(answer.reason(), "ERROR_REASON_SESSION_ENDED");
    assert!(
        answer.header("set-cookie").contains("Max-Age=0"),
        "the cookie stays"
    );
}

#[tokio::test]
async fn a_browser_logs_in_looks_lists_revokes_and_logs_out() -> Result<()> {
    let launcher = &mut guarded();
    let (key_id, write) = key(launcher, "write", &[])?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let answer = log_in_with(http, &write, &[]).await?;
    let set = answer.header("set-cookie").to_owned();
    for part in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Lax",
        "; Max-Age=2592000",
    ] {
        assert!(set.contains(part), "{set}");
    }
    assert!(
        set.starts_with(NAME) && !set.contains("Secure") && !set.contains("Domain"),
        "{set}"
    );
    assert!(answer.header("cache-control").contains("no-store"));
    let first = Browser::of(&answer)?;
    assert_eq!(first.id.len(), 64);
    let shown = first.get(http, PATH).await?.ok()?;
    assert_eq!(shown["csrfToken"], first.csrf.as_str());
    assert_eq!(shown["session"]["apiKeyId"], key_id.as_str());
    assert_eq!(shown["session"]["scopes"], json!(["SCOPE_WRITE"]));
    // as far as the key, and no farther
    assert_eq!(first.get(http, "/v1/mediaItems").await?.status, 200);
    let stored = first
        .upload(http, &[("x-csrf-token", &first.csrf)])
        .await?
        .ok()?;
    let id = stored["mediaItem"]["id"].as_str().context("no id")?;
    let item = first
        .get(http, &format!("/v1/mediaItems/{id}/content"))
        .await?;
    assert_eq!(item.status, 200);
    assert!(item.header("cache-control").contains("private"));
    assert!(
        item.header("vary").contains("cookie"),
        "{}",
        item.header("vary")
    );
    assert_eq!(first.get(http, "/v1/apiKeys").await?.status, 403);
    assert_eq!(first.get(http, "/metrics").await?.status, 401);
    // others of the same user
    let (second, third) = (log_in(http, &write).await?, log_in(http, &write).await?);
    let listed = first.get(http, "/v1/sessions").await?.ok()?;
    let handles: Vec<_> = listed["sessions"].as_array().unwrap().iter().collect();
    assert_eq!(handles.len(), 3);
    for browser in [&first, &second, &third] {
        assert!(
            handles
                .iter()
                .any(|session| session["handle"] == browser.handle.as_str())
        );
        assert!(
            !listed.to_string().contains(&browser.id),
            "a list shows an id"
        );
    }
    let path = format!("/v1/sessions/{}", second.handle);
    first
        .change(http, Method::DELETE, &path, json!({}))
        .await?
        .ok()?;
    is_ended(&second.get(http, PATH).await?);
    let except = json!({"exceptHandle": first.handle});
    let revoked = first
        .change(http, Method::POST, "/v1/sessions:revoke", except)
        .await?;
    assert_eq!(revoked.ok()?["revoked"], "1");
    is_ended(&third.get(http, "/v1/mediaItems").await?);
    // out
    let out = first.change(http, Method::DELETE, PATH, json!({})).await?;
    assert_eq!(out.status, 204, "{}", out.text());
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    is_ended(&first.get(http, PATH).await?);
    // the key itself is as good as before, and the log shows no id
    assert_eq!(log_in_with(http, &write, &[]).await?.status, 201);
    let log = mesh.log();
    for browser in [&first, &second, &third] {
        assert!(!log.contains(&browser.id) && !log.contains(&browser.csrf));
    }
    assert!(
        log.contains(&format!("{}...", &first.id[..8])),
        "no session in the log"
    );
    Ok(())
}

#[tokio::test]
async fn forged_planted_and_foreign_cookies_open_nothing() -> Result<()> {
    let launcher = &mut guarded();
    let (_, write) = key(launcher, "write", &[])?;
    let (_, other) = key(launcher, "admin", &["--new-tenant", "other"])?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let browser = log_in(http, &write).await?;
    let with = |cookie: String| {
        let request = http.request(Method::GET, "/v1/mediaItems");
        http.send(request.header("cookie", cookie))
    };
    // well made and unknown: an id of nobody, and the name of a session as if it were its id
    let doubled = browser.handle.repeat(2);
    for forged in ["0".repeat(64), "f".repeat(64), doubled] {
        is_ended(&with(format!("{NAME}={forged}")).await?);
    }
    let flipped = match browser.id.strip_suffix('0') {
        Some(start) => format!("{start}1"),
        None => format!("{}0", &browser.id[..63]),
    };
    is_ended(&with(format!("{NAME}={flipped}")).await?);
    for malformed in [
        "",
        "x",
        "../..",
        &browser.handle,
        &browser.id.to_uppercase(),
    ] {
        let refused = with(format!("{NAME}={malformed}")).await?;
        assert_eq!(refused.status, 401, "{malformed}");
        assert_eq!(refused.reason(), "ERROR_REASON_UNAUTHENTICATED");
    }
    // a second cookie of the name was planted by somebody
    let theirs = log_in(http, &other).await?;
    let refused = with(format!("{}; {}", browser.cookie, theirs.cookie)).await?;
    assert_eq!(refused.status, 401);
    assert_eq!(browser.get(http, PATH).await?.status, 200);
    // fixation: whoever logs in gets an id of its own, and the planted one is not logged in
    let planted = format!("{NAME}={}", "a".repeat(64));
    let answer = log_in_with(http, &write, &[("cookie", &planted)]).await?;
    let fixed = Browser::of(&answer)?;
    assert_ne!(fixed.cookie, planted);
    is_ended(&with(planted).await?);
    // with a cookie of somebody else's session: it is neither taken over nor ended
    let answer = log_in_with(http, &write, &[("cookie", &theirs.cookie)]).await?;
    assert_ne!(Browser::of(&answer)?.id, theirs.id);
    assert_eq!(theirs.get(http, PATH).await?.status, 200);
    // with one's own the session before ends
    let answer = log_in_with(http, &write, &[("cookie", &fixed.cookie)]).await?;
    let again = Browser::of(&answer)?;
    is_ended(&fixed.get(http, PATH).await?);
    // a cookie opens no other session, not even its own user's, and none of another tenant
    let more = with_post(http, &again, PATH).await?;
    assert_eq!(
        (more.status.as_u16(), more.reason().as_str()),
        (401, "ERROR_REASON_UNAUTHENTICATED")
    );
    let path = format!("/v1/sessions/{}", browser.handle);
    let foreign = theirs
        .change(http, Method::DELETE, &path, json!({}))
        .await?;
    assert_eq!(foreign.status, 404, "{}", foreign.text());
    let user = format!("/v1/sessions?userId=key:{}", "0".repeat(8));
    assert_eq!(browser.get(http, &user).await?.status, 403);
    let seen = theirs.get(http, "/v1/sessions").await?.ok()?;
    assert_eq!(seen["sessions"].as_array().unwrap().len(), 1);
    // too much
    let large = json!({"session": {"metadata": {"k": "x".repeat(5000)}}});
    let huge = json!({"session": {"email": "x".repeat(70_000)}});
    for (body, status) in [(large, 400), (huge, 413)] {
        let request = http.request(Method::POST, PATH).bearer_auth(&write);
        let refused = http.send(request.json(&body)).await?;
        assert_eq!(refused.status, status, "{}", refused.text());
    }
    let request = http.request(Method::POST, PATH).bearer_auth(&write);
    let form = request.header("content-type", "text/plain").body("{}");
    assert_eq!(http.send(form).await?.status, 415);
    Ok(())
}

async fn with_post(http: &Http, browser: &Browser, path: &str) -> Result<Answer> {
    browser.change(http, Method::POST, path, json!({})).await
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_with_the_cookie_of_its_visitor() -> Result<()> {
    let launcher = &mut guarded();
    let (_, write) = key(launcher, "write", &[])?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let (browser, other) = (log_in(http, &write).await?, log_in(http, &write).await?);
    let own = ("x-csrf-token", browser.csrf.as_str());
    let origin = format!("http://{}", mesh.http_address());
    for (headers, reason) in [
        (vec![], "ERROR_REASON_CSRF_REJECTED"),
        (vec![("x-csrf-token", "")], "ERROR_REASON_CSRF_REJECTED"),
        (
            vec![("x-csrf-token", other.csrf.as_str())],
            "ERROR_REASON_CSRF_REJECTED",
        ),
        (
            vec![own, ("sec-fetch-site", "cross-site")],
            "ERROR_REASON_CSRF_REJECTED",
        ),
        (
            vec![own, ("sec-fetch-site", "same-site")],
            "ERROR_REASON_CSRF_REJECTED",
        ),
        (
            vec![own, ("origin", "https://evil.example")],
            "ERROR_REASON_PERMISSION_DENIED",
        ),
        (
            vec![own, ("origin", "null")],
            "ERROR_REASON_PERMISSION_DENIED",
        ),
    ] {
        let refused = browser.upload(http, &headers).await?;
        assert_eq!(refused.status, 403, "{headers:?}");
        assert_eq!(refused.reason(), reason, "{headers:?}");
    }
    let out = http.request(Method::DELETE, PATH);
    let out = http.send(out.header("cookie", &browser.cookie)).await?;
    assert_eq!(out.reason(), "ERROR_REASON_CSRF_REJECTED");
    let items = browser.get(http, "/v1/mediaItems").await?.ok()?;
    assert_eq!(items["mediaItems"], json!([]));
    // a page of ours
    let ours = [
        own,
        ("sec-fetch-site", "same-origin"),
        ("origin", origin.as_str()),
    ];
    assert_eq!(browser.upload(http, &ours).await?.status, 201);
    // who sends a key needs no token, cookie or not
    let request = http
        .request(Method::DELETE, &format!("/v1/sessions/{}", other.handle))
        .header("cookie", &browser.cookie)
        .bearer_auth(&write);
    assert_eq!(http.send(request).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_session_ends_with_its_key_and_survives_a_restart() -> Result<()> {
    let launcher = &mut guarded();
    let (_, keeps) = key(launcher, "write", &[])?;
    let (revoked_id, revoked) = key(launcher, "write", &[])?;
    let (_, brief) = key(launcher, "read", &["--expires", "8s"])?;
    let made = Instant::now();
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let (keeps, revoked) = (log_in(http, &keeps).await?, log_in(http, &revoked).await?);
    let brief = log_in(http, &brief).await?;
    let revoke = ["keys", "revoke", &revoked_id, "--offline"];
    let output = launcher
        .command()
        .args(revoke)
        .arg("--data-dir")
        .arg(launcher.data())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    let start = Instant::now();
    let refused = loop {
        let answer = revoked.get(http, "/v1/mediaItems").await?;
        if answer.status != 200 {
            break answer;
        }
        ensure!(
            start.elapsed() < Duration::from_secs(5),
            "a session outlives its key"
        );
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused.status, 401);
    assert_eq!(refused.reason(), "ERROR_REASON_CREDENTIALS_REVOKED");
    // it is gone for good, not only refused
    is_ended(&revoked.get(http, PATH).await?);
    mesh.stop().await?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    assert_eq!(keeps.get(http, "/v1/mediaItems").await?.status, 200);
    is_ended(&revoked.get(http, PATH).await?);
    sleep(Duration::from_secs(9).saturating_sub(made.elapsed())).await;
    let refused = brief.get(http, "/v1/mediaItems").await?;
    assert_eq!(refused.reason(), "ERROR_REASON_CREDENTIALS_EXPIRED");
    Ok(())
}

#[tokio::test]
async fn operators_list_revoke_and_sweep_by_command_and_see_numbers() -> Result<()> {
    let launcher = &mut guarded().env("MEDIAMESH_CACHE__SESSIONS__SWEEP_INTERVAL_SECS", "2");
    let ((key_id, write), (_, admin)) =
        (key(launcher, "write", &[])?, key(launcher, "admin", &[])?);
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let run = |args: &[&str]| -> Result<String> {
        let mut command = launcher.command();
        command
            .arg("sessions")
            .args(args)
            .args(["--api-key", &admin]);
        let output = command.arg("--data-dir").arg(launcher.data()).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let user = format!("key:{key_id}");
    let (first, second) = (log_in(http, &write).await?, log_in(http, &write).await?);
    let listed = run(&["list", "--user", &user])?;
    assert!(
        listed.contains(&first.handle) && listed.contains(&second.handle),
        "{listed}"
    );
    run(&["revoke", &first.handle])?;
    is_ended(&first.get(http, PATH).await?);
    assert!(run(&["revoke", "--all", "--user", &user])?.starts_with("1 "));
    is_ended(&second.get(http, PATH).await?);
    // two that end soon: one is swept by command or by the service, whoever is first
    for _ in 0..2 {
        let request = http.request(Method::POST, PATH).bearer_auth(&write);
        // longer than a busy machine takes for the second, which else would clear the first away
        http.send(request.json(&json!({"ttl": "1s"}))).await?.ok()?;
    }
    run(&["sweep"])?;
    sleep(Duration::from_secs(3)).await;
    assert!(
        run(&["sweep"])?.starts_with("0 "),
        "the service does not sweep"
    );
    let metrics = http.request(Method::GET, "/metrics").bearer_auth(&admin);
    let metrics = http.send(metrics).await?.text();
    for line in [
        "mediamesh_sessions_created_total 4",
        "mediamesh_sessions_swept_total 2",
        "mediamesh_sessions_ended_total{cause=\"expired\"} 2",
        "mediamesh_sessions_ended_total{cause=\"deleted\"} 1",
        "mediamesh_sessions_ended_total{cause=\"revoked\"} 1",
        "mediamesh_sessions_lookups_total{outcome=\"absent\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn without_keys_there_is_one_user_and_sessions_of_it() -> Result<()> {
    let mut launcher = launcher();
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let answer = http.send(http.request(Method::POST, PATH)).await?;
    let browser = Browser::of(&answer)?;
    let shown = browser.get(http, PATH).await?.ok()?;
    assert_eq!(shown["session"]["userId"], "local");
    assert_eq!(http.get(PATH).await?.status, 404);
    let out = http.request(Method::DELETE, PATH);
    let out = http.send(out.header("cookie", &browser.cookie)).await?;
    assert_eq!(out.reason(), "ERROR_REASON_CSRF_REJECTED");
    let out = browser
        .change(http, Method::DELETE, PATH, json!({}))
        .await?;
    assert_eq!(out.status, 204);
    let ended = browser.get(http, PATH).await?;
    assert_eq!(ended.reason(), "ERROR_REASON_SESSION_ENDED");
    mesh.stop().await?;
    // what was opened without a key opens nothing once keys are asked for
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let answer = http.send(http.request(Method::POST, PATH)).await?;
    let browser = Browser::of(&answer)?;
    mesh.stop().await?;
    let mut launcher = launcher.env("MEDIAMESH_IDENTITY__REQUIRED", "true");
    let mesh = launcher.start().await?;
    let http = mesh.http();
    is_ended(&browser.get(http, PATH).await?);
    Ok(())
}

const SIGNING_KEY: &str = "test:dGVzdHMgc2lnbiB3aXRoIHRoaXMga2V5IG9mIDMyKyBieXRlcw==";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_edge_knows_every_session_and_without_redis_none_is_said_to_be_over() -> Result<()> {
    let Some(programs) = programs() else {
        return Ok(());
    };
    let mut redis = Redis::start(&programs).await?;
    redis.command(&["config", "set", "maxmemory", "100mb"])?;
    redis.command(&["config", "set", "maxmemory-policy", "allkeys-lru"])?;
    let launcher = launcher();
    let (_, write) = key(&launcher, "write", &[])?;
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .together(&["media", "search", "embedding"], 1)
        .service("cache", 2)
        .service("edge", 2)
        .data_dir(launcher.data())
        .env(
            "MEDIAMESH_IDENTITY__SIGNING_KEYS",
            &format!("[\"{SIGNING_KEY}\"]"),
        )
        .envs(redis.env())
        .start()
        .await?;
    let edges: Vec<&Http> = cluster.of_service("edge").map(|edge| edge.http()).collect();
    let (first, second) = (
        log_in(edges[0], &write).await?,
        log_in(edges[1], &write).await?,
    );
    for _ in 0..5 {
        for edge in &edges {
            assert_eq!(first.get(edge, "/v1/mediaItems").await?.status, 200);
            assert_eq!(second.get(edge, PATH).await?.status, 200);
        }
    }
    // ended at one, over at the other at once
    let out = second
        .change(edges[0], Method::DELETE, PATH, json!({}))
        .await?;
    assert_eq!(out.status, 204);
    for edge in &edges {
        is_ended(&second.get(edge, PATH).await?);
    }
    redis.pause()?;
    let unknown = async |what: &str, answer: Answer| {
        assert_eq!(answer.status, 503, "{what}: {}", answer.text());
        let reason = answer.reason();
        // the mesh itself stops asking after a while
        let known = ["ERROR_REASON_DEPENDENCY_DOWN", "ERROR_REASON_CIRCUIT_OPEN"];
        assert!(known.contains(&&*reason), "{what}: {reason}");
        assert_eq!(
            answer.header("set-cookie"),
            "",
            "{what} takes the cookie away"
        );
    };
    for edge in &edges {
        unknown("look", first.get(edge, PATH).await?).await;
        unknown("use", first.get(edge, "/v1/mediaItems").await?).await;
        unknown("log in", log_in_with(edge, &write, &[]).await?).await;
        let out = first.change(edge, Method::DELETE, PATH, json!({})).await?;
        unknown("log out", out).await;
        // who has a key needs no session
        let listed = edge
            .request(Method::GET, "/v1/mediaItems")
            .bearer_auth(&write);
        assert_eq!(edge.send(listed).await?.status, 200);
    }
    redis.resume()?;
    let start = Instant::now();
    for edge in &edges {
        while first.get(edge, PATH).await?.status != 200 {
            ensure!(
                start.elapsed() < Duration::from_secs(20),
                "{}",
                cluster.logs()
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
    // a server that is gone for good has lost them: then they are over, and that is said
    redis.kill()?;
    unknown("look", first.get(edges[0], PATH).await?).await;
    redis.restart().await?;
    loop {
        let answer = first.get(edges[0], PATH).await?;
        if answer.status != 503 {
            break is_ended(&answer);
        }
        ensure!(
            start.elapsed() < Duration::from_secs(40),
            "{}",
            cluster.logs()
        );
        sleep(Duration::from_millis(100)).await;
    }
    let logs = cluster.logs();
    assert!(
        logs.contains("redis may drop sessions"),
        "no warning:\n{logs}"
    );
    assert!(!logs.contains(&first.id) && !logs.contains(&second.id));
    Ok(())
}
