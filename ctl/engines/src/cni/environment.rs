//! What a runtime says in environment variables.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::{CniError, Code};
use super::result::Version;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// Commands by name, with the first version that has them.
const COMMANDS: [(&str, Command, Version); 6] = [
    ("ADD", Command::Add, Version::V0_3_0),
    ("DEL", Command::Del, Version::V0_3_0),
    ("CHECK", Command::Check, Version::V0_4_0),
    ("GC", Command::Gc, Version::V1_1_0),
    ("STATUS", Command::Status, Version::V1_1_0),
    ("VERSION", Command::Version, Version::V0_3_0),
];

impl Command {
    /// Whether there is such a command in a version of the specification.
    pub(super) fn exists_in(self, version: Version) -> Result<(), CniError> {
        let since = COMMANDS.iter().find(|(_, command, _)| *command == self);
        match since {
            Some((name, _, since)) if version < *since => Err(CniError::new(
                Code::Version,
                format!(
                    "{name} is of CNI {} and later, and the configuration's cniVersion is {}",
                    since.text(),
                    version.text()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// All variables, checked.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    pub(super) command: Command,
    pub(super) container: String,
    pub(super) netns: String,
    pub(super) interface: String,
    /// `CNI_ARGS`, by key.
    pub(super) args: BTreeMap<String, String>,
    /// `CNI_PATH`: where delegates are.
    pub(super) path: String,
}

/// Keys of `CNI_ARGS` that mean something here, or nothing and are given by runtimes nevertheless.
const KNOWN_ARGS: [&str; 3] = ["IgnoreUnknown", "IP", "MAC"];

impl Environment {
    pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Environment, CniError> {
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
        let named = text("CNI_COMMAND");
        if named.is_empty() {
            return Err(environment(
                "this is a CNI plug-in, and CNI_COMMAND is not set: runtimes call it, 'vswitchctl cni install' tells them",
            ));
        }
        let found = COMMANDS.iter().find(|(name, ..)| *name == named);
        let known = COMMANDS.map(|(name, ..)| name).join(", ");
        let (_, command, _) =
            *found.ok_or_else(|| environment(format!("CNI_COMMAND is {named:?}; known are {known}")))?;
        let read = Environment {
            command,
            container: text("CNI_CONTAINERID"),
            netns: text("CNI_NETNS"),
            interface: text("CNI_IFNAME"),
            args: parse_args(&text("CNI_ARGS"))?,
            path: text("CNI_PATH"),
        };
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<(), CniError> {
        let of_container = matches!(self.command, Command::Add | Command::Del | Command::Check);
        let in_namespace = matches!(self.command, Command::Add | Command::Check);
        let needed = [
            ("CNI_CONTAINERID", &self.container, of_container),
            ("CNI_NETNS", &self.netns, in_namespace),
            ("CNI_IFNAME", &self.interface, of_container),
            ("CNI_PATH", &self.path, self.command != Command::Version),
        ];
        let missing: Vec<&str> =
            needed.iter().filter(|(_, value, needed)| *needed && value.is_empty()).map(|(name, ..)| *name).collect();
        if !missing.is_empty() {
            return Err(environment(format!("required environment variables are missing: {}", missing.join(", "))));
        }
        if !of_container {
            return Ok(());
        }
        let mut letters = self.container.chars();
        let good = letters.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if !good {
            return Err(environment(format!(
                "CNI_CONTAINERID is {:?}; it begins with a letter or digit and has only those, '_', '.' and '-'",
                self.container
            )));
        }
        let name = &self.interface;
        let bad = name.len() > LONGEST_INTERFACE
            || matches!(name.as_str(), "." | "..")
            || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        if bad {
            return Err(environment(format!(
                "CNI_IFNAME is {name:?}; Linux takes at most {LONGEST_INTERFACE} bytes, without spaces, '/' and ':'"
            )));
        }
        Ok(())
    }

    /// The container's name for others on the network.
    pub(super) fn container_name(&self) -> String {
        let named = self.args.get("K8S_POD_NAME").filter(|name| {
            let mut letters = name.chars();
            letters.next().is_some_and(|first| first.is_ascii_alphanumeric())
                && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
        });
        named.unwrap_or(&self.container).clone()
    }
}

/// Most bytes of an interface's name.
const LONGEST_INTERFACE: usize = 15;

fn environment(sentence: impl Into<String>) -> CniError {
    CniError::new(Code::Environment, sentence)
}

/// `K=V;K2=V2`.
fn parse_args(text: &str) -> Result<BTreeMap<String, String>, CniError> {
    let mut args = BTreeMap::new();
    for pair in text.split(';').filter(|pair| !pair.is_empty()) {
        let bad = || environment(format!("CNI_ARGS has {pair:?}; write KEY=VALUE pairs with ';' in between"));
        let (key, value) = pair.split_once('=').ok_or_else(bad)?;
        args.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    let lenient =
        args.get("IgnoreUnknown").is_some_and(|value| matches!(value.as_str(), "1" | "true" | "True" | "TRUE"));
    let known = |key: &str| KNOWN_ARGS.contains(&key) || key.starts_with("K8S_");
    let unknown: Vec<&str> = args.keys().map(String::as_str).filter(|key| !known(key)).collect();
    if !lenient && !unknown.is_empty() {
        let sentence =
            format!("CNI_ARGS has unknown keys: {}; add IgnoreUnknown=1 to have them ignored", unknown.join(", "));
        return Err(environment(sentence));
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, CniError> {
        Environment::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value))
        })
    }

    const ADD: [(&str, &str); 5] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "a1"),
        ("CNI_NETNS", "/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/p"),
    ];

    /// Every command says which of its variables are missing, and DEL needs no namespace.
    #[test]
    fn variables() {
        let mut add = ADD.to_vec();
        assert_eq!(read(&add).unwrap().command, Command::Add);
        add.retain(|(name, _)| !matches!(*name, "CNI_NETNS" | "CNI_IFNAME"));
        let error = read(&add).unwrap_err();
        assert_eq!((error.code, error.sentence.ends_with("missing: CNI_NETNS, CNI_IFNAME")), (4, true), "{error:?}");
        let del = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "a"), ("CNI_IFNAME", "eth0"), ("CNI_PATH", "/p")];
        assert!(read(&del).is_ok());
        assert!(read(&[("CNI_COMMAND", "VERSION")]).is_ok());
        for bad in [("CNI_COMMAND", "add"), ("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "sixteen-letters-")] {
            let mut variables = vec![bad];
            variables.extend(ADD);
            assert_eq!(read(&variables).unwrap_err().code, 4, "{bad:?}");
        }
    }

    /// Arguments are pairs; unknown keys are refused unless they are to be ignored.
    #[test]
    fn args() {
        let with = |args: &'static str| {
            let mut variables = vec![("CNI_ARGS", args)];
            variables.extend(ADD);
            read(&variables)
        };
        let args = "IgnoreUnknown=1;X=2;K8S_POD_NAME=web;IP=10.0.0.5;MAC=02:00:00:00:00:01";
        assert_eq!(with(args).unwrap().container_name(), "web");
        assert_eq!(with("K8S_POD_NAME=/a b").unwrap().container_name(), "a1");
        for bad in ["X=2", "IP"] {
            assert_eq!(with(bad).unwrap_err().code, 4, "{bad}");
        }
    }
}
