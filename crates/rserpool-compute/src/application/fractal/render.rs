//! The values of points, by the arithmetic of the reference: its signs and its bail-out, so that pictures are equal.

use super::{Algorithm, Parameter};

/// The value of a point: after how many iterations it left. `z := z² - c` (minus, not plus) until |z|² reaches 2.
pub fn iterate(parameter: &Parameter, x: u32, y: u32) -> u32 {
    let step = |from: f64, to: f64, points: u32| (to - from) / f64::from(points);
    let c_re = parameter.c1.0 + f64::from(x) * step(parameter.c1.0, parameter.c2.0, parameter.width);
    let c_im = parameter.c1.1 + f64::from(y) * step(parameter.c1.1, parameter.c2.1, parameter.height);
    let (mut re, mut im) = (0.0f64, 0.0f64);
    let leaves = |re: f64, im: f64| re * re + im * im >= 2.0;
    match parameter.algorithm {
        Algorithm::Other(_) => (u64::from(x) * u64::from(y) % 256) as u32,
        Algorithm::Mandelbrot => {
            for count in 0..parameter.iterations {
                (re, im) = (re * re - im * im - c_re, 2.0 * re * im - c_im);
                if leaves(re, im) {
                    return count;
                }
            }
            parameter.iterations
        }
        Algorithm::MandelbrotN => {
            for count in 0..parameter.iterations {
                let (power_re, power_im) = power(re, im, parameter.n);
                (re, im) = (power_re - c_re, power_im - c_im);
                if leaves(re, im) {
                    return count;
                }
            }
            parameter.iterations
        }
    }
}

/// A complex number to the power of a real one: 0 of 0. As the reference's library computes it, exp(n · ln z), with the same
/// care for the logarithm: points near the edge notice its last bit after some hundred iterations.
fn power(re: f64, im: f64, n: f64) -> (f64, f64) {
    if re == 0.0 && im == 0.0 {
        return (0.0, 0.0);
    }
    if im == 0.0 && re > 0.0 {
        return (re.powf(n), 0.0);
    }
    let (length, angle) = ((n * ln_length(re, im)).exp(), n * im.atan2(re));
    (length * angle.cos(), length * angle.sin())
}

/// ln |z|. Where |z| is near 1 the plain logarithm of the length loses digits, so there it is half of ln(1 + (|z|² - 1)).
fn ln_length(re: f64, im: f64) -> f64 {
    let (large, small) = (re.abs().max(im.abs()), re.abs().min(im.abs()));
    let beyond_one = if large == 1.0 {
        small * small
    } else if large > 1.0 && large < 2.0 && small < 1.0 {
        let product = (large - 1.0) * (large + 1.0);
        if small >= f64::EPSILON { product + small * small } else { product }
    } else if (0.5..1.0).contains(&large) && small < f64::EPSILON / 2.0 {
        (large - 1.0) * (large + 1.0)
    } else if (0.5..1.0).contains(&large) && large * large + small * small >= 0.5 {
        squares_beyond_one(large, small)
    } else {
        return large.hypot(small).ln();
    };
    beyond_one.ln_1p() / 2.0
}

/// x² + y² - 1 without losing digits to the cancellation: the squares and their rounding errors are added up exactly, as far
/// as that matters.
fn squares_beyond_one(x: f64, y: f64) -> f64 {
    let square = |x: f64| (x * x, x.mul_add(x, -(x * x)));
    let ((x2, x2_rest), (y2, y2_rest)) = (square(x), square(y));
    let mut parts = [x2, x2_rest, y2, y2_rest, -1.0];
    let by_size = |a: &f64, b: &f64| a.abs().total_cmp(&b.abs());
    parts.sort_by(by_size);
    for place in 0..parts.len() - 1 {
        // The sum of two, and what its rounding lost.
        let (small, large) = (parts[place], parts[place + 1]);
        let sum = large + small;
        (parts[place], parts[place + 1]) = ((large - sum) + small, sum);
        parts[place + 1..].sort_by(by_size);
    }
    parts.iter().rev().sum()
}

