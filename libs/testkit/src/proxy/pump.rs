//! Carries bytes both ways while the path lets them.

use std::{collections::VecDeque, io};

use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Path;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Bytes on their way in one direction; more wait in the kernel's buffers, as on a real path.
const IN_FLIGHT_BYTES: usize = 1 << 20;

/// Carries bytes until both sides have ended theirs.
///
/// Errors: one side broke off.
pub(super) async fn both(
    client: &TcpStream,
    server: &TcpStream,
    path: &watch::Receiver<Path>,
) -> io::Result<()> {
    let there = one(client, server, path.clone());
    let back = one(server, client, path.clone());
    tokio::try_join!(there, back).map(|_| ())
}

/// Bytes on their way, and when they arrive; none is the end of the stream.
struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    end: bool,
}

/// Carries bytes from one side to the other, the end included.
///
/// Waits on readiness and copies without waiting, so a cut between two steps loses nothing.
async fn one(from: &TcpStream, to: &TcpStream, mut path: watch::Receiver<Path>) -> io::Result<()> {
    let mut way: VecDeque<Chunk> = VecDeque::new();
    let mut in_flight = 0;
    let mut ended = false;
    loop {
        let Path { cut, delay, .. } = *path.borrow_and_update();
        let due = way.front().map(|chunk| chunk.due);
        if ended && due.is_none() {
            return Ok(());
        }
        tokio::select! {
            biased;
            changed = path.changed() => {
                if changed.is_err() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
            }
            written = deliver(to, way.front(), due), if !cut && due.is_some() => {
                let written = written?;
                let chunk = way.front_mut().expect("a chunk was delivered");
                in_flight -= written;
                chunk.bytes.drain(..written);
                if chunk.bytes.is_empty() {
                    way.pop_front();
                }
            }
            read = receive(from), if !cut && !ended && in_flight < IN_FLIGHT_BYTES => {
                let bytes = read?;
                ended = bytes.is_empty();
                in_flight += bytes.len();
                way.push_back(Chunk { due: Instant::now() + delay, end: ended, bytes });
            }
        }
    }
}

/// Reads what is there; empty is the end of the stream.
async fn receive(from: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        from.readable().await?;
        let mut bytes = vec![0; CHUNK_BYTES];
        match from.try_read(&mut bytes) {
            Ok(read) => {
                bytes.truncate(read);
                return Ok(bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes some of `chunk` once it is due; returns how much.
async fn deliver(to: &TcpStream, chunk: Option<&Chunk>, due: Option<Instant>) -> io::Result<usize> {
    let (Some(chunk), Some(due)) = (chunk, due) else {
        return std::future::pending().await;
    };
    if due > Instant::now() {
        sleep_until(due).await;
    }
    if chunk.end {
        // half-closed, as TCP allows: the other direction goes on
        shutdown(to)?;
        return Ok(0);
    }
    loop {
        to.writable().await?;
        match to.try_write(&chunk.bytes) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends the end of the stream.
fn shutdown(to: &TcpStream) -> io::Result<()> {
    rustix::net::shutdown(to, rustix::net::Shutdown::Write).map_err(io::Error::from)
}
