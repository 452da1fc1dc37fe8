//! The files a program left, as octets of its output: a tree, then its digest.

use super::store::READ_AT_ONCE;
use crate::files::picks::Picks;
use crate::files::{Packer, digest};
use rserpool_compute::Pick;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::path::Path;

/// Octets of a digest.
const DIGEST: u64 = 32;

/// Files on their way out.
pub struct Gathering {
    packer: Option<Packer>,
    sum: Option<Sha256>,
}

impl Gathering {
    /// Of what is meant in this folder. Fails, for people, if something is not there.
    pub fn new(folder: &Path, picks: &[Pick]) -> Result<Self, String> {
        let list = Picks::new(picks)?.gather(folder)?;
        Ok(Self { packer: Some(Packer::new(folder, &list)), sum: Some(Sha256::new()) })
    }

    /// True if so much of a window lets it go on.
    pub fn may_go_on(&self, window: u64) -> bool {
        window >= if self.packer.is_some() { 1 } else { DIGEST } || self.sum.is_none()
    }

    /// The next octets, as far as the window goes; `None`: that was all.
    pub fn next(&mut self, window: u64) -> io::Result<Option<Vec<u8>>> {
        if let Some(packer) = &mut self.packer {
            let mut octets = vec![0; READ_AT_ONCE.min(usize::try_from(window).unwrap_or(READ_AT_ONCE))];
            let count = packer.read(&mut octets)?;
            if count > 0 {
                octets.truncate(count);
                if let Some(sum) = &mut self.sum {
                    sum.update(&octets);
                }
                return Ok(Some(octets));
            }
            self.packer = None;
        }
        match self.sum.take() {
            Some(sum) if window >= DIGEST => Ok(Some(digest(sum).0.to_vec())),
            // Its window will open; then it is asked again.
            Some(sum) => {
                self.sum = Some(sum);
                Ok(Some(Vec::new()))
            }
            None => Ok(None),
        }
    }
}
