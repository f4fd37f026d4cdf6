//! Keys by which a client leaves a container's terminal, as Docker writes them.

/// `ctrl-p,ctrl-q` as bytes: letters, or `ctrl-` and a letter or one of `@[\]^_`, with commas.
///
/// # Errors
/// One sentence, which says what to write.
pub fn detach_keys(text: &str) -> Result<Vec<u8>, String> {
    let key = |word: &str| match (word.strip_prefix("ctrl-"), word.as_bytes()) {
        (Some(letter), _) => match letter.as_bytes() {
            [letter @ (b'a'..=b'z' | b'A'..=b'Z' | b'@' | b'['..=b'_')] => Some(letter.to_ascii_uppercase() & 0x1f),
            _ => None,
        },
        (None, [letter]) => Some(*letter),
        _ => None,
    };
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.ok_or_else(|| format!("invalid detach keys ({text}); write letters or ctrl-LETTER, with commas"))
}
