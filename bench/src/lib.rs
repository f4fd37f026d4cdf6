//! Benchmarks of vswitch beside its peers, in the same run: machines are shared and absolute figures drift, so what is
//! claimed are ratios.
//!
//! - [`memory`]: the data path without a kernel, on one core;
//! - [`rig`]: two containers joined by the Linux bridge, by Open vSwitch's userspace datapath, or by vswitchd;
//! - [`traffic`]: the tools that measure between them (iperf3, ping) and the reading of their output;
//! - [`control`]: start, endpoints, idle cost and scale of vswitchd;
//! - [`nat`]: the NAT engine in memory;
//! - [`report`]: figures against their targets.

pub mod control;
pub mod memory;
pub mod nat;
pub mod report;
pub mod rig;
pub mod traffic;
