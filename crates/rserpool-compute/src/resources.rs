//! What a worker has besides slots, and what a task needs of it: named amounts (`gpu=1`, `mem=8G`) and tags (`ssd`).
//!
//! Names mean what the people of a pool agree on; nothing here looks at the machine. An amount that a task needs is taken
//! from the worker's while the task runs, so the sum of what runs never exceeds what was declared. A tag is had or not.
//!
//! ```text
//!   worker: gpu=2 mem=8G ssd       task: gpu=1 mem=2G tag:ssd
//!   on the wire and in print, in this order always: gpu=1,mem=2147483648,tag:ssd
//! ```

use crate::codec::{Reader, WireError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most octets of all names and amounts together, as written on the wire.
pub const RESOURCES_MAX: usize = 1024;

/// Most octets of a name.
pub const NAME_MAX: usize = 32;

/// Named amounts and tags: of a worker, or of what a task needs. Empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resources {
    /// By name; never 0.
    amounts: BTreeMap<String, u64>,
    tags: BTreeSet<String>,
}

impl Resources {
    /// Neither amounts nor tags.
    pub const NONE: Self = Self { amounts: BTreeMap::new(), tags: BTreeSet::new() };

    /// True if it is neither amount nor tag.
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty() && self.tags.is_empty()
    }

    /// Adds one as people write it: `NAME=AMOUNT` (a whole number, perhaps with K, M, G or T for powers of 1,024) or
    /// `tag:NAME`. What is wrong is told as "must …".
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let mut more = self.clone();
        let is_new = if let Some(tag) = text.strip_prefix("tag:") {
            more.tags.insert(name(tag)?.to_owned())
        } else if let Some((key, amount)) = text.split_once('=') {
            more.amounts.insert(name(key)?.to_owned(), amount_of(amount)?).is_none()
        } else {
            return Err("must be NAME=AMOUNT or tag:NAME".to_owned());
        };
        if !is_new {
            return Err("must be given once only".to_owned());
        }
        if more.to_string().len() > RESOURCES_MAX {
            return Err(format!("must, with all others, be at most {RESOURCES_MAX} octets"));
        }
        *self = more;
        Ok(())
    }

    /// True if whoever has this can serve who needs that.
    pub fn covers(&self, needs: &Self) -> bool {
        needs.tags.is_subset(&self.tags)
            && needs.amounts.iter().all(|(name, amount)| self.amount(name) >= *amount)
    }

    /// How much of this there is; 0 if it is not named.
    pub fn amount(&self, name: &str) -> u64 {
        self.amounts.get(name).copied().unwrap_or(0)
    }

    /// What is left of it after these amounts are taken. Tags are not used up.
    pub fn without<'a>(&self, taken: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut left = self.clone();
        for (name, amount) in taken.into_iter().flat_map(|one| &one.amounts) {
            if let Some(rest) = left.amounts.get_mut(name) {
                *rest = rest.saturating_sub(*amount);
            }
        }
        left
    }

    /// True if all of these can be taken from it at the same time.
    pub fn bears<'a>(&self, taken: impl IntoIterator<Item = &'a Self>) -> bool {
        let mut sums: BTreeMap<&str, u128> = BTreeMap::new();
        for (name, amount) in taken.into_iter().flat_map(|one| &one.amounts) {
            *sums.entry(name).or_default() += u128::from(*amount);
        }
        sums.into_iter().all(|(name, sum)| sum <= u128::from(self.amount(name)))
    }

    /// True if both want an amount of the same name: who takes one leaves less for the other.
    pub fn competes_with(&self, other: &Self) -> bool {
        self.amounts.keys().any(|name| other.amounts.contains_key(name))
    }

    /// The most of everything that any of these has; nobody may have all of it.
    pub fn best<'a>(of: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut best = Self::NONE;
        for one in of {
            best.tags.extend(one.tags.iter().cloned());
            for (name, &amount) in &one.amounts {
                let most = best.amounts.entry(name.clone()).or_default();
                *most = amount.max(*most);
            }
        }
        best
    }

    /// The part of these needs that is not covered, with what there is instead: "gpu=2 (at most gpu=1)". Empty if all
    /// is covered.
    pub fn lacks(&self, needs: &Self) -> String {
        let amounts = needs.amounts.iter().filter(|(name, amount)| self.amount(name) < **amount).map(
            |(name, &amount)| match self.amount(name) {
                0 => format!("{name}={}", Amount(amount)),
                most => format!("{name}={} (at most {})", Amount(amount), Amount(most)),
            },
        );
        let tags = needs.tags.difference(&self.tags).map(|tag| format!("tag:{tag}"));
        amounts.chain(tags).collect::<Vec<_>>().join(", ")
    }

    /// As people like to read it: `gpu=1 mem=2G tag:ssd`.
    pub fn display(&self) -> String {
        let amounts = self.amounts.iter().map(|(name, &amount)| format!("{name}={}", Amount(amount)));
        amounts.chain(self.tags.iter().map(|tag| format!("tag:{tag}"))).collect::<Vec<_>>().join(" ")
    }

    /// The one form on the wire: sorted, without repetition, amounts in full.
    pub(crate) fn parse(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let offset = body.offset();
        let text = body.text("octets of resources", RESOURCES_MAX)?;
        let mut parsed = Self::NONE;
        let all = text.split(',').filter(|_| !text.is_empty());
        let legal = all.into_iter().all(|one| parsed.add(one).is_ok()) && parsed.to_string() == text;
        if legal {
            return Ok(parsed);
        }
        Err(WireError::Invalid { offset, rule: "must be resources in their one form" })
    }
}

