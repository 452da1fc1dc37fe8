//! Registrar and worker on two hosts: network namespaces of this test's own, joined by a virtual cable.
//!
//! Making them needs the rights of root. Without them the test says so and is skipped; where `CI` is set that is a
//! failure, so that it cannot go missing unnoticed.

mod common;

use common::{Server, finish};
use std::process::{Command, Output};

/// Two hosts with a cable between them. Both disappear with the value.
struct Hosts {
    left: String,
    right: String,
    number: String,
}

const LEFT: &str = "10.77.0.1";
const RIGHT: &str = "10.77.0.2";

fn ip(words: &str) -> Output {
    Command::new("ip").args(words.split_whitespace()).output().expect("iproute2 is installed")
}

impl Hosts {
    /// `None`: not permitted here.
    fn new(test: &str) -> Option<Self> {
        let number = format!("{}{test}", std::process::id());
        let hosts =
            Self { left: format!("rsp-l{number}"), right: format!("rsp-r{number}"), number: number.clone() };
        let (left, right) = (&hosts.left, &hosts.right);
        let plan = [
            format!("netns add {left}"),
            format!("netns add {right}"),
            format!("link add v{number}l netns {left} type veth peer name v{number}r netns {right}"),
            format!("-n {left} address add {LEFT}/24 dev v{number}l"),
            format!("-n {right} address add {RIGHT}/24 dev v{number}r"),
            format!("-n {left} link set v{number}l up"),
            format!("-n {right} link set v{number}r up"),
            format!("-n {left} link set lo up"),
            format!("-n {right} link set lo up"),
        ];
        for step in plan {
            let output = ip(&step);
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(std::env::var_os("CI").is_none(), "cannot make network namespaces: ip {step}: {why}");
                eprintln!("skipped: cannot make network namespaces here: {}", why.trim());
                return None;
            }
        }
        Some(hosts)
    }

    /// `rsp` on this host.
    fn rsp(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", host, env!("CARGO_BIN_EXE_rsp")]).args(arguments);
        command.env_remove("RSP_REGISTRAR");
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.left));
        ip(&format!("netns delete {}", self.right));
    }
}

#[test]
fn a_worker_on_another_host_serves_the_pool() {
    let Some(hosts) = Hosts::new("a") else { return };
    let (left, right) = (hosts.left.as_str(), hosts.right.as_str());
    let mut registrar = Server::of(hosts.rsp(left, &["registrar", "--listen", LEFT, "--verbose"]));

    // Without an address of its own the worker would announce one that nobody else reaches.
    let said = finish(hosts.rsp(right, &["worker", "--registrar", LEFT]), b"");
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert!(said.stderr.contains(&format!("--listen {RIGHT}")), "{}", said.stderr);

    let words = ["worker", "--registrar", LEFT, "--listen", RIGHT, "--id", "0000000a", "--slots", "1"];
    let worker = Server::of(hosts.rsp(right, &words));
    assert!(worker.serving.contains(&format!("tcp://{RIGHT}:")), "{}", worker.serving);
    registrar.line_with("0000000a joined");

    // The client is on the registrar's host; the task runs on the other one, in a fresh folder.
    let words = ["run", "--registrar", LEFT, "--", "sh", "-c", "ip -br address; ls | wc -l", ":::", "x"];
    let said = finish(hosts.rsp(left, &words), b"");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(said.text().contains(RIGHT) && !said.text().contains(LEFT), "{}", said.text());
    assert!(said.text().ends_with("\n0\n"), "{}", said.text());

    // And the other way round: a client on the worker's host.
    let said =
        finish(hosts.rsp(right, &["run", "--registrar", LEFT, "--", "echo", "{}", ":::", "a", "b"]), b"");
    assert_eq!((said.code(), said.sorted()), (0, vec!["a".into(), "b".into()]), "{}", said.stderr);

    // The cable is cut: the registrar misses the worker's answers and forgets it, although no link was closed.
    let number = &hosts.number;
    assert!(ip(&format!("-n {left} link set v{number}l down")).status.success());
    let line = registrar.line_with("0000000a left");
    assert!(!line.contains("deregistered"), "{line}");

    // It is mended: the worker comes back by itself.
    assert!(ip(&format!("-n {left} link set v{number}l up")).status.success());
    registrar.line_with("0000000a joined");
}

#[test]
fn registrars_workers_and_users_find_each_other_by_multicast() {
    let Some(hosts) = Hosts::new("b") else { return };
    let (left, right) = (hosts.left.as_str(), hosts.right.as_str());
    for host in [left, right] {
        assert!(
            ip(&format!("-n {host} route add 239.0.0.0/8 dev v{}{}", hosts.number, &host[4..5]))
                .status
                .success()
        );
    }
    let words = ["registrar", "--listen", LEFT, "--discover", "--id", "00000001", "--verbose"];
    let mut first = Server::of(hosts.rsp(left, &words));
    let words = ["registrar", "--listen", RIGHT, "--discover", "--id", "00000002", "--verbose"];
    let mut second = Server::of(hosts.rsp(right, &words));
    first.line_with("00000002");
    second.line_with("00000001");
    // Neither worker nor user is told where a registrar is: nobody listens at the usual place of their host.
    let words = ["worker", "--discover", "--listen", RIGHT, "--id", "0000000a", "--slots", "1"];
    let _worker = Server::of(hosts.rsp(right, &words));
    first.line_with("0000000a joined");
    let said = finish(hosts.rsp(left, &["run", "--discover", "--", "echo", "{}", ":::", "found"]), b"");
    assert_eq!((said.code(), said.text()), (0, "found\n".into()), "{}", said.stderr);
}
