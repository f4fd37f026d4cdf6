//! What a port is asked beyond learning and flooding: `--opt KEY=VALUE` of an endpoint, or of a network for all of its endpoints.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vswitch_frame::{MacAddr, VlanId};
use vswitch_switch::l2::{Limit, Manner, PortFeatures, PortVlan, RouterPort, Storm, VlanSet};

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
    /// Storm control of broadcasts.
    pub storm_broadcast: Option<Limit>,
    /// Of frames to groups.
    pub storm_multicast: Option<Limit>,
    /// Of frames to unknown stations.
    pub storm_unknown: Option<Limit>,
    /// Whether it leads to routers for multicast.
    pub mcast_router: Option<RouterWord>,
    /// Who leaves a group was alone in it.
    pub mcast_fast_leave: Option<bool>,
    /// Who sees its frames, too.
    pub mirror_to: Option<String>,
    /// Which of them.
    pub mirror: Option<MirrorWord>,
    /// How much it may send.
    pub rate_in: Option<Limit>,
    /// How much is sent to it.
    pub rate_out: Option<Limit>,
    /// The VLAN of what comes and goes without a tag.
    pub vlan: Option<VlanWord>,
    /// The VLANs that come and go with tags.
    pub vlan_trunk: Option<VlanSet>,
    /// Tags are its own business.
    pub vlan_tunnel: Option<bool>,
}

/// What `mirror` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MirrorWord {
    /// What it sends.
    In,
    /// What it is sent.
    Out,
    /// Both.
    Both,
}

/// What `vlan` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VlanWord {
    /// Frames without a tag are of no VLAN.
    None,
    /// They are of this one.
    Id(VlanId),
}

/// What `mcast-router` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouterWord {
    /// While one is heard there.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A wish, by the name of its option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    IsolationGroup,
    MacLimit,
    MacSticky,
    MacStatic,
    McastFastLeave,
    McastRouter,
    Mirror,
    MirrorTo,
    RateIn,
    RateOut,
    StormBroadcast,
    StormMulticast,
    StormUnknown,
    Vlan,
    VlanTrunk,
    VlanTunnel,
}

