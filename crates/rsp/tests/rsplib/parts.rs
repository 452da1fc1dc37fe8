//! Both kinds of components, by the roles they play.

use guest::{Host, Plan, Program, eventually, packets};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `rsp` with these arguments on this host. What leaves this host is ours, and must be well-formed.
pub fn ours(host: &Host, arguments: &[&str]) -> Program {
    host.mark("ours");
    host.start(env!("CARGO_BIN_EXE_rsp"), arguments)
}

/// A registrar of ours with this identifier, in a scope shared with RSPLIB.
pub fn our_registrar(host: &Host, id: &str, more: &[&str]) -> Program {
    let ip = host.ip();
    let words = ["registrar", "--listen", &ip, "--id", id, "--arbitration", "smaller", "--verbose"];
    let mut registrar = ours(host, &[&words, more].concat());
    registrar.says(" serves ");
    registrar
}

/// The option that makes a registrar of ours know this one.
pub fn peer(host: &Host) -> String {
    format!("--peer={}", host.ip())
}

/// An element of ours with this service and identifier, at this registrar.
pub fn our_element(host: &Host, service: &str, id: &str, registrar: &Host, more: &[&str]) -> Program {
    let (ip, at) = (host.ip(), registrar.ip());
    let words = ["serve", service, "--listen", &ip, "--registrar", &at, "--id", id, "--verbose"];
    let mut element = ours(host, &[&words, more].concat());
    element.says(" serves pool ");
    element
}

/// A user of ours of this service.
pub fn our_user(host: &Host, service: &str, registrar: &Host, more: &[&str]) -> Program {
    let at = format!("sctp://{}", registrar.ip());
    ours(host, &[&["client", service, "--registrar", &at, "--verbose"], more].concat())
}

/// A worker of ours with this identifier, at this registrar.
pub fn our_worker(host: &Host, id: &str, registrar: &Host, more: &[&str]) -> Program {
    let (ip, registrar) = (host.ip(), registrar.ip());
    let words =
        ["worker", "--listen", &ip, "--id", id, "--registrar", &registrar, "--slots", "1", "--verbose"];
    ours(host, &[&words, more].concat())
}

/// What this registrar, of either kind, tells a user of ours on this host about a pool: `ID HOME POLICY` of each element,
/// in the order of identifiers. Nothing: it knows no such pool.
pub fn resolved(host: &Host, registrar: &Host, pool: &str) -> Vec<String> {
    let text =
        |element: &serde_json::Value, name: &str| element[name].as_str().unwrap_or_default().to_owned();
    let line = |element: &serde_json::Value| {
        format!("{} {} {}", text(element, "id"), text(element, "home"), text(element, "policy"))
    };
    let mut lines: Vec<String> = resolution(host, registrar, pool, 128).iter().map(line).collect();
    lines.sort();
    lines
}

/// The identifier of the element that this registrar would have a user of ours on this host use next.
pub fn chosen(host: &Host, registrar: &Host, pool: &str) -> Option<String> {
    let first = resolution(host, registrar, pool, 1).into_iter().next()?;
    Some(first["id"].as_str()?.to_owned())
}

/// Where this registrar says that the elements of a pool serve.
pub fn served_at(host: &Host, registrar: &Host, pool: &str) -> Vec<String> {
    let text = |element: &serde_json::Value| element["transport"].as_str().unwrap_or_default().to_owned();
    resolution(host, registrar, pool, 128).iter().map(text).collect()
}

