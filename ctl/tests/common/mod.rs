//! A whole vswitchd in this process, with an agent that only pretends: no namespaces, no privileges.

#![allow(dead_code, unreachable_pub, reason = "every test file uses another part of this")]

pub mod agent;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::runtime::Runtime;
use vswitch_api::version::{Confinement, SystemCalls};
use vswitch_ctl::agent::client::{AgentClient, AgentConnection};
use vswitch_ctl::api::serve::Clients;
use vswitch_ctl::api::{self, App, listen::ControlSocket};
use vswitch_ctl::controller::{Controller, HostFiles, Interface, OpenPacket, OpenUplink, Parts, Underlay};
use vswitch_ctl::error::ControlError;
use vswitch_ctl::model::Defaults;
use vswitch_ctl::overlay::underlay::Monitor;
use vswitch_ctl::overlay::{OpenVtep, OverlayTable, VtepSpec};
use vswitch_ctl::store::Store;
use vswitch_ctl::uplink::Uplink;
use vswitch_switch::{Settings, Switch};

use agent::FakeAgent;

/// A vswitchd that serves a socket of its own.
pub struct Daemon {
    pub agent: FakeAgent,
    pub dir: tempfile::TempDir,
    pub controller: Controller,
    runtime: Runtime,
    socket: ControlSocket,
}

impl Daemon {
    /// With an empty state directory.
    pub fn start() -> Daemon {
        Daemon::start_in(tempfile::tempdir().unwrap(), FakeAgent::default())
    }

    /// With the state directory and the agent of an earlier one.
    pub fn start_in(dir: tempfile::TempDir, agent: FakeAgent) -> Daemon {
        Daemon::start_with(dir, agent, None)
    }

    /// With an uplink, whose interface is as pretended as the agent.
    pub fn start_with(dir: tempfile::TempDir, agent: FakeAgent, uplink: Option<&'static str>) -> Daemon {
        Daemon::start_settled(dir, agent, uplink, Defaults::default())
    }

