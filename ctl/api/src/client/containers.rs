//! Containers.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Bytes, Incoming};

use super::transport::escape;
use super::{Client, Session, Streams};
use crate::container::{Container, ContainerCreate, ContainerCreated, ExecRequest, ExitStatus};
use crate::docker::container::{ContainerInspect, ContainerUpdate};
use crate::port::{PortChange, PortsChanged};
use crate::{ClientError, PREFIX};

impl Client {
    /// The containers that run, or `all` of them.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn containers(&self, all: bool) -> Result<Vec<Container>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/containers?all={all}")).answer().await
    }

    /// The same, each with what it has changed of a root directory of its own, which takes time to count.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn containers_with_sizes(&self, all: bool) -> Result<Vec<Container>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/containers?all={all}&size=true")).answer().await
    }

    /// One container, by name, id or unique start of its id.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn container(&self, container: &str) -> Result<Container, ClientError> {
        self.call(Method::GET, path(container, "")).answer().await
    }

    /// One container in Docker's shape.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn docker_container(&self, container: &str) -> Result<ContainerInspect, ClientError> {
        self.call(Method::GET, format!("/containers/{}/json", escape(container))).answer().await
    }

    /// Create a container; it does not run yet.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn create_container(&self, request: &ContainerCreate) -> Result<ContainerCreated, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/containers")).json(request).answer().await
    }

    /// Publish further ports of a container.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn publish(&self, container: &str, change: &PortChange) -> Result<PortsChanged, ClientError> {
        self.call(Method::POST, path(container, "/ports")).json(change).answer().await
    }

    /// Publish ports of a container no more.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn unpublish(&self, container: &str, change: &PortChange) -> Result<(), ClientError> {
        self.call(Method::DELETE, path(container, "/ports")).json(change).done().await
    }

    /// Start a container without streams: its output goes to its log.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn start_container(&self, container: &str) -> Result<(), ClientError> {
        self.call(Method::POST, path(container, "/start")).done().await
    }

    /// Start a container with these streams.
    ///
    /// # Errors
    /// As every call: see [`ClientError`]. That the program does not start is an event of the [`Session`].
    pub async fn start_container_with(&self, container: &str, streams: Streams<'_>) -> Result<Session, ClientError> {
        let (stream, early) = self.call(Method::POST, path(container, "/start")).upgrade().await?;
        Session::open(self.clone(), stream, early, streams).await
    }

    /// Run one more process in a container without streams; returns when it ended.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn exec(&self, container: &str, request: &ExecRequest) -> Result<ExitStatus, ClientError> {
        self.call(Method::POST, path(container, "/exec")).json(request).patience(None).answer().await
    }

    /// Run one more process in a container with these streams.
    ///
    /// # Errors
    /// As every call: see [`ClientError`]. That the program does not start is an event of the [`Session`].
    pub async fn exec_with(
        &self,
        container: &str,
        request: &ExecRequest,
        streams: Streams<'_>,
    ) -> Result<Session, ClientError> {
        let (stream, early) = self.call(Method::POST, path(container, "/exec")).json(request).upgrade().await?;
        Session::open(self.clone(), stream, early, streams).await
    }

    /// Wait, however long, until a container has ended.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn wait_container(&self, container: &str) -> Result<ExitStatus, ClientError> {
        self.call(Method::GET, path(container, "/wait")).patience(None).answer().await
    }

    /// Ask a container's process to end, and kill it after `grace` (by default the daemon's).
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn stop_container(&self, container: &str, grace: Option<Duration>) -> Result<(), ClientError> {
        let query = grace.map_or_else(String::new, |grace| format!("?timeout={}", grace.as_secs()));
        // How long that may take was said when it was created, or is said now.
        self.call(Method::POST, path(container, "/stop") + &query).patience(None).done().await
    }

    /// Stop a container and start it again; `grace` as with stopping.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn restart_container(&self, container: &str, grace: Option<Duration>) -> Result<(), ClientError> {
        let query = grace.map_or_else(String::new, |grace| format!("?t={}", grace.as_secs()));
        let path = format!("/containers/{}/restart{query}", escape(container));
        self.call(Method::POST, path).patience(None).done().await
    }

    /// Change when a container's process is started again by itself.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn update_container(&self, container: &str, update: &ContainerUpdate) -> Result<(), ClientError> {
        self.call(Method::POST, format!("/containers/{}/update", escape(container))).json(update).done().await
    }

    /// Send a container's process a signal.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn kill_container(&self, container: &str, signal: i32) -> Result<(), ClientError> {
        self.call(Method::POST, path(container, "/kill") + &format!("?signal={signal}")).done().await
    }

    /// Give a container another name.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn rename_container(&self, container: &str, name: &str) -> Result<(), ClientError> {
        self.call(Method::POST, path(container, "/rename") + &format!("?name={}", escape(name))).done().await
    }

    /// Remove a container; with `force` also one that runs.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_container(&self, container: &str, force: bool) -> Result<(), ClientError> {
        self.call(Method::DELETE, path(container, "") + &format!("?force={force}")).done().await
    }

    /// What a container without streams has written so far.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn container_logs(&self, container: &str) -> Result<Bytes, ClientError> {
        self.call(Method::GET, path(container, "/logs")).bytes().await
    }
}

impl Client {
    /// What a container without streams has written and will write, until it ends.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn follow_container_logs(&self, container: &str) -> Result<ContainerOutput, ClientError> {
        let body = self.call(Method::GET, path(container, "/logs?follow=true")).stream().await?;
        Ok(ContainerOutput { client: self.clone(), body })
    }
}

/// A container's output, as it comes.
#[derive(Debug)]
pub struct ContainerOutput {
    client: Client,
    body: Incoming,
}

impl ContainerOutput {
    pub(super) const fn new(client: Client, body: Incoming) -> ContainerOutput {
        ContainerOutput { client, body }
    }

    /// The next bytes; `None` when the container has ended.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self.body.frame().await {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_else(|_| Bytes::new()))),
            Some(Err(error)) => Err(self.client.broken(&error)),
        }
    }
}

fn path(container: &str, rest: &str) -> String {
    format!("{PREFIX}/containers/{}{rest}", escape(container))
}
