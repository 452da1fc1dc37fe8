//! Jobs and workers for programs: functions of yours, called on a pool of machines that come and go.
//!
//! ```text
//!   your program                         a pool                      your workers
//!   Pool::connect, map ----> registrars say who serves <---- Worker::new, function, start
//!        ^                                                              |
//!        '------------- results, as they complete, each once -----------'
//! ```
//!
//! A [`Function`] has a name, an input and an output. Workers have functions; a client has inputs. Every input is
//! executed at least once and its output comes exactly once, whatever dies, as long as the client lives and one worker
//! can be reached (see the README's promise). A whole pool in one program:
//!
//! ```
//! use rserpool_net::pool::{Call, Function, Pool, Problem, Registrar, Worker};
//!
//! struct Square;
//! impl Function for Square {
//!     const NAME: &'static str = "square";
//!     type Input = u64;
//!     type Output = u64;
//!     type Progress = ();
//!     fn call(&self, number: u64, _: &mut Call<()>) -> Result<u64, Problem> {
//!         number.checked_mul(number).ok_or_else(|| "too large to be squared".into())
//!     }
//! }
//!
//! # fn main() -> Result<(), Problem> {
//! let registrar = Registrar::start("127.0.0.1:0")?; // or `rsp registrar` in a terminal, and its address
//! let worker = Worker::new("squares").registrar(registrar.address()).function(Square).start()?;
//!
//! let pool = Pool::connect(registrar.address(), "squares")?;
//! let mut sum = 0;
//! for result in pool.map::<Square>(1..=100) {
//!     sum += result.output?;
//! }
//! assert_eq!(sum, 338_350);
//! # drop(worker);
//! # Ok(())
//! # }
//! ```
//!
//! Worker and client are usually different programs on different machines: the worker's address is then said with
//! [`Worker::listen`]. Values travel by `serde` in the form of `postcard`; both sides have to be built from types of the
//! same shape. There is no encryption or authentication yet: use it in networks you trust.
//!
//! A function that takes long can leave word how far it is ([`Call::save`]): when its worker dies, the next one goes on
//! there ([`Call::saved`]), since the word travels as the session's cookie (RFC 5352 §3.8).
//!
//! Who wants sessions themselves, with cookies and fail-over but without tasks, uses
//! [`PoolElement`](rserpool::PoolElement) and [`PoolUser`](rserpool::PoolUser) with [`spawn`](crate::spawn):
//! `examples/session.rs` does.

/// The chapter of the book, for its examples to be tested.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/rust.md")]
mod book {}

mod client;
mod crew;
mod registrar;
mod worker;

pub use client::{Failure, Map, MapResult, Pool};
pub use crew::Call;
pub use registrar::Registrar;
pub use worker::{Serving, Worker};

use rserpool::{Endpoint, PoolHandle, Protocol};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Whatever a function fails with; a text will do.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// A function that workers have and clients call. The type itself may carry what the worker needs for it.
///
/// It may run more than once for one input, on several machines at a time: what it does besides giving its output is
/// its own affair.
pub trait Function: Send + Sync + 'static {
    /// What both sides call it: 1 to 128 octets.
    const NAME: &'static str;
    /// True if it does no harm when an input is computed at two workers at once: near the end of a job, one that takes
    /// much longer than others is then begun at an idle worker, too, and the first output counts.
    const PURE: bool = true;
    /// What it is given; encoded, at most 896 KiB.
    type Input: Serialize + DeserializeOwned;
    /// What it gives.
    type Output: Serialize + DeserializeOwned;
    /// How far it is, for [`Call::save`]; encoded, at most 4,096 octets. `()` if it does not say.
    type Progress: Serialize + DeserializeOwned;

    /// Computes the output. What goes wrong is told to the client, as is a panic; the input is not tried again.
    fn call(&self, input: Self::Input, call: &mut Call<'_, Self::Progress>) -> Result<Self::Output, Problem>;
}

/// Behind the name of a function: input and output are text in JSON instead of `postcard`, for whoever does not have the
/// function's types (`rsp run --call`). The output then ends with a newline.
pub const JSON: &str = ":json";

/// Why a pool cannot be used or served in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No address can be made of what was given.
    #[error("'{text}' is no address of a registrar (HOST or HOST:PORT): {cause}")]
    Address {
        /// What was given.
        text: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A pool's name has 1 to 32 octets.
    #[error("'{0}' is no name of a pool: it has to have 1 to 32 octets")]
    Handle(String),
    /// Nobody answers.
    #[error("no registrar answers at {tried}; start one with `rsp registrar`")]
    NoRegistrar {
        /// The addresses tried, separated by commas.
        tried: String,
    },
    /// The registrar does not want this worker.
    #[error("the registrar refused the worker: {0}")]
    Refused(String),
    /// A worker without functions has nothing to do.
    #[error("the worker has no function; give it one with Worker::function")]
    NoFunction,
    /// No sockets, or no thread.
    #[error(transparent)]
    World(#[from] crate::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// The port of ASAP (RFC 5352 §8.2), meant where none is given.
const ASAP_PORT: u16 = 3863;

/// All addresses that `HOST`, `HOST:PORT` or a list of them, separated by commas, stands for; never empty.
fn addresses(text: &str) -> Result<Vec<SocketAddr>, Error> {
    let mut found = Vec::new();
    for one in text.split(',').map(str::trim) {
        let with_port = one.to_socket_addrs();
        let resolved = with_port.or_else(|_| (one.trim_matches(['[', ']']), ASAP_PORT).to_socket_addrs());
        let resolved = resolved.and_then(|all| {
            let all: Vec<SocketAddr> = all.collect();
            if all.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(all) }
        });
        found.extend(resolved.map_err(|cause| Error::Address { text: one.to_owned(), cause })?);
    }
    Ok(found)
}

fn endpoints(addresses: &[SocketAddr], protocol: Protocol) -> Vec<Endpoint> {
    let endpoint = |at: &SocketAddr| Endpoint { protocol, addresses: vec![at.ip()], port: at.port() };
    addresses.iter().map(endpoint).collect()
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn handle(name: &str) -> Result<PoolHandle, Error> {
    PoolHandle::new(name).ok_or_else(|| Error::Handle(name.to_owned()))
}

/// The value these octets are, all of them.
fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, postcard::Error> {
    let (value, rest) = postcard::take_from_bytes(octets)?;
    if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding) }
}

/// How a function's end is told: exit status 0, and the output; or this, and why, on the error stream.
const FAILED: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrar_is_named_with_or_without_a_port() {
        let at = |text: &str| addresses(text).map(|all| listed(&all)).map_err(|error| error.to_string());
        assert_eq!(at("127.0.0.1:77"), Ok("127.0.0.1:77".into()));
        assert_eq!(at("127.0.0.1"), Ok("127.0.0.1:3863".into()));
        assert_eq!(at("[::1]:5"), Ok("[::1]:5".into()));
        assert_eq!(at("[::1]"), Ok("[::1]:3863".into()));
        assert_eq!(at("127.0.0.1:1, 127.0.0.2"), Ok("127.0.0.1:1, 127.0.0.2:3863".into()));
        assert!(at("not a host").unwrap_err().starts_with("'not a host' is no address of a registrar"));
        assert!(at("").is_err());
    }

    #[test]
    fn a_pool_has_a_name() {
        assert!(handle("squares").is_ok());
        assert!(handle("").is_err());
        assert!(handle(&"x".repeat(33)).is_err());
    }
}
