//! The fate of a frame.
//!
//! Deciders say it and count nothing: [`crate::bridge`], the router ([`crate::router`]), the gateway, the services. Each answers
//! with a [`Verdict`], or says that the next one is to be asked. [`crate::pipeline`] is the one place where a verdict is carried
//! out and counted, on the frame's ingress port and, by its [`Cause`], among the reasons of the engine that had it. What an egress
//! port does not take has a cause, too: it is counted there ([`crate::port`]).

use std::fmt;

use vswitch_frame::{DropReason, PortId};
use vswitch_nat::NatDrop;
use vswitch_nat::proxy::datagram::DatagramDrop;
use vswitch_nat::proxy::stream::StreamDrop;
use vswitch_nat::route::RouteDrop;
use vswitch_tunnel::TunnelDrop;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to one port.
    Forward(PortId),
    /// It goes to every other port of its network.
    Flood,
    /// The same, but for one port that has seen it already.
    FloodBut(PortId),
    /// It goes to those ports of its network that asked for its group.
    Multicast,
    /// It is on its way already: to ports that its decider chose, or in other buffers.
    Forwarded,
    /// Its buffer holds the answer to it, which goes back to where it came from.
    Answer,
    /// The switch itself was the receiver, or holds it for later.
    Consumed,
    /// It goes nowhere.
    Drop(Cause),
}

/// Why a frame goes nowhere, in the words of whoever said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The switch.
    Switch(DropReason),
    /// The bridge: it is longer than this MTU of an overlay, and its sender is to be told.
    TooBig(u32),
    /// The router.
    Route(RouteDrop),
    /// The translator.
    Nat(NatDrop),
    /// An overlay's leg.
    Tunnel(TunnelDrop),
    /// A gateway of the sockets uplink, or a service, of what is not TCP.
    Datagram(DatagramDrop),
    /// A gateway of the sockets uplink, or a service, of TCP.
    Stream(StreamDrop),
}

impl Cause {
    /// The reason that is counted on the port.
    #[inline]
    #[must_use]
    pub const fn reason(self) -> DropReason {
        match self {
            Cause::Switch(reason) => reason,
            Cause::TooBig(_) => DropReason::OverMtu,
            Cause::Route(_) => DropReason::Unroutable,
            // For the switch itself, which serves nothing of the kind.
            Cause::Nat(NatDrop::Unsolicited) => DropReason::GatewayUnsupported,
            Cause::Nat(_) => DropReason::Untranslated,
            Cause::Tunnel(TunnelDrop::UnderlayFull) => DropReason::EgressFull,
            Cause::Tunnel(_) => DropReason::Unencapsulated,
            Cause::Datagram(_) | Cause::Stream(_) => DropReason::Uncarried,
        }
    }

    /// The engine's own reason, by name, if it was an engine.
    #[must_use]
    pub const fn own_name(self) -> Option<&'static str> {
        match self {
            Cause::Switch(_) | Cause::TooBig(_) => None,
            Cause::Route(reason) => Some(reason.name()),
            Cause::Nat(reason) => Some(reason.name()),
            Cause::Tunnel(reason) => Some(reason.name()),
            Cause::Datagram(reason) => Some(reason.name()),
            Cause::Stream(reason) => Some(reason.name()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match (self, self.own_name()) {
            (Cause::TooBig(mtu), _) => write!(f, "{reason} ({mtu} bytes)"),
            (_, Some(own)) => write!(f, "{reason} ({own})"),
            (_, None) => reason.fmt(f),
        }
    }
}

impl From<DropReason> for Cause {
    fn from(reason: DropReason) -> Cause {
        Cause::Switch(reason)
    }
}

impl From<RouteDrop> for Cause {
    fn from(reason: RouteDrop) -> Cause {
        Cause::Route(reason)
    }
}

impl From<NatDrop> for Cause {
    fn from(reason: NatDrop) -> Cause {
        Cause::Nat(reason)
    }
}

impl From<TunnelDrop> for Cause {
    fn from(reason: TunnelDrop) -> Cause {
        Cause::Tunnel(reason)
    }
}

impl From<DatagramDrop> for Cause {
    fn from(reason: DatagramDrop) -> Cause {
        Cause::Datagram(reason)
    }
}

impl From<StreamDrop> for Cause {
    fn from(reason: StreamDrop) -> Cause {
        Cause::Stream(reason)
    }
}

impl<C: Into<Cause>> From<C> for Verdict {
    fn from(cause: C) -> Verdict {
        Verdict::Drop(cause.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an engine says is counted under one reason of the switch and shown with both names. A verdict fits a register.
    #[test]
    fn causes() {
        let shown = |cause: Cause| (cause.reason(), cause.to_string());
        assert_eq!(shown(DropReason::Runt.into()), (DropReason::Runt, "runt".to_owned()));
        assert_eq!(shown(Cause::TooBig(1450)), (DropReason::OverMtu, "over-mtu (1450 bytes)".to_owned()));
        assert_eq!(shown(RouteDrop::NoRoute.into()), (DropReason::Unroutable, "unroutable (no-route)".to_owned()));
        assert_eq!(shown(NatDrop::NoPort.into()), (DropReason::Untranslated, "untranslated (no-port)".to_owned()));
        assert_eq!(Cause::from(NatDrop::Unsolicited).reason(), DropReason::GatewayUnsupported);
        assert_eq!(shown(TunnelDrop::NoRemote.into()).1, "unencapsulated (no-remote)");
        assert_eq!(Cause::from(TunnelDrop::UnderlayFull).reason(), DropReason::EgressFull);
        assert_eq!(
            shown(DatagramDrop::NotCarried.into()),
            (DropReason::Uncarried, "uncarried (not-carried)".to_owned())
        );
        assert_eq!(shown(StreamDrop::TooMany.into()), (DropReason::Uncarried, "uncarried (too-many)".to_owned()));
        assert_eq!(size_of::<Option<Verdict>>(), 8);
    }
}
