//! Networks and endpoints.
//!
//! A network of dockerd's is one of vswitchd's, `docker-` and the first digits of its id. An endpoint is an interface in the host's network
//! namespace that dockerd moves into the container and gives its name and addresses; so it looks to dockerd like any other, and
//! vswitchd holds the container to the addresses that dockerd gave it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use vswitch_api::engine::{EngineAttach, EngineKey};
use vswitch_api::network::{Ipam, IpamConfig, NetworkCreate};

use super::ports::publish;
use super::{ENGINE, Plugin, Refusal, read};
use crate::complain;

/// Label of a network that is dockerd's, with dockerd's id.
pub(super) const LABEL: &str = "vswitch.docker.network";

/// dockerd's own keys in what it passes on.
const GENERIC: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";
/// What dockerd's address manager `null` answers.
const NO_POOL: &str = "0.0.0.0/0";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    network: String,
    #[serde(rename = "Options")]
    options: Option<Map<String, Value>>,
    #[serde(rename = "IPv4Data")]
    ipv4: Option<Vec<Pool>>,
    #[serde(rename = "IPv6Data")]
    ipv6: Option<Vec<Pool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Pool {
    pool: String,
    gateway: String,
    aux_addresses: Option<BTreeMap<String, String>>,
}

/// What all requests about an endpoint name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(rename = "NetworkID")]
    network: String,
    #[serde(rename = "EndpointID")]
    endpoint: String,
    #[serde(rename = "Interface")]
    interface: Option<Interface>,
    #[serde(rename = "Options")]
    options: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interface {
    #[serde(rename = "Address")]
    ipv4: String,
    #[serde(rename = "AddressIPv6")]
    ipv6: String,
    #[serde(rename = "MacAddress")]
    mac: String,
}

impl Plugin {
    /// A method of dockerd's network drivers.
    pub(super) async fn drive(&self, method: &str, body: &[u8]) -> Result<Value, Refusal> {
        match method {
            "GetCapabilities" => {
                return Ok(json!({ "Scope": "local", "ConnectivityScope": "local", "GwAllocChecker": false }));
            }
            "EndpointOperInfo" => return Ok(json!({ "Value": {} })),
            "Leave" | "DiscoverNew" | "DiscoverDelete" => {}
            "GwAllocCheck" => return Ok(json!({ "SkipIPv4": false, "SkipIPv6": false })),
            "CreateNetwork" => self.create_network(read(body)?).await?,
            "DeleteNetwork" => self.delete_network(&read::<Named>(body)?).await?,
            "CreateEndpoint" => return self.create_endpoint(&read(body)?).await,
            "Join" => return self.join(&read(body)?).await,
            "DeleteEndpoint" => {
                let key = key(&read::<Named>(body)?.endpoint)?;
                forgive(self.client.detach_for_engine(&key).await)?;
            }
            "ProgramExternalConnectivity" => {
                let named: Named = read(body)?;
                let ports = publish(named.options.as_ref()).map_err(Refusal::Said)?;
                if !ports.is_empty() {
                    self.client.publish_for_engine(&key(&named.endpoint)?, ports).await?;
                }
            }
            "RevokeExternalConnectivity" => {
                let key = key(&read::<Named>(body)?.endpoint)?;
                forgive(self.client.publish_for_engine(&key, Vec::new()).await)?;
            }
            _ => return Err(Refusal::Unknown),
        }
        Ok(json!({}))
    }

    async fn create_network(&self, asked: CreateNetwork) -> Result<(), Refusal> {
        let name = name_of(&asked.network)?;
        let options = asked.options.unwrap_or_default();
        let (mut config, mut without) = (Vec::new(), false);
        for pool in asked.ipv4.iter().chain(&asked.ipv6).flatten() {
            match pool.pool == NO_POOL {
                true => without = true,
                false => config.push(pool.config()),
            }
        }
        let has = |pools: &Option<Vec<Pool>>| pools.as_ref().is_some_and(|pools| !pools.is_empty());
        let wish = NetworkCreate {
            name: name.clone(),
            internal: is_internal(&options),
            enable_ipv4: Some(has(&asked.ipv4) || without),
            enable_ipv6: Some(has(&asked.ipv6)),
            ipam: Some(Ipam { driver: if without { "null" } else { "default" }.to_owned(), options: None, config }),
            options: texts(options.get(GENERIC)),
            labels: BTreeMap::from([(LABEL.to_owned(), asked.network.clone())]),
            ..NetworkCreate::default()
        };
        match self.client.create_network(&wish).await {
            Ok(_) => Ok(()),
            Err(error) => match self.client.network(&name).await {
                // Asked again, by a dockerd that has not heard of the answer.
                Ok(known) if known.labels.get(LABEL) == Some(&asked.network) => Ok(()),
                _ if error.to_string().contains("overlaps") => Err(Refusal::said(format!(
                    "{error}; name another one with --subnet, or let vswitchd choose with --ipam-driver vswitch"
                ))),
                _ => Err(error.into()),
            },
        }
    }

