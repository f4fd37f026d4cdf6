//! Real namespaces, programs and traffic over a real `vswitchd`. Each test runs in namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests measure real time")]

mod api;
mod attach;
mod attack;
mod command_line;
mod containers;
mod docker;
mod engines;
mod fdb;
mod harness;
mod hostile_frames;
mod lifecycle;
mod limits;
mod modes;
mod mounts;
mod names_files;
mod names_forward;
mod names_gateway;
mod names_limits;
mod names_local;
mod nat_life;
mod nat_limits;
mod nat_publish;
mod nat_refusals;
mod nat_traffic;
mod networks;
mod newcomer;
mod overlay_failures;
mod overlay_refusals;
mod overlay_traffic;
mod podman;
mod ports;
mod privileges;
mod reach;
mod refusals;
mod restart;
mod rootless_forged;
mod rootless_host;
mod rootless_icmp;
mod rootless_publish;
mod rootless_tcp;
mod rootless_udp;
mod sandbox;
mod sandbox_sockets;
mod settings;
mod spoofing;
mod state;
mod statistics;
mod traffic;
mod views;
mod walkthrough_links;
mod walkthrough_networks;
mod walkthrough_ports;
mod walkthrough_redis;
