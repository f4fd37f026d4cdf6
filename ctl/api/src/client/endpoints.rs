//! Endpoints, and namespaces that are attached from outside.

use hyper::Method;

use super::Client;
use super::transport::escape;
use crate::endpoint::{AttachRequest, Endpoint, EndpointChange};
use crate::{ClientError, PREFIX};

impl Client {
    /// All endpoints: of containers and of attached namespaces.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/endpoints")).answer().await
    }

    /// One endpoint, by name, id or unique start of its id.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn endpoint(&self, endpoint: &str) -> Result<Endpoint, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/endpoints/{}", escape(endpoint))).answer().await
    }

    /// Give an existing namespace an endpoint.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn attach(&self, request: &AttachRequest) -> Result<Endpoint, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/endpoints")).json(request).answer().await
    }

    /// Change options of an endpoint's port, at once.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn set_endpoint(&self, endpoint: &str, change: &EndpointChange) -> Result<Endpoint, ClientError> {
        self.call(Method::PATCH, format!("{PREFIX}/endpoints/{}", escape(endpoint))).json(change).answer().await
    }

    /// Undo [`Client::attach`].
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn detach(&self, endpoint: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, format!("{PREFIX}/endpoints/{}", escape(endpoint))).done().await
    }
}
