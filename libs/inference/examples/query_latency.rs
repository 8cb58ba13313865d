//! Prints how long a query of 8 tokens takes.
//!
//! `cargo run -p mediamesh-inference --example query_latency -- DIR [rten|ort]`

#![allow(clippy::print_stdout, reason = "an example's output")]

use std::path::PathBuf;
use std::time::Duration;

use mediamesh_inference::{EngineChoice, EngineOptions, load_dir};
use tokio::time::Instant;

const QUERY: &str = "two dogs run through the snow";
const MEASURED_FOR: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: query_latency DIR [rten|ort]")?,
    );
    let choice = match arguments.next().as_deref() {
        Some("ort") => EngineChoice::Ort,
        Some("rten") => EngineChoice::Rten,
        _ => EngineChoice::Auto,
    };
    let started = Instant::now();
    let model = load_dir(
        &dir,
        "example",
        "",
        &EngineOptions {
            choice,
            ..Default::default()
        },
    )?;
    println!("loaded in {:?}: {:?}", started.elapsed(), model.report);
    let text = model.text.ok_or("the model has no text tower")?;
    println!("{} tokens: {QUERY:?}", text.count_tokens(QUERY)?);
    for _ in 0..20 {
        text.encode_texts(&[QUERY])?;
    }
    let mut times = Vec::new();
    let started = Instant::now();
    while started.elapsed() < MEASURED_FOR {
        let one = Instant::now();
        text.encode_texts(&[QUERY])?;
        times.push(one.elapsed());
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{} runs: p50 {:.2} ms, p95 {:.2} ms per query",
        times.len(),
        at(0.5),
        at(0.95)
    );
    Ok(())
}
