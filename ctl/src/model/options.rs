//! Driver options: `network create --opt KEY=VALUE`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Faults, OverlayWish};

/// The options of a network, decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOptions {
    /// Bytes of IP packet.
    pub mtu: u32,
    /// Containers of the network may talk to each other.
    pub icc: bool,
    /// Frames that claim to be from somebody else are dropped.
    pub anti_spoof: bool,
    /// Replace source addresses on the way out.
    pub masquerade: bool,
    /// Most addresses learned behind one port.
    pub mac_limit: Option<usize>,
    /// Where published ports are that name no address of the host.
    #[serde(default)]
    pub host_binding: Option<IpAddr>,
    /// Docker's name for the host bridge: stored and shown only, there is no host bridge.
    pub bridge_name: Option<String>,
    /// The user named the MTU, so an overlay network does not follow its underlay's.
    #[serde(default)]
    pub mtu_given: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        NetworkOptions {
            mtu: DEFAULT_MTU,
            icc: true,
            anti_spoof: true,
            masquerade: true,
            mac_limit: None,
            host_binding: None,
            bridge_name: None,
            mtu_given: false,
        }
    }
}

/// What a key sets. Docker's long spellings are second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Mtu,
    Icc,
    AntiSpoof,
    Masquerade,
    MacLimit,
    HostBinding,
    BridgeName,
    Vni,
    EncapChecksum,
    Vtep,
}

const KEYS: [(&str, Key); 15] = [
    ("mtu", Key::Mtu),
    ("icc", Key::Icc),
    ("anti-spoof", Key::AntiSpoof),
    ("masquerade", Key::Masquerade),
    ("mac-limit", Key::MacLimit),
    ("vni", Key::Vni),
    ("encap-checksum", Key::EncapChecksum),
    ("vtep", Key::Vtep),
    ("com.docker.network.driver.mtu", Key::Mtu),
    ("com.docker.network.bridge.enable_icc", Key::Icc),
    ("com.docker.network.bridge.enable_ip_masquerade", Key::Masquerade),
    ("com.docker.network.bridge.host_binding_ipv4", Key::HostBinding),
    ("com.docker.network.bridge.name", Key::BridgeName),
    ("com.docker.network.driver.overlay.vxlanid_list", Key::Vni),
    ("com.docker.network.bridge.default_bridge", Key::BridgeName),
];

/// How many of [`KEYS`] are told to users: the last is Docker's internal mark of its own default network.
const TOLD_KEYS: usize = 14;

const DEFAULT_MTU: u32 = 1500;
/// IPv4 needs 68 (RFC 791); IPv6 needs 1280 (RFC 8200 section 5).
const MIN_MTU: u32 = 68;
/// Least MTU with IPv6.
pub const MIN_MTU_IPV6: u32 = 1280;
/// Largest IP packet.
const MAX_MTU: u32 = 65_535;

impl NetworkOptions {
    /// From `--opt`, with what is for the tunnel of an overlay network (`overlay`); faults go to `faults`.
    #[must_use]
    pub fn parse(given: &BTreeMap<String, String>, overlay: bool, faults: &mut Faults) -> (Self, OverlayWish) {
        let (mut options, mut wish) = (NetworkOptions::default(), OverlayWish::default());
        for (key, value) in given {
            let Some((name, key)) = KEYS.iter().find(|(name, _)| name == key) else {
                faults.add(unknown(key));
                continue;
            };
            if !overlay && matches!(key, Key::Vni | Key::EncapChecksum | Key::Vtep) {
                faults.add(format!("option {name} is for overlay networks; add --driver overlay, or leave it out"));
            } else if let Err(sentence) = options.set(&mut wish, *key, name, value) {
                faults.add(sentence);
            }
        }
        (options, wish)
    }

    /// Whether the MTU is large enough for IPv6.
    ///
    /// # Errors
    /// One sentence.
    pub fn check_ipv6(&self) -> Result<(), String> {
        match self.mtu {
            0..MIN_MTU_IPV6 => Err(format!("invalid MTU number: {}; IPv6 needs at least {MIN_MTU_IPV6}", self.mtu)),
            _ => Ok(()),
        }
    }

    fn set(&mut self, wish: &mut OverlayWish, key: Key, name: &str, value: &str) -> Result<(), String> {
        match key {
            Key::Vni => wish.set_vni(name, value)?,
            Key::Vtep => wish.set_vtep(name, value)?,
            Key::EncapChecksum => wish.checksum = Some(parse_bool(name, value)?),
            Key::Mtu => {
                self.mtu = parse_mtu(name, value)?;
                // Docker's zero is no wish.
                self.mtu_given = value.parse() != Ok(0);
            }
            Key::Icc => self.icc = parse_bool(name, value)?,
            Key::AntiSpoof => self.anti_spoof = parse_bool(name, value)?,
            Key::Masquerade => self.masquerade = parse_bool(name, value)?,
            Key::HostBinding => {
                let address = value.parse().ok().filter(IpAddr::is_ipv4);
                self.host_binding = Some(address.ok_or_else(|| {
                    format!("failed to parse {name} value: {value} (write an IPv4 address of the host)")
                })?);
            }
            Key::BridgeName => self.bridge_name = Some(value.to_owned()),
            Key::MacLimit => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                self.mac_limit = Some(limit.ok_or_else(|| {
                    format!("failed to parse {name} value: {value} (write a number of addresses, at least 1)")
                })?);
            }
        }
        Ok(())
    }
}

