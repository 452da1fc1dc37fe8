//! Addresses as people write them: `HOST`, `HOST:PORT`, `[::1]:3863`, `sctp://HOST:PORT`.

use crate::cli::Registrars;
use crate::exit::{Code, Failure};
use crate::process::say;
use rserpool::{Endpoint, Protocol};
use rserpool_net::{At, route_address_to};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

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

/// The addresses to listen on of `ADDR[:PORT][,ADDR]…`. The first one has the port for all.
pub fn listen(text: &str, port: u16, option: &str) -> Result<At, Failure> {
    let mut at: Option<At> = None;
    for one in text.split(',') {
        let common = at.as_ref().map_or(port, |at| at.port);
        let found = resolve(one.trim(), common, option)?[0];
        let Some(at) = &mut at else {
            at = Some(found.into());
            continue;
        };
        if found.port() != at.port {
            let message = format!("{option} {text}: all addresses have one port; give it with the first one");
            return Err(Failure::new(Code::Usage, message));
        }
        if !at.addresses.contains(&found.ip()) {
            at.addresses.push(found.ip());
        }
    }
    Ok(at.expect("a text has a first part"))
}

/// Where somebody (`whom`: a worker, an element) accepts sessions: as asked for by `--listen`, else on loopback if the
/// registrar is there too.
pub fn serving(listens: Option<&str>, choice: &Choice, whom: &str) -> Result<At, Failure> {
    if let Some(text) = listens {
        let at = listen(text, 0, "--listen")?;
        if let Some(warning) = exposure(&at, "--listen") {
            say(warning);
        }
        return Ok(at);
    }
    let Some(far) = choice.targets.iter().find(|target| !target.at.ip().is_loopback()) else {
        return Ok(SocketAddr::new(choice.targets[0].at.ip(), 0).into());
    };
    let advice = match route_address_to(far.at) {
        Ok(ip) => format!("the way there leaves this machine at {ip}: add --listen {ip}"),
        Err(error) => format!("{error}; add --listen with an address that users can reach"),
    };
    let at = far.at;
    let message = format!(
        "registrar {at} is not on this machine, so users have to reach this {whom} by an address you choose; {advice}"
    );
    Err(Failure::new(Code::Usage, message))
}

/// Looks every second whether this host still has the addresses of a door bound to `bound`, which are `known` now, and
/// tells the new list when it has others. A host without any is between two networks, and worth no word. Ends when `tell`
/// says that nobody listens.
pub fn watch(
    bound: Vec<IpAddr>,
    known: Vec<IpAddr>,
    mut tell: impl FnMut(Vec<IpAddr>) -> bool + Send + 'static,
) -> Result<(), Failure> {
    let mut known = known;
    let look = move || {
        loop {
            std::thread::sleep(LOOK_PAUSE);
            match rserpool_net::present_addresses(&bound) {
                Ok(now) if !now.is_empty() && now != known => {
                    known.clone_from(&now);
                    if !tell(now) {
                        return;
                    }
                }
                _ => {}
            }
        }
    };
    let begun = std::thread::Builder::new().name("addresses".into()).spawn(look);
    begun.map(drop).map_err(|cause| Failure::new(Code::Failed, format!("cannot start a thread: {cause}")))
}

/// Says what it found.
pub fn changed(addresses: &[IpAddr]) -> String {
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    format!("this host is now at {}: registering so", all.join(", "))
}

/// Between two looks at this host's addresses.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

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
pub fn exposure(at: &At, option: &str) -> Option<String> {
    at.addresses.iter().any(|ip| !ip.is_loopback()).then(|| {
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
    fn several_addresses_have_the_port_of_the_first_one() {
        let listens = |text| listen(text, 3863, "--listen").map(|at| at.to_string());
        assert_eq!(listens("10.1.0.1:7,10.2.0.1").expect("legal"), "10.1.0.1:7,10.2.0.1:7");
        assert_eq!(listens("10.1.0.1, 10.1.0.1,::1").expect("legal"), "10.1.0.1:3863,[::1]:3863");
        let refused = listens("10.1.0.1,10.2.0.1:7").expect_err("two ports");
        assert!(refused.to_string().contains("all addresses have one port"), "{refused}");
        assert!(listens("10.1.0.1,").is_err());
    }

    #[test]
    fn a_transport_can_be_insisted_on() {
        let one = |text| target(text, "--registrar").expect("legal")[0].endpoint(Protocol::Tcp).to_string();
        assert_eq!(one("127.0.0.1"), "tcp://127.0.0.1:3863");
        assert_eq!(one("sctp://127.0.0.1:9"), "sctp://127.0.0.1:9");
    }

    #[test]
    fn only_loopback_needs_no_warning() {
        assert_eq!(exposure(&at("127.0.0.1:1").into(), "--listen"), None);
        assert!(
            exposure(&at("0.0.0.0:3863").into(), "--listen")
                .is_some_and(|line| line.contains("0.0.0.0:3863"))
        );
    }
}
