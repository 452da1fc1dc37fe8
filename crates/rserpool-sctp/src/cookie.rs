//! State cookies that only we could have written (RFC 9260 §5.1.3, §5.1.5).
//!
//! Answering an INIT keeps no state: all there is to remember travels in the cookie, to the other side and back. The
//! engine's cookie is plain, so anybody could invent one. Here it is wrapped:
//!
//! ```text
//!  engine's cookie | address(16) x n, n(1) | peer's tag(4) | made at, ms(8) | HMAC-SHA-256(32)
//! ```
//!
//! The HMAC also covers the other side's address, its UDP port and both SCTP ports, so a cookie is good for nobody
//! else. Its key changes every hour and follows from the time in the cookie: a cookie made just before the change is
//! still good just after, and nothing has to be kept.

use crate::packet::{Ports, array, emit_parameter, parameters};
use crate::scope::{ADDRESSES_MAX, is_useful};
use crate::secret::{Hmac256, Secret};
use hmac::Mac;
use rserpool::Time;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long a cookie is good (Valid.Cookie.Life, RFC 9260 §16).
pub(crate) const LIFE: Duration = Duration::from_secs(60);

/// How long a key is used.
const KEY_LIFE: Duration = Duration::from_secs(3600);

/// Parameter types of addresses (RFC 9260 §3.3.2.1).
const IPV4_ADDRESS: u16 = 5;
const IPV6_ADDRESS: u16 = 6;

const TRAILER: usize = 1 + 4 + 8 + 32;

/// For whom a cookie is.
#[derive(Clone, Copy)]
pub(crate) struct Holder {
    pub remote: SocketAddr,
    pub ports: Ports,
}

/// A cookie of ours that came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The engine's part.
    pub inner: Vec<u8>,
    /// What the other side listed in its INIT.
    pub addresses: Vec<IpAddr>,
    /// The tag it wants to see (the Initiate Tag of its INIT).
    pub peer_tag: u32,
    /// How long ago the cookie became too old, if it did.
    pub stale: Option<Duration>,
}

/// Wraps the engine's cookie, answering an INIT with this value.
pub(crate) fn wrap(secret: &Secret, now: Time, holder: Holder, init: &[u8], inner: &[u8]) -> Vec<u8> {
    let addresses = listed_addresses(init, holder.remote.ip());
    let millis = now.since(Time::ZERO).as_millis() as u64;
    let mut out = inner.to_vec();
    for address in &addresses {
        out.extend(mapped(*address).octets());
    }
    out.push(addresses.len() as u8);
    out.extend(array::<4>(init, 0).unwrap_or_default());
    out.extend(millis.to_be_bytes());
    let mac = mac(secret, millis, holder, &out).finalize().into_bytes();
    out.extend(mac);
    out
}

/// Opens a cookie that came back. `None` if it is not ours, or not for this holder.
pub(crate) fn open(secret: &Secret, now: Time, holder: Holder, cookie: &[u8]) -> Option<Opened> {
    let (said, mac_said) = cookie.split_at_checked(cookie.len().checked_sub(32)?)?;
    let (body, trailer) = said.split_at_checked(cookie.len().checked_sub(TRAILER)?)?;
    let millis = u64::from_be_bytes(array(trailer, 5)?);
    // Compares in constant time.
    mac(secret, millis, holder, said).verify_slice(mac_said).ok()?;

    let count = usize::from(trailer[0]);
    let (inner, listed) = body.split_at_checked(body.len().checked_sub(16 * count)?)?;
    let addresses = listed.chunks_exact(16).map(|a| unmapped(array(a, 0).expect("chunks of 16"))).collect();
    let age = now.since(Time::ZERO + Duration::from_millis(millis));
    Some(Opened {
        inner: inner.to_vec(),
        addresses,
        peer_tag: u32::from_be_bytes(array(trailer, 1)?),
        stale: age.checked_sub(LIFE).filter(|over| !over.is_zero()),
    })
}

/// The addresses in an INIT or INIT ACK that came from `from` (RFC 9260 §3.3.2.1, §5.1.2): the first
/// [`ADDRESSES_MAX`] of those that may mean something to us, none twice.
pub(crate) fn listed_addresses(init: &[u8], from: IpAddr) -> Vec<IpAddr> {
    let mut listed = Vec::new();
    for (kind, value) in parameters(init) {
        let address: IpAddr = match (kind, value.len()) {
            (IPV4_ADDRESS, 4) => Ipv4Addr::from(array::<4>(value, 0).expect("four octets")).into(),
            (IPV6_ADDRESS, 16) => Ipv6Addr::from(array::<16>(value, 0).expect("sixteen octets")).into(),
            _ => continue,
        };
        if is_useful(address, from) && listed.len() < ADDRESSES_MAX && !listed.contains(&address) {
            listed.push(address);
        }
    }
    listed
}

