//! What becomes of the paths of multi-homed links.
//!
//! A node does not hear of it: a link is up while one of its paths is. People want to know, before the last one fails.

use rserpool::LinkId;
use std::fmt;
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;

/// Where path events go. If the receiver is slow, events are lost; links never wait for it.
pub type PathEvents = SyncSender<PathEvent>;

/// One address of a link's peer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathEvent {
    /// The link.
    pub link: LinkId,
    /// The address.
    pub remote: IpAddr,
    /// What became of it.
    pub state: PathState,
}

/// What became of one address of a peer (RFC 6458 §6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// It has answered: data may go there.
    Confirmed,
    /// It answers again.
    Available,
    /// An answer is missing (potentially failed, RFC 7829).
    Doubtful,
    /// It answers no more; data goes elsewhere.
    Unreachable,
    /// Data goes there first from now on.
    Primary,
    /// The peer has it now.
    Added,
    /// The peer has it no more.
    Removed,
}

impl fmt::Display for PathEvent {
    /// "path to 10.2.0.1 (link ours 3) is unreachable"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = match self.link {
            LinkId::Ours(number) => format!("ours {number}"),
            LinkId::Theirs(number) => format!("theirs {number}"),
        };
        let state = match self.state {
            PathState::Confirmed => "is confirmed",
            PathState::Available => "is available again",
            PathState::Doubtful => "is in doubt",
            PathState::Unreachable => "is unreachable",
            PathState::Primary => "is the primary one now",
            PathState::Added => "was added",
            PathState::Removed => "was removed",
        };
        write!(f, "path to {} (link {link}) {state}", self.remote)
    }
}
