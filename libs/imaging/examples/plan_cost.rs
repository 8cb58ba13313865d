//! Prints milliseconds per photo: `plan_cost PHOTO...`. Three thumbnails should cost at most 1.3 times one resize.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "a benchmark prints and needs the clock"
)]

use std::error::Error;
use std::time::Instant;

use mediamesh_imaging::{Limits, Plan, descriptor, process};

const ROUNDS: u32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let photos: Vec<Vec<u8>> = std::env::args()
        .skip(1)
        .map(std::fs::read)
        .collect::<Result<_, _>>()?;
    if photos.is_empty() {
        return Err("usage: plan_cost PHOTO...".into());
    }
    // The embedding input is part of every plan; at one pixel it costs nothing and the rest is comparable.
    let bare = Plan {
        thumbnails: vec![],
        main_side: None,
        widths: vec![],
        embedding_side: 1,
        ..Plan::default()
    };
    let plans = [
        (
            "one resize (600)",
            Plan {
                thumbnails: vec![600],
                ..bare.clone()
            },
        ),
        (
            "three thumbnails",
            Plan {
                thumbnails: vec![150, 300, 600],
                ..bare
            },
        ),
        ("complete plan", Plan::default()),
    ];
    let mut one = 0.0;
    for (name, plan) in plans {
        let ms = best(&photos, |photo| {
            process(photo, &Limits::default(), &plan).map(drop)
        })?;
        if one == 0.0 {
            one = ms;
        }
        println!(
            "{name:20} {ms:8.1} ms per photo, {:.2} x one resize",
            ms / one
        );
    }
    let input = process(&photos[0], &Limits::default(), &Plan::default())?.embedding_input;
    let ms = best(&photos[..1], |_| {
        descriptor::visual_descriptor(&input);
        Ok(())
    })?;
    println!("{:20} {ms:8.1} ms", "visual descriptor");
    Ok(())
}

/// The best of some rounds over all photos: the least disturbed by others on the machine.
fn best<F>(photos: &[Vec<u8>], work: F) -> Result<f64, mediamesh_imaging::Error>
where
    F: Fn(&[u8]) -> Result<(), mediamesh_imaging::Error>,
{
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for photo in photos {
            work(photo)?;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e3 / photos.len() as f64);
    }
    Ok(best)
}
