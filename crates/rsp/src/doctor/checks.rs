//! The checks, from what matters most.

use super::Finding;
use super::owner::{self, Owner, Table};
use crate::address::{ASAP_PORT, ENRP_PORT};
use rserpool_net::{kernel, route_address_to};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

/// The UDP port where RFC 6951 expects SCTP.
const UDP_PORT: u16 = 9899;
/// What an SCTP socket over UDP asks the system to keep; less loses packets at full speed.
const UDP_BUFFER: u64 = 4 << 20;
/// The largest message of ours, which the kernel's SCTP must take as a whole.
const MESSAGE_MAX: u64 = 1 << 20;

/// All of them, in a fixed order.
pub fn all() -> Vec<Finding> {
    let kernel = kernel::detect();
    let has_kernel = kernel.is_ok();
    let mut findings = vec![kernel_sctp(kernel), udp_sockets(has_kernel)];
    if has_kernel {
        findings.extend([udp_encapsulation(), offloads(&virtual_interfaces())]);
        findings
            .push(send_buffer(setting("/proc/sys/net/core/wmem_max"), rustix::process::geteuid().is_root()));
    }
    findings.push(strict_port(has_kernel));
    for (check, table, port, option) in [
        ("port-3863-tcp", Table::Tcp, ASAP_PORT, "--listen"),
        ("port-3863-udp", Table::Udp, ASAP_PORT, "--listen"),
        ("port-3863-sctp", Table::Sctp, ASAP_PORT, "--listen"),
        ("port-9901-udp", Table::Udp, ENRP_PORT, "--enrp"),
        ("port-9901-sctp", Table::Sctp, ENRP_PORT, "--enrp"),
    ] {
        if table != Table::Sctp || has_kernel {
            findings.push(registrar_port(check, port, option, owner::of(table, port)));
        }
    }
    findings.push(receive_buffer(setting("/proc/sys/net/core/rmem_max")));
    findings.push(multicast());
    findings.push(ipv6(&fs::read_to_string("/proc/net/if_inet6").unwrap_or_default()));
    findings
}

/// A setting of the system that is one number.
fn setting(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn kernel_sctp(found: io::Result<()>) -> Finding {
    const CHECK: &str = "kernel-sctp";
    match found {
        Ok(()) => Finding::fine(CHECK, "the kernel has SCTP, and this process may use it"),
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => Finding::hint(
            CHECK,
            format!("this process may not use the kernel's SCTP ({cause}); SCTP over UDP stands in"),
            "let it, where a container or security profile forbids sockets of protocol 132",
        ),
        Err(cause) => Finding::hint(
            CHECK,
            format!("the kernel gives no SCTP socket ({cause}); SCTP over UDP stands in"),
            "as root: modprobe sctp (the module may be in a package of its own, such as linux-modules-extra)",
        ),
    }
}

fn udp_sockets(has_kernel: bool) -> Finding {
    const CHECK: &str = "udp";
    match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).or_else(|_| UdpSocket::bind("[::1]:0")) {
        Ok(_) => Finding::fine(CHECK, "UDP sockets can be opened for SCTP over UDP"),
        Err(cause) if has_kernel => {
            Finding::hint(CHECK, format!("no UDP socket can be opened ({cause})"), "use --sctp kernel")
        }
        Err(cause) => Finding::hinders(
            CHECK,
            format!(
                "no UDP socket can be opened ({cause}), and the kernel has no SCTP: there is none at all"
            ),
            "let this process open UDP sockets; a worker can do with TCP alone: --sctp off",
        ),
    }
}

fn udp_encapsulation() -> Finding {
    const CHECK: &str = "encapsulation";
    let out = setting("/proc/sys/net/sctp/encap_port").unwrap_or(0);
    match (kernel::encapsulation_port(), out) {
        (None, _) => Finding::hint(
            CHECK,
            "the kernel takes no SCTP out of UDP; with --sctp auto our own stack does",
            format!(
                "for programs that use the kernel's alone, as root: sysctl -w net.sctp.udp_port={UDP_PORT}"
            ),
        ),
        (Some(port), 0) => Finding::fine(CHECK, format!("the kernel takes SCTP out of UDP at port {port}")),
        (Some(port), out) => Finding::hint(
            CHECK,
            format!(
                "all associations that the kernel opens go into UDP, to port {out} (it listens at {port})"
            ),
            "if peers speak SCTP itself, as root: sysctl -w net.sctp.encap_port=0",
        ),
    }
}

