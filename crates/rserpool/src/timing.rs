//! Every timer of every role, in three named profiles, and the bounds that follow from them.
//!
//! | profile | for | from |
//! | --- | --- | --- |
//! | `realtime` | LANs and single machines where a tenth of a second matters | our goals |
//! | `default` | everything else: a failure is noticed within about a second | our goals |
//! | `rfc` | scopes that want the RFCs' own numbers | RFC 5352 §7, RFC 5353 §4 |
//!
//! Every field can be set on its own; the bounds at the end (`hung_element_max` and its kin) are the T_x of the
//! invariants, computed from the timers, so that changing a timer changes what the checkers demand.

use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A named set of timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Notices within a few hundred milliseconds.
    Realtime,
    /// Notices within about a second.
    #[default]
    Default,
    /// The RFCs' numbers.
    Rfc,
}

impl Profile {
    /// As written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Default => "default",
            Self::Rfc => "rfc",
        }
    }
}

impl std::str::FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "realtime" => Ok(Self::Realtime),
            "default" => Ok(Self::Default),
            "rfc" => Ok(Self::Rfc),
            _ => Err(format!("no timer profile '{name}'; there are realtime, default and rfc")),
        }
    }
}

/// The timers of all roles. One value describes a scope: all nodes of it should use the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    // --- registrar towards elements (RFC 5352 §3.4, §3.5)
    /// Pause between two signs of life asked of an element; jittered by half, up or down (RFC 5352 §3.5).
    pub keep_alive_interval: Duration,
    /// How long an element may take to answer one. Half-way the question is repeated once.
    pub keep_alive_timeout: Duration,
    /// Reports of distinct users within `bad_reports_window` that remove an element (MAX-BAD-PE-REPORT); each report
    /// also triggers a keep-alive at once.
    pub bad_reports_max: u32,
    /// How long a report counts.
    pub bad_reports_window: Duration,

    // --- registrar towards peers (RFC 5353 §4)
    /// Pause between two presences (PEER-HEARTBEAT-CYCLE); jittered by an eighth.
    pub presence_interval: Duration,
    /// Silence after which a peer is asked for a sign of life (MAX-TIME-LAST-HEARD).
    pub peer_silence_max: Duration,
    /// How long it may take to answer (MAX-TIME-NO-RESPONSE); also the patience for lists and tables.
    pub peer_no_response: Duration,
    /// How long a registrar without configured peers listens for one to learn from before it serves alone.
    pub mentor_wait: Duration,
    /// How long a takeover waits for acknowledgements of peers that are still believed alive.
    pub takeover_expiry: Duration,
    /// Pause between two announcements to elements and users (T6); jittered by an eighth.
    pub server_announce_interval: Duration,

    // --- element and user towards their registrar (RFC 5352 §7)
    /// How long an announced registrar is remembered (T7).
    pub announce_lifetime: Duration,
    /// First patience of the hunt for a registrar (T5); doubles, jittered, up to `hunt_timeout_max` (RETRAN-MAX).
    pub hunt_timeout: Duration,
    /// The longest patience of the hunt.
    pub hunt_timeout_max: Duration,
    /// Patience for a handle resolution (T1).
    pub resolution_timeout: Duration,
    /// Patience for a registration (T2).
    pub registration_timeout: Duration,
    /// Patience for a deregistration (T3).
    pub deregistration_timeout: Duration,
    /// How often a request is repeated before the application is told (MAX-REQUEST-RETRANSMIT, MAX-REG-ATTEMPT).
    pub request_retries_max: u32,
    /// Pause between two registrations of a living element (T4).
    pub reregistration_interval: Duration,
    /// What an element promises: without a new registration it may be forgotten after this.
    pub registration_life: Duration,
    /// Smallest pause between two registrations that only report load.
    pub load_report_gap: Duration,

    // --- sessions
    /// How long an element may take to accept a session.
    pub connect_timeout: Duration,
    /// Pause between two signs of life asked of the element of a session.
    pub heartbeat_interval: Duration,
    /// Silence after which the element of a session counts as hung.
    pub heartbeat_timeout: Duration,
    /// First pause between successive fail-overs (the very first has none); doubles up to `failover_pause_max`, and is
    /// forgotten after a second of useful session.
    pub failover_pause: Duration,
    /// The longest pause between successive fail-overs.
    pub failover_pause_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self::of(Profile::Default)
    }
}

