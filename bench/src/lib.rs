//! Benchmarks of vswitch beside its peers, in the same run: machines are shared and absolute figures drift, so what is
//! claimed are ratios.
//!
//! - [`rig`]: containers joined by one of the switches that are compared;
//! - [`traffic`]: the tools that measure between them (iperf3, ping, `vswitch-load`) and the reading of their output;
//! - [`containers`], [`translated`], [`rootless`]: the same work over each switch or router, in turn;
//! - [`hosts`]: the same between two hosts, over VXLAN;
//! - [`floods`]: round trips of others beside the [`flood`] of one container;
//! - [`memory`], [`nat`], [`tunnels`]: the data path, the NAT engine and the tunnel's without a kernel, on one core;
//! - [`cases`], [`instructions`]: one operation of each engine, timed or counted;
//! - [`control`]: start, endpoints, idle cost and scale of vswitchd;
//! - [`dns`]: the name server over its sockets;
//! - [`engines`]: containers of podman's, with its own network and with vswitch's;
//! - [`daemon`]: a vswitchd of the benchmark's own;
//! - [`growth`]: what more stations, containers and workers cost;
//! - [`report`]: what is told of it: tables, ratios, drawings.

pub mod cases;
pub mod containers;
pub mod control;
pub mod daemon;
pub mod dns;
pub mod engines;
pub mod flood;
pub mod floods;
pub mod growth;
pub mod hosts;
pub mod instructions;
pub mod lan;
pub mod memory;
pub mod nat;
pub mod report;
pub mod rig;
pub mod rootless;
pub mod traffic;
pub mod translated;
pub mod tunnels;
