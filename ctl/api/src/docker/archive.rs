//! `docker cp`: `/containers/{id}/archive`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The header that says what a path is: a [`PathStat`] as base64.
pub const STAT_HEADER: &str = "x-docker-container-path-stat";

/// In the header [`STAT_HEADER`].
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

impl PathStat {
    /// Go's bit of a folder.
    pub const FOLDER: u32 = 1 << 31;
    /// Go's bit of a symbolic link.
    pub const LINK: u32 = 1 << 27;

    /// Whether it is a folder.
    #[must_use]
    pub const fn is_folder(&self) -> bool {
        self.mode & Self::FOLDER != 0
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub const fn is_link(&self) -> bool {
        self.mode & Self::LINK != 0
    }
}