/// Interfaces that are one end of a pair, with their features as `ethtool -k` lists them; `None` if it is not there.
fn virtual_interfaces() -> Vec<(String, Option<String>)> {
    let Ok(all) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut pairs = Vec::new();
    for interface in all.flatten() {
        let number = |file: &str| setting(&interface.path().join(file).to_string_lossy());
        // A veth is linked to another interface than itself.
        if number("iflink") != number("ifindex") {
            let name = interface.file_name().to_string_lossy().into_owned();
            let output = Command::new("ethtool").args(["-k", &name]).output().ok();
            let features = output.filter(|output| output.status.success());
            pairs.push((name, features.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())));
        }
    }
    pairs.sort();
    pairs
}

/// A veth hands packets on as they are: merged (tx-sctp-segmentation) and without a checksum (tx-checksum-sctp). The
/// kernel on the other side does not mind; a stack in user space there takes only what fits into one packet.
fn offloads(pairs: &[(String, Option<String>)]) -> Finding {
    const CHECK: &str = "veth-offloads";
    const FEATURES: [&str; 2] = ["tx-sctp-segmentation", "tx-checksum-sctp"];
    let mut cures = Vec::new();
    let mut unknown = Vec::new();
    for (name, features) in pairs {
        let Some(features) = features else {
            unknown.push(name.as_str());
            continue;
        };
        for feature in FEATURES {
            let on = features.lines().any(|line| line.trim() == format!("{feature}: on"));
            if on {
                cures.push(format!("ethtool -K {name} {feature} off"));
            }
        }
    }
    if !cures.is_empty() {
        let found = "SCTP of this kernel leaves merged or without checksum on virtual interfaces: a stack in user space \
                     behind them loses messages above some KB";
        return Finding::hinders(CHECK, found, format!("as root: {}", cures.join("; ")));
    }
    match unknown.first() {
        None => Finding::fine(CHECK, "no virtual interface hands on SCTP merged or without checksum"),
        Some(name) => {
            let cure = format!(
                "if a stack in user space behind one loses messages above some KB: ethtool -K {name} {} off {} off",
                FEATURES[0], FEATURES[1]
            );
            Finding::hint(CHECK, format!("no ethtool here to ask about {}", unknown.join(", ")), cure)
        }
    }
}

fn send_buffer(most: Option<u64>, root: bool) -> Finding {
    const CHECK: &str = "sctp-buffer";
    match most {
        Some(most) if most < MESSAGE_MAX && !root => Finding::hint(
            CHECK,
            format!(
                "the kernel's SCTP takes messages of up to {most} octets from ordinary users, ours have up to {MESSAGE_MAX}"
            ),
            format!("as root: sysctl -w net.core.wmem_max={MESSAGE_MAX}"),
        ),
        _ => Finding::fine(CHECK, "the kernel's SCTP takes our largest messages"),
    }
}

fn strict_port(has_kernel: bool) -> Finding {
    const CHECK: &str = "port-9899-udp";
    if has_kernel && kernel::encapsulation_port() == Some(UDP_PORT) {
        return Finding::fine(CHECK, format!("the kernel takes SCTP out of UDP at {UDP_PORT}"));
    }
    match owner::of(Table::Udp, UDP_PORT) {
        None => Finding::fine(CHECK, format!("UDP {UDP_PORT} is free")),
        Some(Some(Owner { pid, name })) if is_registrar(&name) => {
            Finding::fine(CHECK, format!("{name} (process {pid}) serves UDP {UDP_PORT}"))
        }
        Some(owner) => Finding::hint(
            CHECK,
            format!(
                "UDP {UDP_PORT} is taken by {}: peers that expect SCTP only there do not find us",
                named(owner)
            ),
            "stop it, or do without: our own find each other at the ports of their endpoints",
        ),
    }
}

fn registrar_port(check: &'static str, port: u16, option: &str, taken: Option<Option<Owner>>) -> Finding {
    match taken {
        None => Finding::fine(check, format!("{port} is free")),
        Some(Some(Owner { pid, name })) if is_registrar(&name) => {
            Finding::fine(check, format!("{name} (process {pid}) serves {port}"))
        }
        Some(owner) => Finding::hinders(
            check,
            format!("{port} is taken by {}", named(owner)),
            format!("stop it, or have the registrar elsewhere: rsp registrar {option} ADDR:PORT"),
        ),
    }
}

