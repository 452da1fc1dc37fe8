//! One association as the crate `dcsctp` sees it: the only file that knows that crate.
//!
//! The engine does what RFC 9260 asks of an association with a single path: handshake, retransmission, congestion
//! control, fragments and messages, shutdown. It is pure like everything here: packets and time go in, a [`Turn`] comes
//! out. Where its packets go, when a path is dead and heartbeats are the business of `mux/paths.rs`. Its peculiarities are
//! met here:
//!
//! * Its timers count from the moment they were due, not from when they fired. After the process was held up for some
//!   seconds, all retransmissions would be used up at once and a living peer declared lost. So its clock stands still
//!   while nobody wakes it ([`Engine::wake`]).
//! * Checksums are verified before a packet gets here, once for all.
//! * It reports neither how much it keeps of what was received (the windows it announces tell) nor how much is not yet
//!   acknowledged (each message carries its cost as its lifecycle number, which comes back when it is delivered).

use crate::mux::{Config, Why};
use crate::packet::{Packet, Ports, be32, kind};
use dcsctp::api::{
    DcSctpSocket, ErrorKind, LifecycleId, Message, Options, PpId, SendOptions, Socket, SocketEvent,
    SocketState, SocketTime, StreamId,
};
use rserpool::{Ppid, Time};
use std::time::Duration;

/// What an engine did since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Packets to send, in order.
    pub packets: Vec<Vec<u8>>,
    /// Whole messages received, in order: stream, PPID, octets.
    pub messages: Vec<(u16, Ppid, Vec<u8>)>,
    /// It is established, or established anew.
    pub connected: bool,
    /// It is closed; nothing follows.
    pub ended: Option<Why>,
    /// The costs of messages that arrived at the other side, summed up.
    pub delivered: usize,
    /// The receive window last announced in this turn: what it could keep besides what it keeps.
    pub window_left: Option<usize>,
}

/// One association.
pub(crate) struct Engine {
    socket: Socket,
    /// How far its clock is behind ours.
    lag: Duration,
}

impl Engine {
    /// An association between these ports, not yet opened.
    pub fn new(config: &Config, ports: Ports) -> Self {
        Self { socket: Socket::new("", &options(config, ports)), lag: Duration::ZERO }
    }

    /// Sends an INIT. The randomness must be fresh.
    pub fn connect(&mut self, now: Time) {
        self.advance(now, false);
        self.socket.connect();
    }

    /// Hears a packet whose checksum is good.
    pub fn input(&mut self, now: Time, packet: &[u8]) {
        self.advance(now, false);
        self.socket.handle_input(packet);
    }

    /// Does what is due, one timer at a time: another that was due in between follows after its natural distance.
    pub fn wake(&mut self, now: Time) {
        self.advance(now, true);
    }

    /// Takes a message of this cost to send. True unless it is closing; limits are checked by the caller.
    pub fn send(&mut self, now: Time, stream: u16, ppid: Ppid, bytes: Vec<u8>, cost: usize) -> bool {
        self.advance(now, false);
        let options = SendOptions { lifecycle_id: LifecycleId::new(cost as u64), ..SendOptions::default() };
        self.socket.send(Message::new(StreamId(stream), PpId(ppid.0), bytes), &options).is_ok()
    }

    /// Begins the orderly end. Everything sent must have been delivered: the engine forgets what is still queued.
    pub fn shutdown(&mut self, now: Time) {
        self.advance(now, false);
        self.socket.shutdown();
    }

    /// Ends it at once, telling the other side if it is known.
    pub fn abort(&mut self, now: Time) {
        self.advance(now, false);
        self.socket.close();
    }

    /// The verification tag that packets to us carry; 0 when closed.
    pub fn tag(&self) -> u32 {
        self.socket.verification_tag()
    }

    /// True if it neither exists nor is being opened.
    pub fn is_closed(&self) -> bool {
        self.socket.state() == SocketState::Closed
    }

    /// How many streams the other side takes, once established.
    pub fn streams(&self) -> u16 {
        self.socket.get_metrics().map_or(1, |metrics| metrics.negotiated_maximum_outgoing_streams)
    }

    /// When to wake it.
    pub fn deadline(&self) -> Option<Time> {
        let due = self.socket.poll_timeout();
        (due != SocketTime::infinite_future()).then(|| Time::ZERO + (due - SocketTime::zero() + self.lag))
    }

    /// What happened since the last turn.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        while let Some(event) = self.socket.poll_event() {
            match event {
                SocketEvent::SendPacket(packet) => {
                    let sack = Packet::trusted(&packet).chunks().find(|chunk| chunk.kind == kind::SACK);
                    turn.window_left = sack.map(|sack| be32(sack.value, 4) as usize).or(turn.window_left);
                    turn.packets.push(packet);
                }
                SocketEvent::OnConnected() => turn.connected = true,
                SocketEvent::OnClosed() => turn.ended = Some(Why::Graceful),
                SocketEvent::OnAborted(ErrorKind::TooManyRetries, _) => turn.ended = Some(Why::Lost),
                SocketEvent::OnAborted(..) => turn.ended = Some(Why::Aborted),
                SocketEvent::OnLifecycleEnd(cost) => turn.delivered += cost.value() as usize,
                // Restarts are noticed by `connected` coming twice; the rest is for logs, or for what we do not use.
                _ => {}
            }
        }
        while let Some(message) = self.socket.get_next_message() {
            turn.messages.push((message.stream_id.0, Ppid(message.ppid.0), message.payload));
        }
        turn
    }

    /// Moves the engine's clock to `now`, but not beyond its earliest timer; up to that one only if it may fire. After
    /// that the timer is due at `now` in our time, so whoever is told a packet late wakes right after.
    fn advance(&mut self, now: Time, fire: bool) {
        let due = self.socket.poll_timeout() - SocketTime::zero();
        let clock = now.since(Time::ZERO).saturating_sub(self.lag);
        self.lag += clock.saturating_sub(due);
        let latest = if fire { due } else { due.saturating_sub(Duration::from_nanos(1)) };
        self.socket.advance_time(SocketTime::zero() + clock.min(latest));
    }
}

/// What may be kept of received data: the engine drops everything above nine tenths of its window.
pub(crate) fn watermark(config: &Config) -> usize {
    config.window / 10 * 9
}

fn options(config: &Config, ports: Ports) -> Options {
    // A limit here would be checked before a message is added and counts queued octets only; ours is stricter.
    let never = u32::MAX as usize;
    Options {
        local_port: ports.local,
        remote_port: ports.remote,
        announced_maximum_incoming_streams: config.streams.max(1),
        announced_maximum_outgoing_streams: config.streams.max(1),
        mtu: config.mtu.clamp(512, 65_000) & !3,
        max_message_size: config.message_max,
        max_receiver_window_buffer_size: config.window,
        max_send_buffer_size: never,
        per_stream_send_queue_limit: never,
        rto_initial: config.rto_initial,
        rto_min: config.rto_min,
        rto_max: config.rto_max,
        t1_init_timeout: config.rto_initial,
        t1_cookie_timeout: config.rto_initial,
        t2_shutdown_timeout: config.rto_initial,
        max_timer_backoff_duration: Some(config.rto_max),
        max_init_retransmits: Some(config.init_retransmits_max),
        // It would count the timeouts of all paths together, and never ask but one.
        max_retransmissions: None,
        heartbeat_interval: Duration::ZERO,
        delayed_ack_max_timeout: config.sack_delay,
        // Every message here is to arrive: nothing is ever given up while the association lives.
        enable_partial_reliability: false,
        disable_checksum_verification: true,
        ..Options::default()
    }
}
