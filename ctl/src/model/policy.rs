//! Who may open flows to whom on a network: the rules as a user writes them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vswitch_api::network::PolicyAdd;
use vswitch_switch::nat::rules::{PolicyAction, Traffic};

use super::{Faults, parse_traffic};
use crate::ids::Id;

/// Most rules of one network: each new flow may have to be held against all of them.
pub const MOST_RULES: usize = 256;

/// One rule of a network, as decided and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// By which it is known.
    pub number: u32,
    /// What it decides.
    pub action: PolicyAction,
    /// Who opens.
    pub from: Subject,
    /// Towards whom.
    pub to: Subject,
    /// Of which kinds; empty: of every kind.
    #[serde(default)]
    pub traffic: Vec<Traffic>,
}

/// Whom a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// Everybody.
    Any,
    /// Whoever is behind the uplink.
    Outside,
    /// Whoever has this name, now or later.
    Named(String),
    /// Containers with this label, and this value if one is given.
    Label(String, Option<String>),
    /// Everybody on a network.
    Network {
        /// Which.
        id: Id,
        /// Its name.
        name: String,
    },
    /// Addresses.
    Net(IpNet),
}

/// A rule as asked for: names are not looked up yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWish {
    /// What it is to decide.
    pub action: PolicyAction,
    /// Who opens.
    pub from: SubjectWish,
    /// Towards whom.
    pub to: SubjectWish,
    /// Of which kinds.
    pub traffic: Vec<Traffic>,
    /// In front of which rule; behind all if of none.
    pub before: Option<u32>,
}

/// Whom a rule is to speak of, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectWish {
    /// A subject that needs no looking up.
    Plain(Subject),
    /// A network, by name or id.
    Network(String),
    /// A container or an attached namespace, by name or id.
    Named(String),
}

impl PolicyRecord {
    /// Whether whatever `other` speaks of is decided by this one already, when it comes first.
    #[must_use]
    pub fn covers(&self, other: &PolicyRecord) -> bool {
        let kinds = self.traffic.is_empty()
            || !other.traffic.is_empty()
                && other.traffic.iter().all(|one| self.traffic.iter().any(|mine| mine.covers(one)));
        kinds && self.from.covers(&other.from) && self.to.covers(&other.to)
    }
}

impl Subject {
    fn covers(&self, other: &Subject) -> bool {
        match (self, other) {
            (Subject::Any, _) => true,
            (Subject::Net(mine), Subject::Net(theirs)) => mine.contains(theirs),
            (Subject::Label(mine, None), Subject::Label(theirs, _)) => mine == theirs,
            (mine, theirs) => mine == theirs,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Any => f.write_str("any"),
            Subject::Outside => f.write_str("outside"),
            Subject::Named(name) if matches!(name.as_str(), "any" | "outside") => write!(f, "container={name}"),
            Subject::Named(name) => f.write_str(name),
            Subject::Label(key, None) => write!(f, "label={key}"),
            Subject::Label(key, Some(value)) => write!(f, "label={key}={value}"),
            Subject::Network { name, .. } => write!(f, "network={name}"),
            Subject::Net(net) => write!(f, "{net}"),
        }
    }
}

/// As [`Subject`] shows it: what the rule decides, of whom.
impl fmt::Display for PolicyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            PolicyAction::Allow => "allow",
            PolicyAction::Deny => "deny",
        };
        write!(f, "{action} from {} to {}", self.from, self.to)?;
        let kinds: Vec<_> = self.traffic.iter().map(ToString::to_string).collect();
        if kinds.is_empty() { Ok(()) } else { write!(f, " {}", kinds.join(",")) }
    }
}

/// Reads a rule.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_policy(wire: &PolicyAdd) -> Result<PolicyWish, Faults> {
    let mut faults = Faults::default();
    let action = match wire.action.as_str() {
        "allow" => PolicyAction::Allow,
        "deny" => PolicyAction::Deny,
        other => {
            faults.add(format!("a rule allows or denies, and {other:?} is neither; write allow or deny"));
            PolicyAction::Deny
        }
    };
    let from = faults.take(subject(&wire.from)).unwrap_or(SubjectWish::Plain(Subject::Any));
    let to = faults.take(subject(&wire.to)).unwrap_or(SubjectWish::Plain(Subject::Any));
    let traffic = parse_traffic(&wire.traffic).unwrap_or_else(|wrong| {
        faults.append(wrong);
        Vec::new()
    });
    faults.finish(PolicyWish { action, from, to, traffic, before: wire.before })
}

