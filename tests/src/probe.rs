//! `vswitch-probe INTERFACE …`, run inside a container: sends frames that no ordinary program would send, and watches
//! what arrives.
//!
//! - `send COUNT HEX…`: each frame COUNT times
//! - `raw COUNT HEX…`: as `send`, of frames that begin with their own virtio-net header
//! - `storm COUNT`: COUNT frames from as many random addresses to an address that nobody has
//! - `alternate COUNT HEX`: the same frame COUNT times, at most a thousand a second
//! - `sniff SECONDS`: a line of hexadecimal digits for each frame that arrives; the first line says `ready`
//! - `leaks SUBNET… -- SUBNET…`: a line for each frame that shows an address of the first subnets and not of the second
//!   ones, in whatever header; the first line says `ready`, another one `seen` when the first frame arrives
//! - `capture FILE`: writes all frames into a pcap file, until killed; the first line says `ready`
//! - `relay OTHER PERCENT`: carries frames between INTERFACE and OTHER but for PERCENT of them; the first line says `ready`,
//!   and a line says `lost` for each that is
//! - `verify SECONDS`: counts frames with right and wrong checksums, as JSON

#![allow(clippy::disallowed_methods, reason = "a probe measures real time")]
#![allow(clippy::print_stdout, reason = "printing is what it does")]

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use etherparse::{Ipv4HeaderSlice, NetSlice, SlicedPacket, TcpSlice, TransportSlice};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use vswitch_frame::FrameBuf;
use vswitch_frame::offload::VNET_HEADER_LEN;
use vswitch_switch::sys::burst::Burst;
use vswitch_tests::frames;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [interface, command, rest @ ..] = &args[..] else { bail!("usage: vswitch-probe INTERFACE COMMAND …") };
    let socket = vswitch_switch::sys::packet::open(interface).with_context(|| format!("cannot open {interface}"))?;
    match (*command, rest) {
        ("send", [count, hex @ ..]) => send(&socket, count.parse()?, hex, Duration::ZERO),
        ("raw", [count, hex @ ..]) => {
            for _ in 0..count.parse::<u64>()? {
                hex.iter().try_for_each(|text| write_whole(&socket, &frames::from_hex(text)))?;
            }
            Ok(())
        }
        ("alternate", [count, hex]) => send(&socket, count.parse()?, &[*hex], Duration::from_millis(1)),
        ("storm", [count]) => storm(&socket, count.parse()?),
        ("sniff", [seconds]) => sniff(&socket, seconds.parse()?),
        ("leaks", subnets) => leaks(&socket, subnets),
        ("capture", [path]) => capture(&socket, path),
        ("relay", [other, percent]) => relay(&socket, other, percent.parse()?),
        ("verify", [seconds]) => verify(&socket, seconds.parse()?),
        _ => bail!("unknown command {command}"),
    }
}

fn send(socket: &OwnedFd, count: u64, hex: &[&str], pause: Duration) -> Result<()> {
    let frames: Vec<Vec<u8>> = hex.iter().map(|text| frames::from_hex(text)).collect();
    for _ in 0..count {
        for frame in &frames {
            write(socket, frame)?;
        }
        thread::sleep(pause);
    }
    Ok(())
}

/// A linear congruential generator (Knuth's MMIX constants) is random enough for addresses, and the same every time.
fn storm(socket: &OwnedFd, count: u64) -> Result<()> {
    let mut state = 1_u64;
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = state.to_be_bytes();
        let source = [0x02, random[0], random[1], random[2], random[3], random[4]];
        write(socket, &frames::ethernet([0x02, 0, 0, 0, 0, 0xee], source, 0x88b5, b"storm"))?;
    }
    Ok(())
}

fn write(socket: &OwnedFd, frame: &[u8]) -> Result<()> {
    write_whole(socket, &[&[0; VNET_HEADER_LEN][..], frame].concat())
}

/// Sends a frame behind its virtio-net header.
fn write_whole(socket: &OwnedFd, whole: &[u8]) -> Result<()> {
    loop {
        match rustix::io::write(socket, whole) {
            Ok(_) => return Ok(()),
            Err(Errno::AGAIN | Errno::NOBUFS) => thread::sleep(Duration::from_micros(50)),
            Err(error) => return Err(error).context("cannot send"),
        }
    }
}

