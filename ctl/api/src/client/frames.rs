//! Single frames.

use std::io;

use hyper::Method;
use tokio::sync::mpsc;

use super::Client;
use super::containers::ContainerOutput;
use super::transport::escape;
use crate::frame::{ExpectQuery, FrameRequest, ReplayQuery, Replayed, Story, TraceQuery};
use crate::{ClientError, PREFIX};

impl Client {
    /// Injects a frame and says what became of it.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn inject(&self, frame: &FrameRequest) -> Result<Story, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/inject")).json(frame).answer().await
    }

    /// Says what would become of a frame, or injects it and says what did.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn trace(&self, frame: &FrameRequest) -> Result<Story, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/trace")).json(frame).answer().await
    }

    /// The steps of frames from now on, a JSON object a line. When this returns, those of the next frame are in it.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn trace_live(&self, query: &TraceQuery) -> Result<ContainerOutput, ClientError> {
        let TraceQuery { on, filter } = query;
        let body = self
            .call(Method::GET, format!("{PREFIX}/trace?{}", set(&[("on", on), ("filter", filter)])))
            .stream()
            .await?;
        Ok(ContainerOutput::new(self.clone(), body))
    }

    /// Sends the frames of a file again; `file` comes while they are sent. Returns when all are.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn replay(
        &self,
        query: &ReplayQuery,
        file: mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<Replayed, ClientError> {
        let ReplayQuery { endpoint, towards, speed, at_once, side, map, fix_checksums } = query;
        let flag = |flag: &Option<bool>| flag.map(|flag| flag.to_string());
        let (towards, at_once, fix_checksums) = (flag(towards), flag(at_once), flag(fix_checksums));
        let endpoint = Some(endpoint.clone());
        let texts = set(&[
            ("endpoint", &endpoint),
            ("towards", &towards),
            ("speed", speed),
            ("at_once", &at_once),
            ("side", side),
            ("map", map),
            ("fix_checksums", &fix_checksums),
        ]);
        self.call(Method::POST, format!("{PREFIX}/replay?{texts}")).pieces(file).patience(None).answer().await
    }

    /// Waits for frames: the answer is a JSON object. When this returns, the next frame is looked at.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn expect(&self, query: &ExpectQuery) -> Result<ContainerOutput, ClientError> {
        let ExpectQuery { on, filter, at, within, count } = query;
        let count = count.map(|count| count.to_string());
        let texts = set(&[("on", on), ("filter", filter), ("at", at), ("within", within), ("count", &count)]);
        let body = self.call(Method::GET, format!("{PREFIX}/expect?{texts}")).stream().await?;
        Ok(ContainerOutput::new(self.clone(), body))
    }
}

fn set(texts: &[(&str, &Option<String>)]) -> String {
    let set = texts.iter().filter_map(|(key, value)| Some(format!("{key}={}", escape(value.as_deref()?))));
    set.collect::<Vec<String>>().join("&")
}
