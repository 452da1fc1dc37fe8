//! Addresses as people write them: `HOST`, `HOST:PORT`, `[::1]:3863`, `sctp://HOST:PORT`.

use crate::cli::Registrars;
use crate::exit::{Code, Failure};
use rserpool::{Endpoint, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// The port of ASAP (RFC 5352 §8.2).
pub const ASAP_PORT: u16 = 3863;

/// The port of ENRP (RFC 5353 §5.3).
pub const ENRP_PORT: u16 = 9901;

/// A registrar to ask, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its ASAP address.
    pub at: SocketAddr,
    /// The transport insisted on.
    pub protocol: Option<Protocol>,
}

impl Target {
    /// The endpoint, over `usual` unless another transport was insisted on.
    pub fn endpoint(self, usual: Protocol) -> Endpoint {
        Endpoint {
            protocol: self.protocol.unwrap_or(usual),
            addresses: vec![self.at.ip()],
            port: self.at.port(),
        }
    }
}

/// Which registrars to ask: those named, else those of `RSP_REGISTRAR`, else the one of this machine.
pub struct Choice {
    /// In the order given.
    pub targets: Vec<Target>,
    /// False if nobody named any: then a private pool may stand in.
    pub named: bool,
}

impl Choice {
    /// The choice of this command line and environment.
    pub fn of(args: &Registrars) -> Result<Self, Failure> {
        let from_environment = std::env::var("RSP_REGISTRAR").unwrap_or_default();
        let (texts, origin): (Vec<&str>, _) = if !args.registrar.is_empty() {
            (args.registrar.iter().map(String::as_str).collect(), "--registrar")
        } else {
            (from_environment.split(',').filter(|text| !text.trim().is_empty()).collect(), "RSP_REGISTRAR")
        };
        let mut targets = Vec::new();
        for text in &texts {
            targets.extend(target(text.trim(), origin)?);
        }
        if texts.is_empty() {
            let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ASAP_PORT);
            targets.push(Target { at, protocol: None });
        }
        Ok(Self { targets, named: !texts.is_empty() })
    }

    /// All of them, for messages.
    pub fn display(&self) -> String {
        let all: Vec<String> = self.targets.iter().map(|target| target.at.to_string()).collect();
        all.join(", ")
    }
}

fn target(text: &str, origin: &str) -> Result<Vec<Target>, Failure> {
    let (protocol, rest) = match text.split_once("://") {
        Some(("tcp", rest)) => (Some(Protocol::Tcp), rest),
        Some(("sctp", rest)) => (Some(Protocol::Sctp), rest),
        Some((other, _)) => {
            let message = format!("{origin}: no transport '{other}://'; there are tcp:// and sctp://");
            return Err(Failure::new(Code::Usage, message));
        }
        None => (None, text),
    };
    let addresses = resolve(rest, ASAP_PORT, origin)?;
    Ok(addresses.into_iter().map(|at| Target { at, protocol }).collect())
}

/// All addresses of `HOST[:PORT]`; never empty.
pub fn resolve(text: &str, port: u16, option: &str) -> Result<Vec<SocketAddr>, Failure> {
    let bad = |why: &str| {
        Failure::new(
            Code::Usage,
            format!("{option} {text}: {why}; give HOST or HOST:PORT, such as 127.0.0.1:{port}"),
        )
    };
    let (host, port) = split(text, port).ok_or_else(|| bad("not an address"))?;
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let mut all: Vec<SocketAddr> = Vec::new();
            for at in found {
                if !all.contains(&at) {
                    all.push(at);
                }
            }
            if all.is_empty() { Err(bad("the name has no address")) } else { Ok(all) }
        }
        Err(cause) => Err(bad(&format!("the name cannot be resolved ({cause})"))),
    }
}

/// The one address to listen on of `ADDR[:PORT]`.
pub fn listen(text: &str, port: u16, option: &str) -> Result<SocketAddr, Failure> {
    Ok(resolve(text, port, option)?[0])
}

/// Host and port of `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`, `V6`.
fn split(text: &str, default: u16) -> Option<(&str, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, behind) = rest.split_once(']')?;
        return match behind.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => behind.is_empty().then_some((host, default)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, default)),
        Some((host, port)) => {
            (!host.is_empty()).then_some(()).and_then(|()| Some((host, port.parse().ok()?)))
        }
        None => (!text.is_empty()).then_some((text, default)),
    }
}

/// The line that warns whoever opens a service to others; `None` for loopback.
pub fn exposure(at: SocketAddr, option: &str) -> Option<String> {
    (!at.ip().is_loopback()).then(|| {
        format!(
            "warning: {option} {at} can be reached by other machines, and there is no encryption or authentication \
             yet: use it in networks you trust"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn ports_are_optional_and_ipv6_may_have_brackets() {
        let one = |text| resolve(text, 3863, "--registrar").expect("legal")[0];
        assert_eq!(one("127.0.0.1"), at("127.0.0.1:3863"));
        assert_eq!(one("127.0.0.1:7"), at("127.0.0.1:7"));
        assert_eq!(one("::1"), at("[::1]:3863"));
        assert_eq!(one("[::1]"), at("[::1]:3863"));
        assert_eq!(one("[::1]:7"), at("[::1]:7"));
    }

    #[test]
    fn nonsense_is_a_usage_error_that_names_the_option() {
        for text in ["", ":7", "127.0.0.1:x", "127.0.0.1:70000", "[::1", "[::1]x"] {
            let failure = resolve(text, 3863, "--peer").expect_err(text);
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.to_string().starts_with("--peer "), "{failure}");
        }
        assert!(target("udp://127.0.0.1", "--registrar").is_err());
    }

    #[test]
    fn a_transport_can_be_insisted_on() {
        let one = |text| target(text, "--registrar").expect("legal")[0].endpoint(Protocol::Tcp).to_string();
        assert_eq!(one("127.0.0.1"), "tcp://127.0.0.1:3863");
        assert_eq!(one("sctp://127.0.0.1:9"), "sctp://127.0.0.1:9");
    }

    #[test]
    fn only_loopback_needs_no_warning() {
        assert_eq!(exposure(at("127.0.0.1:1"), "--listen"), None);
        assert!(exposure(at("0.0.0.0:3863"), "--listen").is_some_and(|line| line.contains("0.0.0.0:3863")));
    }
}