impl Timing {
    /// The timers of a profile.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Realtime => Self {
                keep_alive_interval: ms(100),
                keep_alive_timeout: ms(100),
                presence_interval: ms(100),
                peer_silence_max: ms(300),
                peer_no_response: ms(100),
                mentor_wait: ms(300),
                takeover_expiry: ms(200),
                server_announce_interval: ms(100),
                announce_lifetime: ms(500),
                hunt_timeout: ms(200),
                hunt_timeout_max: ms(2_000),
                resolution_timeout: ms(100),
                registration_timeout: ms(200),
                deregistration_timeout: ms(200),
                reregistration_interval: ms(2_000),
                registration_life: ms(6_000),
                load_report_gap: ms(20),
                connect_timeout: ms(200),
                heartbeat_interval: ms(60),
                heartbeat_timeout: ms(300),
                failover_pause: ms(20),
                failover_pause_max: ms(500),
                ..Self::of(Profile::Default)
            },
            Profile::Default => Self {
                keep_alive_interval: ms(400),
                keep_alive_timeout: ms(500),
                bad_reports_max: 3,
                bad_reports_window: ms(30_000),
                presence_interval: ms(400),
                peer_silence_max: ms(1_000),
                peer_no_response: ms(500),
                mentor_wait: ms(1_000),
                takeover_expiry: ms(1_000),
                server_announce_interval: ms(1_000),
                announce_lifetime: ms(5_000),
                hunt_timeout: ms(500),
                hunt_timeout_max: ms(5_000),
                resolution_timeout: ms(300),
                registration_timeout: ms(500),
                deregistration_timeout: ms(500),
                request_retries_max: 2,
                reregistration_interval: ms(10_000),
                registration_life: ms(30_000),
                load_report_gap: ms(50),
                connect_timeout: ms(1_000),
                heartbeat_interval: ms(250),
                heartbeat_timeout: ms(1_000),
                failover_pause: ms(50),
                failover_pause_max: ms(2_000),
            },
            // RFC 5352 §7.1-7.3 and RFC 5353 §4.1-4.2; what they leave open is as slow as its neighbours.
            Profile::Rfc => Self {
                keep_alive_interval: ms(5_000),
                keep_alive_timeout: ms(5_000),
                presence_interval: ms(30_000),
                peer_silence_max: ms(61_000),
                peer_no_response: ms(5_000),
                mentor_wait: ms(5_000),
                takeover_expiry: ms(5_000),
                server_announce_interval: ms(1_000),
                announce_lifetime: ms(5_000),
                hunt_timeout: ms(10_000),
                hunt_timeout_max: ms(60_000),
                resolution_timeout: ms(15_000),
                registration_timeout: ms(30_000),
                deregistration_timeout: ms(30_000),
                reregistration_interval: ms(600_000),
                registration_life: ms(1_800_000),
                connect_timeout: ms(5_000),
                heartbeat_interval: ms(5_000),
                heartbeat_timeout: ms(15_000),
                ..Self::of(Profile::Default)
            },
        }
    }
}

/// The bounds T_x of the invariants. `link_loss` is the world's share: how long its transport may take to report the
/// end of a process or a cut, and `delay` the longest one-way delay of a message.
impl Timing {
    /// An element that stopped answering is gone from its home after this.
    pub fn hung_element_max(&self, delay: Duration) -> Duration {
        self.keep_alive_interval * 3 / 2 + self.keep_alive_timeout + 2 * delay
    }

    /// A registrar that died is known to be dead by its peers after this.
    pub fn dead_peer_max(&self, delay: Duration) -> Duration {
        self.peer_silence_max + self.peer_no_response + 2 * delay
    }

    /// A takeover, once begun, is over (won, yielded or aborted) after this: one round, and one more if it had to start
    /// again because an awaited peer fell silent itself.
    pub fn takeover_max(&self, delay: Duration) -> Duration {
        2 * self.takeover_expiry + self.dead_peer_max(delay)
    }

    /// Registrars that can talk hold equal handlespaces after this much quiet: three heartbeat cycles (the longest
    /// jitter included), and a table transfer.
    pub fn convergence_max(&self, delay: Duration) -> Duration {
        3 * (self.presence_interval * 9 / 8) + self.peer_no_response + 6 * delay
    }