/// Hands every frame that arrives within `seconds` to `each`, with its virtio-net header.
fn receive(
    socket: &OwnedFd,
    seconds: u64,
    mut each: impl FnMut([u8; VNET_HEADER_LEN], &[u8]) -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut buffer = vec![0; 1 << 18];
    while Instant::now() < deadline {
        let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&tenth))?;
        match rustix::io::read(socket, &mut buffer) {
            Ok(length) if length > VNET_HEADER_LEN => {
                let mut header = [0; VNET_HEADER_LEN];
                header.copy_from_slice(&buffer[..VNET_HEADER_LEN]);
                each(header, &buffer[VNET_HEADER_LEN..length])?;
            }
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
    }
    Ok(())
}

/// Frames in the classic pcap format, microseconds, Ethernet.
fn capture(socket: &OwnedFd, path: &str) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    let header: [u32; 6] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 1 << 18, 1];
    file.write_all(&header.map(u32::to_ne_bytes).concat())?;
    writeln!(std::io::stdout(), "ready")?;
    let start = Instant::now();
    // With tags of VLANs where they were on the wire.
    let (mut burst, mut buffers) = (Burst::new(CAPTURED), Vec::new());
    buffers.resize_with(CAPTURED, FrameBuf::new);
    loop {
        poll(&mut [PollFd::new(socket, PollFlags::IN)], None)?;
        let received = burst.receive(socket.as_fd(), &mut buffers)?;
        for frame in buffers[..received.frames].iter().map(FrameBuf::frame) {
            let (time, length) = (start.elapsed(), u32::try_from(frame.len())?);
            let record = [u32::try_from(time.as_secs())?, time.subsec_micros(), length, length];
            file.write_all(&[&record.map(u32::to_ne_bytes).concat(), frame].concat())?;
        }
    }
}

/// Frames that are captured at once.
const CAPTURED: usize = 16;

fn relay(one: &OwnedFd, other: &str, percent: u64) -> Result<()> {
    let other = vswitch_switch::sys::packet::open(other).with_context(|| format!("cannot open {other}"))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    let mut state = 1_u64;
    let mut buffer = vec![0; 1 << 18];
    loop {
        poll(&mut [PollFd::new(one, PollFlags::IN), PollFd::new(&other, PollFlags::IN)], None)?;
        for (from, to) in [(one, &other), (&other, one)] {
            let Ok(length) = rustix::io::read(from, &mut buffer) else { continue };
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // The generator's upper bits are its random ones.
            if (state >> 33) % 100 < percent {
                writeln!(out, "lost")?;
            } else {
                write_whole(to, &buffer[..length])?;
            }
        }
    }
}

fn sniff(socket: &OwnedFd, seconds: u64) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    receive(socket, seconds, |_, frame| Ok(writeln!(out, "{}", frames::hex(frame))?))
}

/// Watches until killed.
fn leaks(socket: &OwnedFd, subnets: &[&str]) -> Result<()> {
    let mut parts = subnets.split(|word| *word == "--");
    let mut next = || -> Result<Vec<Subnet>> { parts.next().unwrap_or_default().iter().copied().map(subnet).collect() };
    let (secret, allowed) = (next()?, next()?);
    let within = |subnets: &[Subnet], address: IpAddr| subnets.iter().any(|net| contains(*net, address));
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready")?;
    let mut seen = false;
    receive(socket, 100_000, |_, frame| {
        if !std::mem::replace(&mut seen, true) {
            writeln!(out, "seen")?;
        }
        let shown = addresses(frame);
        if let Some(address) = shown.iter().find(|&&address| within(&secret, address) && !within(&allowed, address)) {
            writeln!(out, "leak of {address}: {}", frames::hex(&frame[..frame.len().min(128)]))?;
        }
        Ok(())
    })
}

type Subnet = (IpAddr, u32);

fn subnet(text: &str) -> Result<Subnet> {
    let (address, length) = text.split_once('/').context("a subnet has a length")?;
    Ok((address.parse()?, length.parse()?))
}

fn contains((net, length): Subnet, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    net.is_ipv4() == address.is_ipv4() && (bits(net) ^ bits(address)).leading_zeros() >= length
}

/// Every address in ARP, IP and neighbour discovery headers, and in the packets that ICMP errors quote.
fn addresses(frame: &[u8]) -> Vec<IpAddr> {
    let (Some(kind), Some(payload)) = (frame.get(12..14), frame.get(14..)) else { return Vec::new() };
    match kind {
        [0x08, 0x06] => [payload.get(14..18), payload.get(24..28)].into_iter().flatten().filter_map(address).collect(),
        [0x08, 0x00] | [0x86, 0xdd] => packet_addresses(payload, 0),
        _ => Vec::new(),
    }
}

