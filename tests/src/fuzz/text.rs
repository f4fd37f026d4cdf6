//! What people and programs write: requests of the API, settings, and questions for names.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vswitch_api::container::{ContainerCreate, ExecRequest};
use vswitch_api::endpoint::AttachRequest;
use vswitch_api::fdb::FdbAdd;
use vswitch_api::network::{EndpointConfig, NetworkConnect, NetworkCreate, NetworkDisconnect};
use vswitch_api::tunnel::{EntryAdd, RemoteAdd};
use vswitch_ctl::dns::query::{self, Transport};
use vswitch_ctl::dns::{Member, Scope, View, Zone, reply};
use vswitch_ctl::{model, overlay, publish, uplink};
use vswitch_switch::capture::Filter;

use super::input::Input;

/// Bodies that are right, from which wrong ones are made.
const BODIES: [&str; 8] = [
    r#"{"name":"web","command":["sh","-c","true"],"env":["A=b"],"network":"blue","endpoint":{"ipv4_address":"10.1.0.2","aliases":["a"],"mac_address":"02:42:0a:01:00:02"},"more_networks":[{"network":"red","endpoint":{}}],"dns":["192.0.2.1"],"extra_hosts":["h:10.0.0.1"],"cap_add":["NET_ADMIN"],"cap_drop":["ALL"],"publish":["127.0.0.1:8080-8081:80-81/tcp"],"labels":{"k":"v"},"tty":true}"#,
    r#"{"Name":"blue","Driver":"bridge","Internal":true,"EnableIPv6":true,"IPAM":{"Driver":"default","Config":[{"Subnet":"10.1.0.0/24","IPRange":"10.1.0.128/25","Gateway":"10.1.0.1"}]},"Options":{"com.docker.network.driver.mtu":"1400","icc":"false"},"Labels":{"k":"v"}}"#,
    r#"{"pid":1,"name":"box","network":"blue","endpoint":{"aliases":["x"]}}"#,
    r#"{"path":"/proc/1/ns/net","network":"blue"}"#,
    r#"{"command":["id"],"env":["A=b"],"working_dir":"/","tty":false}"#,
    r#"{"Container":"web","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.1.0.9"},"Aliases":["x"],"Links":["a:b"]}}"#,
    r#"{"address":"192.0.2.9"}"#,
    r#"{"mac":"02:42:0a:01:00:02","endpoint":"web","remote":"192.0.2.9","addresses":["10.1.0.2"]}"#,
];

/// What is put in somewhere.
const PIECES: [&str; 20] = [
    "null",
    "-1",
    "1e400",
    "18446744073709551616",
    "\"\"",
    "[[[[",
    "{\"a\":",
    "\\ud800",
    "\\u0000",
    "\u{202e}",
    "ß",
    "../",
    "%2e",
    "0.0.0.0/0",
    "::/0",
    "::ffff:10.0.0.1",
    "65536",
    "all",
    " ",
    "=",
];

/// A text with a few changes, or none of it.
fn changed(input: &mut Input<'_>, texts: &[&str]) -> Vec<u8> {
    if input.one_in(8) {
        return input.rest().to_vec();
    }
    let mut text = input.pick(texts).as_bytes().to_vec();
    for _ in 0..input.below(5) {
        let at = input.below(text.len() + 1);
        let end = (at + input.below(24)).min(text.len());
        match input.below(4) {
            0 => drop(text.splice(at..at, input.pick(&PIECES).bytes())),
            1 => drop(text.splice(at..end, input.pick(&PIECES).bytes())),
            2 => drop(text.drain(at..end)),
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte = input.byte();
                }
            }
        }
    }
    text
}

/// Reads a body; what was read is read again as it was written.
fn read<T: DeserializeOwned + Serialize>(body: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(body).ok()?;
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("it was written before"), written);
    Some(value)
}

/// Bodies of requests are refused or mean something; every refusal is a sentence.
pub(super) fn api(bytes: &[u8]) {
    let body = changed(&mut Input::new(bytes), &BODIES);
    if let Some(Err(faults)) = read(&body).map(model::parse_container) {
        assert!(!faults.to_string().is_empty());
    }
    if let Some(Err(error)) = read::<NetworkCreate>(&body).map(model::parse_network) {
        assert!(!error.to_string().is_empty());
    }
    if let Some(Err(faults)) = read::<AttachRequest>(&body).map(model::parse_attach) {
        assert!(!faults.to_string().is_empty());
    }
    if let Some(Err(faults)) = read::<ExecRequest>(&body).map(model::parse_exec) {
        assert!(!faults.to_string().is_empty());
    }
    if let Some(Err(faults)) = read::<EndpointConfig>(&body).map(|wire| model::parse_endpoint(&wire)) {
        assert!(!faults.to_string().is_empty());
    }
    let _ = read::<ContainerCreate>(&body);
    let _ = (read::<NetworkConnect>(&body), read::<NetworkDisconnect>(&body));
    let _ = (read::<RemoteAdd>(&body), read::<EntryAdd>(&body), read::<FdbAdd>(&body));
}

