//! What containers use: `/containers/{id}/top` and `…/stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The processes of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerTop {
    /// Of the columns.
    pub titles: Vec<String>,
    /// A line each.
    pub processes: Vec<Vec<String>>,
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageStats {
    /// When.
    pub read: String,
    /// When before; year 1 if never.
    pub preread: String,
    /// Threads.
    pub pids_stats: PidsStats,
    /// Empty: not counted.
    pub blkio_stats: BTreeMap<String, Vec<String>>,
    /// Zero: not Windows.
    pub num_procs: u32,
    /// Empty.
    pub storage_stats: BTreeMap<String, u64>,
    /// Time of processors.
    pub cpu_stats: CpuStats,
    /// The same, before.
    pub precpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// Its name, with a leading slash.
    pub name: String,
    /// Its id.
    pub id: String,
    /// By interface, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<BTreeMap<String, InterfaceStats>>,
}

/// Part of a [`UsageStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PidsStats {
    /// Threads.
    pub current: u64,
}

/// Part of a [`UsageStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CpuStats {
    /// Of its processes.
    pub cpu_usage: CpuUsage,
    /// Nanoseconds of all processors of the host.
    pub system_cpu_usage: u64,
    /// Processors that vswitchd may use.
    pub online_cpus: u32,
}

/// Part of a [`CpuStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CpuUsage {
    /// Nanoseconds, in steps of the host's tick.
    pub total_usage: u64,
}

/// Part of a [`UsageStats`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryStats {
    /// Bytes that its processes have resident; what they share counts for each.
    pub usage: u64,
    /// Bytes of the host.
    pub limit: u64,
    /// Empty.
    pub stats: BTreeMap<String, u64>,
}

/// Part of a [`UsageStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Zero.
    pub rx_errors: u64,
    /// Zero.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Zero.
    pub tx_errors: u64,
    /// Zero.
    pub tx_dropped: u64,
}
