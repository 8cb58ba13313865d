//! Prints the mean of the descriptor's blocks over the images below a folder: `descriptor_mean DIR`.
//!
//! Of each folder's own images the first 100 count, so that no one source decides.
#![allow(
    clippy::print_stdout,
    dead_code,
    reason = "printing is what this program does; it shares a module with others"
)]

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;

use mediamesh_imaging::{Limits, decode_rgb_within, descriptor};

#[path = "../tests/recall/changes.rs"]
mod changes;

const MOST_PER_FOLDER: u32 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sum = vec![0.0f64; descriptor::DIMS];
    let mut count = 0;
    let mut per_folder = HashMap::new();
    let folder = std::env::args()
        .nth(1)
        .ok_or("usage: descriptor_mean DIR")?;
    for path in changes::files(Path::new(&folder))? {
        let seen = per_folder
            .entry(path.parent().map(Path::to_path_buf))
            .or_insert(0);
        *seen += 1;
        if *seen > MOST_PER_FOLDER {
            continue;
        }
        let image = decode_rgb_within(&std::fs::read(&path)?, &Limits::default(), 512)?;
        for (sum, value) in sum.iter_mut().zip(descriptor::blocks(&image)) {
            *sum += f64::from(value);
        }
        count += 1;
    }
    println!("// of {count} images");
    for value in sum {
        print!("{:.4}, ", value / f64::from(count.max(1)));
    }
    println!();
    Ok(())
}