/// Writes addresses as parameters of an INIT or INIT ACK.
pub(crate) fn list_addresses(addresses: &[IpAddr], out: &mut Vec<u8>) {
    for address in addresses {
        match address {
            IpAddr::V4(v4) => emit_parameter(IPV4_ADDRESS, &v4.octets(), out),
            IpAddr::V6(v6) => emit_parameter(IPV6_ADDRESS, &v6.octets(), out),
        }
    }
}

fn mac(secret: &Secret, millis: u64, holder: Holder, said: &[u8]) -> Hmac256 {
    let mut mac = secret.key(b"cookie", millis / KEY_LIFE.as_millis() as u64);
    mac.update(said);
    mac.update(&mapped(holder.remote.ip()).octets());
    mac.update(&holder.remote.port().to_be_bytes());
    mac.update(&holder.ports.local.to_be_bytes());
    mac.update(&holder.ports.remote.to_be_bytes());
    mac
}

/// Every address as sixteen octets.
fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn unmapped(octets: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(octets).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: [u8; 48] = [7; 48];
    const NOON: Time = Time::from_millis(3_599_990);

    fn holder() -> Holder {
        Holder { remote: "10.0.0.1:3863".parse().unwrap(), ports: Ports { local: 9901, remote: 3863 } }
    }

    /// The value of an INIT with tag 0x01020304, listing 10.0.0.1, 10.0.1.1, the former again, and nonsense.
    fn init() -> Vec<u8> {
        let mut init = vec![1, 2, 3, 4, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        init.extend([0, 5, 0, 8, 10, 0, 0, 1, 0, 5, 0, 8, 10, 0, 1, 1, 0, 5, 0, 8, 10, 0, 0, 1]);
        init.extend([0, 5, 0, 8, 224, 0, 0, 1, 0, 5, 0, 8, 0, 0, 0, 0, 0, 12, 0, 6, 0, 5, 0, 0]);
        init
    }

    fn wrapped() -> Vec<u8> {
        wrap(&Secret::new([1; 32]), NOON, holder(), &init(), &INNER)
    }

    #[test]
    fn a_cookie_of_ours_comes_back_whole_also_across_the_change_of_keys() {
        let opened = open(&Secret::new([1; 32]), NOON + Duration::from_secs(30), holder(), &wrapped());
        let addresses = vec!["10.0.0.1".parse().unwrap(), "10.0.1.1".parse().unwrap()];
        assert_eq!(
            opened,
            Some(Opened { inner: INNER.to_vec(), addresses, peer_tag: 0x0102_0304, stale: None })
        );
    }

    #[test]
    fn a_cookie_is_good_for_sixty_seconds() {
        let secret = Secret::new([1; 32]);
        let stale = |after| open(&secret, NOON + after, holder(), &wrapped()).map(|opened| opened.stale);
        assert_eq!(stale(LIFE), Some(None));
        assert_eq!(stale(LIFE + Duration::from_millis(5)), Some(Some(Duration::from_millis(5))));
    }

    #[test]
    fn no_bit_may_be_flipped_and_nothing_cut_off() {
        let (secret, cookie) = (Secret::new([1; 32]), wrapped());
        for bit in 0..cookie.len() * 8 {
            let mut flipped = cookie.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&secret, NOON, holder(), &flipped), None, "bit {bit}");
        }
        for cut in 0..cookie.len() {
            assert_eq!(open(&secret, NOON, holder(), &cookie[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_holder_only() {
        let secret = Secret::new([1; 32]);
        let other = |remote: &str, local, remote_port| {
            let ports = Ports { local, remote: remote_port };
            open(&secret, NOON, Holder { remote: remote.parse().unwrap(), ports }, &wrapped())
        };
        assert!(other("10.0.0.1:3863", 9901, 3863).is_some());
        assert_eq!(other("10.0.0.2:3863", 9901, 3863), None);
        assert_eq!(other("10.0.0.1:9899", 9901, 3863), None);
        assert_eq!(other("10.0.0.1:3863", 9902, 3863), None);
        assert_eq!(other("10.0.0.1:3863", 9901, 3864), None);
        assert_eq!(open(&Secret::new([2; 32]), NOON, holder(), &wrapped()), None);
    }
}
