//! Single frames.

use hyper::Method;

use super::Client;
use super::containers::ContainerOutput;
use super::transport::escape;
use crate::frame::{ExpectQuery, FrameRequest, Story, TraceQuery};
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