    /// With an operator's settings, too.
    pub fn start_settled(
        dir: tempfile::TempDir,
        agent: FakeAgent,
        uplink: Option<&'static str>,
        defaults: Defaults,
    ) -> Daemon {
        Daemon::try_start(dir, agent, uplink, defaults, (Vec::new(), Vec::new()))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// With VTEPs and the overlay networks of a file.
    pub fn with_overlays(
        dir: tempfile::TempDir,
        agent: FakeAgent,
        overlays: (Vec<VtepSpec>, Vec<OverlayTable>),
    ) -> Result<Daemon, ControlError> {
        Daemon::try_start(dir, agent, None, Defaults::default(), overlays)
    }

    fn try_start(
        dir: tempfile::TempDir,
        agent: FakeAgent,
        uplink: Option<&'static str>,
        defaults: Defaults,
        (vteps, overlays): (Vec<VtepSpec>, Vec<OverlayTable>),
    ) -> Result<Daemon, ControlError> {
        let socket = ControlSocket::bind(&dir.path().join("v.sock"), None).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let route = dir.path().join("route");
        std::fs::write(&route, ROUTE).unwrap();
        let resolv_conf = dir.path().join("resolv.conf");
        std::fs::write(&resolv_conf, "nameserver 127.0.0.53\nnameserver 172.19.0.53\n").unwrap();
        let host = HostFiles { route, ipv6_route: "/nonexistent".into(), resolv_conf };
        let state_dir = dir.path().to_owned();
        let told = uplink.map_or(Uplink::None, |text| text.parse().unwrap());
        let connection = AgentConnection::new(agent.connect());
        let controller = runtime.block_on(async move {
            let (agent, hello, events) = AgentClient::connect(connection).await.unwrap();
            let (store, contents) = Store::open(&state_dir).unwrap();
            let switch = Switch::start(Settings { workers: Some(1), ..Settings::default() }).unwrap();
            let uplink = match uplink {
                Some(text) => Some(open_uplink(&agent, text).await),
                None => None,
            };
            let vteps = vteps.into_iter().map(|spec| OpenVtep::bind(spec).unwrap()).collect();
            let underlay = Underlay { vteps, monitor: Monitor::open().unwrap() };
            let parts = Parts {
                store,
                contents,
                switch,
                agent,
                hello,
                events,
                host,
                defaults,
                uplink,
                underlay,
                overlays,
                state_dir,
                ephemeral: false,
            };
            Controller::start(parts).await
        })?;
        let confinement = Confinement { system_calls: SystemCalls::Unrestricted, landlock: None };
        let app = App {
            controller: controller.clone(),
            uplink: told,
            workers: 1,
            confinement,
            cores: 1,
            live_restore: false,
            images: Default::default(),
        };
        let listener = socket.listener().unwrap();
        let orders = Some(app.controller.clone());
        runtime.spawn(api::serve::serve_to(Clients::OwnProcesses, orders, listener, api::router(app)));
        Ok(Daemon { agent, dir, controller, runtime, socket })
    }

    /// Ends as kill -9 would: nothing is told to anybody. Answers what the next one needs.
    pub fn crash(self) -> (tempfile::TempDir, FakeAgent) {
        let Daemon { agent, dir, controller, runtime, socket } = self;
        runtime.shutdown_background();
        drop(controller);
        drop(socket);
        // The store's file is free once the last task has let go of the controller.
        for _ in 0..500 {
            if Store::open(dir.path()).is_ok() {
                return (dir, agent);
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the store stays open");
    }

    pub fn path(&self) -> PathBuf {
        self.socket.path().to_owned()
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        request(&self.path(), "GET", path, "")
    }

    pub fn post(&self, path: &str, body: &str) -> (u16, Value) {
        request(&self.path(), "POST", path, body)
    }

    pub fn delete(&self, path: &str) -> (u16, Value) {
        request(&self.path(), "DELETE", path, "")
    }

    /// Makes a network with a subnet; its id.
    pub fn network(&self, name: &str, subnet: &str) -> String {
        let body = serde_json::json!({"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}});
        let (status, answer) = self.post("/networks/create", &body.to_string());
        assert_eq!(status, 201, "{answer}");
        answer["Id"].as_str().unwrap().to_owned()
    }

    /// Makes a container that runs until it is signalled.
    pub fn container(&self, name: &str, network: &str) {
        let body = serde_json::json!({"name": name, "network": network, "command": ["sleep"]});
        let (status, answer) = self.post("/vswitch/v1/containers", &body.to_string());
        assert_eq!(status, 201, "{answer}");
    }

    /// Makes one and starts it.
    pub fn running(&self, name: &str, network: &str) {
        self.container(name, network);
        let (status, answer) = self.post(&format!("/vswitch/v1/containers/{name}/start"), "");
        assert_eq!(status, 204, "{answer}");
    }

    pub fn inspect(&self, name: &str) -> Value {
        let (status, answer) = self.get(&format!("/vswitch/v1/containers/{name}"));
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// The sentence of a refusal.
pub fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

/// One request on a connection of its own.
pub fn request(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: vswitch\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (status, text) = raw(socket, format!("{head}{body}").as_bytes());
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Sends bytes, reads until the end; status and body.
pub fn raw(socket: &Path, bytes: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// A host with one on-link network, 172.18.0.0/16, so that it is skipped.
const ROUTE: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
    eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\n\
    eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n";

async fn open_uplink(agent: &AgentClient, text: &str) -> OpenUplink {
    let uplink = text.parse::<Uplink>().unwrap().packets()[0].clone();
    let interface = Interface::open(agent, &uplink).await.unwrap();
    let settings = vswitch_switch::nat::rules::Settings::default();
    OpenUplink::Packet(vec![OpenPacket { uplink, settings, interface }])
}
