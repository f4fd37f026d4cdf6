//! Ports for machines.

use std::os::fd::BorrowedFd;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;

use super::Client;
use super::transport::escape;
use crate::machine::{Machine, MachineEvent, MachinePort, MachinePortOpen};
use crate::{ClientError, PREFIX};

impl Client {
    /// All ports for machines.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn machine_ports(&self) -> Result<Vec<MachinePort>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/ports")).answer().await
    }

    /// Open a port for machines, for as long as the answer is kept.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn open_machine_port(&self, wish: &MachinePortOpen) -> Result<(MachinePort, MachineHold), ClientError> {
        let body = self.call(Method::POST, format!("{PREFIX}/ports")).json(wish).stream().await?;
        let mut hold = MachineHold { body, rest: Vec::new() };
        match hold.next().await {
            Some(MachineEvent::Opened(port)) => Ok((port, hold)),
            other => Err(self.broken(&unexpected(other))),
        }
    }

    /// Plug a machine into a port by its connected socket, for as long as the answer is kept.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn plug_machine(
        &self,
        port: &str,
        socket: BorrowedFd<'_>,
    ) -> Result<(Machine, MachineHold), ClientError> {
        let path = format!("{PREFIX}/ports/{}/machines", escape(port));
        let body = self.call(Method::POST, path).beside(socket)?.stream().await?;
        let mut hold = MachineHold { body, rest: Vec::new() };
        match hold.next().await {
            Some(MachineEvent::Plugged(machine)) => Ok((machine, hold)),
            other => Err(self.broken(&unexpected(other))),
        }
    }

    /// Close a port for machines; those that are plugged in lose their connections.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn close_machine_port(&self, port: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("{PREFIX}/ports/{}", escape(port))).done().await
    }
}

fn unexpected(event: Option<MachineEvent>) -> String {
    match event {
        Some(MachineEvent::Ended(why)) => why,
        Some(_) => "the answer is another request's".to_owned(),
        None => "the connection ended".to_owned(),
    }
}

/// An open port, or a machine that is plugged in; that ends when this is dropped.
#[derive(Debug)]
pub struct MachineHold {
    body: Incoming,
    rest: Vec<u8>,
}

impl MachineHold {
    /// Waits for the end, and says why; `None` when vswitchd went away.
    pub async fn ended(&mut self) -> Option<String> {
        loop {
            match self.next().await? {
                MachineEvent::Ended(why) => return Some(why),
                MachineEvent::Opened(_) | MachineEvent::Plugged(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Option<MachineEvent> {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            let frame = self.body.frame().await?.ok()?;
            self.rest.extend(frame.into_data().unwrap_or_default());
        }
    }
}