const KEYS: [(&str, Key); 16] = [
    ("isolation-group", Key::IsolationGroup),
    ("mac-limit", Key::MacLimit),
    ("mac-static", Key::MacStatic),
    ("mac-sticky", Key::MacSticky),
    ("mcast-fast-leave", Key::McastFastLeave),
    ("mcast-router", Key::McastRouter),
    ("mirror", Key::Mirror),
    ("mirror-to", Key::MirrorTo),
    ("rate-in", Key::RateIn),
    ("rate-out", Key::RateOut),
    ("storm-broadcast", Key::StormBroadcast),
    ("storm-multicast", Key::StormMulticast),
    ("storm-unknown", Key::StormUnknown),
    ("vlan", Key::Vlan),
    ("vlan-trunk", Key::VlanTrunk),
    ("vlan-tunnel", Key::VlanTunnel),
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
            Key::IsolationGroup => {
                take(&mut self.isolation_group, name, value, "letters, digits, '.', '_' and '-'", group)
            }
            Key::MacLimit => take(&mut self.mac_limit, name, value, "a number of addresses, at least 1", above_zero),
            Key::MacSticky => take(&mut self.mac_sticky, name, value, BOOL, parsed),
            Key::McastFastLeave => take(&mut self.mcast_fast_leave, name, value, BOOL, parsed),
            Key::McastRouter => take(&mut self.mcast_router, name, value, "auto, always or never", router),
            Key::Mirror => take(&mut self.mirror, name, value, "in, out or both", mirror),
            Key::MirrorTo => take(&mut self.mirror_to, name, value, "the name of a container or endpoint", endpoint),
            Key::RateIn => take(&mut self.rate_in, name, value, RATE, parsed),
            Key::RateOut => take(&mut self.rate_out, name, value, RATE, parsed),
            Key::StormBroadcast => take(&mut self.storm_broadcast, name, value, RATE, parsed),
            Key::StormMulticast => take(&mut self.storm_multicast, name, value, RATE, parsed),
            Key::StormUnknown => take(&mut self.storm_unknown, name, value, RATE, parsed),
            Key::Vlan => take(&mut self.vlan, name, value, "a VLAN id from 1 to 4094, or none", vlan_word),
            Key::VlanTrunk => {
                take(&mut self.vlan_trunk, name, value, "VLAN ids from 1 to 4094, such as 10,20-29, or all", parsed)
            }
            Key::VlanTunnel => take(&mut self.vlan_tunnel, name, value, BOOL, parsed),
            Key::MacStatic => {
                take(&mut self.mac_static, name, value, "unicast MAC addresses, a comma between", stations)
            }
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
            storm_broadcast: own.storm_broadcast.or(defaults.storm_broadcast),
            storm_multicast: own.storm_multicast.or(defaults.storm_multicast),
            storm_unknown: own.storm_unknown.or(defaults.storm_unknown),
            mcast_router: own.mcast_router.or(defaults.mcast_router),
            mcast_fast_leave: own.mcast_fast_leave.or(defaults.mcast_fast_leave),
            mirror_to: own.mirror_to.or_else(|| defaults.mirror_to.clone()),
            mirror: own.mirror.or(defaults.mirror),
            rate_in: own.rate_in.or(defaults.rate_in),
            rate_out: own.rate_out.or(defaults.rate_out),
            vlan: own.vlan.or(defaults.vlan),
            vlan_trunk: own.vlan_trunk.or_else(|| defaults.vlan_trunk.clone()),
            vlan_tunnel: own.vlan_tunnel.or(defaults.vlan_tunnel),
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
            Key::McastFastLeave => self.mcast_fast_leave.map(|fast| fast.to_string()),
            Key::McastRouter => self.mcast_router.map(|word| word.text().to_owned()),
            Key::Mirror => self.mirror.map(|word| word.text().to_owned()),
            Key::MirrorTo => self.mirror_to.clone(),
            Key::RateIn => self.rate_in.map(|limit| limit.to_string()),
            Key::RateOut => self.rate_out.map(|limit| limit.to_string()),
            Key::StormBroadcast => self.storm_broadcast.map(|limit| limit.to_string()),
            Key::StormMulticast => self.storm_multicast.map(|limit| limit.to_string()),
            Key::StormUnknown => self.storm_unknown.map(|limit| limit.to_string()),
            Key::Vlan => self.vlan.map(|word| match word {
                VlanWord::None => "none".to_owned(),
                VlanWord::Id(vlan) => vlan.to_string(),
            }),
            Key::VlanTrunk => self.vlan_trunk.as_ref().map(ToString::to_string),
            Key::VlanTunnel => self.vlan_tunnel.map(|tunnel| tunnel.to_string()),
        };
        KEYS.iter().filter_map(|(name, key)| Some(((*name).to_owned(), text(*key)?))).collect()
    }

    /// Whether they say something of VLANs.
    #[must_use]
    pub const fn is_in_vlans(&self) -> bool {
        self.vlan.is_some() || self.vlan_trunk.is_some() || self.vlan_tunnel.is_some()
    }

    /// Whether they go together.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        let tunnel = self.vlan_tunnel == Some(true);
        match (self.vlan, &self.vlan_trunk) {
            (_, Some(_)) if tunnel => {
                Err("vlan-tunnel=true carries all tags through one VLAN, and vlan-trunk tells VLANs apart by them; \
                 leave one of them out"
                    .to_owned())
            }
            (None | Some(VlanWord::None), None) if tunnel => {
                Err("vlan-tunnel=true leads through a VLAN: add vlan=ID with its id".to_owned())
            }
            (Some(VlanWord::Id(vlan)), None) if tunnel && vlan.value() == 1 => {
                Err("a tunnel leads through a VLAN of its own: choose another one than 1".to_owned())
            }
            (Some(VlanWord::None), None) => {
                Err("vlan=none is for trunks: add vlan-trunk with the VLANs that have tags, or leave it out".to_owned())
            }
            (Some(VlanWord::Id(vlan)), Some(tagged)) if tagged.to_string() != "all" && tagged.contains(vlan) => {
                Err(format!(
                    "VLAN {vlan} would have a tag (vlan-trunk) and none (vlan) on one port; take it out of one of them"
                ))
            }
            _ => Ok(()),
        }
    }

    fn to_port_vlan(&self) -> Option<PortVlan> {
        let default = VlanId::new(1).ok();
        match (self.vlan, &self.vlan_trunk) {
            (word, Some(tagged)) => {
                let native = match word {
                    None => default,
                    Some(VlanWord::None) => None,
                    Some(VlanWord::Id(vlan)) => Some(vlan),
                };
                Some(PortVlan::Trunk { native, tagged: tagged.clone() })
            }
            (Some(VlanWord::Id(vlan)), None) if self.vlan_tunnel == Some(true) => Some(PortVlan::Tunnel(vlan)),
            (Some(VlanWord::Id(vlan)), None) => Some(PortVlan::Access(vlan)),
            (None | Some(VlanWord::None), None) => None,
        }
    }

    /// What the switch is told; who `mirror-to` is, is somebody else's to know.
    #[must_use]
    pub fn to_features(&self) -> PortFeatures {
        PortFeatures {
            isolation: self.isolation_group.clone(),
            mac_limit: self.mac_limit,
            sticky: self.mac_sticky.filter(|sticky| *sticky).map(|_| self.mac_limit.unwrap_or(1)),
            statics: self.mac_static.clone().unwrap_or_default(),
            storm: Storm {
                broadcast: self.storm_broadcast,
                multicast: self.storm_multicast,
                unknown: self.storm_unknown,
            },
            mirror: None,
            rate_in: self.rate_in,
            rate_out: self.rate_out,
            vlan: self.to_port_vlan(),
            multicast: Manner {
                router: match self.mcast_router {
                    None | Some(RouterWord::Auto) => RouterPort::Auto,
                    Some(RouterWord::Always) => RouterPort::Always,
                    Some(RouterWord::Never) => RouterPort::Never,
                },
                fast_leave: self.mcast_fast_leave.unwrap_or(false),
            },
        }
    }
}

