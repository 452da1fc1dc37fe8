//! The fractal generator (PPID 32): a user asks for a picture, an element sends the iteration counts of its points, with
//! cookies that say how far it has come.
//!
//! ```text
//!   Parameter  1 | width height iterations algorithm (u32) | C1 C2 (complex) | N     binary64, network order
//!   Data       2 | start x, start y, points (u32) | a u32 for each point             at most 324 points
//!   End        Data with start x = start y = all ones, points = 0
//!   Cookie     "<FG-TD1>" | Parameter | x, y (u32)
//!
//!   user -- Parameter --> element; element: cookie at 0/0, then Data and cookies, then End
//! ```
//!
//! `render.rs` computes points as the reference does, `server.rs` is the element, `client.rs` the user, which splits a
//! picture among several sessions. The other pictures of this crate, [`crate::fractal`], have colours of their own.

mod client;
mod render;
mod server;

pub use client::{Painted, Painter, PainterConfig, PainterEvent, PainterFact, Part, colour};
pub use render::{Points, iterate};
pub use server::{Compute, Computed, Config, Generator, RunId};

use super::parse_header;
use crate::codec::{Reader, WireError};
use rserpool::Ppid;

/// The payload protocol of its messages.
pub const PPID: Ppid = Ppid(32);

/// Largest width and height.
pub const SIDE_MAX: u32 = 65_536;
/// Most iterations per point.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Most points in a message.
pub const POINTS_MAX: usize = 324;

const COOKIE_NAME: &[u8; 8] = b"<FG-TD1>";
/// Size of a Parameter message.
const PARAMETER: usize = 60;

/// What is computed for each point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// z := z² - c.
    Mandelbrot,
    /// z := z^N - c.
    MandelbrotN,
    /// Any other number: a pattern, x · y mod 256.
    Other(u32),
}

impl Algorithm {
    fn of(code: u32) -> Self {
        match code {
            1 => Self::Mandelbrot,
            2 => Self::MandelbrotN,
            other => Self::Other(other),
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::Mandelbrot => 1,
            Self::MandelbrotN => 2,
            Self::Other(code) => code,
        }
    }
}

/// A picture to compute. Only [`Parameter::check`]ed ones are parsed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Points from left to right, 1 to [`SIDE_MAX`].
    pub width: u32,
    /// Points from top to bottom, 1 to [`SIDE_MAX`].
    pub height: u32,
    /// A point that is still bounded after so many counts as inside; 0 to [`ITERATIONS_MAX`].
    pub iterations: u32,
    /// What is computed.
    pub algorithm: Algorithm,
    /// The point of the upper left corner: real, imaginary.
    pub c1: (f64, f64),
    /// The point beyond the lower right corner.
    pub c2: (f64, f64),
    /// The exponent of MandelbrotN.
    pub n: f64,
}

impl Default for Parameter {
    /// What the reference draws without a file: the whole set, 400 x 250 points.
    fn default() -> Self {
        Self {
            width: 400,
            height: 250,
            iterations: 1024,
            algorithm: Algorithm::Mandelbrot,
            c1: (-1.5, 1.5),
            c2: (1.5, -1.5),
            n: 2.0,
        }
    }
}

impl Parameter {
    /// What is wrong with it, if anything, as "must …".
    pub fn check(&self) -> Result<(), &'static str> {
        let sides = 1..=SIDE_MAX;
        if !sides.contains(&self.width) || !sides.contains(&self.height) {
            Err("must have width and height of 1 to 65536")
        } else if self.iterations > ITERATIONS_MAX {
            Err("must have at most 1000000 iterations")
        } else {
            Ok(())
        }
    }

    /// How many points it has.
    pub fn points(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    fn parse_body(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let offset = body.offset();
        let [width, height, iterations, algorithm] = [body.u32()?, body.u32()?, body.u32()?, body.u32()?];
        let mut number = || body.array().map(f64::from_be_bytes);
        let (c1, c2) = ((number()?, number()?), (number()?, number()?));
        let algorithm = Algorithm::of(algorithm);
        let parameter = Self { width, height, iterations, algorithm, c1, c2, n: number()? };
        parameter.check().map_err(|rule| WireError::Invalid { offset, rule })?;
        Ok(parameter)
    }

    fn emit(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(PARAMETER);
        for number in [self.width, self.height, self.iterations, self.algorithm.code()] {
            body.extend(number.to_be_bytes());
        }
        for number in [self.c1.0, self.c1.1, self.c2.0, self.c2.1, self.n] {
            body.extend(number.to_be_bytes());
        }
        super::emit(1, 0, &body)
    }
}

/// What the two sides say.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Compute this.
    Parameter(Parameter),
    /// Points of the picture, from this one on, row by row.
    Data {
        /// The place of the first one.
        at: (u32, u32),
        /// Their values, 1 to [`POINTS_MAX`].
        values: Vec<u32>,
    },
    /// That is all.
    End,
}