/// The values of a picture in order, from any point on.
#[derive(Clone, Copy, Debug)]
pub struct Points {
    parameter: Parameter,
    next: u64,
}

impl Points {
    /// Begins with the `from`-th point, row by row.
    pub fn new(parameter: Parameter, from: u64) -> Self {
        Self { parameter, next: from }
    }
}

impl Iterator for Points {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.next >= self.parameter.points() {
            return None;
        }
        let width = u64::from(self.parameter.width);
        let (x, y) = ((self.next % width) as u32, (self.next / width) as u32);
        self.next += 1;
        Some(iterate(&self.parameter, x, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// c = 0 stays at 0, c = 1.5 leaves with the first step (|−1.5|² ≥ 2), c = 1 goes 0, −1, 0, −1 and stays: by hand.
    #[test]
    fn values_are_what_a_pencil_finds() {
        let at = |c: f64, algorithm| {
            let parameter = Parameter {
                c1: (c, 0.0),
                c2: (c + 1.0, 1.0),
                iterations: 50,
                algorithm,
                ..Parameter::default()
            };
            iterate(&parameter, 0, 0)
        };
        for algorithm in [Algorithm::Mandelbrot, Algorithm::MandelbrotN] {
            assert_eq!(at(0.0, algorithm), 50);
            assert_eq!(at(1.5, algorithm), 0);
            assert_eq!(at(1.0, algorithm), 50);
            // c = -0.5: 0.5, 0.75, 1.0625, 1.6289...: |z|² ≥ 2 with the fourth.
            assert_eq!(at(-0.5, algorithm), 3);
        }
        let pattern = Parameter { algorithm: Algorithm::Other(9), ..Parameter::default() };
        assert_eq!(iterate(&pattern, 30, 20), 600 % 256);
    }

    /// Points that RSPLIB's element sent, captured; each is one where the plain logarithm gives another value.
    #[test]
    fn values_are_those_of_the_reference() {
        let parameter = |width, height, corners: [u64; 4]| {
            let [c1_re, c1_im, c2_re, c2_im] = corners.map(f64::from_bits);
            let (c1, c2) = ((c1_re, c1_im), (c2_re, c2_im));
            Parameter { width, height, iterations: 1_000, algorithm: Algorithm::MandelbrotN, c1, c2, n: 3.0 }
        };
        let one = parameter(
            80,
            60,
            [0xbfcb_159d_244a_6d3c, 0x3ff3_75fa_bdc8_8490, 0xbfcb_159c_d446_b285, 0x3ff3_75fa_b648_2b0e],
        );
        for (x, y, value) in [(2, 2, 299), (21, 4, 389), (73, 4, 570), (15, 5, 368)] {
            assert_eq!(iterate(&one, x, y), value, "at {x}, {y}");
        }
        let two = parameter(
            200,
            74,
            [0x3fce_1701_0dd6_b343, 0x3ff2_9eec_e3a4_61c3, 0x3fce_1701_6299_4c3e, 0x3ff2_9eec_dbb2_236c],
        );
        for (x, y, value) in [(28, 9, 147), (125, 11, 105), (74, 34, 154), (120, 35, 125)] {
            assert_eq!(iterate(&two, x, y), value, "at {x}, {y}");
        }
    }

    #[test]
    fn points_go_on_anywhere() {
        let parameter = Parameter { width: 7, height: 5, iterations: 20, ..Parameter::default() };
        let all: Vec<u32> = Points::new(parameter, 0).collect();
        assert_eq!(all.len(), 35);
        for from in 0..=36 {
            assert_eq!(Points::new(parameter, from).collect::<Vec<_>>(), all[all.len().min(from as usize)..]);
        }
    }
}