/// The texts that Go's strconv.ParseBool takes, since Docker's users write them.
fn parse_bool(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("failed to parse {name} value: {value} (write true or false)")),
    }
}

fn parse_mtu(name: &str, value: &str) -> Result<u32, String> {
    let number: i64 = value
        .parse()
        .map_err(|_| format!("failed to parse {name} value: {value} (write a number of bytes such as 1500)"))?;
    match u32::try_from(number) {
        Ok(0) => Ok(DEFAULT_MTU),
        Ok(mtu) if (MIN_MTU..=MAX_MTU).contains(&mtu) => Ok(mtu),
        _ => Err(format!("invalid MTU number: {number}; use {MIN_MTU} to {MAX_MTU}")),
    }
}

fn unknown(key: &str) -> String {
    let known: Vec<&str> = KEYS[..TOLD_KEYS].iter().map(|(name, _)| *name).collect();
    let nearest = closest(key, known.iter().copied());
    let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    format!("unknown network option {key}{hint} (known options: {})", known.join(", "))
}

/// The candidate that differs least from `text`, if it is near enough to be meant.
pub(crate) fn closest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    candidates
        .map(|name| (distance(text, name).min(distance(text.rsplit('.').next().unwrap_or(text), last(name))), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= last(name).len().div_ceil(2))
        .map(|(_, name)| name)
}

/// Levenshtein's distance in characters, letter case and `_`/`-` ignored.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars().take(64).map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<NetworkOptions, String> {
        let mut faults = Faults::new("");
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (options, _) = NetworkOptions::parse(&map, false, &mut faults);
        faults.finish(options).map_err(|faults| faults.to_string())
    }

    /// Short and Docker's long spellings set the same things.
    #[test]
    fn spellings() {
        let short = parse(&[("mtu", "9000"), ("icc", "false"), ("masquerade", "0")]).unwrap();
        let long = parse(&[
            ("com.docker.network.driver.mtu", "9000"),
            ("com.docker.network.bridge.enable_icc", "F"),
            ("com.docker.network.bridge.enable_ip_masquerade", "False"),
        ])
        .unwrap();
        assert_eq!(short, long);
        assert_eq!((short.mtu, short.icc, short.masquerade, short.anti_spoof), (9000, false, false, true));
        assert_eq!(parse(&[("mac-limit", "8"), ("anti-spoof", "false")]).unwrap().mac_limit, Some(8));
    }

    /// An unknown key is refused with the list of known ones and the closest.
    #[test]
    fn unknown_keys() {
        let error = parse(&[("mut", "9000")]).unwrap_err();
        assert!(error.contains("did you mean mtu?") && error.contains("mac-limit"), "{error}");
        let error = parse(&[("com.docker.network.bridge.enable-ic", "x")]).unwrap_err();
        assert!(error.contains("did you mean com.docker.network.bridge.enable_icc?"), "{error}");
        let error = parse(&[("frobnicate", "x")]).unwrap_err();
        assert!(!error.contains("did you mean") && error.contains("known options: mtu, icc"), "{error}");
    }

    /// What is for tunnels is for overlay networks only, in both spellings.
    #[test]
    fn overlay_options() {
        let error = parse(&[("vni", "4097")]).unwrap_err();
        assert!(error.contains("add --driver overlay"), "{error}");
        let wish = |key: &str, value: &str| {
            let mut faults = Faults::new("");
            let (_, wish) = NetworkOptions::parse(&[(key.to_owned(), value.to_owned())].into(), true, &mut faults);
            faults.finish(wish).map_err(|faults| faults.to_string())
        };
        let long = wish("com.docker.network.driver.overlay.vxlanid_list", "4097").unwrap();
        assert_eq!((long, long.vni.map(vswitch_frame::Vni::value)), (wish("vni", "4097").unwrap(), Some(4097)));
        assert_eq!(wish("encap-checksum", "true").unwrap().checksum, Some(true));
        assert!(wish("vtep", "eth0").unwrap_err().contains("write an address of --vtep"));
        assert!(wish("encap-checksum", "perhaps").is_err() && wish("vni", "0").is_err());
    }

    /// Bad values are refused, all at once.
    #[test]
    fn bad_values() {
        let error = parse(&[("mtu", "-1"), ("icc", "maybe"), ("mac-limit", "0")]).unwrap_err();
        assert!(error.contains("invalid MTU number: -1"), "{error}");
        assert!(error.contains("failed to parse icc value: maybe"), "{error}");
        assert!(error.contains("failed to parse mac-limit value: 0"), "{error}");
        assert!(parse(&[("mtu", "65536")]).is_err());
        assert_eq!(parse(&[("mtu", "0")]).unwrap().mtu, 1500);
    }
}
