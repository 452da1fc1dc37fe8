//! From `./render --frame {} ::: 1 2 3` to the argument lists of the tasks.
//!
//! There is no shell: a task is a list of arguments, and a value stays one argument whatever it contains.
//!
//! * `{}` stands for the task's values: as an argument of its own for all of them, one argument each; inside an
//!   argument (`--size={}`) for all of them with spaces between.
//! * `{1}`, `{2}`, … stand for the value of the first, second, … source.
//! * `{in}` stands for the files of `--each`, by their names in the task's folder.
//! * `{7}` without a seventh source is text.
//! * Without any of these the values are appended; files of `--each` by their names in the task's folder.
//! * Several sources multiply; the last one turns fastest, as in GNU parallel.

use crate::files::names::in_task;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A command with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    arguments: Vec<Vec<u8>>,
    append: bool,
    /// Where values of `--each` begin.
    each: Option<usize>,
}

/// Splits what stands behind `--` at each `:::` into the command and its sources of values.
pub fn split(words: Vec<OsString>) -> (Vec<OsString>, Vec<Vec<OsString>>) {
    let mut parts = words.split(|word| word == ":::").map(<[OsString]>::to_vec);
    let command = parts.next().unwrap_or_default();
    (command, parts.collect())
}

/// All combinations of the values of the sources, the last source turning fastest. No source: one empty combination;
/// an empty source: none.
pub fn combinations(sources: &[Vec<OsString>]) -> impl Iterator<Item = Vec<OsString>> + '_ {
    let count = sources.iter().map(Vec::len).product::<usize>();
    (0..count).map(move |mut number| {
        let mut values = vec![OsString::new(); sources.len()];
        for (place, source) in sources.iter().enumerate().rev() {
            values[place] = source[number % source.len()].clone();
            number /= source.len();
        }
        values
    })
}

enum Piece {
    Text(u8),
    All,
    Files,
    Value(usize),
}

/// The next piece of an argument: `{}`, `{N}`, or one octet of text.
fn piece(rest: &[u8]) -> (Piece, usize) {
    if rest.starts_with(b"{}") {
        return (Piece::All, 2);
    }
    if rest.starts_with(b"{in}") {
        return (Piece::Files, 4);
    }
    if let Some(inner) = rest.strip_prefix(b"{") {
        let digits = inner.iter().take_while(|octet| octet.is_ascii_digit()).count();
        if (1..=3).contains(&digits) && inner.get(digits) == Some(&b'}') {
            let number = inner[..digits].iter().fold(0, |n, &digit| n * 10 + usize::from(digit - b'0'));
            if number > 0 {
                return (Piece::Value(number - 1), digits + 2);
            }
        }
    }
    (Piece::Text(rest[0]), 1)
}

fn pieces(mut argument: &[u8]) -> Vec<Piece> {
    let mut found = Vec::new();
    while !argument.is_empty() {
        let (next, length) = piece(argument);
        found.push(next);
        argument = &argument[length..];
    }
    found
}

impl Template {
    /// A template from the command's words, for values of so many sources.
    pub fn new(words: &[OsString], sources: usize) -> Self {
        let arguments: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let is_place = |piece: &Piece| match piece {
            Piece::All => true,
            Piece::Value(number) => *number < sources,
            Piece::Text(_) | Piece::Files => false,
        };
        let append = !arguments.iter().flat_map(|argument| pieces(argument)).any(|piece| is_place(&piece));
        Self { arguments, append, each: None }
    }

    /// The values from this place on are files.
    pub fn with_each(self, each: Option<usize>) -> Self {
        let files = |argument: &Vec<u8>| pieces(argument).iter().any(|piece| matches!(piece, Piece::Files));
        // Without files `{in}` is a text as any other.
        let append = match each {
            Some(_) => self.append && !self.arguments.iter().any(files),
            None => self.append,
        };
        Self { each, append, ..self }
    }

    /// The argument list for these values. A place for a source that does not exist stays as it is written.
    pub fn fill(&self, values: &[OsString]) -> Vec<OsString> {
        let mut filled = Vec::new();
        for argument in &self.arguments {
            if argument == b"{}" {
                filled.extend(values.iter().cloned());
            } else if argument == b"{in}" && self.each.is_some() {
                filled.extend(files(values, self.each));
            } else {
                filled.push(OsString::from_vec(expand(argument, values, self.each)));
            }
        }
        if self.append {
            let values_before = self.each.unwrap_or(values.len());
            filled.extend(values.iter().take(values_before).cloned());
            filled.extend(files(values, self.each));
        }
        filled
    }
}

/// True if a value goes into this text.
pub fn has_place(text: &[u8]) -> bool {
    pieces(text).iter().any(|piece| matches!(piece, Piece::All | Piece::Value(_)))
}

/// The files among the values, by their names in the task's folder.
fn files(values: &[OsString], each: Option<usize>) -> impl Iterator<Item = OsString> + '_ {
    let files = values.iter().skip(each.unwrap_or(values.len()));
    files.map(|file| in_task(file).map_or_else(|| file.clone(), OsString::from_vec))
}

/// A text with the values in their places; those from `each` on are files.
pub fn expand(argument: &[u8], values: &[OsString], each: Option<usize>) -> Vec<u8> {
    let mut filled = Vec::new();
    for piece in pieces(argument) {
        match piece {
            Piece::Text(octet) => filled.push(octet),
            Piece::Files if each.is_none() => filled.extend(b"{in}"),
            Piece::Files => {
                let all: Vec<_> = files(values, each).map(OsString::into_vec).collect();
                filled.extend(all.join(&b' '));
            }
            Piece::All => {
                let all: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
                filled.extend(all.join(&b' '));
            }
            Piece::Value(place) => match values.get(place) {
                Some(value) => filled.extend(value.as_bytes()),
                None => filled.extend(format!("{{{}}}", place + 1).bytes()),
            },
        }
    }
    filled
}

