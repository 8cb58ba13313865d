//! Conversions between protocol times and microseconds since the Unix epoch, the form that is
//! stored.

use std::time::Duration;

/// Converts microseconds since the epoch to a protocol timestamp.
#[must_use]
pub fn timestamp(micros: i64) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("below one second"),
    }
}

/// Converts a protocol timestamp to microseconds since the epoch; saturates far from now.
#[must_use]
pub fn micros(time: &pbjson_types::Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1_000_000)
        .saturating_add(i64::from(time.nanos) / 1_000)
}

/// Converts a duration to its protocol form; saturates.
#[must_use]
pub fn duration(value: Duration) -> pbjson_types::Duration {
    pbjson_types::Duration {
        seconds: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(value.subsec_nanos()).expect("below one second"),
    }
}

/// Reads a protocol duration; negative ones are zero.
#[must_use]
pub fn std_duration(value: &pbjson_types::Duration) -> Duration {
    let secs = u64::try_from(value.seconds).unwrap_or(0);
    let nanos = u32::try_from(value.nanos).unwrap_or(0);
    Duration::new(secs, nanos.min(999_999_999))
}

/// Microseconds since the epoch, now.
#[must_use]
pub fn now_micros() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
