//! Layout of `vectors-<seq>.mmv`, all integers little-endian:
//!
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `mmvector` |
//! | 8 | 4 | format version |
//! | 12 | 4 | dims |
//! | 16 | 8 | applied_seq |
//! | 24 | 8 | slots, dead ones included |
//! | 32 | 24 | graph: bytes u64, covered u64, crc u32, present u32 |
//! | 56 | 4 | 0 |
//! | 60 | 4 | CRC-32 of bytes 0..60 |
//! | 64 | 4 * slots | owner of each slot |
//! | | slots | 1 live, 0 dead |
//! | | 2 * slots * dims | vectors, f16 |
//! | | 4 | CRC-32 of everything from 64 to here |
//!
//! The header gives the exact length, which is compared before anything is allocated.

use std::io::{self, Read, Write};

use numkong::f16;

use crate::arena::{Arena, BLOCK_SLOTS};

const MAGIC: &[u8; 8] = b"mmvector";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const TRAILER_BYTES: u64 = 4;

/// Why a file is not a snapshot of this index.
#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    #[error("file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("file is not a vector snapshot")]
    Magic,
    #[error("snapshot has format version {0}; this program reads {VERSION}")]
    Version(u32),
    #[error("snapshot holds {found} dimensions; the index has {expected}")]
    Dims { found: u32, expected: usize },
    #[error("snapshot has {found} bytes; its header asks for {expected}")]
    Length { found: u64, expected: u128 },
    #[error("checksum of the {0} does not match")]
    Checksum(&'static str),
    #[error("snapshot names two vectors for one item")]
    Duplicate,
}

/// The graph file that belongs to an arena.
#[derive(Debug, Clone, Copy)]
pub(super) struct GraphRef {
    pub(super) bytes: u64,
    pub(super) covered: u64,
    pub(super) crc: u32,
}

/// A parsed snapshot.
pub(super) struct Contents {
    pub(super) arena: Arena,
    pub(super) applied_seq: u64,
    pub(super) graph: Option<GraphRef>,
}

/// Writes a snapshot and returns its length.
pub(super) fn write(
    output: &mut impl Write,
    arena: &Arena,
    applied_seq: u64,
    graph: Option<GraphRef>,
) -> io::Result<u64> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(arena.dims() as u32).to_le_bytes());
    header.extend_from_slice(&applied_seq.to_le_bytes());
    header.extend_from_slice(&(arena.slots() as u64).to_le_bytes());
    let of = graph.unwrap_or(GraphRef {
        bytes: 0,
        covered: 0,
        crc: 0,
    });
    header.extend_from_slice(&of.bytes.to_le_bytes());
    header.extend_from_slice(&of.covered.to_le_bytes());
    header.extend_from_slice(&of.crc.to_le_bytes());
    header.extend_from_slice(&u32::from(graph.is_some()).to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    debug_assert_eq!(header.len(), HEADER_BYTES);
    output.write_all(&header)?;

    let mut hasher = crc32fast::Hasher::new();
    let mut length = HEADER_BYTES as u64;
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        length += bytes.len() as u64;
        output.write_all(bytes)
    };
    put(&arena
        .keys()
        .iter()
        .flat_map(|key| key.to_le_bytes())
        .collect::<Vec<u8>>())?;
    put(&arena
        .live_flags()
        .iter()
        .map(|&live| u8::from(live))
        .collect::<Vec<u8>>())?;
    let mut bytes = Vec::new();
    for block in arena.blocks() {
        bytes.clear();
        bytes.resize(block.len() * 2, 0);
        for (to, x) in bytes.chunks_exact_mut(2).zip(block) {
            to.copy_from_slice(&x.0.to_le_bytes());
        }
        put(&bytes)?;
    }
    output.write_all(&hasher.finalize().to_le_bytes())?;
    Ok(length + TRAILER_BYTES)
}

/// Reads a snapshot of `length` bytes, checking everything.
pub(super) fn read(input: &mut impl Read, length: u64, dims: usize) -> Result<Contents, Invalid> {
    if length < HEADER_BYTES as u64 + TRAILER_BYTES {
        return Err(Invalid::Length {
            found: length,
            expected: HEADER_BYTES as u128 + 4,
        });
    }
    let mut header = [0; HEADER_BYTES];
    input.read_exact(&mut header)?;
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| header[at + i]));
    if !header.starts_with(MAGIC) {
        return Err(Invalid::Magic);
    }
    if crc32fast::hash(&header[..60]) != word(60) {
        return Err(Invalid::Checksum("header"));
    }
    if word(8) != VERSION {
        return Err(Invalid::Version(word(8)));
    }
    if word(12) as usize != dims {
        return Err(Invalid::Dims {
            found: word(12),
            expected: dims,
        });
    }
    let slots = long(24);
    // u128: the product of two file-given numbers must not wrap.
    let expected = (HEADER_BYTES as u128 + u128::from(TRAILER_BYTES))
        + u128::from(slots) * (4 + 1 + 2 * dims as u128);
    if u128::from(length) != expected {
        return Err(Invalid::Length {
            found: length,
            expected,
        });
    }
    // Fits: the file has more bytes than slots.
    let slots = slots as usize;

    let mut hasher = crc32fast::Hasher::new();
    let mut bytes = vec![0; slots * 4];
    input.read_exact(&mut bytes)?;
    hasher.update(&bytes);
    let keys = bytes
        .chunks_exact(4)
        .map(|key| u32::from_le_bytes(std::array::from_fn(|i| key[i])))
        .collect();
    bytes.truncate(slots);
    input.read_exact(&mut bytes)?;
    hasher.update(&bytes);
    let live = bytes.iter().map(|&live| live == 1).collect();
    let mut blocks = Vec::with_capacity(slots.div_ceil(BLOCK_SLOTS));
    for first in (0..slots).step_by(BLOCK_SLOTS) {
        let values = (slots - first).min(BLOCK_SLOTS) * dims;
        bytes.resize(values * 2, 0);
        input.read_exact(&mut bytes)?;
        hasher.update(&bytes);
        // The last block gets its full room: the next vector must not move it.
        let mut block = Vec::with_capacity(BLOCK_SLOTS * dims);
        block.extend(
            bytes
                .chunks_exact(2)
                .map(|x| f16(u16::from_le_bytes([x[0], x[1]]))),
        );
        blocks.push(block);
    }
    let mut trailer = [0; 4];
    input.read_exact(&mut trailer)?;
    if hasher.finalize() != u32::from_le_bytes(trailer) {
        return Err(Invalid::Checksum("vectors"));
    }
    let arena = Arena::from_parts(dims, blocks, keys, live).ok_or(Invalid::Duplicate)?;
    let graph = (word(52) == 1).then(|| GraphRef {
        bytes: long(32),
        covered: long(40),
        crc: word(48),
    });
    Ok(Contents {
        arena,
        applied_seq: long(16),
        graph,
    })
}
