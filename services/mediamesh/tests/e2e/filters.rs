//! Filtered answers are compared with the truth made by brute force from the listing.

use std::collections::BTreeSet;

use anyhow::Result;
use mediamesh_testkit::{Http, fixture};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{id, start};

/// Ids of the listed items for which `keep` holds.
fn truth(items: &[Value], keep: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    items
        .iter()
        .filter(|item| keep(item))
        .map(|item| id(item).to_owned())
        .collect()
}

async fn found(http: &Http, filter: Value) -> Result<BTreeSet<String>> {
    Ok(http
        .search_ids(json!({"filter": filter, "limit": 200}))
        .await?
        .into_iter()
        .collect())
}

fn int(item: &Value, name: &str) -> i64 {
    item[name]
        .as_i64()
        .or_else(|| item[name].as_str()?.parse().ok())
        .unwrap_or(0)
}

#[tokio::test]
async fn every_filter_answers_exactly_what_matches() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    for seed in 0..60_u32 {
        let (width, height) = [(240, 160), (160, 240), (200, 200)][(seed % 3) as usize];
        let mut path = format!(
            "/v1/mediaItems?displayName=p{seed}.jpg&folder={}",
            ["a", "a/b", "ab", "c"][(seed % 4) as usize]
        );
        for (tag, every) in [("two", 2), ("five", 5), ("all", 1)] {
            if seed % every == 0 {
                path.push_str(&format!("&tags={tag}"));
            }
        }
        let request = http
            .request(Method::POST, &path)
            .header("content-type", "image/jpeg");
        http.send(request.body(fixture::jpeg(seed, width + seed, height + seed)))
            .await?
            .ok()?;
    }
    http.settled().await?;
    let items = http.list_all("").await?;
    assert_eq!(items.len(), 60);
    let has_tag = |item: &Value, tag: &str| {
        item["tags"]
            .as_array()
            .is_some_and(|tags| tags.contains(&json!(tag)))
    };
    let folder = |item: &Value| item["folder"].as_str().unwrap_or_default().to_owned();

    let below_a = truth(&items, |item| {
        folder(item) == "a" || folder(item).starts_with("a/")
    });
    assert_eq!(
        found(http, json!({"folder": "a"})).await?,
        below_a,
        "a folder and below, but not `ab`"
    );
    let both = truth(&items, |item| has_tag(item, "two") && has_tag(item, "five"));
    assert!(both.len() > 2);
    assert_eq!(found(http, json!({"tags": ["two", "five"]})).await?, both);
    let portrait = truth(&items, |item| {
        int(item, "heightPixels") > int(item, "widthPixels")
    });
    assert_eq!(
        found(http, json!({"orientations": ["portrait"]})).await?,
        portrait
    );
    let square_or_wide = truth(&items, |item| {
        int(item, "heightPixels") <= int(item, "widthPixels")
    });
    assert_eq!(
        found(http, json!({"orientations": ["square", "landscape"]})).await?,
        square_or_wide
    );
    let mut sizes: Vec<i64> = items.iter().map(|item| int(item, "sizeBytes")).collect();
    sizes.sort_unstable();
    let (low, high) = (sizes[15], sizes[44]);
    let sized = truth(&items, |item| {
        (low..=high).contains(&int(item, "sizeBytes"))
    });
    assert_eq!(
        found(
            http,
            json!({"minSizeBytes": low.to_string(), "maxSizeBytes": high.to_string()})
        )
        .await?,
        sized
    );
    let wide = truth(&items, |item| {
        int(item, "widthPixels") >= 260 && int(item, "heightPixels") >= 190
    });
    assert!(!wide.is_empty());
    assert_eq!(
        found(http, json!({"minWidthPixels": 260, "minHeightPixels": 190})).await?,
        wide
    );
    let middle = items[30]["createTime"].as_str().unwrap();
    // times have one form and end in Z; compare as text only within one precision
    let since = truth(&items, |item| time(item) >= time(&items[30]));
    assert_eq!(
        found(http, json!({"minTime": middle})).await?,
        since,
        "at this time or later"
    );
    let before = truth(&items, |item| time(item) < time(&items[30]));
    assert_eq!(
        found(http, json!({"maxTime": middle})).await?,
        before,
        "before, not at, this time"
    );
    assert_eq!(
        found(http, json!({"kinds": ["video"]})).await?,
        BTreeSet::new()
    );
    assert_eq!(
        found(
            http,
            json!({"kinds": ["image"], "contentTypes": ["image/jpeg"]})
        )
        .await?
        .len(),
        60
    );
    Ok(())
}

/// Instant in nanoseconds of an item without a capture time.
fn time(item: &Value) -> i64 {
    let text = item["createTime"].as_str().unwrap();
    chrono::DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp_nanos_opt()
        .unwrap()
}

#[tokio::test]
async fn a_filtered_example_search_gives_the_nearest_of_those_that_match() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    for seed in 0..60_u32 {
        let tag = if seed % 10 == 0 { "rare" } else { "usual" };
        let path = format!("/v1/mediaItems?displayName=p{seed}.jpg&tags={tag}");
        let request = http
            .request(Method::POST, &path)
            .header("content-type", "image/jpeg");
        http.send(request.body(fixture::jpeg(seed, 160, 120)))
            .await?
            .ok()?;
    }
    http.settled().await?;
    let items = http.list_all("").await?;
    let example = json!([{"mediaItemId": id(&items[7])}]);
    let all = http
        .search_ids(json!({"examples": example, "limit": 60, "minScore": 0.0}))
        .await?;
    assert_eq!(all.len(), 59, "all but the example itself");
    for tag in ["rare", "usual"] {
        let matching = truth(&items, |item| item["tags"] == json!([tag]));
        let expected: Vec<&String> = all
            .iter()
            .filter(|hit| matching.contains(*hit))
            .take(5)
            .collect();
        let request =
            json!({"examples": example, "filter": {"tags": [tag]}, "limit": 5, "minScore": 0.0});
        let hits = http.search_ids(request).await?;
        assert_eq!(
            hits.iter().collect::<Vec<_>>(),
            expected,
            "the right five of {tag}, in order"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_colour_filter_finds_pictures_of_that_colour_only() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let plain = |rgb: [u8; 3]| fixture::encode_jpeg(&rgb.repeat(200 * 150), 200, 150, 92);
    let red = http.upload_ok("red.jpg", "", plain([220, 20, 30])).await?;
    let blue = http.upload_ok("blue.jpg", "", plain([20, 40, 210])).await?;
    let green = http
        .upload_ok("green.jpg", "", plain([20, 160, 40]))
        .await?;
    http.settled().await?;
    for (color, item) in [
        ("red", &red),
        ("blue", &blue),
        ("green", &green),
        ("#d81828", &red),
    ] {
        let expected = BTreeSet::from([id(item).to_owned()]);
        assert_eq!(
            found(http, json!({"color": color})).await?,
            expected,
            "{color}"
        );
    }
    Ok(())
}
