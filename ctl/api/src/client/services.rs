//! Load-balanced services.

use hyper::Method;

use super::Client;
use super::transport::escape;
use crate::service::{Service, ServiceCreate, ServiceDrain, ServiceUpdate};
use crate::{ClientError, PREFIX};

impl Client {
    /// All services, by name.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn services(&self) -> Result<Vec<Service>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/services")).answer().await
    }

    /// One service, with its backends.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn service(&self, service: &str) -> Result<Service, ClientError> {
        self.call(Method::GET, path(service)).answer().await
    }

    /// Make a service.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn create_service(&self, request: &ServiceCreate) -> Result<Service, ClientError> {
        self.call(Method::POST, format!("{PREFIX}/services")).json(request).answer().await
    }

    /// Change a service.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn update_service(&self, service: &str, request: &ServiceUpdate) -> Result<(), ClientError> {
        self.call(Method::POST, format!("{}/update", path(service))).json(request).done().await
    }

    /// Give a backend no new connections any more, or again.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn drain_service(&self, service: &str, request: &ServiceDrain) -> Result<(), ClientError> {
        self.call(Method::POST, format!("{}/drain", path(service))).json(request).done().await
    }

    /// Remove a service and end its connections.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn remove_service(&self, service: &str) -> Result<(), ClientError> {
        self.call(Method::DELETE, path(service)).done().await
    }
}

fn path(service: &str) -> String {
    format!("{PREFIX}/services/{}", escape(service))
}
