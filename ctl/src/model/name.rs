//! Names that users choose.

/// Longest name, in characters.
const MAX_NAME: usize = 128;

/// The text as a name of a container or attachment: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 128 characters.
///
/// # Errors
/// One sentence, Docker's where it has one.
pub fn container_name(text: &str) -> Result<String, String> {
    // Docker's clients may write a leading slash, which is not part of the name.
    let name = text.strip_prefix('/').unwrap_or(text);
    check_length("container", name)?;
    let mut characters = name.chars();
    let good = characters.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"))
    }
}

/// The text as a name of a network: as Docker's, what can be seen, with spaces inside. A slash would end it in a path, and
/// `container:` means something else where a network is named.
///
/// # Errors
/// One sentence.
pub fn network_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("network name must not be empty; write one such as 'web'".to_owned());
    }
    check_length("network", text)?;
    let good = text.chars().all(|c| c.is_ascii_graphic() && c != '/' || c == ' ')
        && !text.starts_with([' ', '-', '('])
        && !text.ends_with(' ')
        && !text.starts_with("container:");
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid network name {text:?}: use letters, digits and signs other than '/', with spaces inside only, and begin \
             with neither '-' nor '(' nor 'container:'"
        ))
    }
}

fn check_length(what: &str, name: &str) -> Result<(), String> {
    match name.chars().count() {
        0..=MAX_NAME => Ok(()),
        length => Err(format!("invalid {what} name: it has {length} characters; use at most {MAX_NAME}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bad characters, empty and overlong names are refused; what Docker's clients send is taken.
    #[test]
    fn names() {
        for good in ["web", "a", "0", "my-net_1.x", "/web"] {
            assert!(container_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "-web", "we b", "wéb", "a/b", "a\n", &"a".repeat(129)] {
            assert!(container_name(bad).is_err(), "{bad}");
        }
        for good in ["web", "with space", "a.b", "test@#$", "kiwl$%^", "a:b", &"a".repeat(128)] {
            assert!(network_name(good).is_ok(), "{good}");
        }
        for bad in ["", " ", " web", "web ", "a/b", "container:a", "-n", "wéb", "a\tb", "(uplink)", &"a".repeat(129)] {
            assert!(network_name(bad).is_err(), "{bad}");
        }
    }
}