    async fn delete_network(&self, named: &Named) -> Result<(), Refusal> {
        forgive(self.client.remove_network(&name_of(&named.network)?).await)
    }

    async fn create_endpoint(&self, named: &Named) -> Result<Value, Refusal> {
        let interface = named.interface.as_ref();
        let given = |text: fn(&Interface) -> &String| interface.map(text).filter(|text| !text.is_empty());
        let addresses = [given(|one| &one.ipv4), given(|one| &one.ipv6)];
        let mac = given(|one| &one.mac);
        let network = name_of(&named.network)?;
        let wish = EngineAttach {
            key: key(&named.endpoint)?,
            name: format!("docker-{}", short(&named.endpoint)),
            network: NetworkCreate { name: network, ..NetworkCreate::default() },
            addresses: addresses.into_iter().flatten().map(|text| bare(text).to_owned()).collect(),
            mac_address: mac.cloned(),
            no_default_route: true,
            ..EngineAttach::default()
        };
        let made = self.client.interface_for_engine(&wish).await.map_err(|error| match error.is_not_found() {
            true => unknown_network(&named.network),
            false => error.into(),
        })?;
        // What dockerd chose must not be said again.
        Ok(match mac {
            Some(_) => json!({ "Interface": {} }),
            None => json!({ "Interface": { "MacAddress": made.mac_address } }),
        })
    }

    async fn join(&self, named: &Named) -> Result<Value, Refusal> {
        let network =
            self.client.network(&name_of(&named.network)?).await.map_err(|error| match error.is_not_found() {
                true => unknown_network(&named.network),
                false => Refusal::from(error),
            })?;
        let gateways = || network.ipam.config.iter().map(|one| bare(&one.gateway)).filter(|text| !text.is_empty());
        // Without one dockerd makes a bridge of its own for the way out.
        let gateway =
            |ipv6| gateways().find(|text| text.contains(':') == ipv6 && !network.internal).unwrap_or_default();
        Ok(json!({
            "InterfaceName": { "SrcName": key(&named.endpoint)?.interface, "DstPrefix": "eth" },
            "Gateway": gateway(false),
            "GatewayIPv6": gateway(true),
            "DisableGatewayService": true,
        }))
    }
}

impl Pool {
    fn config(&self) -> IpamConfig {
        let aux = self.aux_addresses.iter().flatten();
        IpamConfig {
            subnet: self.pool.clone(),
            gateway: bare(&self.gateway).to_owned(),
            auxiliary_addresses: aux.map(|(name, address)| (name.clone(), bare(address).to_owned())).collect(),
            ..IpamConfig::default()
        }
    }
}

/// Taking back what is not there is as good; what cannot be said to a vswitchd that does not run, it finds out by itself.
fn forgive(done: Result<(), vswitch_api::ClientError>) -> Result<(), Refusal> {
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) if error.is_unreachable() => {
            complain(&format!("{error}; what is to go goes when it runs and the container is gone"));
            Ok(())
        }
        other => Ok(other?),
    }
}

fn unknown_network(id: &str) -> Refusal {
    Refusal::said(format!(
        "vswitchd does not know network {} any more; remove it with 'docker network rm' and create it again",
        short(id)
    ))
}

/// What vswitchd calls a network of dockerd's.
pub(super) fn name_of(id: &str) -> Result<String, Refusal> {
    Ok(format!("docker-{}", short(checked(id)?)))
}

fn key(endpoint: &str) -> Result<EngineKey, Refusal> {
    let interface = format!("vs{}", short(checked(endpoint)?));
    Ok(EngineKey { engine: ENGINE.to_owned(), container: endpoint.to_owned(), interface })
}

/// dockerd's ids are hexadecimal digits, many of them.
fn checked(id: &str) -> Result<&str, Refusal> {
    let good = (12..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then_some(id).ok_or_else(|| Refusal::said(format!("{id:?} is no id of dockerd's")))
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// An address without its prefix length.
pub(super) fn bare(address: &str) -> &str {
    address.split('/').next().unwrap_or_default()
}

fn is_internal(options: &Map<String, Value>) -> bool {
    options.get(INTERNAL).is_some_and(|value| *value == true || *value == "true")
}

/// The options that are texts, as `-o` gives them.
fn texts(options: Option<&Value>) -> BTreeMap<String, String> {
    let options = options.and_then(Value::as_object).into_iter().flatten();
    options.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
