//! Prints the mean of the descriptor's blocks over the images below some folders: `descriptor_mean DIR...`.
#![allow(
    clippy::print_stdout,
    dead_code,
    reason = "printing is what this program does; it shares a module with others"
)]

use std::error::Error;
use std::path::Path;

use mediamesh_imaging::{Limits, decode_rgb_within, descriptor};

#[path = "../tests/recall/changes.rs"]
mod changes;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sum = vec![0.0f64; descriptor::DIMS];
    let mut count = 0;
    for folder in std::env::args().skip(1) {
        for path in changes::files(Path::new(&folder))? {
            let image = decode_rgb_within(&std::fs::read(&path)?, &Limits::default(), 512)?;
            for (sum, value) in sum.iter_mut().zip(descriptor::blocks(&image)) {
                *sum += f64::from(value);
            }
            count += 1;
        }
    }
    println!("// of {count} images");
    for value in sum {
        print!("{:.4}, ", value / f64::from(count.max(1)));
    }
    println!();
    Ok(())
}
