//! What the kernel tells of its associations, between their messages (RFC 6458 §6.1).
//!
//! Each notification is a C structure of `linux/sctp.h` in host order; here it is read octet by octet.

use super::address;
use crate::paths::PathState;
use std::net::IpAddr;

/// Types of notifications, to be asked for one by one.
pub(super) const WANTED: [u16; 6] =
    [ASSOC_CHANGE, PEER_ADDR_CHANGE, REMOTE_ERROR, SHUTDOWN, PARTIAL_DELIVERY, SEND_FAILED];
const ASSOC_CHANGE: u16 = 0x8001;
const PEER_ADDR_CHANGE: u16 = 0x8002;
const REMOTE_ERROR: u16 = 0x8004;
const SHUTDOWN: u16 = 0x8005;
const PARTIAL_DELIVERY: u16 = 0x8006;
const SEND_FAILED: u16 = 0x800d;

/// The longest notification worth reading: its fixed part and the causes of an ABORT.
pub(super) const LENGTH_MAX: usize = 4_096;

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// An association is up.
    Up,
    /// The peer began anew at the same ports: what was under way is lost, the association goes on.
    Restarted,
    /// An association could not be brought about.
    CannotStart,
    /// It ended in good order.
    Ended,
    /// It ended otherwise.
    Lost(Loss),
    /// One of the peer's addresses.
    Path {
        /// Which one.
        remote: IpAddr,
        /// What became of it.
        state: PathState,
    },
    /// The peer takes no more of us.
    Shutdown,
    /// The peer reports an error.
    RemoteError,
    /// The rest of a message that was delivered in part will not come.
    PartAbandoned,
    /// A message, or a fragment of one, was not delivered.
    SendFailed,
}

/// Who ended an association that did not end in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The peer fell silent.
    Silence,
    /// The peer's ABORT without a word: so the kernel ends the associations of a process that is gone, and answers for
    /// one it does not know.
    Vanished,
    /// The peer's ABORT with a reason: somebody wanted it so.
    Aborted,
}

impl Notice {
    /// Reads a notification and the association it is about. `None` for kinds that are not wanted, and for anything
    /// shorter than it should be.
    pub(super) fn parse(octets: &[u8]) -> Option<(i32, Self)> {
        match u16_at(octets, 0)? {
            ASSOC_CHANGE => {
                let notice = match u16_at(octets, 8)? {
                    0 => Self::Up,
                    1 => Self::Lost(loss(octets.get(20..)?)),
                    2 => Self::Restarted,
                    3 => Self::Ended,
                    4 => Self::CannotStart,
                    _ => return None,
                };
                Some((i32_at(octets, 16)?, notice))
            }
            PEER_ADDR_CHANGE => {
                let (remote, _) = address::parse(octets.get(8..136)?)?;
                let state = match i32_at(octets, 136)? {
                    0 => PathState::Available,
                    1 => PathState::Unreachable,
                    2 => PathState::Removed,
                    3 => PathState::Added,
                    4 => PathState::Primary,
                    5 => PathState::Confirmed,
                    6 => PathState::Doubtful,
                    _ => return None,
                };
                Some((i32_at(octets, 144)?, Self::Path { remote: remote.ip(), state }))
            }
            REMOTE_ERROR => Some((i32_at(octets, 12)?, Self::RemoteError)),
            SHUTDOWN => Some((i32_at(octets, 8)?, Self::Shutdown)),
            PARTIAL_DELIVERY => Some((i32_at(octets, 12)?, Self::PartAbandoned)),
            SEND_FAILED => Some((i32_at(octets, 28)?, Self::SendFailed)),
            _ => None,
        }
    }
}