impl Message {
    /// The message these octets are.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (kind, _, mut body) = parse_header(bytes)?;
        match kind {
            1 => Ok(Self::Parameter(Parameter::parse_body(&mut body)?)),
            2 => {
                let at = (body.u32()?, body.u32()?);
                let count = body.count("points", POINTS_MAX)?;
                if count == 0 && at == (u32::MAX, u32::MAX) {
                    return Ok(Self::End);
                }
                if count == 0 {
                    return Err(WireError::Invalid { offset: 12, rule: "must be at least one point" });
                }
                let values = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
                Ok(Self::Data { at, values })
            }
            _ => Err(WireError::Unknown { offset: 0, what: "message", found: kind.into() }),
        }
    }

    /// Its octets.
    pub fn emit(&self) -> Vec<u8> {
        match self {
            Self::Parameter(parameter) => parameter.emit(),
            Self::Data { at, values } => {
                debug_assert!((1..=POINTS_MAX).contains(&values.len()), "{} points", values.len());
                let mut body: Vec<u8> =
                    [at.0, at.1, values.len() as u32].into_iter().flat_map(u32::to_be_bytes).collect();
                body.extend(values.iter().flat_map(|value| value.to_be_bytes()));
                super::emit(2, 0, &body)
            }
            Self::End => super::emit(2, 0, &[&[0xff; 8][..], &[0; 4]].concat()),
        }
    }
}

/// How far a picture has come: what a cookie says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// The picture.
    pub parameter: Parameter,
    /// The point to go on with; it may have been sent already.
    pub at: (u32, u32),
}

impl Progress {
    /// What a cookie says. The length its Parameter states is passed over: the reference writes 4.
    pub fn parse(cookie: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(cookie);
        if reader.array::<8>()? != *COOKIE_NAME {
            return Err(WireError::Invalid { offset: 0, rule: "must be <FG-TD1>" });
        }
        let _header = reader.u32()?;
        let parameter = Parameter::parse_body(&mut reader)?;
        let at = (reader.u32()?, reader.u32()?);
        reader.end()?;
        Ok(Self { parameter, at })
    }

    /// The cookie that says this: 76 octets.
    pub fn emit(&self) -> Vec<u8> {
        [&COOKIE_NAME[..], &self.parameter.emit(), &self.at.0.to_be_bytes(), &self.at.1.to_be_bytes()]
            .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    fn of_the_capture() -> Parameter {
        let number = |bits: u64| f64::from_bits(bits);
        Parameter {
            width: 200,
            height: 90,
            iterations: 1000,
            algorithm: Algorithm::Mandelbrot,
            c1: (number(0x3ff2_9518_1b1c_9b6b), number(0x3fd2_2dd7_4a2b_6a08)),
            c2: (number(0x3ff2_9518_1b1b_86cb), number(0x3fd2_2dd7_4a2e_a7e8)),
            n: 2.0,
        }
    }

    const CAPTURED: &str = "000000c8 0000005a 000003e8 00000001 3ff295181b1c9b6b 3fd22dd74a2b6a08 3ff295181b1b86cb \
                            3fd22dd74a2ea7e8 4000000000000000";

    /// Octets seen between programs of the reference.
    #[test]
    fn messages_are_those_of_the_reference() {
        let parameter = Message::Parameter(of_the_capture());
        let octets = hex(&format!("0100003c {CAPTURED}"));
        assert_eq!((parameter.emit(), Message::parse(&octets)), (octets, Ok(parameter)));
        let end = hex("02000010 ffffffff ffffffff 00000000");
        assert_eq!((Message::End.emit(), Message::parse(&end)), (end, Ok(Message::End)));
        let data = Message::Data { at: (79, 32), values: vec![7; POINTS_MAX] };
        let octets = data.emit();
        assert_eq!(octets[..16], hex("02000520 0000004f 00000020 00000144"));
        assert_eq!(Message::parse(&octets), Ok(data));
        for cut in 0..octets.len() {
            assert!(Message::parse(&octets[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn cookies_are_those_of_the_reference_whatever_length_they_state() {
        let theirs = hex(&format!("3c46472d5444313e 01000004 {CAPTURED} 0000004f 00000020"));
        let progress = Progress { parameter: of_the_capture(), at: (79, 32) };
        assert_eq!(Progress::parse(&theirs), Ok(progress));
        let ours = progress.emit();
        assert_eq!((ours.len(), &ours[8..12]), (76, &hex("0100003c")[..]));
        assert_eq!(Progress::parse(&ours), Ok(progress));
        for cut in 0..ours.len() {
            assert!(Progress::parse(&ours[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(Progress::parse(&[&ours[..], &[0]].concat()), Err(WireError::Trailing { .. })));
    }

    #[test]
    fn pictures_and_messages_above_the_limits_are_refused() {
        let large = |width, height, iterations| {
            let parameter = Parameter { width, height, iterations, ..Parameter::default() };
            Message::parse(&parameter.emit()).is_ok()
        };
        assert!(large(SIDE_MAX, SIDE_MAX, ITERATIONS_MAX));
        assert!(!large(SIDE_MAX + 1, 1, 1) && !large(1, 0, 1) && !large(1, 1, ITERATIONS_MAX + 1));
        let many = hex("02000010 00000000 00000000 00000145");
        assert!(matches!(Message::parse(&many), Err(WireError::TooLarge { found: 325, limit: 324, .. })));
        let none = hex("02000010 00000000 00000000 00000000");
        assert!(matches!(Message::parse(&none), Err(WireError::Invalid { offset: 12, .. })));
    }
}