/// What stands on a command line or in a file.
const SETTINGS: [&str; 14] = [
    "not (tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn or vlan 5 and udp port 53) and len - 100 > ip[2:2] / 3",
    "src net 10.0.0.0/8 or host (fd00::1 or fd00::2) and ether host 2:0:0:0:0:1 or portrange 20-25",
    "127.0.0.1:8080-8090:80-90/tcp",
    "[::1]:53:53/udp",
    "packet:up0,address=10.99.0.1/24,gateway=10.99.0.2,address=fd99::1/64",
    "sockets",
    "com.docker.network.driver.mtu=1400\nicc=false\nmac-limit=4",
    "container:web",
    "web:alias",
    "192.0.2.1:4789",
    "{\"name\":[\"^we\"],\"label\":[\"k=v\"]}",
    "02:42:0a:01:00:02",
    "8080-8090",
    "NET_ADMIN",
];

/// Settings are refused or mean something, and what has a text form is read from it again.
pub(super) fn settings(bytes: &[u8]) {
    let text = changed(&mut Input::new(bytes), &SETTINGS);
    let Ok(text) = std::str::from_utf8(&text) else { return };
    if let Ok(published) = publish::parse(text) {
        assert!(published.len() <= 65_536);
    }
    let _ = text.parse::<uplink::Uplink>();
    let pairs = text.split('\n').filter_map(|line| line.split_once('='));
    let options: BTreeMap<String, String> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    for driver in [model::Driver::Overlay, model::Driver::Macvlan, model::Driver::Ipvlan] {
        let _ = model::NetworkOptions::parse(&options, driver, &mut model::Faults::default());
    }
    if let Ok(name) = model::container_name(text) {
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let _ = (model::network_name(text), model::Link::parse(text), text.parse::<overlay::VtepSpec>());
    if let Ok(by_key) = serde_json::from_str(text)
        && let Ok(filters) = model::Filters::new(by_key, &["name", "label", "id"])
    {
        let _ = (filters.pattern("name", &["web"]), filters.labels(&BTreeMap::new()));
    }
    if let Ok(mac) = text.parse::<vswitch_frame::MacAddr>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    match Filter::new(text) {
        Ok(filter) => {
            let _ = filter.matches(bytes);
        }
        Err(error) => assert!(error.at <= text.len()),
    }
    if let Ok(range) = text.parse::<publish::PortRange>() {
        assert_eq!(range.to_string().parse(), Ok(range));
    }
    let _ = model::resolve_capabilities(&[text.to_owned()], &[]);
}

/// A question as clients send it: recursion desired, one name, EDNS.
fn question(input: &mut Input<'_>) -> Vec<u8> {
    if input.one_in(6) {
        return input.rest().to_vec();
    }
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let names = ["web", "WEB.blue", "2.0.1.10.in-addr.arpa", "example.org", "blue", "", "a.b.c.d.e"];
    for label in input.pick(&names).split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).expect("labels are short"));
        message.extend(label.bytes());
    }
    message.extend([0, 0, input.pick(&[1, 28, 12, 255, 16, 252, 65]), 0, input.pick(&[1, 1, 255, 3])]);
    if input.one_in(2) {
        message[11] = 1;
        let size = input.pick(&[1232_u16, 512, 4096, 0, 65_535]).to_be_bytes();
        message.extend([0, 0, 41, size[0], size[1], 0, input.pick(&[0, 0, 1]), 0x80, 0, 0, 0]);
    }
    for _ in 0..input.below(4) {
        let at = input.below(message.len());
        message[at] = input.byte();
    }
    message
}

/// A reply fits what its question allows, carries its number, and no reply of an upstream is believed that answers
/// something else.
pub(super) fn dns(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut random = StdRng::seed_from_u64(1);
    let scope = scope();
    let asked = question(&mut input);
    if let Some(reply) = scope.reply(&asked, &mut random) {
        assert!((12..=4096).contains(&reply.len()), "{} bytes", reply.len());
        assert_eq!(reply[..2], asked[..2]);
        assert!(reply[2] & 0x80 != 0, "a reply says that it is one");
    }
    let transport = if input.one_in(4) { Transport::Tcp } else { Transport::Udp };
    let Ok(question) = query::read(&asked, transport) else { return };
    let _ = question.name();
    let mut answer = reply::with_number(&asked, 9);
    answer[2] |= 0x80;
    for _ in 0..input.below(4) {
        let at = input.below(answer.len());
        answer[at] = input.byte();
    }
    if input.one_in(3) {
        answer.extend(input.rest());
    }
    let believed = reply::judge(&answer, 9, &question);
    if answer[..2] != [0, 9] || answer[2] & 0x80 == 0 {
        assert_eq!(believed, reply::Verdict::Foreign);
    }
    let fitted = reply::fit(&answer, &question);
    assert!(fitted.len() <= question.limit && fitted[..2] == asked[..2]);
}

fn scope() -> Scope {
    let members = [Member { names: vec!["web", "alias"], addresses: vec!["10.1.0.2".parse().unwrap()] }];
    let zone = Zone::new("blue", ["10.1.0.0/24".parse().unwrap()].into_iter(), members.into_iter());
    let cell = Zone::cell();
    cell.store(Arc::new(zone));
    Scope { networks: vec![View { name: "blue".into(), zone: cell, links: Vec::new() }], ..Scope::default() }
}
