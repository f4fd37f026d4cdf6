//! DHCP messages in Ethernet frames. Read first: RFC 2131 section 2, RFC 2132.

use std::net::Ipv4Addr;

use vswitch_frame::{MacAddr, checksum};

/// DHCP's kinds of message (RFC 2132 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who gives addresses?
    Discover,
    /// One could be this.
    Offer,
    /// This one, please.
    Request,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
    /// It is no longer needed.
    Release,
}

/// A message, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub kind: Kind,
    /// Which conversation it belongs to.
    pub transaction: u32,
    /// For whom.
    pub client: MacAddr,
    /// The client's address, if it has one (`ciaddr`).
    pub current: Ipv4Addr,
    /// The address that is given (`yiaddr`).
    pub address: Ipv4Addr,
    /// The address that is wanted.
    pub wanted: Option<Ipv4Addr>,
    /// Who gives it.
    pub server: Option<Ipv4Addr>,
    /// Of its subnet.
    pub prefix: Option<u8>,
    /// The subnet's router.
    pub router: Option<Ipv4Addr>,
    /// Seconds for which it is given.
    pub seconds: Option<u32>,
    /// The client's name.
    pub hostname: Option<String>,
}

impl Message {
    /// A message of a client's, with nothing in it yet.
    #[must_use]
    pub const fn of(kind: Kind, transaction: u32, client: MacAddr) -> Message {
        Message {
            kind,
            transaction,
            client,
            current: Ipv4Addr::UNSPECIFIED,
            address: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
            prefix: None,
            router: None,
            seconds: None,
            hostname: None,
        }
    }

    /// The message of a client in a frame to all, from the MAC address `sender`.
    #[must_use]
    pub fn frame(&self, sender: MacAddr) -> Vec<u8> {
        let mut bootp = vec![0; OPTIONS];
        bootp[..4].copy_from_slice(&[REQUEST_OP, ETHERNET, 6, 0]);
        bootp[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        bootp[10] = BROADCAST_FLAG;
        bootp[12..16].copy_from_slice(&self.current.octets());
        bootp[28..34].copy_from_slice(&self.client.octets());
        bootp[236..240].copy_from_slice(&COOKIE);
        let mut option = |code: u8, value: &[u8]| {
            let length = u8::try_from(value.len()).expect("options are short");
            bootp.extend([code, length]);
            bootp.extend_from_slice(value);
        };
        option(KIND, &[number(self.kind)]);
        option(CLIENT_ID, &[&[ETHERNET][..], &self.client.octets()].concat());
        for (code, address) in [(WANTED, self.wanted), (SERVER, self.server)] {
            if let Some(address) = address {
                option(code, &address.octets());
            }
        }
        if let Some(hostname) = self.hostname.as_deref().filter(|name| (1..=63).contains(&name.len())) {
            option(HOSTNAME, hostname.as_bytes());
        }
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            option(PARAMETERS, &[MASK, ROUTER, SECONDS]);
        }
        bootp.push(END);
        // Some servers take no shorter ones (RFC 1542 section 2.1).
        bootp.resize(bootp.len().max(SHORTEST), 0);
        in_frame(&bootp, sender)
    }

    /// A server's message in a frame, if it is one.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Message> {
        let packet = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        let header = usize::from(packet.first()? & 0xf) * 4;
        // IPv4, UDP and no fragment, from a server's port to a client's.
        let whole = packet[0] >> 4 == 4
            && header >= 20
            && packet.get(9) == Some(&17)
            && packet[6] & 0x3f == 0
            && packet[7] == 0;
        let datagram = packet.get(header..).filter(|_| whole)?;
        let bootp = datagram.get(8..).filter(|_| datagram[..4] == [0, 67, 0, 68])?;
        if bootp.len() < OPTIONS || bootp[..3] != [REPLY_OP, ETHERNET, 6] || bootp[236..240] != COOKIE {
            return None;
        }
        let four = |at: usize| [bootp[at], bootp[at + 1], bootp[at + 2], bootp[at + 3]];
        let client = <[u8; 6]>::try_from(&bootp[28..34]).ok().map(MacAddr::new)?;
        let mut message = Message::of(Kind::Nak, u32::from_be_bytes(four(4)), client);
        message.address = four(16).into();
        let mut kind = None;
        let mut rest = &bootp[OPTIONS..];
        loop {
            match rest {
                [0, others @ ..] => rest = others,
                [] | [END, ..] | [_] => break,
                [code, length, others @ ..] => {
                    let value = others.get(..usize::from(*length))?;
                    rest = &others[value.len()..];
                    let address = || value.first_chunk::<4>().copied().map(Ipv4Addr::from);
                    match *code {
                        KIND => kind = value.first().and_then(|number| kind_of(*number)),
                        SERVER => message.server = address(),
                        MASK => message.prefix = address().and_then(prefix_of),
                        ROUTER => message.router = address(),
                        SECONDS => message.seconds = value.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)),
                        _ => {}
                    }
                }
            }
        }
        message.kind = kind?;
        Some(message)
    }
}

