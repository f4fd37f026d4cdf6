//! Further processes: `/exec/…`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::network::null_as_default;

/// Answer of `POST /containers/{id}/exec` (201).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ExecCreated {
    /// 64 hexadecimal digits.
    pub id: String,
}

/// Body of `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecStart {
    /// Nobody takes part in its streams.
    #[serde(deserialize_with = "null_as_default")]
    pub detach: bool,
    /// As it was made.
    #[serde(deserialize_with = "null_as_default")]
    pub tty: bool,
    /// Rows and columns of its terminal.
    pub console_size: Option<[u16; 2]>,
}

/// Answer of `GET /exec/{id}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ExecInspect {
    /// 64 hexadecimal digits.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// Once it has ended.
    pub exit_code: Option<i32>,
    /// What it runs.
    pub process_config: ExecProcess,
    /// Its client brings standard input.
    pub open_stdin: bool,
    /// Its client takes standard error.
    pub open_stderr: bool,
    /// Its client takes standard output.
    pub open_stdout: bool,
    /// Always `false`.
    pub can_remove: bool,
    /// Whose.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// On the host; zero while it does not run.
    pub pid: u32,
}

/// Part of an [`ExecInspect`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecProcess {
    /// Its streams are a terminal.
    pub tty: bool,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Always `false`.
    pub privileged: bool,
}
