//! What container engines ask for.

use std::os::fd::BorrowedFd;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;

use super::Client;
use super::transport::escape;
use crate::endpoint::Endpoint;
use crate::engine::{EngineAttach, EngineDns, EngineKey, EnginePorts, EnginePublish};
use crate::{ClientError, PREFIX};

impl Client {
    /// Give a container of an engine an endpoint; `netns` is its network namespace.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn attach_for_engine(&self, wish: &EngineAttach, netns: BorrowedFd<'_>) -> Result<Endpoint, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/engines/endpoints")).json(wish).beside(netns)?.answer().await
    }

    /// Make an interface in the host's network namespace for a container of an engine, which moves it on.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn interface_for_engine(&self, wish: &EngineAttach) -> Result<Endpoint, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/engines/interfaces")).json(wish).answer().await
    }

    /// Publish ports of the host on an endpoint of an engine's container, in the place of those before.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn publish_for_engine(&self, key: &EngineKey, publish: Vec<String>) -> Result<(), ClientError> {
        let [engine, container, interface] = [&key.engine, &key.container, &key.interface].map(|word| escape(word));
        let path = format!("{PREFIX}/engines/endpoints/{engine}/{container}/{interface}/ports");
        self.call(Method::PUT, path).json(&EnginePublish { publish }).done().await
    }

    /// Undo [`Client::attach_for_engine`].
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn detach_for_engine(&self, key: &EngineKey) -> Result<(), ClientError> {
        let [engine, container, interface] = [&key.engine, &key.container, &key.interface].map(|word| escape(word));
        let path = format!("{PREFIX}/engines/endpoints/{engine}/{container}/{interface}");
        self.call(Method::DELETE, path).done().await
    }

    /// Name the resolvers of an engine's network, known by the engine's name for it.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn resolvers_for_engine(
        &self,
        engine: &str,
        network: &str,
        servers: Vec<String>,
    ) -> Result<(), ClientError> {
        let path = format!("{PREFIX}/engines/networks/{}/{}/dns", escape(engine), escape(network));
        self.call(Method::PUT, path).json(&EngineDns { servers }).done().await
    }

    /// Publish ports of the host on a container of an engine, for as long as the answer is kept.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn lease_for_engine(&self, wish: &EnginePorts) -> Result<EngineLease, ClientError> {
        let mut body = self.call(Method::POST, format!("{PREFIX}/engines/ports")).json(wish).stream().await?;
        match body.frame().await {
            Some(Ok(_)) => Ok(EngineLease { body }),
            Some(Err(error)) => Err(self.broken(&error)),
            None => Err(self.broken(&"the ports were not published")),
        }
    }
}

/// Published ports; they are given back when this is dropped.
#[derive(Debug)]
pub struct EngineLease {
    body: Incoming,
}

impl EngineLease {
    /// Ends when vswitchd does, and the ports with it.
    pub async fn lost(&mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
    }
}
