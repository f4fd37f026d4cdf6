//! Images: `/images…`. An image is a directory of vswitchd's host, so what speaks of layers and builds is empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of `docker images`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// `sha256:` and 64 hexadecimal digits, of the directory.
    pub id: String,
    /// Empty.
    pub parent_id: String,
    /// Its names; none for the one that has all other names.
    pub repo_tags: Vec<String>,
    /// Empty.
    pub repo_digests: Vec<String>,
    /// Zero: a directory changes.
    pub created: i64,
    /// Zero: not counted.
    pub size: i64,
    /// -1: not counted.
    pub shared_size: i64,
    /// Labels: none.
    pub labels: BTreeMap<String, String>,
    /// -1: not counted.
    pub containers: i64,
}

/// `docker image inspect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImageInspect {
    /// `sha256:` and 64 hexadecimal digits, of the directory.
    pub id: String,
    /// Its names.
    pub repo_tags: Vec<String>,
    /// Empty.
    pub repo_digests: Vec<String>,
    /// Empty.
    pub parent: String,
    /// The directory.
    pub comment: String,
    /// Never.
    pub created: String,
    /// Empty.
    pub docker_version: String,
    /// Empty.
    pub author: String,
    /// What its containers run where they say nothing.
    pub config: ImageConfig,
    /// The same, for docker-compose of the first generation.
    pub container_config: ImageConfig,
    /// The host's.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// Zero: not counted.
    pub size: i64,
    /// The directory.
    pub graph_driver: GraphDriver,
    /// No layers.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
}

/// Part of an [`ImageInspect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// A shell.
    pub cmd: Vec<String>,
    /// Null.
    pub entrypoint: Option<Vec<String>>,
    /// The `PATH` that containers have.
    pub env: Vec<String>,
    /// Empty.
    pub labels: BTreeMap<String, String>,
    /// Empty.
    pub user: String,
    /// Null.
    pub volumes: Option<BTreeMap<String, String>>,
    /// Empty.
    pub working_dir: String,
}

/// Part of an [`ImageInspect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// `directory`.
    pub name: String,
    /// `Directory`: where it is.
    pub data: BTreeMap<String, String>,
}

/// Part of an [`ImageInspect`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Empty.
    pub layers: Vec<String>,
}

/// One line of `docker history`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryEntry {
    /// The image's.
    pub id: String,
    /// Zero.
    pub created: i64,
    /// The option of vswitchd.
    pub created_by: String,
    /// Its names.
    pub tags: Vec<String>,
    /// Zero.
    pub size: i64,
    /// Empty.
    pub comment: String,
}

/// Answer of `POST /images/prune`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ImagesPruned {
    /// None.
    pub images_deleted: Vec<String>,
    /// Zero.
    pub space_reclaimed: u64,
}

/// A line of the answer of `POST /images/create`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullStatus {
    /// For people.
    pub status: String,
}
