//! Streams that the agent keeps: of containers that no client brought its own for. These are Docker's paths.

use std::fmt::Write;

use hyper::Method;
use hyper::body::Bytes;
use tokio::net::UnixStream;

use super::Client;
use super::containers::ContainerOutput;
use super::networks::{Filters, query};
use super::transport::escape;
use crate::ClientError;
use crate::docker::container::ContainerSummary;

/// What of a container's output is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputQuery {
    /// Go on until the container ends.
    pub follow: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// Nothing before: a time, or an age such as `10m`.
    pub since: Option<String>,
    /// Nothing after.
    pub until: Option<String>,
    /// So many lines from the end, or `all`.
    pub tail: Option<String>,
}

/// Which streams of a container to be connected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsWanted<'a> {
    /// What is sent is its standard input.
    pub input: bool,
    /// Its standard output, or all of its terminal's.
    pub output: bool,
    /// Its standard error.
    pub errors: bool,
    /// What leaves a terminal.
    pub detach_keys: &'a str,
}

impl Client {
    /// Connect to the streams of a container, which need not have begun. Without a terminal its output comes in
    /// [`frames`](Frames). `early` of the answer came right behind the 101.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn attach_container(
        &self,
        container: &str,
        wanted: StreamsWanted<'_>,
    ) -> Result<(UnixStream, Bytes), ClientError> {
        let StreamsWanted { input, output, errors, detach_keys } = wanted;
        let path = format!(
            "/containers/{}/attach?stream=1&stdout={output}&stderr={errors}&stdin={input}&detachKeys={}",
            escape(container),
            escape(detach_keys)
        );
        self.call(Method::POST, path).upgrade_to("tcp").await
    }

    /// Tell a container's terminal its size.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn resize_container(&self, container: &str, rows: u16, columns: u16) -> Result<(), ClientError> {
        self.call(Method::POST, format!("/containers/{}/resize?h={rows}&w={columns}", escape(container))).done().await
    }

    /// What a container wrote, as far as it is asked for; in [`frames`](Frames), unless it has a terminal.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn container_output(
        &self,
        container: &str,
        wanted: &OutputQuery,
    ) -> Result<ContainerOutput, ClientError> {
        let mut path = format!(
            "/containers/{}/logs?stdout=1&stderr=1&follow={}&timestamps={}",
            escape(container),
            wanted.follow,
            wanted.timestamps
        );
        for (key, value) in [("since", &wanted.since), ("until", &wanted.until), ("tail", &wanted.tail)] {
            if let Some(value) = value {
                // Writing to a string does not fail.
                let _ = write!(path, "&{key}={}", escape(value));
            }
        }
        let body = self.call(Method::GET, path).stream().await?;
        Ok(ContainerOutput::new(self.clone(), body))
    }

    /// Containers that pass Docker's filters, newest first; with `limit` the newest ones, whether they run or not.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn filter_containers(
        &self,
        all: bool,
        limit: Option<u32>,
        filters: &Filters,
    ) -> Result<Vec<ContainerSummary>, ClientError> {
        let filters = query(filters).replace('?', "&");
        let limit = limit.map_or_else(String::new, |limit| format!("&limit={limit}"));
        self.call(Method::GET, format!("/containers/json?all={all}{limit}{filters}")).answer().await
    }

    /// Events as lines of JSON, from now on or from a time on, until one.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn events(
        &self,
        since: Option<&str>,
        until: Option<&str>,
        filters: &Filters,
    ) -> Result<ContainerOutput, ClientError> {
        let given = [("since", since), ("until", until)].into_iter().filter_map(|(key, value)| Some((key, value?)));
        let times: Vec<String> = given.map(|(key, value)| format!("{key}={}", escape(value))).collect();
        let filters = query(filters).replace('?', "");
        let all: Vec<String> = times.into_iter().chain((!filters.is_empty()).then_some(filters)).collect();
        let body = self.call(Method::GET, format!("/events?{}", all.join("&"))).stream().await?;
        Ok(ContainerOutput::new(self.clone(), body))
    }

    /// Docker's `info`, as it is.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn info(&self) -> Result<serde_json::Value, ClientError> {
        self.call(Method::GET, "/info").answer().await
    }
}

/// Takes Docker's frames apart: eight bytes in front of each piece, the first says of which stream, the last four how long it is.
#[derive(Debug, Default)]
pub struct Frames {
    pending: Vec<u8>,
}

/// A piece of a container's output.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Of standard error.
    pub errors: bool,
    /// What was written.
    pub bytes: Vec<u8>,
}

impl Frames {
    /// The pieces that are whole with these bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Piece> {
        const HEAD: usize = 8;
        const ERRORS: u8 = 2;
        self.pending.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while let [kind, _, _, _, a, b, c, d, ..] = self.pending[..] {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let Some(piece) = self.pending.get(HEAD..HEAD.saturating_add(length)) else { break };
            pieces.push(Piece { errors: kind == ERRORS, bytes: piece.to_vec() });
            self.pending.drain(..HEAD + length);
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However they are cut, frames come out whole, each with its stream.
    #[test]
    fn frames() {
        let stream =
            [&[1, 0, 0, 0, 0, 0, 0, 3][..], b"one", &[2, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 3], b"two"]
                .concat();
        for size in 1..stream.len() {
            let mut frames = Frames::default();
            let pieces: Vec<Piece> = stream.chunks(size).flat_map(|chunk| frames.take(chunk)).collect();
            let texts: Vec<_> = pieces.iter().map(|piece| (piece.errors, &piece.bytes[..])).collect();
            assert_eq!(texts, [(false, &b"one"[..]), (true, b""), (true, b"two")]);
        }
    }
}