fn is_registrar(name: &str) -> bool {
    matches!(name, "rsp" | "rspregistrar")
}

fn named(owner: Option<Owner>) -> String {
    match owner {
        Some(Owner { pid, name }) => format!("{name} (process {pid})"),
        None => "a process of another user (root can tell which one)".into(),
    }
}

fn receive_buffer(most: Option<u64>) -> Finding {
    const CHECK: &str = "udp-buffer";
    match most {
        Some(most) if most < UDP_BUFFER => Finding::hint(
            CHECK,
            format!(
                "UDP sockets get {most} octets of buffer, {UDP_BUFFER} are asked for: at full speed packets are lost and sent again"
            ),
            format!("as root: sysctl -w net.core.rmem_max={UDP_BUFFER}"),
        ),
        _ => Finding::fine(CHECK, "UDP sockets get the buffers they ask for"),
    }
}

fn multicast() -> Finding {
    const CHECK: &str = "multicast";
    let group = *rserpool_net::groups::ASAP_GROUP.ip();
    match route_address_to(SocketAddr::new(IpAddr::V4(group), ASAP_PORT)) {
        Ok(from) => Finding::fine(CHECK, format!("announcements to {group} leave from {from}")),
        Err(error) => Finding::hint(
            CHECK,
            format!("{error}: --discover finds nobody"),
            "as root: ip route add 239.0.0.0/8 dev INTERFACE; or name registrars with --registrar and --peer",
        ),
    }
}

fn ipv6(interfaces: &str) -> Finding {
    const CHECK: &str = "ipv6";
    if interfaces.trim().is_empty() {
        return Finding::hint(CHECK, "this host has no IPv6 address", "use IPv4 addresses");
    }
    Finding::fine(CHECK, "this host has IPv6 addresses")
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_missing_module_is_named_with_the_command_that_loads_it() {
        let finding = kernel_sctp(Err(io::Error::from_raw_os_error(94)));
        assert_eq!(finding.state, State::Hint);
        assert!(finding.cure.is_some_and(|cure| cure.contains("modprobe sctp")));
        let finding = kernel_sctp(Err(io::ErrorKind::PermissionDenied.into()));
        assert!(finding.found.contains("may not use"), "{}", finding.found);
    }

    #[test]
    fn offloads_of_a_veth_are_cured_by_name() {
        let pair = |features: &str| vec![("veth7".to_owned(), Some(features.to_owned()))];
        let finding = offloads(&pair("tx-checksum-sctp: on\n\ttx-sctp-segmentation: on\n"));
        assert_eq!(finding.state, State::Hinders);
        let cure = finding.cure.expect("there is one");
        assert!(cure.contains("ethtool -K veth7 tx-sctp-segmentation off; "), "{cure}");
        assert!(cure.contains("ethtool -K veth7 tx-checksum-sctp off"), "{cure}");
        assert_eq!(offloads(&pair("tx-sctp-segmentation: off [fixed]\n")).state, State::Fine);
        assert_eq!(offloads(&[("veth7".into(), None)]).state, State::Hint);
        assert_eq!(offloads(&[]).state, State::Fine);
    }

    #[test]
    fn a_taken_port_hinders_unless_a_registrar_has_it() {
        let taken = |name: &str| Some(Some(Owner { pid: 7, name: name.into() }));
        let check = |taken| registrar_port("port-9901-udp", 9901, "--enrp", taken);
        assert_eq!(check(None).state, State::Fine);
        assert_eq!(check(taken("rsp")).state, State::Fine);
        let finding = check(taken("nc"));
        assert_eq!(finding.state, State::Hinders);
        assert_eq!(finding.found, "9901 is taken by nc (process 7)");
        assert!(finding.cure.is_some_and(|cure| cure.ends_with("rsp registrar --enrp ADDR:PORT")));
        assert!(check(Some(None)).found.contains("another user"));
    }

    #[test]
    fn small_buffers_and_a_lack_of_ipv6_are_hints() {
        assert_eq!(receive_buffer(Some(212_992)).state, State::Hint);
        assert_eq!(receive_buffer(Some(UDP_BUFFER)).state, State::Fine);
        assert_eq!(send_buffer(Some(212_992), false).state, State::Hint);
        assert_eq!(send_buffer(Some(212_992), true).state, State::Fine);
        assert_eq!(ipv6("").state, State::Hint);
    }
}
