//! The words of a filter, with where they stand.

use std::net::{Ipv4Addr, Ipv6Addr};

use vswitch_frame::MacAddr;

use super::FilterError;
use super::names::constant;

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A number, or a constant's name.
    Number(u32),
    /// Two to four numbers with dots between them: an address or its beginning, and how many bits it has.
    Dotted(u32, u32),
    Ipv6(Ipv6Addr),
    Mac(MacAddr),
    /// A word, and whether it was escaped by a backslash, so that it is no keyword.
    Word(String, Escaped),
    /// An operator or bracket.
    Sign(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaped {
    Yes,
    No,
}

/// A word and the place of its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) at: usize,
}

/// Longer ones first.
const SIGNS: [&str; 21] =
    ["&&", "||", "<=", ">=", "==", "!=", "<<", ">>", "<", ">", "=", "!", "(", ")", "[", "]", "+", "*", "&", "|", "^"];
const MORE_SIGNS: [&str; 4] = ["-", "/", "%", ":"];

/// Takes a filter apart.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FilterError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let space = rest.len() - rest.trim_start().len();
        if space > 0 {
            at += space;
            continue;
        }
        let (token, length) = next(rest, at)?;
        found.push(Placed { token, at });
        at += length;
    }
    Ok(found)
}

fn next(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let address = run(rest, |c| c.is_ascii_hexdigit() || c == ':' || c == '.');
    // A colon separates an offset from a size, too: what is no address is taken apart further.
    if address.contains(':')
        && let Some(token) = mac(address).or_else(|| address.parse().ok().map(Token::Ipv6))
    {
        return Ok((token, address.len()));
    }
    let dashed = run(rest, |c| c.is_ascii_hexdigit() || c == '-');
    if let Some(token) = mac(dashed) {
        return Ok((token, dashed.len()));
    }
    if let Some(sign) = SIGNS.iter().chain(&MORE_SIGNS).find(|sign| rest.starts_with(**sign)) {
        return Ok((Token::Sign(sign), sign.len()));
    }
    let escaped = if rest.starts_with('\\') { Escaped::Yes } else { Escaped::No };
    let skipped = usize::from(escaped == Escaped::Yes);
    let word = run(&rest[skipped..], |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let word = word.trim_end_matches(['-', '_', '.']);
    if word.is_empty() {
        let character = rest.chars().next().unwrap_or_default();
        return Err(FilterError::new(at, format!("{character:?} means nothing in a filter")));
    }
    let length = skipped + word.len();
    if escaped == Escaped::Yes {
        return Ok((Token::Word(word.to_owned(), escaped), length));
    }
    if word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && word.contains('.') {
        let (value, bits) = dotted(word).ok_or_else(|| FilterError::new(at, format!("{word} is no IPv4 address")))?;
        return Ok((Token::Dotted(value, bits), length));
    }
    if word.as_bytes()[0].is_ascii_digit() && !word.contains(['-', '_', '.']) {
        let value = number(word).ok_or_else(|| FilterError::new(at, format!("{word} is no number of 32 bits")))?;
        return Ok((Token::Number(value), length));
    }
    let word = word.to_owned();
    Ok((constant(&word).map_or_else(|| Token::Word(word, escaped), Token::Number), length))
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !belongs(c)).unwrap_or(text.len())]
}

/// Decimal, hexadecimal behind 0x, octal behind 0.
fn number(word: &str) -> Option<u32> {
    let lower = word.to_ascii_lowercase();
    match lower.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None if lower.len() > 1 && lower.starts_with('0') => u32::from_str_radix(&lower[1..], 8).ok(),
        None => lower.parse().ok(),
    }
}

fn dotted(word: &str) -> Option<(u32, u32)> {
    let parts: Option<Vec<u32>> = word.split('.').map(|part| part.parse::<u8>().ok().map(u32::from)).collect();
    let parts = parts.filter(|parts| parts.len() <= 4)?;
    let value = parts.iter().fold(0, |value, part| value << 8 | part);
    let bits = u32::try_from(parts.len()).ok()? * 8;
    Some((value << (32 - bits), bits))
}

/// Six bytes with colons or dashes between them, each of one or two digits.
fn mac(text: &str) -> Option<Token> {
    let separator = if text.contains(':') { ':' } else { '-' };
    let bytes = text.split(separator).map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() <= 2));
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    Some(Token::Mac(MacAddr::new(bytes.try_into().ok()?)))
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Number(value) => value.fmt(f),
            Token::Dotted(value, _) => Ipv4Addr::from(*value).fmt(f),
            Token::Ipv6(address) => address.fmt(f),
            Token::Mac(address) => address.fmt(f),
            Token::Word(word, _) => word.fmt(f),
            Token::Sign(sign) => sign.fmt(f),
        }
    }
}
