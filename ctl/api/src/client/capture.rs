//! Captured frames.

use hyper::Method;

use super::Client;
use super::containers::ContainerOutput;
use super::transport::escape;
use crate::capture::CaptureQuery;
use crate::{ClientError, PREFIX};

impl Client {
    /// Frames from now on, in the format that is asked for. When this returns, the next frame is in it.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn capture(&self, query: &CaptureQuery) -> Result<ContainerOutput, ClientError> {
        let CaptureQuery { on, filter, at, reason, snaplen, frames, count, format } = query;
        let texts = [("on", on), ("filter", filter), ("at", at), ("reason", reason), ("format", format)];
        let texts = texts.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
        let numbers = [
            ("snaplen", snaplen.map(|value| value.to_string())),
            ("frames", frames.map(|value| value.to_string())),
            ("count", count.map(|value| value.to_string())),
        ];
        let numbers = numbers.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let set: Vec<String> = texts.chain(numbers).map(|(key, value)| format!("{key}={}", escape(&value))).collect();
        let body = self.call(Method::GET, format!("{PREFIX}/capture?{}", set.join("&"))).stream().await?;
        Ok(ContainerOutput::new(self.clone(), body))
    }
}
