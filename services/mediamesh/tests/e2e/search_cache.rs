//! Answers of searches that are kept: given again, and never after a write that they do not know of.

use anyhow::Result;
use mediamesh_testkit::Http;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{fill, id, start};

/// The ids that a search finds, in order of ids, and whether the answer was kept.
async fn found(http: &Http, request: &Value) -> Result<(Vec<String>, bool)> {
    let answer = http.search(request.clone()).await?;
    let hits = answer["results"].as_array().into_iter().flatten();
    let mut ids: Vec<String> = hits.map(|hit| id(hit).to_owned()).collect();
    ids.sort_unstable();
    Ok((ids, answer["fromCache"] == true))
}

#[tokio::test]
async fn an_answer_is_kept_until_the_next_write_and_not_for_a_moment_longer() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let items = fill(&mesh, 0, 3).await?;
    let mut ids: Vec<String> = items.iter().map(|item| id(item).to_owned()).collect();
    ids.sort_unstable();
    let all = json!({"query": "picture", "mode": "MODE_FULL_TEXT", "limit": 10});
    let zebra = json!({"query": "zebra", "mode": "MODE_FULL_TEXT", "limit": 10});
    let tagged = json!({"filter": {"tags": ["zebra"]}, "limit": 10});

    assert_eq!(found(http, &all).await?, (ids.clone(), false));
    for nothing in [&zebra, &tagged] {
        assert_eq!(found(http, nothing).await?, (Vec::new(), false));
        assert_eq!(found(http, nothing).await?, (Vec::new(), true));
    }
    assert_eq!(found(http, &all).await?, (ids.clone(), true));
    // another filter, another answer
    let limited = json!({"query": "picture", "mode": "MODE_FULL_TEXT", "limit": 10, "filter": {"folder": "nowhere"}});
    assert_eq!(found(http, &limited).await?, (Vec::new(), false));

    // every answer to a write is followed at once by a search
    for round in 0..20 {
        let (chosen, word) = (&ids[round % 3], format!("zebra{round}"));
        let wanted = json!({"query": word, "mode": "MODE_FULL_TEXT"});
        assert_eq!(found(http, &wanted).await?, (Vec::new(), false));
        assert_eq!(found(http, &wanted).await?, (Vec::new(), true));
        let path = format!("/v1/mediaItems/{chosen}?updateMask=caption,tags");
        let change = json!({"caption": format!("a zebra {word}"), "tags": ["zebra"]});
        let request = http.request(Method::PATCH, &path).json(&change);
        http.send(request).await?.ok()?;
        let now = found(http, &wanted).await?;
        assert_eq!(now, (vec![chosen.clone()], false), "round {round}");
    }
    for everything in [&zebra, &tagged, &all] {
        assert_eq!(found(http, everything).await?, (ids.clone(), false));
    }

    while let Some(gone) = ids.pop() {
        assert!(found(http, &all).await?.1);
        let path = format!("/v1/mediaItems/{gone}");
        http.send(http.request(Method::DELETE, &path)).await?.ok()?;
        for everything in [&zebra, &tagged, &all] {
            assert_eq!(found(http, everything).await?, (ids.clone(), false));
        }
    }
    Ok(())
}
