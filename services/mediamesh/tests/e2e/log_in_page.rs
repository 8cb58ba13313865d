//! The page that a person's browser sees instead of what needs a key, and what programs see there.

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Answer, Http};
use reqwest::Method;

use crate::sessions::{guarded, key};

const NAVIGATION: [(&str, &str); 2] = [("sec-fetch-mode", "navigate"), ("accept", "text/html,*/*")];

async fn ask(http: &Http, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let request = http.request(method, path);
    let request = (headers.iter()).fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    http.send(request).await
}

async fn get(http: &Http, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    ask(http, Method::GET, path, headers).await
}

fn asks_to_log_in(answer: &Answer) {
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("id=\"log-in\""), "{}", answer.text());
    assert!(answer.header("content-type").starts_with("text/html"));
    assert!(answer.header("cache-control").contains("no-store"));
    assert!(
        answer
            .header("content-security-policy")
            .contains("form-action 'self'")
    );
    let asked = challenges(answer);
    assert_eq!(
        asked,
        ["Bearer realm=\"mediamesh\""],
        "a browser would ask too"
    );
}

fn challenges(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.get_all("www-authenticate").iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

fn is_problem(answer: &Answer, basic: bool) {
    assert_eq!(answer.status, 401);
    assert_eq!(answer.reason(), "ERROR_REASON_UNAUTHENTICATED");
    let asked = challenges(answer)
        .iter()
        .any(|challenge| challenge.starts_with("Basic"));
    assert_eq!(asked, basic, "{:?}", answer.headers);
}

#[tokio::test]
async fn a_browser_is_asked_to_log_in_and_a_program_for_a_key() -> Result<()> {
    let launcher = &mut guarded();
    let (_, write) = key(launcher, "write", &[])?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    for path in [
        "/",
        "/?q=boat",
        "/v1/mediaItems",
        "/v1/mediaItems/x/content",
    ] {
        asks_to_log_in(&get(http, path, &NAVIGATION).await?);
        // browsers say less to plain HTTP on another host
        asks_to_log_in(&get(http, path, &[("accept", "text/html,*/*")]).await?);
        is_problem(&get(http, path, &[]).await?, true);
        is_problem(
            &get(http, path, &[("accept", "application/json")]).await?,
            true,
        );
        // a script or an image of a page must not make the browser ask
        for mode in ["cors", "same-origin", "no-cors"] {
            let by_page = [("sec-fetch-mode", mode), ("accept", "text/html,*/*")];
            is_problem(&get(http, path, &by_page).await?, false);
        }
    }
    let posted = ask(http, Method::POST, "/v1/mediaItems:search", &NAVIGATION).await?;
    is_problem(&posted, false);
    // pages of operators have a token of their own, which a session is not
    let metrics = get(http, "/metrics", &NAVIGATION).await?;
    assert!(metrics.status == 401 && challenges(&metrics).len() == 2);
    // the page itself and what it is made of are for everybody
    let page = get(http, "/login", &NAVIGATION).await?;
    assert_eq!(page.status, 200);
    let text = page.text();
    let files = text.split('"').filter(|text| text.starts_with("/console/"));
    for file in files {
        assert_eq!(get(http, file, &[]).await?.status, 200, "{file}");
    }
    // a key that is not known, without a question of the browser's own
    let wrong = format!("{}x", &write[..write.len() - 1]);
    let refused = ask(http, Method::POST, "/api/session", &[("x-api-key", &wrong)]).await?;
    is_problem(&refused, false);
    assert!(!refused.headers.contains_key("set-cookie"));
    Ok(())
}

#[tokio::test]
async fn the_console_knows_of_its_session_and_is_the_page_to_log_in_when_that_ends() -> Result<()> {
    let launcher = &mut guarded();
    let (_, write) = key(launcher, "write", &[])?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    for forwarded in [false, true] {
        let mut headers = vec![("x-api-key", &*write)];
        headers.extend(forwarded.then_some(("x-forwarded-proto", "https")));
        let answer = ask(http, Method::POST, "/api/session", &headers).await?;
        assert_eq!(answer.status, 201);
        let set = answer.header("set-cookie").to_owned();
        assert!(
            set.contains("; HttpOnly") && set.contains("; SameSite=Lax"),
            "{set}"
        );
        assert_eq!(set.contains("; Secure"), forwarded, "{set}");
        assert_eq!(set.starts_with("__Host-"), forwarded, "{set}");
        assert!(!set.contains(&write) && !answer.text().contains(&write));

        let cookie = set.split(';').next().context("no cookie")?.to_owned();
        let mut with = NAVIGATION.to_vec();
        with.push(("cookie", &cookie));
        with.extend(forwarded.then_some(("x-forwarded-proto", "https")));
        let page = get(http, "/", &with).await?;
        assert!(page.status == 200 && page.text().contains("<body data-session>"));
        assert!(page.header("vary").contains("cookie"));
        // who has a key has no session, and is not given the page of who has one
        let mut plain = vec![
            ("x-api-key", &*write),
            ("if-none-match", page.header("etag")),
        ];
        let by_key = get(http, "/", &plain).await?;
        assert!(by_key.status == 200 && by_key.text().contains("<body>"));
        plain[1].1 = by_key.header("etag");
        assert_eq!(get(http, "/", &plain).await?.status, 304);

        let token = answer.json()["csrfToken"].as_str().unwrap().to_owned();
        let mut out = with.clone();
        let forged = ask(http, Method::DELETE, "/api/session", &out).await?;
        assert_eq!(forged.reason(), "ERROR_REASON_CSRF_REJECTED");
        assert_eq!(get(http, "/", &with).await?.status, 200);
        out.push(("x-csrf-token", &token));
        let ended = ask(http, Method::DELETE, "/api/session", &out).await?;
        assert_eq!(ended.status, 204);
        let page = get(http, "/", &with).await?;
        asks_to_log_in(&page);
        assert!(
            page.header("set-cookie").contains("Max-Age=0"),
            "the cookie stays"
        );
    }
    Ok(())
}