/// An argument list as one readable line for messages (not for a shell): odd characters are escaped.
pub fn display(arguments: &[impl AsRef<OsStr>]) -> String {
    let words: Vec<String> = arguments
        .iter()
        .map(|argument| {
            let text = argument.as_ref().to_string_lossy();
            if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
                text.into_owned()
            } else {
                format!("{text:?}")
            }
        })
        .collect();
    words.join(" ")
}

/// An argument list as a shell takes it back: what is not plain stands in single quotes. Control characters but newline
/// and tab, and what is no UTF-8, are told by `$'…'`, so that a terminal is safe from them.
pub fn for_shell(arguments: &[impl AsRef<OsStr>]) -> String {
    let words = arguments.iter().enumerate().map(|(place, argument)| {
        let octets = argument.as_ref().as_bytes();
        // Where the command stands, `NAME=VALUE` would be something else.
        let is_plain = |octet: &u8| {
            octet.is_ascii_alphanumeric() || b"-_./,:@%+".contains(octet) || (*octet == b'=' && place > 0)
        };
        if !octets.is_empty() && octets.iter().all(is_plain) {
            return String::from_utf8_lossy(octets).into_owned();
        }
        let is_odd = |c: char| c.is_control() && c != '\n' && c != '\t';
        match argument.as_ref().to_str() {
            Some(text) if !text.contains(is_odd) => format!("'{}'", text.replace('\'', r"'\''")),
            _ => {
                let escaped = octets.iter().map(|&octet| match octet {
                    b'\'' | b'\\' => format!("\\{}", char::from(octet)),
                    b' '..=b'~' => char::from(octet).to_string(),
                    _ => format!("\\{octet:03o}"),
                });
                format!("$'{}'", escaped.collect::<String>())
            }
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn tasks(text: &str) -> Vec<String> {
        let (command, sources) = split(words(text));
        let template = Template::new(&command, sources.len());
        combinations(&sources).map(|values| display(&template.fill(&values))).collect()
    }

    #[test]
    fn braces_are_replaced_inside_any_argument() {
        assert_eq!(tasks("./render --frame {} ::: 1 2"), ["./render --frame 1", "./render --frame 2"]);
        assert_eq!(tasks("./render --frame={}.exr ::: 1"), ["./render --frame=1.exr"]);
        assert_eq!(tasks("cp {} {}.bak ::: a"), ["cp a a.bak"]);
    }

    #[test]
    fn without_braces_the_value_is_appended() {
        assert_eq!(tasks("echo hello ::: a b"), ["echo hello a", "echo hello b"]);
        // There is no third source: this is text.
        assert_eq!(tasks("grep a{3} ::: x ::: y"), ["grep a{3} x y"]);
    }

    #[test]
    fn several_sources_multiply_and_the_last_turns_fastest() {
        assert_eq!(tasks("f {} ::: a b ::: 1 2"), ["f a 1", "f a 2", "f b 1", "f b 2"]);
        assert_eq!(tasks("f --x={1} --y={2} ::: a ::: 1 2"), ["f --x=a --y=1", "f --x=a --y=2"]);
        assert_eq!(tasks("f --pair={} ::: a ::: 1"), ["f \"--pair=a 1\""]);
        assert!(tasks("f ::: a :::").is_empty());
    }

    #[test]
    fn a_value_stays_one_argument_whatever_it_contains() {
        let template = Template::new(&words("f {} x"), 1);
        let value = OsString::from_vec(b"a b;$(c) {} \xff".to_vec());
        assert_eq!(
            template.fill(std::slice::from_ref(&value)),
            [OsString::from("f"), value, OsString::from("x")]
        );
    }

    #[test]
    fn files_go_by_their_names_in_the_task() {
        let values = [OsString::from("3"), "/data/a.pov".into()];
        let fill = |text: &str, each| display(&Template::new(&words(text), 2).with_each(each).fill(&values));
        assert_eq!(fill("f {in} -o{in}.png {1}", Some(1)), "f a.pov -oa.pov.png 3");
        assert_eq!(fill("f", Some(1)), "f 3 a.pov");
        assert_eq!(fill("f {in}", Some(1)), "f a.pov");
        assert_eq!(fill("f {in} {1}", None), "f {in} 3");
    }

    #[test]
    fn a_command_for_a_shell_is_quoted_where_it_has_to_be() {
        for (words, line) in [
            (&["./f", "--x=1", "a,b:c@d%e+f"][..], "./f --x=1 a,b:c@d%e+f"),
            (&["A=1", "A=1"], "'A=1' A=1"),
            (
                &["f", "", "$x `y` ~ {} \"", "it's", "a\nb\tc", "ä"],
                "f '' '$x `y` ~ {} \"' 'it'\\''s' 'a\nb\tc' 'ä'",
            ),
            (&["f", "\x1b[1m'\\\n"], r"f $'\033[1m\'\\\012'"),
        ] {
            assert_eq!(for_shell(words), line);
        }
        assert_eq!(for_shell(&[OsString::from_vec(b"f\xff".to_vec())]), r"$'f\377'");
    }

    #[test]
    fn a_place_without_a_source_stays_as_written() {
        assert_eq!(tasks("f {3} {0} {} ::: a"), ["f {3} {0} a"]);
    }
}
