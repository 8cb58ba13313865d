//! Altered copies find their originals: `truth.csv` names the original of each copy.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mediamesh_proto::search::v1::SearchMediaRequest;

use super::mesh::BenchMesh;
use crate::{commands::search::by_image, import::screen::say};

/// Searches by every copy and counts how often its original comes first, by kind of change.
pub(super) async fn run(mesh: &BenchMesh, variants: &Path) -> Result<()> {
    let truth = variants.join("truth.csv");
    let text = std::fs::read_to_string(&truth)
        .with_context(|| format!("cannot read {}", truth.display()))?;
    let channel = mesh.remote()?;
    let mut found: BTreeMap<String, (u32, u32, u32)> = BTreeMap::new();
    let mut misses = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [copy, original, ..] = fields[..] else {
            continue;
        };
        let kind = fields
            .get(2)
            .map_or_else(|| kind_of(copy), |kind| (*kind).to_owned());
        let image =
            std::fs::read(variants.join(copy)).with_context(|| format!("cannot read {copy}"))?;
        let request = SearchMediaRequest {
            limit: 5,
            ..SearchMediaRequest::default()
        };
        let answer = by_image(channel.clone(), request, Bytes::from(image)).await;
        let answer = answer.map_err(|status| crate::client::explain(&status))?;
        let name = Path::new(original)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let place = answer
            .results
            .iter()
            .position(|hit| hit.display_name == name);
        let counts = found.entry(kind).or_default();
        counts.0 += 1;
        counts.1 += u32::from(place == Some(0));
        counts.2 += u32::from(place.is_some());
        if place != Some(0) {
            misses.push(copy.to_owned());
        }
    }
    let (mut all, mut first) = (0, 0);
    for (kind, (copies, firsts, top)) in &found {
        say(&format!(
            "recall {kind}: {firsts} of {copies} originals first ({:.1} %), {top} among five",
            percent(*firsts, *copies)
        ));
        all += copies;
        first += firsts;
    }
    say(&format!(
        "recall in all: {first} of {all} originals first ({:.1} %)",
        percent(first, all)
    ));
    misses
        .iter()
        .take(20)
        .for_each(|copy| say(&format!("  not first: {copy}")));
    Ok(())
}

fn percent(part: u32, whole: u32) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * f64::from(part) / f64::from(whole)
    }
}

/// The change is the last part of the copy's name: `photo.crop10.jpg`.
fn kind_of(copy: &str) -> String {
    let stem = copy.rsplit_once('.').map_or(copy, |(stem, _)| stem);
    stem.rsplit_once('.')
        .map_or("copy", |(_, kind)| kind)
        .to_owned()
}
