//! A loopback address of a test's own, so that its ports are free and stay free.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail};

/// Port that is held as long as the address is: who has it has the address.
const CLAIM: u16 = 7000;
/// Distance of the ports of one process from those of the next.
const STRIDE: usize = 10;
/// Addresses tried before giving up.
const TRIES: u32 = 1000;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// An address of 127.0.0.0/8 that nobody else uses.
///
/// A port that is picked, bound and let go again can be taken by anyone, even as the near end of an
/// outgoing connection, while the process it belongs to is down. Outgoing connections of Linux start
/// at 127.0.0.1 wherever they go to on loopback, so on an address of our own ports stay ours.
#[derive(Debug)]
pub(crate) struct Address {
    ip: Ipv4Addr,
    _claim: TcpListener,
}

impl Address {
    /// Takes an address.
    ///
    /// Errors: none is free, or the system has one loopback address only.
    pub(crate) fn claim() -> Result<Self> {
        // different for every test of every process; 127.0.x.x is left to the rest of the machine
        let start = std::process::id()
            .wrapping_mul(251)
            .wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        for attempt in 0..TRIES {
            let number = start.wrapping_add(attempt.wrapping_mul(7919)) % (254 * 256 * 254);
            let [b, c, d] = [
                number / (256 * 254) + 1,
                number / 254 % 256,
                number % 254 + 1,
            ]
            .map(|part| u8::try_from(part).expect("each part is at most 255"));
            let ip = Ipv4Addr::new(127, b, c, d);
            if let Ok(claim) = TcpListener::bind((ip, CLAIM)) {
                return Ok(Self { ip, _claim: claim });
            }
        }
        bail!("no address of 127.0.0.0/8 is to be had");
    }

    /// Port `slot` of process `index`.
    pub(crate) fn port(&self, index: usize, slot: u16) -> SocketAddr {
        let offset = u16::try_from((index + 1) * STRIDE).expect("clusters are small");
        SocketAddr::from((self.ip, CLAIM + offset + slot))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_have_two_addresses() {
        let claimed: Vec<_> = (0..20).map(|_| Address::claim().unwrap()).collect();
        let mut ips: Vec<_> = claimed.iter().map(|address| address.ip).collect();
        ips.sort_unstable();
        ips.dedup();
        assert_eq!(ips.len(), 20);
        assert!(ips.iter().all(|ip| ip.is_loopback()));
    }

    #[test]
    fn ports_of_processes_do_not_overlap() {
        let address = Address::claim().unwrap();
        let mut ports: Vec<_> = (0..12)
            .flat_map(|index| (0..3).map(move |slot| (index, slot)))
            .map(|(index, slot)| address.port(index, slot))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 36);
    }
}