/// What this registrar answers to a user of ours on this host that asks for so many elements of a pool.
fn resolution(host: &Host, registrar: &Host, pool: &str, items: u32) -> Vec<serde_json::Value> {
    host.mark("ours");
    let (at, items) = (format!("sctp://{}", registrar.ip()), items.to_string());
    let words = ["resolve", pool, "--items", &items, "--registrar", &at, "--json"];
    let output = host.command(env!("CARGO_BIN_EXE_rsp"), words).output().expect("starts");
    if output.status.code() == Some(4) {
        return Vec::new();
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rsp resolve {pool} at {at}: {}: {complaint}", output.status);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    document["elements"].as_array().expect("a list").clone()
}

/// Waits until a registrar of either kind tells exactly this about a pool.
pub fn knows(host: &Host, registrar: &Host, pool: &str, elements: &[&str]) {
    let found = || resolved(host, registrar, pool);
    eventually(
        || format!("{} knows of '{pool}': {elements:?}; it knows {:?}", registrar.ip(), found()),
        || (found() == elements).then_some(()),
    );
}

/// A program of RSPLIB with these arguments.
pub fn theirs(host: &Host, program: &str, arguments: &[&str]) -> Program {
    host.start(program, [arguments, LOG].concat())
}

/// The same, for a program that is told something on its standard input.
pub fn theirs_talking(host: &Host, program: &str, arguments: &[&str]) -> Program {
    host.talk_to(program, [arguments, LOG].concat())
}

const LOG: &[&str] = &["-logcolor=off", "-loglevel=4"];

/// A registrar of RSPLIB with this identifier, with timers as short as it permits.
pub fn their_registrar(host: &Host, id: &str, more: &[&str]) -> Program {
    let (asap, enrp) = (format!("-asap={}:3863", host.ip()), format!("-enrp={}:9901", host.ip()));
    let id = format!("-identifier=0x{id}");
    let words = [
        id.as_str(),
        &asap,
        &enrp,
        "-disable-ipv6",
        "-peerheartbeatcycle=1000",
        "-peermaxtimelastheard=2000",
        "-peermaxtimenoresponse=1000",
        "-takeoverexpiryinterval=2000",
        "-endpointkeepalivetransmissioninterval=1000",
        "-endpointkeepalivetimeoutinterval=2000",
    ];
    theirs(host, "rspregistrar", &[&words, more].concat())
}

/// The same, at both addresses of a host in two networks.
pub fn their_registrar_in_two_networks(host: &Host, id: &str) -> Program {
    let at = |port: u16| format!("{}:{port},{}", host.ip_in(1), host.ip_in(2));
    // The last one of an option given twice counts.
    their_registrar(host, id, &[&format!("-asap={}", at(3863)), &format!("-enrp={}", at(9901))])
}

/// It serves at once, but is silent until it has looked for others for 5 s.
pub fn ready(registrar: &mut Program) {
    registrar.says("The registrar is ready!");
}

/// The option that makes a registrar of RSPLIB know this one.
pub fn their_peer(host: &Host) -> String {
    format!("-peer={}:9901", host.ip())
}

/// An element of RSPLIB with this service and identifier, at this registrar.
pub fn their_element(host: &Host, service: &str, id: &str, registrar: &Host, more: &[&str]) -> Program {
    let registrar = format!("-registrar={}:3863", registrar.ip());
    let (service, id) = (format!("-{service}"), format!("-identifier=0x{id}"));
    theirs(host, "rspserver", &[&[service.as_str(), &id, &registrar, "-asapannounce=off"], more].concat())
}

/// So many hosts in two networks, whose kernels notice a dead path within a second.
pub fn on_two_networks(hosts: usize) -> Plan {
    Plan::hosts(hosts)
        .networks(2)
        .parameter("net/sctp/rto_min", 200)
        .parameter("net/sctp/rto_initial", 300)
        .parameter("net/sctp/hb_interval", 500)
        .parameter("net/sctp/path_max_retrans", 1)
}

/// A user of RSPLIB that has pictures computed, one after the other, into `picture-000001.png` and so on of this folder.
pub fn their_fractal_user(host: &Host, registrar: &Host, folder: &Path) -> Program {
    let registrar = format!("-registrar={}:3863", registrar.ip());
    let words = [
        "QT_QPA_PLATFORM=offscreen",
        "fractalpooluser",
        &registrar,
        "-imagestorageprefix=picture-",
        "-configdir=/usr/share/fgpconfig",
        "-width=64",
        "-height=64",
        "-interimagetime=1",
    ];
    let mut command = host.command("env", [&words, LOG].concat());
    // It has no room for a long name of a file.
    command.current_dir(folder);
    host.spawn("fractalpooluser", command)
}

/// An archive with a script that leaves a line as its output: the option of RSPLIB's user that names it, and the option
/// and the path of the output.
pub fn script(folder: &Path) -> (String, (String, PathBuf)) {
    let run = folder.join("ssrun");
    fs::write(&run, "#!/bin/sh\necho made by a script >\"$1\"\n")
        .expect("the row's folder can be written to");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).expect("ours");
    let (input, output) = (folder.join("input.tar.gz"), folder.join("output.data"));
    let status = Command::new("tar").arg("-C").arg(folder).arg("-czf").arg(&input).arg("./ssrun").status();
    assert!(status.is_ok_and(|status| status.success()));
    (format!("-input={}", input.display()), (format!("-output={}", output.display()), output))
}

/// Fails if tshark finds anything malformed that one of our hosts sent. Over TCP it knows no frames around ASAP.
pub fn nothing_malformed_of_ours(row: &Path) {
    let addresses = fs::read_to_string(row.join("ours")).unwrap_or_default();
    let (v6, v4): (Vec<&str>, Vec<&str>) = addresses.lines().partition(|line| line.contains(':'));
    if v4.is_empty() {
        return;
    }
    let capture = row.join("capture.pcapng");
    let from_us = format!("(ip.src in {{{}}} || ipv6.src in {{{}}})", v4.join(","), v6.join(","));
    let messages = MESSAGES.join(" || ");
    // It takes everything at the UDP ports 3863 and 9901 for ASAP and ENRP. Only announcements are; the rest is SCTP over UDP,
    // whose ports have the number of its SCTP ports.
    let groups = "ip.dst == 224.0.0.0/4 || ipv6.dst == ff00::/8";
    let mistaken = format!("udp && !sctp && (asap || enrp) && !({groups})");
    let malformed = "_ws.malformed || _ws.expert.group == \"Malformed\"";
    let fields = ["frame.number", "_ws.col.Protocol", "_ws.col.Info", "_ws.expert.message"];
    let bad = packets(
        &capture,
        &format!("!tcp && !({mistaken}) && {from_us} && ({messages}) && ({malformed})"),
        &fields,
    );
    let name = capture.display();
    assert!(bad.is_empty(), "tshark finds malformed messages of ours in {name}:\n{}", bad.join("\n"));
}

/// What tshark knows of ASAP, ENRP, CSP and the services.
const MESSAGES: &[&str] = &[
    "asap",
    "enrp",
    "componentstatusprotocol",
    "calcappprotocol",
    "fractalgeneratorprotocol",
    "pingpongprotocol",
    "ssp",
];
