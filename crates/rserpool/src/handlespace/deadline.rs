//! Turns by weight, spread as evenly as possible (RFC 5356 §4.2.2).
//!
//! Think of a round as a ring of length 1. An element of weight `w` has `w` points on it, in the middle of `w` equal
//! arcs, and the selection walks around the ring from point to point, the one not selected for longest first where
//! points coincide:
//!
//! ```text
//!   weight 4   |  C     C     C     C  |
//!   weight 2   |     B           B     |      C B C A C B C
//!   weight 1   |           A           |
//! ```
//!
//! So each round selects each element exactly as often as its weight says, newcomers included from where the walk is,
//! and no element has anything to remember but its next point. With all weights 1 this is round robin.

/// A point of the walk: how many rounds before, and where in the round, in parts of 2^-64.
pub(super) type Deadline = (u64, u64);

/// The first point of an element with this weight strictly after `now`. The weight must not be 0.
pub(super) fn next_after((round, part): Deadline, weight: u32) -> Deadline {
    // The points are (2n + 1) / 2w for n = 0 .. w, rounded down to parts. Rounding never swaps or joins two points of
    // one element (they are 2^32 parts apart or more), and equal points of two elements stay equal.
    let weight = u128::from(weight);
    let half_arcs = ((u128::from(part) + 1) * weight).div_ceil(1 << 63);
    let point = half_arcs / 2;
    if point < weight {
        (round, (((2 * point + 1) << 63) / weight) as u64)
    } else {
        next_after_round(round, weight)
    }
}

fn next_after_round(round: u64, weight: u128) -> Deadline {
    (round + 1, ((1 << 63) / weight) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_of_a_weight_are_the_middles_of_its_arcs() {
        let eighth = 1 << 61;
        assert_eq!(next_after((0, 0), 4), (0, eighth));
        assert_eq!(next_after((0, eighth - 1), 4), (0, eighth));
        assert_eq!(next_after((0, eighth), 4), (0, 3 * eighth));
        assert_eq!(next_after((0, 7 * eighth), 4), (1, eighth));
        assert_eq!(next_after((6, u64::MAX), 1), (7, 1 << 63));
    }

    #[test]
    fn a_round_has_as_many_points_as_the_weight() {
        for weight in [1, 2, 3, 7, 10, 641, 65_537] {
            let mut now = (5, 0);
            for _ in 0..weight {
                let next = next_after(now, weight);
                assert!(next > now && next.0 == 5, "weight {weight}");
                now = next;
            }
            assert_eq!(next_after(now, weight).0, 6, "weight {weight}");
        }
    }

    #[test]
    fn the_largest_weight_goes_step_by_step_too() {
        let mut now = (0, u64::MAX - (1 << 40));
        let mut points = 0;
        while now.0 == 0 {
            let next = next_after(now, u32::MAX);
            assert!(next > now);
            now = next;
            points += 1;
        }
        assert_eq!(points, 257);
    }
}
