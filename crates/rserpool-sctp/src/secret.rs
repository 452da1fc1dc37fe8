//! The one secret of a stack, and everything unpredictable that is drawn from it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA-256 (RFC 2104).
pub(crate) type Hmac256 = Hmac<Sha256>;

/// 32 octets that only we know. Everything is derived with HMAC-SHA-256, so what one use reveals says nothing about
/// another; and equal secrets give equal runs.
pub(crate) struct Secret {
    secret: [u8; 32],
    seeds: u64,
}

impl Secret {
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret, seeds: 0 }
    }

    /// A MAC under the key for `purpose` number `n`.
    pub fn key(&self, purpose: &[u8], n: u64) -> Hmac256 {
        keyed(&self.derived(purpose, n))
    }

    /// A number nobody can guess, another one each time.
    pub fn draw(&mut self) -> u64 {
        self.seeds += 1;
        let drawn = self.derived(b"seed", self.seeds);
        u64::from_be_bytes(drawn.first_chunk().copied().expect("32 octets hold 8"))
    }

    /// Gives the engine fresh randomness for the tags and sequence numbers it is about to draw.
    ///
    /// It draws from the thread's `fastrand` generator, which is small and not made for secrets: with a seed of its own
    /// for each drawing, seeing one tag does not help to guess another (RFC 9260 §5.3.1).
    pub fn seed_engine(&mut self) {
        fastrand::seed(self.draw());
    }

    fn derived(&self, purpose: &[u8], n: u64) -> [u8; 32] {
        let mut mac = keyed(&self.secret);
        mac.update(purpose);
        mac.update(&n.to_be_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8; 32]) -> Hmac256 {
    Hmac256::new_from_slice(key).expect("HMAC takes keys of any length")
}
