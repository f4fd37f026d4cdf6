//! A client's side of a conversation: discover, request, and what the answers come to.

use std::net::Ipv4Addr;
use std::time::Duration;

use vswitch_frame::MacAddr;

use super::message::{Kind, Message};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its MAC address.
    pub client: MacAddr,
    /// Its name.
    pub hostname: Option<String>,
    /// The address that it has, or had.
    pub address: Option<Ipv4Addr>,
}

/// An address that a server has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Of its subnet.
    pub prefix: u8,
    /// The subnet's router.
    pub router: Option<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// For how long.
    pub seconds: u32,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send this, and wait so long for an answer.
    Say(Box<Message>, Duration),
    /// Wait on.
    Nothing,
    /// The address is the client's.
    Leased(Lease),
    /// It is not, or nobody has answered.
    Refused,
}

/// Where a conversation is.
#[derive(Debug)]
pub struct Conversation {
    wish: Wish,
    transaction: u32,
    asked: Asked,
    /// How often the same was said.
    tries: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Discover,
    /// For this address, of this server; without one it was the client's before.
    Request(Ipv4Addr, Option<Ipv4Addr>),
}

/// How often a question is repeated, each time waiting twice as long: 1, 2, 4 and 8 seconds (RFC 2131 section 4.1 begins with 4,
/// for networks of its time).
const TRIES: u32 = 4;

/// Mask of a server that names none: that of the smallest usual subnet.
const DEFAULT_PREFIX: u8 = 24;

impl Conversation {
    /// A first one.
    #[must_use]
    pub fn discover(wish: Wish, transaction: u32) -> Conversation {
        Conversation { wish, transaction, asked: Asked::Discover, tries: 0 }
    }

    /// One about an address that the client has.
    #[must_use]
    pub fn renew(wish: Wish, address: Ipv4Addr, transaction: u32) -> Conversation {
        Conversation { wish, transaction, asked: Asked::Request(address, None), tries: 0 }
    }

    /// What to say at the beginning, and again when the time for an answer is over.
    pub fn speak(&mut self) -> Outcome {
        if self.tries == TRIES {
            return Outcome::Refused;
        }
        let patience = Duration::from_secs(1 << self.tries);
        self.tries += 1;
        let kind = if self.asked == Asked::Discover { Kind::Discover } else { Kind::Request };
        let mut message = Message::of(kind, self.transaction, self.wish.client);
        message.hostname.clone_from(&self.wish.hostname);
        match self.asked {
            Asked::Discover => message.wanted = self.wish.address,
            Asked::Request(address, server) => (message.wanted, message.server) = (Some(address), server),
        }
        Outcome::Say(Box::new(message), patience)
    }

    /// What a server's message changes.
    pub fn hear(&mut self, message: &Message) -> Outcome {
        if (message.transaction, message.client) != (self.transaction, self.wish.client) {
            return Outcome::Nothing;
        }
        let given = !message.address.is_unspecified() && !message.address.is_broadcast();
        match (message.kind, &self.asked) {
            (Kind::Offer, Asked::Discover) if given && message.server.is_some() => {
                (self.asked, self.tries) = (Asked::Request(message.address, message.server), 0);
                self.speak()
            }
            (Kind::Ack, Asked::Request(address, server)) if message.address == *address => {
                match message.server.or(*server) {
                    Some(server) => Outcome::Leased(Lease {
                        address: *address,
                        prefix: message.prefix.unwrap_or(DEFAULT_PREFIX),
                        router: message.router,
                        server,
                        // For ever, if nobody says how long.
                        seconds: message.seconds.unwrap_or(u32::MAX),
                    }),
                    None => Outcome::Nothing,
                }
            }
            (Kind::Nak, Asked::Request(..)) => Outcome::Refused,
            _ => Outcome::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::{CLIENT, answer};
    use super::*;

    fn wish() -> Wish {
        Wish { client: CLIENT, hostname: None, address: None }
    }

    const OFFER: &[u8] = &[53, 1, 2, 54, 4, 10, 0, 0, 1, 255];
    const ACK: &[u8] = &[53, 1, 5, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 0, 0, 51, 4, 0, 0, 0, 120, 255];
    const NAK: &[u8] = &[53, 1, 6, 54, 4, 10, 0, 0, 1, 255];

    fn hear(conversation: &mut Conversation, transaction: u32, options: &[u8]) -> Outcome {
        conversation.hear(&Message::parse(&answer(transaction, [10, 0, 0, 9], options)).unwrap())
    }

    /// Discover, offer, request, acknowledgment; answers of other conversations and out of turn change nothing.
    #[test]
    fn leases() {
        let mut conversation = Conversation::discover(wish(), 7);
        let Outcome::Say(first, patience) = conversation.speak() else { panic!() };
        assert_eq!((first.kind, patience.as_secs()), (Kind::Discover, 1));
        assert_eq!(hear(&mut conversation, 8, OFFER), Outcome::Nothing);
        assert_eq!(hear(&mut conversation, 7, ACK), Outcome::Nothing);
        let Outcome::Say(second, _) = hear(&mut conversation, 7, OFFER) else { panic!() };
        assert_eq!((second.kind, second.wanted.unwrap().octets()), (Kind::Request, [10, 0, 0, 9]));
        assert_eq!(second.server.unwrap().octets(), [10, 0, 0, 1]);
        assert_eq!(hear(&mut conversation, 7, OFFER), Outcome::Nothing);
        let Outcome::Leased(lease) = hear(&mut conversation, 7, ACK) else { panic!() };
        assert_eq!((lease.address.octets(), lease.prefix, lease.seconds), ([10, 0, 0, 9], 16, 120));
    }

    /// Nobody answers: after four tries there is no lease. An address that was another's is refused at once.
    #[test]
    fn refusals() {
        let mut conversation = Conversation::discover(wish(), 7);
        let waits: Vec<_> = std::iter::from_fn(|| match conversation.speak() {
            Outcome::Say(_, patience) => Some(patience.as_secs()),
            _ => None,
        })
        .collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        let mut renewal = Conversation::renew(wish(), [10, 0, 0, 9].into(), 7);
        let Outcome::Say(said, _) = renewal.speak() else { panic!() };
        assert_eq!((said.kind, said.server, said.wanted.unwrap().octets()), (Kind::Request, None, [10, 0, 0, 9]));
        assert_eq!(hear(&mut renewal, 7, NAK), Outcome::Refused);
    }
}
