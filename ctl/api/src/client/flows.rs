//! Tracked flows.

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Bytes, Incoming};

use super::Client;
use super::transport::escape;
use crate::flow::{Flow, FlowEvent, FlowQuery, FlowsRebound, FlowsRemoved};
use crate::{ClientError, PREFIX};

impl Client {
    /// The flows that match.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn flows(&self, query: &FlowQuery) -> Result<Vec<Flow>, ClientError> {
        self.call(Method::GET, path("", query)).answer().await
    }

    /// End the flows that match.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn flush_flows(&self, query: &FlowQuery) -> Result<FlowsRemoved, ClientError> {
        self.call(Method::DELETE, path("", query)).answer().await
    }

    /// Give the flows that match another external port.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn rebind_flows(&self, query: &FlowQuery) -> Result<FlowsRebound, ClientError> {
        self.call(Method::POST, path("/rebind", query)).answer().await
    }

    /// What happens to the flows that match, from now on.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn watch_flows(&self, query: &FlowQuery) -> Result<FlowEvents, ClientError> {
        let body = self.call(Method::GET, path("/watch", query)).stream().await?;
        Ok(FlowEvents { client: self.clone(), body, line: Vec::new() })
    }
}

/// Events of flows, as they come.
#[derive(Debug)]
pub struct FlowEvents {
    client: Client,
    body: Incoming,
    /// What came behind the last whole line.
    line: Vec<u8>,
}

impl FlowEvents {
    /// The next one; `None` when the daemon ends the stream.
    ///
    /// # Errors
    /// When the connection breaks, or the daemon says something that is not as agreed.
    pub async fn next(&mut self) -> Result<Option<FlowEvent>, ClientError> {
        loop {
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(|error| self.client.broken(&error));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.line.extend(frame.into_data().unwrap_or_else(|_| Bytes::new())),
                Some(Err(error)) => return Err(self.client.broken(&error)),
            }
        }
    }
}

fn path(below: &str, query: &FlowQuery) -> String {
    let fields = [
        ("protocol", &query.protocol),
        ("source", &query.source),
        ("destination", &query.destination),
        ("dport", &query.dport),
        ("endpoint", &query.endpoint),
        ("network", &query.network),
    ];
    let set = fields.iter().filter_map(|(key, value)| Some(format!("{key}={}", escape(value.as_deref()?))));
    let set: Vec<String> = set.collect();
    let mark = if set.is_empty() { "" } else { "?" };
    format!("{PREFIX}/flows{below}{mark}{}", set.join("&"))
}
