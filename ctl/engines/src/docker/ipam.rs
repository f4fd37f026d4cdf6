//! Addresses by the IPAM driver `vswitch`: subnets that no network of vswitchd's has, and addresses in them that nobody has.
//!
//! What is in use is asked of vswitchd; what was given out and is in no use yet is remembered here. A plug-in that is started anew
//! has forgotten only the latter, of requests that dockerd was in the middle of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use serde_json::{Value, json};
use vswitch_api::client::Filters;

use super::driver::bare;
use super::{Plugin, Refusal, read};

/// dockerd's key of a request for a gateway's address.
const TYPE: &str = "RequestAddressType";
const GATEWAY: &str = "com.docker.network.gateway";

/// Addresses that are looked at in a subnet before it is said to be full.
const LOOKS: usize = 1 << 16;

/// What was given out, by subnet. dockerd asks for several of them until one suits it, and gives the others back.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<BTreeMap<IpNet, BTreeSet<IpAddr>>>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    #[serde(rename = "PoolID")]
    id: String,
    #[serde(rename = "Pool")]
    pool: String,
    #[serde(rename = "SubPool")]
    part: String,
    #[serde(rename = "Address")]
    address: String,
    #[serde(rename = "V6")]
    ipv6: bool,
    #[serde(rename = "Options")]
    options: Option<BTreeMap<String, String>>,
}

impl Plugin {
    /// A method of dockerd's address managers.
    pub(super) async fn manage(&self, method: &str, body: &[u8]) -> Result<Value, Refusal> {
        Ok(match method {
            "GetCapabilities" => json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false }),
            "GetDefaultAddressSpaces" => {
                json!({ "LocalDefaultAddressSpace": "vswitch", "GlobalDefaultAddressSpace": "vswitch-global" })
            }
            "RequestPool" => {
                let pool = self.pool(&read(body)?).await?;
                json!({ "PoolID": pool.to_string(), "Pool": pool.to_string(), "Data": {} })
            }
            "RequestAddress" => json!({ "Address": self.address(&read(body)?).await?, "Data": {} }),
            "ReleasePool" => {
                let wish: Wish = read(body)?;
                self.pools.with(|pools| wish.id.parse().ok().and_then(|pool: IpNet| pools.remove(&pool)));
                json!({})
            }
            "ReleaseAddress" => {
                let wish: Wish = read(body)?;
                if let (Ok(pool), Ok(address)) = (wish.id.parse::<IpNet>(), bare(&wish.address).parse::<IpAddr>()) {
                    self.pools.with(|pools| pools.get_mut(&pool).map(|given| given.remove(&address)));
                }
                json!({})
            }
            _ => return Err(Refusal::Unknown),
        })
    }

    async fn pool(&self, wish: &Wish) -> Result<IpNet, Refusal> {
        let networks = self.client.networks(&Filters::new()).await?;
        let configs = networks.iter().flat_map(|network| &network.ipam.config);
        let used: Vec<IpNet> = configs.filter_map(|config| config.subnet.parse().ok()).collect();
        let named = (!wish.pool.is_empty()).then(|| wish.pool.parse::<IpNet>());
        self.pools.with(|pools| {
            let meets =
                |net: &IpNet| used.iter().chain(pools.keys()).any(|other| other.contains(net) || net.contains(other));
            let pool = match named {
                Some(Ok(net)) if meets(&net.trunc()) => {
                    return Err(Refusal::said(format!("subnet {net} overlaps with a network of vswitchd's")));
                }
                Some(Ok(net)) => net.trunc(),
                Some(Err(_)) => return Err(Refusal::said(format!("{:?} is no subnet", wish.pool))),
                None if wish.ipv6 => return Err(Refusal::said("name the IPv6 subnet with --subnet")),
                None => {
                    let free = candidates().find(|net| !meets(net));
                    free.ok_or_else(|| Refusal::said("no subnet is free; name one with --subnet"))?
                }
            };
            if !wish.part.is_empty() {
                return Err(Refusal::said("--ip-range is not for the IPAM driver vswitch; leave it out"));
            }
            pools.insert(pool, BTreeSet::new());
            Ok(pool)
        })
    }

    async fn address(&self, wish: &Wish) -> Result<String, Refusal> {
        let pool: IpNet = wish.id.parse().map_err(|_| Refusal::said(format!("{:?} is no pool", wish.id)))?;
        let wanted = (!wish.address.is_empty()).then(|| bare(&wish.address).parse::<IpAddr>());
        let is_gateway =
            wish.options.as_ref().and_then(|options| options.get(TYPE)).is_some_and(|kind| kind == GATEWAY);
        let mut used = BTreeSet::new();
        for network in self.client.networks(&Filters::new()).await? {
            let ours = |net: &str| net.parse() == Ok(pool);
            for config in network.ipam.config.iter().filter(|config| ours(&config.subnet)) {
                // At its start dockerd may ask for what it has.
                let own = std::iter::once(&config.gateway).filter(|_| !is_gateway);
                used.extend(
                    own.chain(config.auxiliary_addresses.values()).filter_map(|text| text.parse::<IpAddr>().ok()),
                );
            }
        }
        for endpoint in self.client.endpoints().await? {
            let addresses = endpoint.ipv4_address.iter().chain(&endpoint.ipv6_address);
            used.extend(addresses.filter_map(|text| bare(text).parse::<IpAddr>().ok()));
        }
        self.pools.with(|pools| {
            let given = pools.entry(pool).or_default();
            let is_free =
                |address: &IpAddr, given: &BTreeSet<IpAddr>| !used.contains(address) && !given.contains(address);
            let address = match wanted {
                Some(Ok(address)) if !pool.contains(&address) => {
                    return Err(Refusal::said(format!("{address} is not in {pool}")));
                }
                Some(Ok(address)) if !is_free(&address, given) => {
                    return Err(Refusal::said("Address already in use"));
                }
                Some(Ok(address)) => address,
                Some(Err(_)) => return Err(Refusal::said(format!("{:?} is no address", wish.address))),
                None => {
                    let free = pool.hosts().take(LOOKS).find(|address| is_free(address, given));
                    free.ok_or_else(|| Refusal::said(format!("no address of {pool} is free")))?
                }
            };
            given.insert(address);
            Ok(format!("{address}/{}", pool.prefix_len()))
        })
    }
}

impl Pools {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<IpNet, BTreeSet<IpAddr>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Docker's own: 172.17.0.0/16 to 172.31.0.0/16, then twentieths of 192.168.0.0/16.
fn candidates() -> impl Iterator<Item = IpNet> {
    let large = (17..32).filter_map(|second| Ipv4Net::new([172, second, 0, 0].into(), 16).ok());
    let small = (0..16).filter_map(|third| Ipv4Net::new([192, 168, third * 16, 0].into(), 20).ok());
    large.chain(small).map(IpNet::V4)
}