impl fmt::Display for Resources {
    /// As on the wire: `gpu=1,mem=2147483648,tag:ssd`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, amount) in &self.amounts {
            write!(f, "{comma}{name}={amount}")?;
            comma = ",";
        }
        for tag in &self.tags {
            write!(f, "{comma}tag:{tag}")?;
            comma = ",";
        }
        Ok(())
    }
}

/// An amount as people like to read it: in the largest power of 1,024 that divides it.
#[derive(Clone, Copy, Debug)]
pub struct Amount(pub u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(shift, _): &&(u32, &str)| self.0 > 0 && self.0.trailing_zeros() >= *shift;
        match UNITS.iter().rev().find(fits) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

const UNITS: [(u32, &str); 4] = [(10, "K"), (20, "M"), (30, "G"), (40, "T")];

/// An amount as people write it: a whole number above 0, perhaps with K, M, G or T (also KiB …) for powers of 1,024.
pub fn amount_of(text: &str) -> Result<u64, String> {
    let wrong = || "must have an amount above 0, such as 1 or 8G".to_owned();
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| wrong())?;
    let unit = unit.strip_suffix("iB").unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        _ => UNITS.iter().find(|(_, name)| *name == unit).ok_or_else(wrong)?.0,
    };
    number.checked_mul(1 << shift).filter(|amount| *amount > 0).ok_or_else(wrong)
}

fn name(text: &str) -> Result<&str, String> {
    let legal = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"._-".contains(&octet);
    if (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(legal) {
        return Ok(text);
    }
    Err(format!("must have a name of 1 to {NAME_MAX} of a-z, 0-9, '.', '_' and '-'"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::put_counted;

    fn resources(all: &[&str]) -> Resources {
        let mut made = Resources::NONE;
        all.iter().for_each(|one| made.add(one).expect(one));
        made
    }

    fn parsed(text: &str) -> Result<Resources, WireError> {
        let mut octets = Vec::new();
        put_counted(&mut octets, text.as_bytes());
        let mut body = Reader::new(&octets);
        let parsed = Resources::parse(&mut body)?;
        body.end().map(|()| parsed)
    }

    #[test]
    fn there_is_one_form_on_the_wire() {
        let some = resources(&["tag:ssd", "mem=2G", "gpu=1"]);
        assert_eq!(some.to_string(), "gpu=1,mem=2147483648,tag:ssd");
        assert_eq!(some.display(), "gpu=1 mem=2G tag:ssd");
        assert_eq!(parsed(&some.to_string()), Ok(some));
        assert_eq!(parsed(""), Ok(Resources::NONE));
        let illegal =
            ["mem=2G", "tag:ssd,gpu=1", "gpu=1,gpu=1", "gpu=1,", ",", "GPU=1", "gpu=0", "gpu=-1", "gpu"];
        for text in illegal {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_people_write_is_understood_or_explained() {
        for (text, amount) in
            [("1", 1), ("8G", 8 << 30), ("512MiB", 512 << 20), ("3K", 3072), ("2T", 2 << 40)]
        {
            assert_eq!(amount_of(text), Ok(amount), "{text}");
        }
        for text in ["", "0", "G", "1.5G", "-1", "8g", "8GB", "99999999999T", "1 G"] {
            assert!(amount_of(text).is_err(), "{text}");
        }
        let mut some = resources(&["gpu=1"]);
        assert_eq!(some.add("gpu=2"), Err("must be given once only".into()));
        assert_eq!(some.add("ssd"), Err("must be NAME=AMOUNT or tag:NAME".into()));
        assert!(some.add("tag:Ä").is_err_and(|why| why.starts_with("must have a name")));
        assert_eq!(some, resources(&["gpu=1"]), "what is refused changes nothing");
        let many =
            (0..200).map(|number| some.add(&format!("resource-{number}=1"))).collect::<Result<Vec<_>, _>>();
        assert!(many.is_err_and(|why| why.contains("1024")), "all together are bounded");
    }

    #[test]
    fn amounts_are_used_up_and_tags_are_not() {
        let has = resources(&["gpu=2", "mem=8G", "tag:ssd"]);
        let needs = resources(&["gpu=1", "tag:ssd"]);
        assert!(has.covers(&needs) && has.covers(&Resources::NONE) && !needs.covers(&has));
        let left = has.without([&needs, &needs]);
        assert_eq!(left.amount("gpu"), 0);
        assert!(!left.covers(&needs) && left.covers(&resources(&["mem=8G", "tag:ssd"])));
        assert_eq!(left.lacks(&needs), "gpu=1");
        assert!(has.bears([&needs, &needs]) && !has.bears([&needs, &needs, &needs]) && has.bears([]));
        assert!(needs.competes_with(&has) && !needs.competes_with(&resources(&["mem=1", "tag:ssd"])));
    }

    #[test]
    fn the_best_of_several_tells_how_far_it_is() {
        let best = Resources::best([&resources(&["gpu=1", "tag:ssd"]), &resources(&["gpu=3", "mem=1G"])]);
        assert_eq!(best, resources(&["gpu=3", "mem=1G", "tag:ssd"]));
        let needs = resources(&["gpu=4", "fpga=1", "mem=1G", "tag:hdd"]);
        assert_eq!(best.lacks(&needs), "fpga=1, gpu=4 (at most 3), tag:hdd");
        assert_eq!(best.lacks(&Resources::NONE), "");
    }
}
