//! Volumes as the Docker Engine API has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// RFC 3339.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// `local`.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where its content is on the host.
    pub mountpoint: String,
    /// Its name.
    pub name: String,
    /// As asked; they mean nothing here.
    pub options: BTreeMap<String, String>,
    /// `local`.
    pub scope: String,
    /// What it takes, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<VolumeUsage>,
}

/// Part of a [`Volume`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeUsage {
    /// Bytes.
    pub size: u64,
    /// How many containers have it.
    pub ref_count: usize,
}

/// Body of `POST /volumes/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeCreate {
    /// Chosen by vswitchd if empty.
    pub name: String,
    /// `local` or empty.
    pub driver: String,
    /// Kept and shown.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Answer of `GET /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeList {
    /// By name.
    pub volumes: Vec<Volume>,
    /// None.
    pub warnings: Vec<String>,
}

/// Answer of `POST /volumes/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumesPruned {
    /// Names.
    pub volumes_deleted: Vec<String>,
    /// Not measured: 0.
    pub space_reclaimed: u64,
}