/// What the causes of an ABORT say, as they stand on the wire: type, length, content. Without an ABORT there are none.
fn loss(causes: &[u8]) -> Loss {
    /// User-Initiated Abort (RFC 9260 §3.3.10.12); its content is the reason.
    const USER_INITIATED: u16 = 12;
    let be = |place: usize| Some(u16::from_be_bytes([*causes.get(place)?, *causes.get(place + 1)?]));
    match (be(0), be(2)) {
        (None, _) => Loss::Silence,
        (Some(USER_INITIATED), Some(length)) if length <= 4 => Loss::Vanished,
        _ => Loss::Aborted,
    }
}

fn u16_at(octets: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(octets.get(place..place + 2)?.try_into().ok()?))
}

fn i32_at(octets: &[u8], place: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(octets.get(place..place + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{AF_INET, AF_INET6};

    /// A notification of so many octets, these numbers at these places.
    fn octets(kind: u16, length: usize, shorts: &[(usize, u16)], ints: &[(usize, i32)]) -> Vec<u8> {
        let mut all = vec![0; length];
        all[..2].copy_from_slice(&kind.to_ne_bytes());
        for &(place, short) in shorts {
            all[place..place + 2].copy_from_slice(&short.to_ne_bytes());
        }
        for &(place, int) in ints {
            all[place..place + 4].copy_from_slice(&int.to_ne_bytes());
        }
        all
    }

    #[test]
    fn an_end_tells_who_wanted_it() {
        let lost = |causes: &[u8]| {
            let mut all = octets(ASSOC_CHANGE, 20, &[(8, 1)], &[(16, 7)]);
            all.extend_from_slice(causes);
            Notice::parse(&all)
        };
        assert_eq!(lost(&[]), Some((7, Notice::Lost(Loss::Silence))));
        assert_eq!(lost(&[0, 12, 0, 4]), Some((7, Notice::Lost(Loss::Vanished))));
        assert_eq!(lost(&[0, 12, 0, 8, b'e', b'n', b'd', 0]), Some((7, Notice::Lost(Loss::Aborted))));
        assert_eq!(lost(&[0, 13, 0, 4]), Some((7, Notice::Lost(Loss::Aborted))));
        for (state, notice) in
            [(0, Notice::Up), (2, Notice::Restarted), (3, Notice::Ended), (4, Notice::CannotStart)]
        {
            let all = octets(ASSOC_CHANGE, 20, &[(8, state)], &[(16, 9)]);
            assert_eq!(Notice::parse(&all), Some((9, notice)));
        }
    }

    #[test]
    fn a_path_is_named_by_the_address_of_the_peer() {
        let family = [(8, AF_INET as u16)];
        let mut all = octets(PEER_ADDR_CHANGE, 148, &family, &[(136, 1), (144, 5)]);
        all[12..16].copy_from_slice(&[10, 2, 0, 1]);
        let path = Notice::Path { remote: [10, 2, 0, 1].into(), state: PathState::Unreachable };
        assert_eq!(Notice::parse(&all), Some((5, path)));
        all[8..10].copy_from_slice(&(AF_INET6 as u16).to_ne_bytes());
        all[16..32].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
        let path =
            Notice::Path { remote: std::net::Ipv6Addr::LOCALHOST.into(), state: PathState::Unreachable };
        assert_eq!(Notice::parse(&all), Some((5, path)));
    }

    #[test]
    fn what_is_too_short_or_unknown_is_passed_over() {
        for (kind, length) in [
            (ASSOC_CHANGE, 20),
            (PEER_ADDR_CHANGE, 148),
            (REMOTE_ERROR, 16),
            (SHUTDOWN, 12),
            (PARTIAL_DELIVERY, 16),
            (SEND_FAILED, 32),
        ] {
            let all = octets(kind, length, &[(8, AF_INET as u16)], &[]);
            // Family 2 is also a state of associations: a restart.
            assert!(Notice::parse(&all).is_some(), "{kind:x}");
            for cut in 0..length {
                assert_eq!(Notice::parse(&all[..cut]), None, "{kind:x} cut at {cut}");
            }
        }
        assert_eq!(Notice::parse(&octets(0x8009, 64, &[], &[])), None);
    }
}
