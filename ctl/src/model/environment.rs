//! The environment of a container's processes: what was asked for, and what Docker adds to it.

use super::ContainerSpec;

/// What was asked for, over the defaults. HOME is looked up in the container where nobody says it.
#[must_use]
pub fn environment(spec: &ContainerSpec, hostname: &str) -> Vec<String> {
    let mut own = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if spec.tty {
        own.push(TERM.to_owned());
    }
    merge_env(&own, spec.env.clone())
}

/// An environment and what comes on top: a key that is there already is replaced in its place.
#[must_use]
pub fn merge_env(own: &[String], more: Vec<String>) -> Vec<String> {
    let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    let mut merged = own.to_vec();
    for entry in more {
        match merged.iter_mut().find(|old| key(old) == key(&entry)) {
            Some(old) => *old = entry,
            None => merged.push(entry),
        }
    }
    merged
}

/// Where every container looks for programs, unless it says otherwise.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const TERM: &str = "TERM=xterm";

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes on top replaces in place, and new keys follow.
    #[test]
    fn merges() {
        let own = ["A=1".to_owned(), "B=2".to_owned()];
        let more = vec!["B=3".to_owned(), "AA=".to_owned()];
        assert_eq!(merge_env(&own, more), ["A=1", "B=3", "AA="]);
    }
}
