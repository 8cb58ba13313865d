//! Measures what a streamed put costs: `cargo run -p mediamesh-blob --example write_rate -- FOLDER MEBIBYTES`.
//!
//! Prints MB/s of a put with SHA-256 and sync, of a plain `std::fs` write with sync of the same
//! bytes, and the peak of resident memory.

use std::{error::Error, io::Write as _};

use bytes::Bytes;
use futures::stream;
use mediamesh_blob::BlobStore;
use tokio::time::Instant;

/// Size of an upload's chunk.
const CHUNK_BYTES: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("FOLDER is missing")?;
    let mebibytes: usize = args.next().ok_or("MEBIBYTES is missing")?.parse()?;
    let chunks = mebibytes * 1024 * 1024 / CHUNK_BYTES;
    let chunk = Bytes::from(
        (0..CHUNK_BYTES)
            .map(|index| (index % 251) as u8)
            .collect::<Vec<u8>>(),
    );

    let path = std::path::Path::new(&folder).join("plain");
    std::fs::create_dir_all(&folder)?;
    let started = Instant::now();
    let mut file = std::fs::File::create(&path)?;
    for _ in 0..chunks {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    let plain = started.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;

    let store = BlobStore::local(&folder)?;
    let source = chunk.clone();
    let bytes = stream::iter((0..chunks).map(move |_| Ok::<_, std::io::Error>(source.clone())));
    let started = Instant::now();
    store
        .put_stream("t/originals/rate", bytes, u64::MAX)
        .await?;
    let put = started.elapsed().as_secs_f64();
    store.delete("t/originals/rate").await?;

    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM: unknown");
    let rate = |secs: f64| (chunks * CHUNK_BYTES) as f64 / 1e6 / secs;
    writeln!(
        std::io::stdout(),
        "put {:.0} MB/s, plain write {:.0} MB/s, {peak}",
        rate(put),
        rate(plain)
    )?;
    Ok(())
}
