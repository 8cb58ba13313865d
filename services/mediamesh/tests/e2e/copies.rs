//! Altered copies of real photographs find their originals, with no model installed.

use std::{collections::BTreeMap, fs};

use anyhow::Result;
use mediamesh_testkit::{
    corpus,
    variant::{self, Variant},
};
use reqwest::Method;

use crate::{id, start};

/// Share of copies that must find their original first.
const MIN_RECALL: f64 = 0.95;

#[tokio::test(flavor = "multi_thread")]
async fn a_shrunk_reencoded_or_cropped_copy_finds_its_original_first() -> Result<()> {
    let Some(photos) = corpus::folder() else {
        return Ok(());
    };
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let mut originals = Vec::new();
    for path in corpus::images(&photos)? {
        let bytes = fs::read(&path)?;
        let item = http
            .upload_ok(
                path.file_name().unwrap().to_str().unwrap(),
                "",
                bytes.clone(),
            )
            .await?;
        originals.push((id(&item).to_owned(), path, bytes));
    }
    http.settled().await?;

    // a quarter turn is another picture to a descriptor of structure: measured, not promised
    let promised = [Variant::Shrink, Variant::Reencode, Variant::Crop];
    let (mut first, mut missed) = (0, BTreeMap::<&str, Vec<String>>::new());
    for (original, path, bytes) in &originals {
        let image = variant::decode(bytes)?;
        for kind in promised {
            let request = http
                .request(Method::POST, "/v1/mediaItems:searchByImage")
                .header("content-type", "image/jpeg");
            let answer = http.send(request.body(kind.of(&image)?)).await?.ok()?;
            if answer["results"][0]["id"] == **original {
                first += 1;
            } else {
                missed
                    .entry(kind.name())
                    .or_default()
                    .push(path.display().to_string());
            }
        }
    }
    let asked = originals.len() * promised.len();
    let recall = f64::from(first) / asked as f64;
    println!(
        "{first} of {asked} copies found their original first ({:.1} %)",
        recall * 100.0
    );
    assert!(
        recall >= MIN_RECALL,
        "recall {recall:.3} of {asked}; missed: {missed:#?}"
    );
    Ok(())
}
