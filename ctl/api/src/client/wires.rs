//! Wires and cuts.

use hyper::Method;

use super::Client;
use super::transport::escape;
use crate::wire::{Cut, LabSeed, LinkChange, Wire, WireChange};
use crate::{ClientError, PREFIX};

impl Client {
    /// The wires on which something happens or has happened.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn wires(&self) -> Result<Vec<Wire>, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/wires")).answer().await
    }

    /// Changes what happens on wires. When this returns, it is in force.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn change_wires(&self, change: &WireChange) -> Result<Vec<Wire>, ClientError> {
        self.call(Method::PATCH, format!("{PREFIX}/wires")).json(change).answer().await
    }

    /// Lets some not hear others. When this returns, it is in force.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn cut(&self, cut: &Cut) -> Result<(), ClientError> {
        self.call(Method::POST, format!("{PREFIX}/cuts")).json(cut).done().await
    }

    /// Lets all hear each other again, or those of some. When this returns, it is in force.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn heal(&self, of: Option<&str>) -> Result<(), ClientError> {
        let query = of.map_or_else(String::new, |of| format!("?of={}", escape(of)));
        self.call(Method::DELETE, format!("{PREFIX}/cuts{query}")).done().await
    }

    /// Takes the carrier of interfaces away, or gives it back. When this returns, it is in force.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn change_links(&self, change: &LinkChange) -> Result<(), ClientError> {
        self.call(Method::PUT, format!("{PREFIX}/links")).json(change).done().await
    }

    /// The seed of everything that happens by chance.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn lab_seed(&self) -> Result<LabSeed, ClientError> {
        self.call(Method::GET, format!("{PREFIX}/lab/seed")).answer().await
    }

    /// Lets everything that happens by chance begin again from a seed.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn set_lab_seed(&self, seed: u64) -> Result<LabSeed, ClientError> {
        self.call(Method::PUT, format!("{PREFIX}/lab/seed")).json(&LabSeed { seed }).answer().await
    }
}
