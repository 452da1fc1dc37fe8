//! Who has a port: from the tables in `/proc/net` to the process that holds the socket.

use std::fs;

/// The process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    pub name: String,
}

/// The tables the kernel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Tcp,
    Udp,
    Sctp,
}

/// Whether somebody listens at this port, at any address; and who, as far as this user may know.
pub fn of(table: Table, port: u16) -> Option<Option<Owner>> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let inodes = match table {
        Table::Tcp => {
            [inet(&read("/proc/net/tcp"), port, true), inet(&read("/proc/net/tcp6"), port, true)].concat()
        }
        Table::Udp => {
            [inet(&read("/proc/net/udp"), port, false), inet(&read("/proc/net/udp6"), port, false)].concat()
        }
        Table::Sctp => sctp(&read("/proc/net/sctp/eps"), port),
    };
    (!inodes.is_empty()).then(|| inodes.iter().find_map(|&inode| holder(inode)))
}

/// Inodes of the sockets at this port in `/proc/net/{tcp,udp}`; of TCP only those that listen.
fn inet(table: &str, port: u16, listening: bool) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local = words.get(1)?.rsplit_once(':')?.1;
        let wanted = u16::from_str_radix(local, 16) == Ok(port) && (!listening || *words.get(3)? == LISTEN);
        words.get(9).filter(|_| wanted)?.parse().ok()
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// Inodes of the endpoints at this port in `/proc/net/sctp/eps`. Its columns have names.
fn sctp(table: &str, port: u16) -> Vec<u64> {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let column = |name| names.iter().position(|one| *one == name);
    let (Some(ports), Some(inodes)) = (column("LPORT"), column("INODE")) else { return Vec::new() };
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(ports)?.parse() == Ok(port)).then(|| words.get(inodes)?.parse().ok())?
    };
    lines.filter_map(socket).collect()
}

/// The process that holds the socket with this inode. Other users' processes are only shown to root.
fn holder(inode: u64) -> Option<Owner> {
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str());
        if files.flatten().any(holds) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Owner { pid, name: name.trim().to_owned() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let owner = of(Table::Tcp, port).expect("somebody listens").expect("this process may look at itself");
        assert_eq!(owner.pid, std::process::id());
        let socket =
            std::net::UdpSocket::bind("[::1]:0").or_else(|_| std::net::UdpSocket::bind("127.0.0.1:0"));
        let port = socket.as_ref().expect("a free port").local_addr().expect("bound").port();
        assert_eq!(of(Table::Udp, port).flatten().map(|owner| owner.pid), Some(std::process::id()));
        drop(socket);
        assert_eq!(of(Table::Udp, port), None);
    }

    #[test]
    fn an_sctp_endpoint_is_found_whatever_columns_there_are() {
        let table = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n\
                     86b4 86a3 2 10 1 3863 0 4711 10.1.0.1 10.2.0.1\n\
                     86b5 86a4 2 10 1 9901 0 4712 10.1.0.1 \n";
        assert_eq!(sctp(table, 9901), [4712]);
        assert!(sctp(table, 1).is_empty());
        assert!(sctp("", 9901).is_empty());
    }
}
