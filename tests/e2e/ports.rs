//! TAP ports against Linux's own stack.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use vswitch_frame::DropReason;
use vswitch_switch::sys::tap;
use vswitch_switch::{NetworkConfig, PortConfig, PortDevice, Settings, Switch};
use vswitch_tests::{guard, guard::is_root, sh};

/// Opens the TAP `name` in the named namespace `netns`.
fn open_tap(netns: &str, name: &'static str) -> io::Result<OwnedFd> {
    let path = format!("/run/netns/{netns}");
    let enter = move || {
        let netns = File::open(path)?;
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
        tap::open(name)
    };
    std::thread::spawn(enter).join().unwrap()
}

/// Two namespaces joined by TAPs ping each other and move TCP in super-frames, also when one of them sends none.
#[test]
fn taps_carry_offloads() {
    guard(|| {
        if !is_root() {
            // /dev/net/tun is root's on most hosts; who may not open it is told so by the kernel's own word.
            if let Err(error) = tap::open("tap0") {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
            }
            return;
        }
        let switch = Switch::start(Settings { workers: Some(2), ..Settings::default() }).unwrap();
        let config = NetworkConfig::new("taps");
        let network = switch.add_network(config).unwrap();
        for (netns, address) in [("ta", "10.8.0.1/24"), ("tb", "10.8.0.2/24")] {
            sh(&format!("ip netns add {netns}")).ok();
            let device = PortDevice::Tap(open_tap(netns, "tap0").unwrap());
            let config = PortConfig::new(netns, network);
            switch.add_port(config, device).unwrap();
            sh(&format!("ip -n {netns} addr add {address} dev tap0 && ip -n {netns} link set tap0 up")).ok();
        }
        sh("ip netns exec ta ping -q -c 3 -i 0.2 10.8.0.2").ok().contains("3 received").then_some(()).unwrap();
        let before = switch.stats().total;
        sh("ip netns exec tb iperf3 -s -D -1 && sleep 0.3 && ip netns exec ta iperf3 -c 10.8.0.2 -n 200M").ok();
        let after = switch.stats().total;
        let (frames, bytes) = (after.in_frames - before.in_frames, after.in_bytes - before.in_bytes);
        assert!(bytes > 200_000_000);
        assert!(bytes / frames > 3000, "super-frames: {bytes} bytes in {frames} frames");
        let bad = |netns| sh(&format!("ip netns exec {netns} nstat -az TcpInCsumErrors | tail -1")).ok();
        assert!(bad("tb").contains(" 0 ") && bad("ta").contains(" 0 "), "checksums hold");
        sh("ip netns exec ta ethtool -K tap0 tx off tso off gso off").ok();
        sh("ip netns exec tb iperf3 -s -D -1 && sleep 0.3 && ip netns exec ta iperf3 -c 10.8.0.2 -n 20M").ok();
        assert!(bad("tb").contains(" 0 "), "checksums hold without offloads");
        let total = switch.stats().total;
        // Before: one interface may have spoken while the other was still down.
        for reason in [DropReason::EgressFull, DropReason::EgressError, DropReason::BadOffload, DropReason::OverMtu] {
            assert_eq!(total.dropped(reason), before.dropped(reason), "{reason}");
        }
    });
}
