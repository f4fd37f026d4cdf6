//! What dockerd's settings mean: checked values instead of text. All that is wrong is said at once.

use std::collections::BTreeMap;

use ipnet::IpNet;
use vswitch_api::network::IpamConfig;

use super::settings::{DockerSettings, PoolSetting};
use crate::ipam::pools::Pool;
use crate::logfile::Limit;
use crate::model::{
    BridgeWish, DEFAULT_GATEWAY_V4, DEFAULT_GATEWAY_V6, Defaults, DnsDefaults, Driver, Family, Faults, NetworkOptions,
    parse_subnet,
};
use crate::userns::RemapWish;

/// The settings as the controller takes them.
///
/// # Errors
/// One sentence for each that makes no sense.
pub(super) fn parse(settings: DockerSettings) -> Result<Defaults, Faults> {
    let mut faults = Faults::new("");
    check_bridge_name(&settings, &mut faults);
    let ipv6 = parse_ipv6(&settings, &mut faults);
    let ipv4 = parse_ipv4(&settings, &mut faults);
    let options = parse_options(&settings, ipv6 != Family::Off, &mut faults);
    let pools = settings.default_address_pools.iter().filter_map(|pool| faults.take(parse_pool(pool))).collect();
    let dns = parse_dns(&settings, &mut faults);
    let host = settings.ip.as_deref().filter(|text| !text.is_empty());
    let publish_host =
        host.and_then(|text| faults.take(text.parse().map_err(|_| format!("{text} is not an ip address; see ip"))));
    let network_options = parse_network_options(&settings, &mut faults);
    let network = settings.bridge.filter(|name| !name.is_empty());
    // As dockerd: an empty word turns it off.
    let remap = settings.userns_remap.filter(|text| !text.is_empty());
    let remap = remap.and_then(|text| faults.take(RemapWish::parse(&text)));
    // What dockerd's own format of logs has beside the bounds means nothing here.
    let bounds = settings.log_opts.into_iter().filter(|option| !OTHER_LOG_OPTIONS.contains(&option.key.as_str()));
    let log = bounds.map(|option| (option.key, option.value)).collect();
    let log = Limit::default().with(&log).unwrap_or_else(|more| {
        faults.append(more);
        Limit::default()
    });
    let bridge = BridgeWish { ipv4, ipv6, options };
    faults.finish(Defaults { bridge, pools, dns, network, publish_host, network_options, log, remap })
}

/// Of `log-opts`.
const OTHER_LOG_OPTIONS: [&str; 7] = ["compress", "env", "env-regex", "labels", "labels-regex", "mode", "tag"];

/// As dockerd: whoever names another network cannot say here what it is like.
fn check_bridge_name(settings: &DockerSettings, faults: &mut Faults) {
    if settings.bridge.as_deref().is_some_and(|name| !name.is_empty()) && settings.bip.is_some() {
        faults.add(
            "bridge and bip are mutually exclusive: bip is about the network bridge, and another one was named; \
             specify only one",
        );
    }
}

fn parse_ipv4(settings: &DockerSettings, faults: &mut Faults) -> Family {
    let bip = settings.bip.as_deref().and_then(|text| faults.take(parse_cidr("bip", text, true)));
    let fixed = settings.fixed_cidr.as_deref().and_then(|text| faults.take(parse_cidr("fixed-cidr", text, true)));
    let net = match (settings.bip.is_some(), bip, fixed) {
        (true, None, _) => return Family::Automatic,
        (true, Some(bip), _) => bip,
        (false, _, Some(fixed)) => fixed.trunc(),
        (false, _, None) => {
            if settings.default_gateway.is_some() && settings.fixed_cidr.is_none() {
                faults.add("default-gateway needs bip or fixed-cidr, which say what it is a neighbour of; add one");
            }
            return Family::Automatic;
        }
    };
    let config = IpamConfig {
        subnet: net.trunc().to_string(),
        ip_range: fixed.map(|fixed| fixed.trunc().to_string()).unwrap_or_default(),
        gateway: if bip.is_some() { net.addr().to_string() } else { String::new() },
        auxiliary_addresses: router(DEFAULT_GATEWAY_V4, settings.default_gateway.as_deref()),
    };
    family("bip, fixed-cidr and default-gateway", &config, faults)
}

