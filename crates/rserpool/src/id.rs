//! Who is who: names of pools, elements and registrars.

use std::fmt;

/// The name of a pool: 1 to 32 octets, any values, compared octet by octet (RFC 5354 §3.9).
///
/// The RFC knows no upper limit; 32 is what the reference implementation survives, so nobody who keeps to this type
/// can hurt a mixed scope. Pools are ordered by length first, then by octets, as the reference orders its tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolHandle {
    length: u8,
    octets: [u8; 32],
}

impl PoolHandle {
    /// The longest handle, in octets.
    pub const MAX: usize = 32;

    /// A handle of these octets, or `None` if there are none or more than [`Self::MAX`].
    pub fn new(octets: impl AsRef<[u8]>) -> Option<Self> {
        let given = octets.as_ref();
        if given.is_empty() || given.len() > Self::MAX {
            return None;
        }
        let mut octets = [0; Self::MAX];
        octets[..given.len()].copy_from_slice(given);
        Some(Self { length: given.len() as u8, octets })
    }

    /// The octets: never empty.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl Ord for PoolHandle {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Unused octets are 0 on both sides, so equal lengths compare by the octets in use.
        (self.length, &self.octets).cmp(&(other.length, &other.octets))
    }
}

impl PartialOrd for PoolHandle {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PoolHandle {
    /// The octets as text where they are printable ASCII, `\xNN` elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &octet in self.as_bytes() {
            match octet {
                b'\\' => write!(f, "\\\\")?,
                0x20..=0x7e => write!(f, "{}", char::from(octet))?,
                _ => write!(f, "\\x{octet:02x}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolHandle({self})")
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// 0: nobody, or nobody known yet.
            pub const UNDEFINED: Self = Self(0);

            /// True unless the identifier is 0.
            pub const fn is_defined(self) -> bool {
                self.0 != 0
            }
        }

        impl fmt::Display for $name {
            /// Eight hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

identifier! {
    /// A pool element's identifier, unique in its pool; drawn at random by the element and never 0 (RFC 5352 §2.2.1).
    ElementId
}

identifier! {
    /// A registrar's identifier, unique in the operational scope; random and never 0 (RFC 5353 §2.1). On the wire 0
    /// stands for "any" or "not known yet".
    RegistrarId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_has_1_to_32_octets() {
        assert_eq!(PoolHandle::new(""), None);
        assert_eq!(PoolHandle::new([7; 33]), None);
        assert_eq!(PoolHandle::new([7; 32]).map(|h| h.as_bytes().len()), Some(32));
    }

    #[test]
    fn handles_are_ordered_by_length_then_octets() {
        let handle = |text: &str| PoolHandle::new(text).expect("legal");
        assert!(handle("zz") < handle("aaa"));
        assert!(handle("ab") < handle("b "));
        assert_eq!(handle("tiles\\").to_string(), "tiles\\\\");
        assert_eq!(PoolHandle::new(b"a\x00\xff").expect("legal").to_string(), "a\\x00\\xff");
    }

    #[test]
    fn identifiers_show_eight_digits_and_know_the_undefined_one() {
        assert_eq!(ElementId(0xc0ffee).to_string(), "00c0ffee");
        assert!(!RegistrarId::UNDEFINED.is_defined());
    }
}
