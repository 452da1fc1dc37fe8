//! What options say, checked where it is read: each error names what is meant, with an example.

use rserpool::PoolHandle;
use rserpool_compute::Resources;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The name of a pool.
pub fn pool_handle(text: &str) -> Result<PoolHandle, String> {
    PoolHandle::new(text).ok_or_else(|| "a pool's name has 1 to 32 octets".into())
}

/// A need as it is given, in full: `gpu` is `gpu=1`.
pub(super) fn need(text: &str) -> Result<String, String> {
    let full = if text.contains(['=', ':']) { text.to_owned() } else { format!("{text}=1") };
    Resources::default().add(&full).map(|()| full)
}

/// An amount as it is given; what it says is checked here and read where it is used.
pub(super) fn amount(text: &str) -> Result<String, String> {
    match text.contains('=') {
        true => Resources::default().add(text).map(|()| text.to_owned()),
        false => Err("must be NAME=AMOUNT".into()),
    }
}

/// The name of a job.
pub(super) fn job_name(text: &str) -> Result<String, String> {
    match crate::jobs::folder::is_name(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("a job's name has 1 to 64 letters, digits and -_.+ and begins with a letter or digit".into())
        }
    }
}

/// The longest time that makes sense, in seconds: a year.
pub(super) const TIME_MAX: u64 = 365 * 24 * 3600;

/// Seconds as people write a time: `90`, `90s`, `15m`, `2h`; within these bounds.
pub(super) fn time(text: &str, bounds: RangeInclusive<u64>) -> Result<u64, String> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let count = text[..text.len() - unit.len()].parse::<u64>();
    let (Ok(count), "" | "s" | "m" | "h") = (count, unit) else {
        return Err("that is no time: write 90s, 15m or 2h".into());
    };
    let seconds = count.saturating_mul(match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    });
    if bounds.contains(&seconds) {
        return Ok(seconds);
    }
    let (least, hours) = (bounds.start(), bounds.end() / 3600);
    Err(format!("a time from {least}s to {hours}h is meant, such as 90s, 15m or 2h"))
}

/// A parser of whole numbers within these bounds.
pub fn number<T>(bounds: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| format!("write a whole number from {} to {}", bounds.start(), bounds.end()))
    }
}

/// The identifier of an element or a registrar.
pub fn identifier(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0x"), 16) {
        Ok(0) => Err("0 stands for nobody".into()),
        Ok(id) => Ok(id),
        Err(_) => Err("an identifier is up to 8 hexadecimal digits, such as 00c0ffee".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(
            ["0", "90", "90s", "15m", "2h"].map(|text| time(text, 0..=TIME_MAX)),
            [0, 90, 90, 900, 7200].map(Ok)
        );
        for wrong in
            ["", "s", "x", "1.5h", "-1", "3d", "ä", "9000h", "99999999999999999999", "9999999999999999999h"]
        {
            assert!(time(wrong, 0..=TIME_MAX).is_err(), "{wrong}");
        }
        assert!(time("0", 1..=TIME_MAX).is_err() && time("0m", 1..=TIME_MAX).is_err());
    }

    #[test]
    fn identifiers_are_hexadecimal_and_not_zero() {
        assert_eq!(identifier("00c0ffee"), Ok(0xc0ffee));
        assert_eq!(identifier("0x1"), Ok(1));
        assert!(identifier("0").is_err() && identifier("xyz").is_err() && identifier("123456789").is_err());
    }
}
