//! Measures search by example with the built-in descriptor: `descriptor_recall DIR [NAME_PREFIX]`.
//!
//! Every image below DIR is indexed; then altered copies of each are searched for. Printed per kind of change: how often
//! the original comes first, among all images. "Same scene" takes two windows of one photo that share 57 % of their
//! area, indexes one of each photo and searches for the other: no pixel lies at the same place.
#![allow(clippy::print_stdout, reason = "printing is what this program does")]

use std::error::Error;
use std::path::Path;

use mediamesh_imaging::descriptor::visual_descriptor;
use mediamesh_imaging::{Limits, decode_rgb_within};

#[path = "../tests/recall/changes.rs"]
mod changes;
use changes::{CHANGES, cosine, files, jpeg, nearest, window};

/// Side the media service hands to embedding, and so to the descriptor.
const INPUT_SIDE: u32 = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .ok_or("usage: descriptor_recall DIR [NAME_PREFIX]")?;
    let prefix = std::env::args().nth(2).unwrap_or_default();
    let limits = Limits::default();
    let mut images = Vec::new();
    for path in files(Path::new(&folder))? {
        match decode_rgb_within(&std::fs::read(&path)?, &limits, 1024) {
            Ok(image) => images.push((
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                image,
            )),
            Err(e) => println!("{}: {e}", path.display()),
        }
    }
    let describe = |bytes: &[u8]| -> Result<Vec<f32>, mediamesh_imaging::Error> {
        Ok(visual_descriptor(&decode_rgb_within(
            bytes, &limits, INPUT_SIDE,
        )?))
    };
    let index: Vec<Vec<f32>> = images
        .iter()
        .map(|(_, i)| describe(&jpeg(i, 92)))
        .collect::<Result<_, _>>()?;
    let queries: Vec<usize> = (0..images.len())
        .filter(|&i| images[i].0.starts_with(&prefix))
        .collect();
    println!(
        "{} images indexed, {} searched for\n",
        images.len(),
        queries.len()
    );

    let (mut hits, mut tries) = (0, 0);
    for (name, change) in CHANGES {
        let mut first = 0;
        for &at in &queries {
            let found = nearest(&index, &describe(&change(&images[at].1))?);
            first += usize::from(found == at);
            if found != at && std::env::var_os("SHOW_MISSES").is_some() {
                println!("  {name}: {} gave {}", images[at].0, images[found].0);
            }
        }
        println!("{name:24} {:6.2} %", percent(first, queries.len()));
        hits += first;
        tries += queries.len();
    }
    println!("{:24} {:6.2} %\n", "all", percent(hits, tries));

    let windows: Vec<Vec<f32>> = queries
        .iter()
        .map(|&at| describe(&jpeg(&window(&images[at].1, 0.0, 0.0, 0.8, 0.85), 85)))
        .collect::<Result<_, _>>()?;
    let (mut first, mut above, mut pairs, mut strange) = (0, 0, 0, Vec::new());
    for (row, &at) in queries.iter().enumerate() {
        let query = describe(&jpeg(&window(&images[at].1, 0.2, 0.15, 0.8, 0.85), 85))?;
        first += usize::from(nearest(&windows, &query) == row);
        let own = cosine(&windows[row], &query);
        for (_, other) in windows
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != row)
        {
            let score = cosine(other, &query);
            above += usize::from(own > score);
            pairs += 1;
            strange.push(score);
        }
    }
    strange.sort_by(f32::total_cmp);
    println!(
        "same scene first         {:6.2} %",
        percent(first, queries.len())
    );
    println!(
        "same scene above others  {:6.2} % of {pairs} pairs",
        percent(above, pairs)
    );
    let mean = strange.iter().sum::<f32>() / strange.len() as f32;
    println!(
        "unrelated cosine         mean {mean:.3}, 99 % below {:.3}",
        strange[strange.len() * 99 / 100]
    );
    Ok(())
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