fn packet_addresses(packet: &[u8], depth: u32) -> Vec<IpAddr> {
    let Some(first) = packet.first() else { return Vec::new() };
    let (range, header, protocol, fragment) = match first >> 4 {
        4 => {
            let offset = packet.get(6..8).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]) & 0x1fff);
            ([12..16, 16..20], usize::from(first & 15) * 4, packet.get(9), offset > 0)
        }
        _ => ([8..24, 24..40], 40, packet.get(6), false),
    };
    let mut found: Vec<IpAddr> = range.into_iter().filter_map(|range| address(packet.get(range)?)).collect();
    let payload = packet.get(header..).unwrap_or_default();
    let kind = payload.first().copied().unwrap_or_default();
    match protocol {
        Some(1) if !fragment && depth == 0 && matches!(kind, 3 | 4 | 5 | 11 | 12) => {
            found.extend(packet_addresses(payload.get(8..).unwrap_or_default(), 1));
        }
        Some(58) if depth == 0 && kind < 128 => {
            found.extend(packet_addresses(payload.get(8..).unwrap_or_default(), 1));
        }
        Some(58) if matches!(kind, 135..=137) => found.extend(payload.get(8..24).and_then(address)),
        _ => {}
    }
    found
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    }
}

/// What the length field of an IPv4 header can say.
const LONGEST_PACKET: usize = 65_535;

fn verify(socket: &OwnedFd, seconds: u64) -> Result<()> {
    let mut counts =
        BTreeMap::from(["wrong", "partial", "complete", "super", "long", "other"].map(|name| (name, 0_u64)));
    receive(socket, seconds, |header, frame| {
        let verdict = judge(header[0] & 1 != 0, frame);
        *counts.entry(verdict).or_default() += 1;
        *counts.entry("super").or_default() += u64::from(header[1] != 0);
        *counts.entry("long").or_default() += u64::from(frame.len() > LONGEST_PACKET + 14);
        Ok(())
    })?;
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

/// `partial`: the checksum field holds just the pseudo-header's sum, as it must where the header asks for completion;
/// `complete`: header and pseudo-header add up; `wrong`: neither. Written without any code of the switch.
fn judge(needs_checksum: bool, frame: &[u8]) -> &'static str {
    if frame.len() > LONGEST_PACKET + 14 {
        return judge_long(needs_checksum, &frame[14..]);
    }
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else { return "wrong" };
    let (field, protocol, l4) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (tcp.checksum(), 6, tcp.slice()),
        Some(TransportSlice::Udp(udp)) => (udp.checksum(), 17, udp.slice()),
        _ => return "other",
    };
    let addresses = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            if ones_complement(&[ip.header().slice()]) != 0xffff {
                return "wrong";
            }
            [&ip.header().source()[..], &ip.header().destination()[..]].concat()
        }
        Some(NetSlice::Ipv6(ip)) => [&ip.header().source()[..], &ip.header().destination()[..]].concat(),
        _ => return "wrong",
    };
    judge_l4(needs_checksum, field, l4, (&addresses, protocol))
}

/// A TCP super-packet that is longer than its IPv4 header can say, so that this says zero.
fn judge_long(needs_checksum: bool, packet: &[u8]) -> &'static str {
    let Ok(ip) = Ipv4HeaderSlice::from_slice(packet) else { return "wrong" };
    let l4 = &packet[ip.slice().len()..];
    let Ok(tcp) = TcpSlice::from_slice(l4) else { return "wrong" };
    if ip.total_len() != 0 || ip.protocol().0 != 6 || ones_complement(&[ip.slice()]) != 0xffff {
        return "wrong";
    }
    let addresses = [ip.source(), ip.destination()].concat();
    judge_l4(needs_checksum, tcp.checksum(), l4, (&addresses, 6))
}

fn judge_l4(needs_checksum: bool, field: u16, l4: &[u8], (addresses, protocol): (&[u8], u8)) -> &'static str {
    let length = u32::try_from(l4.len()).unwrap_or_default().to_be_bytes();
    let pseudo = [addresses, &length[..], &[0, 0, 0, protocol]].concat();
    if needs_checksum {
        if field == ones_complement(&[&pseudo]) { "partial" } else { "wrong" }
    } else if ones_complement(&[&pseudo, l4]) == 0xffff {
        "complete"
    } else {
        "wrong"
    }
}

/// RFC 1071, the plain way.
fn ones_complement(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default());
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    u16::try_from(sum).unwrap_or_default()
}
