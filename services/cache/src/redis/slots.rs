//! Which master of a cluster has which slot, as it was last told.
//!
//! It only decides what travels together: a client that is wrong about it is told so by Redis, and
//! what went to the wrong master is asked for anew.
//!
//! Source: Redis Cluster specification, "Key distribution model" and "Hash tags".

use std::ops::RangeInclusive;

/// Slots of a cluster.
const SLOTS: u16 = 16384;

/// The masters by their slots.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Slots of one master each, and who that is, in order.
    ranges: Vec<(RangeInclusive<u16>, String)>,
}

impl Slots {
    pub(super) fn new(mut ranges: Vec<(RangeInclusive<u16>, String)>) -> Self {
        ranges.sort_unstable_by_key(|(slots, _)| *slots.start());
        Self { ranges }
    }

    /// Who has a slot; `None` if that is not known.
    pub(super) fn master(&self, slot: u16) -> Option<&str> {
        let at = (self.ranges).partition_point(|(slots, _)| *slots.end() < slot);
        let (slots, master) = self.ranges.get(at)?;
        slots.contains(&slot).then_some(master)
    }
}

/// The slot of a key: of what its first braces hold, if they hold something.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM, bit by bit: what is in the braces of our keys is eight bytes.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| match crc >> 15 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for key in [
            "",
            "a",
            "{}",
            "a{}{b}",
            "{a",
            "a}b{c}d{e}",
            "m:{1f00ab9c}:e:x",
        ] {
            assert_eq!(Slot::new(slot(key)), Some(Slot::for_key(key)), "{key}");
        }
        for number in 0..1000 {
            let key = format!("m:{{{number:08x}}}:l:{number}");
            assert_eq!(Slot::new(slot(&key)), Some(Slot::for_key(&key)), "{key}");
        }
    }

    #[test]
    fn the_master_of_a_slot_is_found_and_no_other() {
        let slots = Slots::new(vec![
            (100..=200, "b".to_owned()),
            (0..=49, "a".to_owned()),
            (50..=50, "c".to_owned()),
        ]);
        for (slot, master) in [(0, "a"), (49, "a"), (50, "c"), (100, "b"), (200, "b")] {
            assert_eq!(slots.master(slot), Some(master), "{slot}");
        }
        for nobodys in [51, 99, 201, SLOTS - 1] {
            assert_eq!(slots.master(nobodys), None, "{nobodys}");
        }
        assert_eq!(Slots::default().master(7), None);
    }
}
