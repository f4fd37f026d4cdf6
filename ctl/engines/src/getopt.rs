//! Command lines as getopt_long(3) reads them, which is what the programs do whose names these helpers have: options anywhere
//! between the operands, values behind `=` or as the next word, unique abbreviations, several letters behind one `-`.

use std::ffi::OsString;

/// An option that a program knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<K> {
    /// `--LONG`; empty: it has a letter alone.
    pub(crate) long: &'static str,
    /// `-LETTER`.
    pub(crate) letter: Option<char>,
    /// Whether a value follows.
    pub(crate) value: bool,
    /// What it is.
    pub(crate) key: K,
}

/// Where operands may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operands {
    /// Between options.
    Anywhere,
    /// Behind all options: the first one ends them.
    Last,
}

/// What a command line says, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said<K> {
    /// Options with their values; the value of one that has none is empty.
    pub(crate) options: Vec<(K, String)>,
    /// Everything else.
    pub(crate) operands: Vec<String>,
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// The sentence that getopt_long(3) would print.
pub(crate) fn read<K: Copy>(arguments: &[OsString], known: &[Known<K>], operands: Operands) -> Result<Said<K>, String> {
    let mut said = Said { options: Vec::new(), operands: Vec::new() };
    let mut words = arguments.iter().map(|word| word.to_str().ok_or("an argument is no UTF-8 text"));
    while let Some(word) = words.next().transpose()? {
        let mut next = || words.next().transpose().map_err(str::to_owned);
        if word == "--" {
            while let Some(word) = next()? {
                said.operands.push(word.to_owned());
            }
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let option = find(name, known)?;
            let value = match (option.value, value) {
                (false, Some(_)) => return Err(format!("option '--{}' doesn't allow an argument", option.long)),
                (false, None) => "",
                (true, Some(value)) => value,
                (true, None) => next()?.ok_or_else(|| format!("option '--{}' requires an argument", option.long))?,
            };
            said.options.push((option.key, value.to_owned()));
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let option = known.iter().find(|one| one.letter == Some(letter));
                let option = option.ok_or_else(|| format!("invalid option -- '{letter}'"))?;
                let mut value = "";
                if option.value {
                    value = std::mem::replace(&mut letters, "".chars()).as_str();
                    if value.is_empty() {
                        value = next()?.ok_or_else(|| format!("option requires an argument -- '{letter}'"))?;
                    }
                }
                said.options.push((option.key, value.to_owned()));
            }
        } else {
            said.operands.push(word.to_owned());
            while operands == Operands::Last
                && let Some(word) = words.next().transpose()?
            {
                said.operands.push(word.to_owned());
            }
        }
    }
    Ok(said)
}

fn find<'k, K>(name: &str, known: &'k [Known<K>]) -> Result<&'k Known<K>, String> {
    let long = || known.iter().filter(|one| !one.long.is_empty());
    if let Some(exact) = long().find(|one| one.long == name) {
        return Ok(exact);
    }
    let mut begin = long().filter(|one| one.long.starts_with(name));
    match (begin.next(), begin.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(format!("option '--{name}' is ambiguous")),
        _ => Err(format!("unrecognized option '--{name}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known<char>; 4] = [
        Known { long: "configure", letter: Some('c'), value: false, key: 'c' },
        Known { long: "ready-fd", letter: Some('r'), value: true, key: 'r' },
        Known { long: "outbound-addr", letter: None, value: true, key: 'o' },
        Known { long: "outbound-addr6", letter: None, value: true, key: '6' },
    ];

    fn read_text(text: &str) -> Result<(String, Vec<String>), String> {
        let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
        let said = read(&words, &KNOWN, Operands::Anywhere)?;
        Ok((said.options.iter().map(|(key, value)| format!("{key}{value}")).collect(), said.operands))
    }

    /// What follows the first operand is a command's own.
    #[test]
    fn operands_last() {
        let words: Vec<OsString> = ["-c", "sh", "-c", "--x"].map(OsString::from).to_vec();
        let said = read(&words, &KNOWN, Operands::Last).unwrap();
        assert_eq!((said.options.len(), said.operands), (1, vec!["sh".to_owned(), "-c".to_owned(), "--x".to_owned()]));
    }

    /// Every spelling that callers use, and what makes no sense.
    #[test]
    fn spellings() {
        for text in ["-c -r 3 7 tap0", "-cr3 7 tap0", "7 -c tap0 --ready-fd=3", "--conf --ready-fd 3 -- 7 tap0"] {
            assert_eq!(read_text(text), Ok(("cr3".to_owned(), vec!["7".to_owned(), "tap0".to_owned()])), "{text}");
        }
        assert_eq!(read_text("--outbound-addr=a -").unwrap(), ("oa".to_owned(), vec!["-".to_owned()]));
        for (text, why) in [
            ("--nonsense", "unrecognized option '--nonsense'"),
            ("--outbound=1", "option '--outbound' is ambiguous"),
            ("-x", "invalid option -- 'x'"),
            ("-r", "option requires an argument -- 'r'"),
            ("--ready-fd", "option '--ready-fd' requires an argument"),
            ("--configure=1", "option '--configure' doesn't allow an argument"),
        ] {
            assert_eq!(read_text(text), Err(why.to_owned()));
        }
    }
}