fn subject(text: &str) -> Result<SubjectWish, String> {
    let label = |rest: &str| match rest.split_once('=') {
        Some((key, value)) if !key.is_empty() => Some(Subject::Label(key.to_owned(), Some(value.to_owned()))),
        None if !rest.is_empty() => Some(Subject::Label(rest.to_owned(), None)),
        _ => None,
    };
    let unclear = || {
        format!(
            "{text:?} names nobody; write any, outside, a container's name, label=KEY or label=KEY=VALUE, network=NAME, or \
             addresses such as 10.9.0.0/24"
        )
    };
    Ok(match text.split_once('=') {
        Some(("label", rest)) => SubjectWish::Plain(label(rest).ok_or_else(unclear)?),
        Some(("network", name)) if !name.is_empty() => SubjectWish::Network(name.to_owned()),
        Some(("container", name)) if !name.is_empty() => SubjectWish::Named(name.to_owned()),
        Some(_) => return Err(unclear()),
        None => match text {
            "" | "any" => SubjectWish::Plain(Subject::Any),
            "outside" => SubjectWish::Plain(Subject::Outside),
            _ => match text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
                Some(net) => SubjectWish::Plain(Subject::Net(net.trunc())),
                None if text.contains(['/', ':']) => return Err(unclear()),
                None => SubjectWish::Named(text.to_owned()),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(action: &str, from: &str, to: &str, traffic: &[&str]) -> PolicyAdd {
        let traffic = traffic.iter().map(|&text| text.to_owned()).collect();
        PolicyAdd { action: action.to_owned(), from: from.to_owned(), to: to.to_owned(), traffic, before: None }
    }

    /// Subjects by their words; all faults of a rule at once.
    #[test]
    fn words() {
        let plain = |text: &str| match subject(text).unwrap() {
            SubjectWish::Plain(subject) => subject.to_string(),
            other => panic!("{other:?}"),
        };
        for text in ["any", "outside", "label=tier", "label=tier=web=1", "10.9.0.0/24", "fd00::/8"] {
            assert_eq!(plain(text), text);
        }
        assert_eq!(
            (plain(""), plain("10.9.0.7/24"), plain("10.9.0.7")),
            ("any".into(), "10.9.0.0/24".into(), "10.9.0.7/32".into())
        );
        assert_eq!(subject("web").unwrap(), SubjectWish::Named("web".into()));
        assert_eq!(subject("container=any").unwrap(), SubjectWish::Named("any".into()));
        assert_eq!(subject("network=db").unwrap(), SubjectWish::Network("db".into()));
        for text in ["label=", "label==x", "network=", "tier=web", "10.9.0.0/33", "fd00::zz"] {
            assert!(subject(text).unwrap_err().starts_with(&format!("{text:?} names nobody")), "{text}");
        }
        let faults = parse_policy(&wire("maybe", "label=", "x=y", &["http"])).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults}");
    }

    /// What comes first and speaks of all that another does leaves it nothing to decide.
    #[test]
    fn one_covers_another() {
        let record = |from: &str, to: &str, traffic: &[&str]| {
            let wish = parse_policy(&wire("deny", from, to, traffic)).unwrap();
            let plain = |wish| match wish {
                SubjectWish::Plain(subject) => subject,
                SubjectWish::Named(name) | SubjectWish::Network(name) => Subject::Named(name),
            };
            let PolicyWish { action, from, to, traffic, .. } = wish;
            PolicyRecord { number: 1, action, from: plain(from), to: plain(to), traffic }
        };
        let all = record("any", "any", &[]);
        let web = record("web", "any", &["tcp/80", "icmp"]);
        assert!(all.covers(&web) && !web.covers(&all) && web.covers(&web));
        assert!(web.covers(&record("web", "db", &["tcp/80"])) && !web.covers(&record("web", "db", &["tcp"])));
        assert!(!web.covers(&record("web", "db", &[])) && !web.covers(&record("cache", "db", &["tcp/80"])));
        assert!(record("10.0.0.0/8", "any", &[]).covers(&record("10.1.0.0/16", "any", &["udp"])));
        assert!(record("label=tier", "any", &[]).covers(&record("label=tier=web", "any", &[])));
        assert_eq!(web.to_string(), "deny from web to any tcp/80,icmp");
    }
}