    /// After this much calm (nothing breaks, is repaired, starts or stops) every living element is known to every living
    /// registrar. Either its home was taken over, or it found another one itself: its next registration (T4) finds the
    /// old home silent (T2), a hunt with the longest patience follows, and the peers are told; a registrar that is new
    /// itself first listened for a mentor.
    pub fn resolvable_max(&self, delay: Duration, link_loss: Duration) -> Duration {
        let taken_over = self.dead_peer_max(delay) + self.takeover_max(delay);
        let found_another = self.reregistration_interval * 9 / 8
            + self.registration_timeout * (1 + self.request_retries_max)
            + self.hunt_timeout_max * 3 / 2
            + self.mentor_wait;
        link_loss + taken_over.max(found_another) + self.convergence_max(delay)
    }

    /// After this much calm an element that died or left is in no handlespace: its home may have died with it, and the
    /// one who took over has to find it hung.
    pub fn element_gone_max(&self, delay: Duration, link_loss: Duration) -> Duration {
        let home = self.dead_peer_max(delay) + self.takeover_max(delay);
        link_loss + home + self.hung_element_max(delay) + self.convergence_max(delay)
    }

    /// After this much calm without any work going on, registrars and elements agree about everything.
    pub fn settled_max(&self, delay: Duration, link_loss: Duration) -> Duration {
        self.resolvable_max(delay, link_loss).max(self.element_gone_max(delay, link_loss))
            + self.convergence_max(delay)
    }

    /// In calm, a session with work to do makes progress within this as long as an element lives: the present one is
    /// found hung, then a registrar and an element have to be found, each at the second try, after the longest pause.
    /// `give_up`: how long the world's transport tries to open a link.
    pub fn progress_max(&self, delay: Duration, give_up: Duration) -> Duration {
        let noticed = self.heartbeat_timeout * 2 + self.heartbeat_interval;
        let resolved =
            self.resolution_timeout * (1 + self.request_retries_max) + self.hunt_timeout_max * 3 / 2;
        let connected = self.connect_timeout.min(give_up) * 2 + self.failover_pause_max * 2;
        noticed + resolved + connected + 12 * delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_consistent() {
        for profile in [Profile::Realtime, Profile::Default, Profile::Rfc] {
            let t = Timing::of(profile);
            assert!(
                t.peer_silence_max > t.presence_interval * 9 / 8 * 2 || profile == Profile::Rfc,
                "{profile:?}"
            );
            assert!(t.registration_life > t.reregistration_interval * 2, "{profile:?}");
            assert!(t.heartbeat_timeout > t.heartbeat_interval * 2, "{profile:?}");
            assert!(
                t.hunt_timeout < t.hunt_timeout_max && t.failover_pause < t.failover_pause_max,
                "{profile:?}"
            );
        }
    }

    #[test]
    fn bounds_build_on_one_another() {
        for profile in [Profile::Realtime, Profile::Default, Profile::Rfc] {
            let (t, delay, loss) = (Timing::of(profile), ms(20), ms(2_000));
            assert!(t.hung_element_max(delay) < t.element_gone_max(delay, loss), "{profile:?}");
            assert!(t.dead_peer_max(delay) < t.takeover_max(delay), "{profile:?}");
            assert!(t.takeover_max(delay) < t.resolvable_max(delay, loss), "{profile:?}");
            assert!(t.resolvable_max(delay, loss) < t.settled_max(delay, loss), "{profile:?}");
            assert!(t.heartbeat_timeout < t.progress_max(delay, loss), "{profile:?}");
        }
        let t = Timing::of(Profile::Default);
        assert_eq!(t.hung_element_max(ms(20)), ms(1_140));
        assert_eq!(t.takeover_max(ms(20)), ms(3_540));
    }

    #[test]
    fn the_rfc_profile_has_the_rfcs_numbers() {
        let t = Timing::of(Profile::Rfc);
        assert_eq!(t.presence_interval, Duration::from_secs(30));
        assert_eq!(t.peer_silence_max, Duration::from_secs(61));
        assert_eq!(t.resolution_timeout, Duration::from_secs(15));
        assert_eq!(t.reregistration_interval, Duration::from_secs(600));
    }
}
