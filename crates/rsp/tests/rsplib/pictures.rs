//! Pictures out of captures: what fractal users had computed, from the first point to the last.

use crate::pcap::{self, Protocol};
use rserpool_compute::application::fractal::{self, Message, PPID, Parameter, Points};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

/// A picture that a user asked for.
pub struct Picture {
    parameter: Parameter,
    values: Vec<Option<u32>>,
    /// The element said that this is all.
    ended: bool,
}

impl Picture {
    /// How many of its points were not sent, or are not what our formula gives.
    fn wrong(&self) -> usize {
        let ours = Points::new(self.parameter, 0);
        self.values.iter().zip(ours).filter(|(sent, ours)| **sent != Some(*ours)).count()
    }
}

/// The pictures of this user, one after the other. Its sessions must be one at a time.
fn pictures(row: &Path, user: Ipv4Addr) -> Vec<Picture> {
    let (capture, few) = (row.join("capture.pcapng"), row.join("pictures.pcap"));
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", "fractalgeneratorprotocol", "-F", "pcap", "-w"]).arg(&few);
    let output = command.output().expect("tshark is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut pictures: Vec<Picture> = Vec::new();
    for message in pcap::messages(&std::fs::read(few).expect("written above")) {
        if message.protocol != Protocol::Other(PPID.0) {
            continue;
        }
        match Message::parse(&message.octets) {
            Ok(Message::Parameter(parameter)) if message.from == user => {
                let values = vec![None; parameter.points() as usize];
                pictures.push(Picture { parameter, values, ended: false });
            }
            Ok(Message::Data { at, values }) if message.to == user => {
                let picture = pictures.last_mut().expect("points of a picture that was asked for");
                let width = picture.parameter.width as usize;
                let first = at.1 as usize * width + at.0 as usize;
                for (place, value) in values.into_iter().enumerate() {
                    picture.values[first + place] = Some(value);
                }
            }
            Ok(Message::End) => pictures.last_mut().expect("the end of one asked for").ended = true,
            other => panic!("{message}: {other:?}"),
        }
    }
    pictures
}

/// Fails unless this user got so many whole pictures, every point of them as our formula gives it.
pub fn finished(row: &Path, user: &str, count: usize) {
    let all = pictures(row, user.parse().expect("an address"));
    let ended: Vec<&Picture> = all.iter().filter(|picture| picture.ended).collect();
    assert!(ended.len() >= count, "{} of {} pictures were finished", ended.len(), all.len());
    for picture in ended {
        let (points, fractal::Parameter { algorithm, n, .. }) = (picture.values.len(), picture.parameter);
        let wrong = picture.wrong();
        assert_eq!(wrong, 0, "of {points} points ({algorithm:?}, n = {n}) so many are missing or differ");
    }
}
