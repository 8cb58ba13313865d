//! House histogram buckets, so that every latency and every size compares with every other.

use std::hash::Hash;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of latency buckets, seconds: 100 us, a local call, to 60 s, an embedding deadline.
pub const SECONDS: [f64; 18] = [
    100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0,
    2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Upper bounds of size buckets, bytes: 256 B, a small message, to 1 GiB, a video.
pub const BYTES: [f64; 12] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// A family of latency histograms, seconds.
pub type SecondsFamily<L> = Family<L, Histogram, fn() -> Histogram>;
/// A family of size histograms, bytes.
pub type BytesFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// Returns a histogram over [`SECONDS`].
pub fn seconds_histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// Returns a histogram over [`BYTES`].
pub fn bytes_histogram() -> Histogram {
    Histogram::new(BYTES)
}

/// Returns a family of histograms over [`SECONDS`].
pub fn seconds_family<L: Clone + Hash + Eq>() -> SecondsFamily<L> {
    Family::new_with_constructor(seconds_histogram)
}

/// Returns a family of histograms over [`BYTES`].
pub fn bytes_family<L: Clone + Hash + Eq>() -> BytesFamily<L> {
    Family::new_with_constructor(bytes_histogram)
}