fn parse_ipv6(settings: &DockerSettings, faults: &mut Faults) -> Family {
    if settings.ipv6 != Some(true) {
        for (key, value) in [
            ("bip6", &settings.bip6),
            ("fixed-cidr-v6", &settings.fixed_cidr_v6),
            ("default-gateway-v6", &settings.default_gateway_v6),
        ] {
            if value.is_some() {
                faults.add(format!("{key} is of no effect without ipv6; add it, or leave {key} out"));
            }
        }
        return Family::Off;
    }
    let bip = settings.bip6.as_deref().and_then(|text| faults.take(parse_cidr("bip6", text, false)));
    let given = settings.fixed_cidr_v6.as_deref();
    let fixed = given.and_then(|text| faults.take(parse_cidr("fixed-cidr-v6", text, false)));
    let Some(net) = bip.or(fixed.map(|fixed| fixed.trunc())) else {
        if settings.default_gateway_v6.is_some() && given.is_none() && settings.bip6.is_none() {
            faults.add("default-gateway-v6 needs bip6 or fixed-cidr-v6, which say what it is a neighbour of; add one");
        }
        return Family::Automatic;
    };
    let range = fixed.map(|fixed| fixed.trunc()).filter(|fixed| *fixed != net.trunc());
    let config = IpamConfig {
        subnet: net.trunc().to_string(),
        ip_range: range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: if bip.is_some() { net.addr().to_string() } else { String::new() },
        auxiliary_addresses: router(DEFAULT_GATEWAY_V6, settings.default_gateway_v6.as_deref()),
    };
    family("bip6, fixed-cidr-v6 and default-gateway-v6", &config, faults)
}

fn router(name: &str, address: Option<&str>) -> BTreeMap<String, String> {
    address.map(|address| (name.to_owned(), address.to_owned())).into_iter().collect()
}

fn family(keys: &str, config: &IpamConfig, faults: &mut Faults) -> Family {
    match parse_subnet(config) {
        Ok(wish) => Family::Given(wish),
        Err(more) => {
            faults.add(format!("{keys}: {more}"));
            Family::Automatic
        }
    }
}

fn parse_cidr(key: &str, text: &str, ipv4: bool) -> Result<IpNet, String> {
    let example = if ipv4 { "192.168.1.5/24" } else { "fd00:1::/64" };
    text.parse()
        .ok()
        .filter(|net: &IpNet| net.addr().is_ipv4() == ipv4)
        .ok_or_else(|| format!("invalid {key} {text:?}: write an address and a prefix length such as {example}"))
}

fn parse_options(settings: &DockerSettings, ipv6: bool, faults: &mut Faults) -> NetworkOptions {
    let mut given = BTreeMap::new();
    if let Some(mtu) = settings.mtu {
        given.insert("mtu".to_owned(), mtu.to_string());
    }
    if let Some(icc) = settings.icc {
        given.insert("icc".to_owned(), icc.to_string());
    }
    if let Some(masquerade) = settings.ip_masq {
        given.insert("masquerade".to_owned(), masquerade.to_string());
    }
    let options = NetworkOptions::parse(&given, Driver::Bridge, faults).options;
    if ipv6 {
        faults.take(options.check_ipv6());
    }
    options
}

/// Options by driver. What they say is checked here, not when somebody makes a network.
fn parse_network_options(settings: &DockerSettings, faults: &mut Faults) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut drivers: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for one in &settings.default_network_opts {
        drivers.entry(one.driver.clone()).or_default().insert(one.key.clone(), one.value.clone());
    }
    for (driver, options) in &drivers {
        match driver.as_str() {
            "bridge" | "overlay" => {
                let driver = if driver == "overlay" { Driver::Overlay } else { Driver::Bridge };
                let _ = NetworkOptions::parse(options, driver, faults);
            }
            other => faults.add(format!(
                "default-network-opt: there are no networks of the driver {other}; use bridge or overlay"
            )),
        }
    }
    drivers
}

fn parse_pool(setting: &PoolSetting) -> Result<Pool, String> {
    let PoolSetting { base, size } = setting;
    let bad = |why: &str| format!("invalid default-address-pool base {base:?}: {why}");
    let net: IpNet = base.parse().map_err(|_| bad("write a network such as 10.200.0.0/16"))?;
    if net.addr().is_multicast() || net.addr().is_loopback() || net.addr().is_unspecified() || net.prefix_len() < 8 {
        return Err(bad("use a private network such as 10.200.0.0/16"));
    }
    let pool = Pool::new(net, *size).map_err(|fault| format!("invalid default-address-pool: {fault}"))?;
    match net.max_prefix_len() - size {
        0 | 1 => Err(format!(
            "invalid default-address-pool: subnets of size={size} have no room for a gateway and containers; use a \
             smaller size"
        )),
        _ => Ok(pool),
    }
}

fn parse_dns(settings: &DockerSettings, faults: &mut Faults) -> DnsDefaults {
    let server = |text: &String| text.parse().map_err(|_| format!("{text} is not an ip address; see dns"));
    let servers = settings.dns.iter().filter_map(|text| faults.take(server(text))).collect();
    let mut one_word = |key: &str, words: &[String]| -> Vec<String> {
        let bad = |word: &&String| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control());
        if let Some(word) = words.iter().find(bad) {
            faults.add(format!("invalid {key} {word:?}: it must not be empty or contain spaces"));
        }
        words.to_vec()
    };
    let search = one_word("dns-search", &settings.dns_search);
    let options = one_word("dns-opts", &settings.dns_opts);
    DnsDefaults { servers, search, options }
}
