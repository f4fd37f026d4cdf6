//! What a port is asked beyond learning and flooding: `--opt KEY=VALUE` of an endpoint, or of a network for all of its endpoints.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vswitch_frame::MacAddr;
use vswitch_switch::l2::PortFeatures;

use crate::ipam::parse_station;

/// Wishes; what is `None` is as the network has it, or not wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortOptions {
    /// The isolation group.
    pub isolation_group: Option<String>,
    /// Most addresses learned.
    pub mac_limit: Option<usize>,
    /// Learned addresses stay.
    pub mac_sticky: Option<bool>,
    /// Addresses that are there and nowhere else.
    pub mac_static: Option<Vec<MacAddr>>,
}

/// A wish, by the name of its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    IsolationGroup,
    MacLimit,
    MacSticky,
    MacStatic,
}

const KEYS: [(&str, Key); 4] = [
    ("isolation-group", Key::IsolationGroup),
    ("mac-limit", Key::MacLimit),
    ("mac-sticky", Key::MacSticky),
    ("mac-static", Key::MacStatic),
];

impl PortOptions {
    /// The names of the options.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|(name, _)| *name)
    }

    /// Sets what `name` says; an empty value is no wish. `None`: there is no such option.
    pub fn set(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let &(name, key) = KEYS.iter().find(|(known, _)| *known == name)?;
        Some(match key {
            Key::IsolationGroup => take(&mut self.isolation_group, name, value, "letters, digits, '.', '_' and '-'", group),
            Key::MacLimit => take(&mut self.mac_limit, name, value, "a number of addresses, at least 1", above_zero),
            Key::MacSticky => take(&mut self.mac_sticky, name, value, "true or false", |text| text.parse().ok()),
            Key::MacStatic => take(&mut self.mac_static, name, value, "unicast MAC addresses, a comma between", stations),
        })
    }

    /// These, and what they do not say as `defaults` have it.
    #[must_use]
    pub fn over(&self, defaults: &PortOptions) -> PortOptions {
        let own = self.clone();
        PortOptions {
            isolation_group: own.isolation_group.or_else(|| defaults.isolation_group.clone()),
            mac_limit: own.mac_limit.or(defaults.mac_limit),
            mac_sticky: own.mac_sticky.or(defaults.mac_sticky),
            mac_static: own.mac_static.or_else(|| defaults.mac_static.clone()),
        }
    }

    /// What is wished for, as it is written.
    #[must_use]
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        let text = |key: Key| match key {
            Key::IsolationGroup => self.isolation_group.clone(),
            Key::MacLimit => self.mac_limit.map(|most| most.to_string()),
            Key::MacSticky => self.mac_sticky.map(|sticky| sticky.to_string()),
            Key::MacStatic => self.mac_static.as_deref().map(|macs| joined(macs.iter())),
        };
        KEYS.iter().filter_map(|(name, key)| Some(((*name).to_owned(), text(*key)?))).collect()
    }

    /// What the switch is told.
    #[must_use]
    pub fn to_features(&self) -> PortFeatures {
        PortFeatures {
            isolation: self.isolation_group.clone(),
            mac_limit: self.mac_limit,
            sticky: self.mac_sticky.filter(|sticky| *sticky).map(|_| self.mac_limit.unwrap_or(1)),
            statics: self.mac_static.clone().unwrap_or_default(),
        }
    }
}

/// Puts what `read` makes of a value into its place; an empty value empties it.
fn take<T>(
    place: &mut Option<T>,
    name: &str,
    value: &str,
    form: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<(), String> {
    *place = match value {
        "" => None,
        _ => Some(read(value).ok_or_else(|| format!("failed to parse {name} value: {value} (write {form})"))?),
    };
    Ok(())
}

fn group(text: &str) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (text.len() <= 64 && text.bytes().all(good)).then(|| text.to_owned())
}

fn above_zero<T: FromStr + Default + PartialOrd>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number| *number > T::default())
}

fn stations(text: &str) -> Option<Vec<MacAddr>> {
    text.split(',').map(|one| parse_station(one.trim()).ok()).collect()
}

fn joined(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> PortOptions {
        let mut options = PortOptions::default();
        pairs.iter().for_each(|(name, value)| options.set(name, value).unwrap().unwrap());
        options
    }

    /// Each option is shown as it was written, an empty value takes it back, and what is stored comes back.
    #[test]
    fn round_trip() {
        let pairs = [
            ("isolation-group", "tenants"),
            ("mac-limit", "3"),
            ("mac-sticky", "true"),
            ("mac-static", "02:00:00:00:00:01,02:00:00:00:00:02"),
        ];
        assert_eq!(pairs.map(|(name, _)| name).to_vec(), PortOptions::names().collect::<Vec<_>>());
        let mut options = of(&pairs);
        let texts = options.to_texts();
        assert_eq!(pairs.to_vec(), texts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
        let stored = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<PortOptions>(&stored).unwrap(), options);
        PortOptions::names().for_each(|name| options.set(name, "").unwrap().unwrap());
        assert_eq!(options, PortOptions::default());
        assert_eq!(options.to_features(), PortFeatures::default());
        assert!(options.set("mac-address", "1").is_none());
    }

    /// An endpoint's own wishes come before its network's.
    #[test]
    fn own_before_defaults() {
        let network = of(&[("isolation-group", "all"), ("mac-sticky", "true")]);
        assert_eq!(PortOptions::default().over(&network), network);
        let own = of(&[("mac-sticky", "false"), ("mac-limit", "2")]).over(&network);
        assert_eq!(own, of(&[("isolation-group", "all"), ("mac-sticky", "false"), ("mac-limit", "2")]));
        assert_eq!((own.to_features().sticky, network.to_features().sticky), (None, Some(1)));
        assert_eq!(of(&[("mac-limit", "9")]).over(&network).to_features().sticky, Some(9));
    }

    /// What cannot be meant is refused in one sentence that says what can.
    #[test]
    fn nonsense() {
        for (name, value) in [
            ("isolation-group", "a b"),
            ("mac-limit", "0"),
            ("mac-limit", "-1"),
            ("mac-sticky", "perhaps"),
            ("mac-static", "01:00:5e:00:00:01"),
            ("mac-static", "02:00:00:00:00:01,"),
        ] {
            let sentence = PortOptions::default().set(name, value).unwrap().unwrap_err();
            assert!(sentence.starts_with(&format!("failed to parse {name} value: {value} (write ")), "{sentence}");
        }
    }
}
