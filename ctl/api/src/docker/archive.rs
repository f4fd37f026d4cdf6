//! `docker cp`: `/containers/{id}/archive`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// In the header `X-Docker-Container-Path-Stat`, as base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// Its last part.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// As Go's os.FileMode.
    pub mode: u32,
    /// RFC 3339.
    pub mtime: String,
    /// Where a link leads.
    pub link_target: String,
}
