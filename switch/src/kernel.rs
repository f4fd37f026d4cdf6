//! Which kernel this is, where what it can do cannot be asked otherwise.

/// The major and minor number of a version: of `5.17` and `5.17.3-generic` alike.
#[must_use]
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Those of the kernel that runs; zeros if it does not say.
#[must_use]
pub fn running() -> (u32, u32) {
    version(&rustix::system::uname().release().to_string_lossy()).unwrap_or_default()
}