/// Length of a mask whose ones are in front.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let ones = mask.to_bits().leading_ones();
    let bits = mask.to_bits().count_ones();
    u8::try_from(ones).ok().filter(|_| ones == bits)
}

/// UDP over IPv4 to all, from nobody.
fn in_frame(payload: &[u8], sender: MacAddr) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("messages are short").to_be_bytes();
    let mut frame = [&[0xff; 6][..], &sender.octets(), &[8, 0]].concat();
    let mut header = [0u8; 20];
    header[..2].copy_from_slice(&[0x45, 0xc0]);
    header[2..4].copy_from_slice(&length(28 + payload.len()));
    header[8..10].copy_from_slice(&[64, 17]);
    header[16..20].copy_from_slice(&[0xff; 4]);
    let sum = checksum::checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    // UDP without a checksum, which IPv4 leaves to the sender (RFC 768).
    frame.extend([&[0, 68, 0, 67][..], &length(8 + payload.len()), &[0, 0], payload].concat());
    frame
}

const fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Discover => 1,
        Kind::Offer => 2,
        Kind::Request => 3,
        Kind::Ack => 5,
        Kind::Nak => 6,
        Kind::Release => 7,
    }
}

fn kind_of(number: u8) -> Option<Kind> {
    match number {
        2 => Some(Kind::Offer),
        5 => Some(Kind::Ack),
        6 => Some(Kind::Nak),
        _ => None,
    }
}

const REQUEST_OP: u8 = 1;
const REPLY_OP: u8 = 2;
const ETHERNET: u8 = 1;
const BROADCAST_FLAG: u8 = 0x80;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where options begin.
const OPTIONS: usize = 240;
/// The least length of a message, BOOTP's.
const SHORTEST: usize = 300;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const HOSTNAME: u8 = 12;
const WANTED: u8 = 50;
const SECONDS: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const CLIENT_ID: u8 = 61;
const END: u8 = 255;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const CLIENT: MacAddr = MacAddr::new([2, 0x42, 10, 0, 0, 2]);

    /// A server's frame: the client's turned round, with these options.
    pub(crate) fn answer(transaction: u32, address: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut frame = Message::of(Kind::Discover, transaction, CLIENT).frame(CLIENT);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame[42] = REPLY_OP;
        frame[58..62].copy_from_slice(&address);
        frame.truncate(42 + OPTIONS);
        frame.extend_from_slice(options);
        frame
    }

    /// What a client says is a true packet: lengths, header checksum, and the options that servers look for.
    #[test]
    fn discover() {
        let mut message = Message::of(Kind::Request, 0x0102_0304, CLIENT);
        message.wanted = Some([10, 0, 0, 9].into());
        message.hostname = Some("web".to_owned());
        let frame = message.frame(MacAddr::new([2, 0, 0, 0, 0, 1]));
        assert_eq!((&frame[..6], &frame[6..12]), (&[0xff; 6][..], &[2, 0, 0, 0, 0, 1][..]));
        assert_eq!(checksum::checksum(&frame[14..34]), 0);
        assert_eq!(usize::from(u16::from_be_bytes([frame[16], frame[17]])), frame.len() - 14);
        assert_eq!(usize::from(u16::from_be_bytes([frame[38], frame[39]])), frame.len() - 34);
        assert_eq!((frame[46..50].to_vec(), frame[52]), (vec![1, 2, 3, 4], 0x80));
        assert_eq!(frame[70..76], CLIENT.octets());
        let options = &frame[282..];
        let holds = |bytes: &[u8]| options.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(&[53, 1, 3]) && holds(&[50, 4, 10, 0, 0, 9]) && holds(&[12, 3, b'w', b'e', b'b']));
        assert!(holds(&[61, 7, 1, 2, 0x42, 10, 0, 0, 2]));
    }

    /// A server's offer says address, subnet, router and time; what is cut short or not a server's says nothing.
    #[test]
    fn offer() {
        let options =
            [53, 1, 2, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 254, 51, 4, 0, 0, 0, 60, 255];
        let frame = answer(7, [10, 0, 0, 9], &options);
        let said = Message::parse(&frame).unwrap();
        assert_eq!((said.kind, said.transaction, said.client), (Kind::Offer, 7, CLIENT));
        assert_eq!((said.address.octets(), said.prefix, said.seconds), ([10, 0, 0, 9], Some(24), Some(60)));
        assert_eq!((said.router, said.server), (Some([10, 0, 0, 254].into()), Some([10, 0, 0, 1].into())));
        for length in 0..frame.len() - 1 {
            let cut = Message::parse(&frame[..length]);
            assert!(cut.is_none_or(|cut| cut.seconds.is_none()), "{length}");
        }
        assert_eq!(Message::parse(&Message::of(Kind::Discover, 7, CLIENT).frame(CLIENT)), None);
        let odd = answer(7, [10, 0, 0, 9], &[53, 1, 5, 1, 4, 255, 0, 255, 0, 255]);
        assert_eq!(Message::parse(&odd).unwrap().prefix, None);
    }
}
