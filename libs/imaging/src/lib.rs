//! Pure imaging: bytes in, pixels, files and fingerprints out. No file I/O, no async, no globals.
//!
//! Every function is CPU-bound and **blocks its thread** (a 24 megapixel photo costs some hundred milliseconds for a
//! complete [`process`]): call them on a bounded blocking pool. Memory is bounded by [`Limits`], which are checked
//! from the header before anything is allocated.
//!
//! - [`sniff()`]: what content is, by magic bytes
//! - [`Limits`]: what an input may cost
//! - [`probe()`]: sizes, orientation, frames and flags from the header alone
//! - [`exif`]: camera metadata, bounded and robust against garbage
//! - [`RgbImage`], [`decode_rgb`], [`decode_rgb_within`]: pixels for inference
//! - [`Plan`], [`process`]: one decode that feeds all renditions, colours and hashes
//! - [`colors`]: OKLab, dominant colours, colour words
//! - [`descriptor`]: the built-in visual descriptor for search by example without a model
//! - [`hash`]: ThumbHash, BlurHash, perceptual hash
//! - [`Error`], [`Fault`]: one typed fault with a stable reason, sorted by what is to be told of it
//!
//! Colour management is out of scope: pixels are taken to be sRGB, an ICC profile is reported by [`probe()`] but neither
//! applied nor copied, so wide-gamut photos come out slightly less saturated. CMYK is converted by the plain formula.

mod decode;
mod encode;
mod error;
mod frequency;
mod limits;
mod orientation;
mod pixels;
mod plan;
mod process;
mod resize;

pub mod colors;
pub mod descriptor;
pub mod exif;
pub mod hash;
pub mod probe;
pub mod sniff;

pub use decode::{decode_rgb, decode_rgb_within};
pub use error::{Error, Fault, Result};
pub use limits::Limits;
pub use orientation::Orientation;
pub use pixels::RgbImage;
pub use plan::{OutputFormat, Plan, Rendition};
pub use probe::{Probe, probe};
pub use process::{Processed, process};
pub use sniff::{Format, Kind, MediaType, sniff};