impl RouterWord {
    const fn text(self) -> &'static str {
        match self {
            RouterWord::Auto => "auto",
            RouterWord::Always => "always",
            RouterWord::Never => "never",
        }
    }
}

impl MirrorWord {
    const fn text(self) -> &'static str {
        match self {
            MirrorWord::In => "in",
            MirrorWord::Out => "out",
            MirrorWord::Both => "both",
        }
    }
}

const BOOL: &str = "true or false";
const RATE: &str = "a rate such as 1000pps, 10mbit or both with a comma between";

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn mirror(text: &str) -> Option<MirrorWord> {
    [MirrorWord::In, MirrorWord::Out, MirrorWord::Both].into_iter().find(|word| word.text() == text)
}

fn endpoint(text: &str) -> Option<String> {
    super::container_name(text).ok()
}

fn vlan_word(text: &str) -> Option<VlanWord> {
    if text == "none" { Some(VlanWord::None) } else { text.parse().ok().map(VlanWord::Id) }
}

fn router(text: &str) -> Option<RouterWord> {
    [RouterWord::Auto, RouterWord::Always, RouterWord::Never].into_iter().find(|word| word.text() == text)
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
            ("mac-static", "02:00:00:00:00:01,02:00:00:00:00:02"),
            ("mac-sticky", "true"),
            ("mcast-fast-leave", "true"),
            ("mcast-router", "never"),
            ("mirror", "in"),
            ("mirror-to", "monitor"),
            ("rate-in", "20mbit"),
            ("rate-out", "1000pps,5mbit"),
            ("storm-broadcast", "100pps"),
            ("storm-multicast", "1000pps,10mbit"),
            ("storm-unknown", "1gbit"),
            ("vlan", "none"),
            ("vlan-trunk", "10,20-29"),
            ("vlan-tunnel", "false"),
        ];
        assert_eq!(pairs.map(|(name, _)| name).to_vec(), PortOptions::names().collect::<Vec<_>>());
        let mut options = of(&pairs);
        let texts = options.to_texts();
        assert_eq!(
            pairs.to_vec(),
            texts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>()
        );
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

    /// VLANs that contradict each other are refused; the others come to what they say.
    #[test]
    fn vlans() {
        for (pairs, says) in [
            (&[("vlan", "none")][..], "is for trunks"),
            (&[("vlan-tunnel", "true")], "add vlan=ID"),
            (&[("vlan-tunnel", "true"), ("vlan", "1")], "another one than 1"),
            (&[("vlan-tunnel", "true"), ("vlan", "9"), ("vlan-trunk", "10")], "leave one of them out"),
            (&[("vlan", "10"), ("vlan-trunk", "5-15")], "VLAN 10 would have a tag"),
        ] {
            let refused = of(pairs).check().unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        let vlan = |id| VlanId::new(id).unwrap();
        let trunk = |native, tagged: &str| Some(PortVlan::Trunk { native, tagged: tagged.parse().unwrap() });
        for (pairs, comes_to) in [
            (&[("vlan", "10")][..], Some(PortVlan::Access(vlan(10)))),
            (&[("vlan", "10"), ("vlan-tunnel", "true")], Some(PortVlan::Tunnel(vlan(10)))),
            (&[("vlan-trunk", "10")], trunk(Some(vlan(1)), "10")),
            (&[("vlan", "none"), ("vlan-trunk", "10")], trunk(None, "10")),
            (&[("vlan", "10"), ("vlan-trunk", "all")], trunk(Some(vlan(10)), "all")),
            (&[], None),
        ] {
            let options = of(pairs);
            assert_eq!((options.check(), options.to_features().vlan), (Ok(()), comes_to));
        }
    }

    /// What cannot be meant is refused in one sentence that says what can.
    #[test]
    fn nonsense() {
        for (name, value) in [
            ("isolation-group", "a b"),
            ("mac-limit", "0"),
            ("mac-limit", "-1"),
            ("mac-sticky", "perhaps"),
            ("mcast-router", "maybe"),
            ("vlan", "0"),
            ("vlan", "4095"),
            ("vlan-trunk", "20-10"),
            ("vlan-trunk", "1-4095"),
            ("storm-broadcast", "0pps"),
            ("storm-unknown", "10"),
            ("storm-multicast", "-5mbit"),
            ("mac-static", "01:00:5e:00:00:01"),
            ("mac-static", "02:00:00:00:00:01,"),
        ] {
            let sentence = PortOptions::default().set(name, value).unwrap().unwrap_err();
            assert!(sentence.starts_with(&format!("failed to parse {name} value: {value} (write ")), "{sentence}");
        }
    }
}
