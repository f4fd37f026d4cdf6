//! What goes wrong with datagrams, told to who sent them.

use rustix::io::Errno;
use vswitch_frame::icmp::{v4, v6};
use vswitch_frame::ipv4::protocol;
use vswitch_nat::proxy::datagram::wire::Notice;
use vswitch_nat::route::{IcmpError, Sender};

use super::*;
use crate::sys::datagram::{Origin, Reported};

impl DatagramShell {
    /// There is no socket for a flow: it ends, and its sender is told that this may not pass.
    pub(super) fn no_socket(&mut self, outgoing: &Outgoing<'_>, error: &io::Error) {
        match errno(error) {
            Some(Errno::MFILE | Errno::NFILE) => self.counters.descriptors += 1,
            Some(Errno::ACCESS | Errno::PERM) if outgoing.kind == Kind::Echo => self.counters.no_ping += 1,
            _ => {}
        }
        tracing::debug!(%error, kind = ?outgoing.kind, "no socket for a flow");
        let no_way = matches!(errno(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL));
        let notice = if no_way { NO_ROUTE } else { PROHIBITED };
        self.tell_sender(outgoing, notice);
        self.engine.refuse(outgoing.slot);
    }

    /// The host did not take a datagram; as what that is counted.
    pub(super) fn not_sent(&mut self, outgoing: &Outgoing<'_>, error: &io::Error) -> DatagramDrop {
        let notice = match errno(error) {
            Some(Errno::AGAIN | Errno::NOBUFS) => return self.drop(DatagramDrop::Full),
            Some(Errno::NETUNREACH | Errno::ADDRNOTAVAIL | Errno::NETDOWN) => Some(NO_ROUTE),
            Some(Errno::HOSTUNREACH | Errno::HOSTDOWN) => Some(NO_HOST),
            Some(Errno::ACCESS | Errno::PERM) => Some(PROHIBITED),
            // With a report of its own in the error queue, which says the MTU.
            _ => None,
        };
        if let Some(notice) = notice {
            self.tell_sender(outgoing, notice);
        }
        self.drop(DatagramDrop::NotSent)
    }

    /// Passes on what a socket's error queue holds, as far as it is one socket's turn; how often it was asked.
    pub(super) fn take_errors(&mut self, source: Source) -> usize {
        let mut area = [0; QUOTED];
        for taken in 0..QUANTUM {
            let Some(socket) = self.socket(source) else { return taken };
            match sys::receive_error(socket.as_fd(), &mut area) {
                Ok(Some(reported)) => self.pass_on(source, &reported, &area),
                Ok(None) => {}
                Err(_) => return taken,
            }
        }
        QUANTUM
    }

    /// No socket of the host carries this protocol.
    pub(super) fn refuse_protocol(&mut self, packet: &Packet<'_>) {
        if matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6) {
            return;
        }
        // In the name of the destination, which is not reached this way.
        let (_, address) = packet.ip_addresses();
        let mut buffer = self.told.take().unwrap_or_default();
        let sender = Sender { mac: self.link.own, address };
        if IcmpError::ProtocolUnreachable.build(packet, sender, &mut buffer) {
            self.post(&buffer);
        }
        self.told = Some(buffer);
    }

    fn post(&mut self, buffer: &FrameBuf) {
        if self.outbox.len() >= OUTBOX || self.waiting + buffer.len() > OUTBOX_BYTES {
            self.counters.outbox_full += 1;
        } else {
            self.waiting += buffer.len();
            self.outbox.push_back((buffer.frame().to_vec(), buffer.offload));
        }
    }

    fn pass_on(&mut self, source: Source, reported: &Reported, area: &[u8]) {
        let slot = match source {
            Source::Flow(slot) => Some(slot),
            Source::Published(listener) => self.engine.flow_of_client(listener, reported.to),
        };
        let (Some(slot), Some((notice, sender))) = (slot, notice_of(reported)) else { return };
        let payload = area.get(..reported.length).unwrap_or(area);
        self.report(&Report { slot, from: sender, destination: reported.to, payload, notice });
    }

    fn tell_sender(&mut self, outgoing: &Outgoing<'_>, notice: IcmpReport) {
        let payload = outgoing.payload.get(..QUOTED).unwrap_or(outgoing.payload);
        let (slot, destination) = (outgoing.slot, outgoing.to);
        let notice = notice.of(destination.is_ipv6());
        self.report(&Report { slot, from: None, destination, payload, notice });
    }

    fn report(&mut self, report: &Report<'_>) {
        // What the host itself says comes from the last router before it.
        let gateway = || self.network_of(self.engine.inside(report.slot)?.0)?.gateway;
        let report = &Report { from: report.from.or_else(gateway), ..*report };
        let mut buffer = self.told.take().unwrap_or_default();
        if self.engine.report(report, self.link, self.now, &mut buffer).is_ok() {
            self.post(&buffer);
        }
        self.told = Some(buffer);
    }
}

/// An error in the words of both families.
#[derive(Debug, Clone, Copy)]
struct IcmpReport {
    v4: (u8, u8),
    v6: (u8, u8),
}

const NO_ROUTE: IcmpReport = IcmpReport { v4: (v4::UNREACHABLE, 0), v6: (v6::UNREACHABLE, 0) };
const NO_HOST: IcmpReport = IcmpReport { v4: (v4::UNREACHABLE, 1), v6: (v6::UNREACHABLE, 3) };
const PROHIBITED: IcmpReport = IcmpReport { v4: (v4::UNREACHABLE, 13), v6: (v6::UNREACHABLE, 1) };
const TOO_BIG: IcmpReport = IcmpReport { v4: (v4::UNREACHABLE, 4), v6: (v6::PACKET_TOO_BIG, 0) };

impl IcmpReport {
    const fn of(self, ipv6: bool) -> Notice {
        let (kind, code) = if ipv6 { self.v6 } else { self.v4 };
        Notice { kind, code, rest: 0 }
    }
}

/// What a report says to the inside, and who says it.
fn notice_of(reported: &Reported) -> Option<(Notice, Option<IpAddr>)> {
    let ipv6 = reported.to.is_ipv6();
    match reported.origin {
        Origin::Icmp { kind, code, sender } => {
            let too_big = TOO_BIG.of(ipv6);
            let rest = if (kind, code) == (too_big.kind, too_big.code) { reported.info } else { 0 };
            Some((Notice { kind, code, rest }, sender))
        }
        Origin::Local => {
            let notice = match Errno::from_raw_os_error(reported.errno) {
                Errno::MSGSIZE => Notice { rest: reported.info, ..TOO_BIG.of(ipv6) },
                Errno::NETUNREACH => NO_ROUTE.of(ipv6),
                Errno::HOSTUNREACH => NO_HOST.of(ipv6),
                Errno::ACCESS | Errno::PERM => PROHIBITED.of(ipv6),
                _ => return None,
            };
            Some((notice, None))
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
