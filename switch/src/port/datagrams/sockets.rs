//! The host sockets of the shell: opened, used, closed.

use super::*;

impl DatagramShell {
    /// Takes a bound UDP socket whose datagrams go to `target`.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub(crate) fn publish(
        &mut self,
        registry: &Registry,
        listener: Listener,
        socket: OwnedFd,
        target: SocketAddr,
        shown: PublishedAs,
    ) -> io::Result<()> {
        let socket = socket2::Socket::from(socket);
        sys::prepare_published(&socket, target.is_ipv6())?;
        let socket = OwnedFd::from(socket);
        let number = usize::try_from(listener.0).map_err(io::Error::other)?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(FIRST_LISTENER_TOKEN + number),
            Interest::READABLE,
        )?;
        self.listeners.insert(listener, Published { socket, target, shown, queued: false });
        // What came before it was watched makes no event.
        self.queue(Source::Published(listener));
        Ok(())
    }

    /// Closes a published port and ends its sessions; `false` when there is none.
    pub(crate) fn unpublish(&mut self, registry: &Registry, listener: Listener) -> bool {
        let Some(published) = self.listeners.remove(&listener) else { return false };
        unwatch(registry, &published.socket);
        self.ready.retain(|source| *source != Source::Published(listener));
        self.engine.forget_listener(listener);
        self.close_ended(registry);
        true
    }

    pub(super) fn open(&mut self, registry: &Registry, outgoing: &Outgoing<'_>) -> io::Result<()> {
        let speech = match outgoing.kind {
            Kind::Datagram => sys::DatagramKind::Udp,
            Kind::Echo => sys::DatagramKind::Ping,
        };
        let permit = self.budget.as_ref().map(Budget::take).transpose()?;
        let (socket, origin) = match sys::open(speech, outgoing.to.is_ipv6()) {
            Ok(socket) => (socket, Opened::Here(permit)),
            Err(error) if outgoing.kind == Kind::Echo && error.kind() == io::ErrorKind::PermissionDenied => {
                (self.borrow(registry, outgoing).ok_or(error)?, Opened::Elsewhere)
            }
            Err(error) => return Err(error),
        };
        if let Some(source) = self.destinations.source(outgoing.to.ip())
            && let Err(error) = sys::bind(&socket, source)
        {
            // One that has had a flow before is bound.
            let is_bound = matches!(origin, Opened::Elsewhere) && error.raw_os_error() == Some(INVAL);
            if !is_bound {
                self.give_back(outgoing.slot, socket, &origin);
                return Err(error);
            }
        }
        let index = outgoing.slot.index();
        registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(FIRST_TOKEN + index), Interest::READABLE)?;
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(Carrier { slot: outgoing.slot, socket, origin, queued: false });
        Ok(())
    }

    /// A socket that somebody else opened: where all of them are in use, the one that whoever has most has had for longest.
    fn borrow(&mut self, registry: &Registry, outgoing: &Outgoing<'_>) -> Option<OwnedFd> {
        let (ipv6, slot) = (outgoing.to.is_ipv6(), outgoing.slot);
        let (_, owner) = self.engine.inside(slot)?;
        if !self.spares.may_take(ipv6) {
            self.engine.evict(self.spares.victim(ipv6)?);
            self.close_ended(registry);
        }
        self.spares.take(ipv6, owner, slot)
    }

    fn give_back(&mut self, slot: Slot, socket: OwnedFd, origin: &Opened) {
        if matches!(origin, Opened::Elsewhere) {
            // What comes late is not for whoever has it next.
            sys::empty(socket.as_fd());
            self.spares.put_back(slot, socket);
        }
    }

    /// Sends; a train that the kernel does not take goes datagram by datagram.
    pub(super) fn transmit(&mut self, outgoing: &Outgoing<'_>) -> io::Result<()> {
        let Some(source) = self.source_of(outgoing) else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut error = match self.send_by(source, outgoing, outgoing.payload, outgoing.segment) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // An error that waited may be about an earlier datagram: it is told, and this one is tried again.
        if self.take_errors(source) > 0 {
            error = match self.send_by(source, outgoing, outgoing.payload, outgoing.segment) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
        }
        match outgoing.segment {
            Some(size) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                let mut each = outgoing.payload.chunks(usize::from(size).max(1));
                each.try_for_each(|one| self.send_by(source, outgoing, one, None))
            }
            _ => Err(error),
        }
    }

    pub(super) fn socket(&self, source: Source) -> Option<&OwnedFd> {
        match source {
            Source::Flow(slot) => Some(&self.carrier(slot)?.socket),
            Source::Published(listener) => Some(&self.listeners.get(&listener)?.socket),
        }
    }

    /// What carries this very flow.
    fn carrier(&self, slot: Slot) -> Option<&Carrier> {
        self.sockets.get(slot.index())?.as_ref().filter(|carrier| carrier.slot == slot)
    }

    /// Closes the sockets of flows that are over.
    pub(super) fn close_ended(&mut self, registry: &Registry) {
        while let Some(slot) = self.engine.take_closed() {
            let place = self.sockets.get_mut(slot.index());
            let place = place.filter(|place| place.as_ref().is_some_and(|carrier| carrier.slot == slot));
            if let Some(carrier) = place.and_then(Option::take) {
                unwatch(registry, &carrier.socket);
                self.give_back(slot, carrier.socket, &carrier.origin);
            }
        }
    }

    fn source_of(&self, outgoing: &Outgoing<'_>) -> Option<Source> {
        match outgoing.by {
            By::Own { .. } => self.carrier(outgoing.slot).map(|_| Source::Flow(outgoing.slot)),
            By::Published { listener, .. } => {
                self.listeners.contains_key(&listener).then_some(Source::Published(listener))
            }
        }
    }

    fn send_by(&self, source: Source, outgoing: &Outgoing<'_>, payload: &[u8], segment: Option<u16>) -> io::Result<()> {
        let socket = self.socket(source).ok_or(io::ErrorKind::NotConnected)?;
        let from = match outgoing.by {
            By::Own { .. } => None,
            By::Published { local, .. } => local,
        };
        let meta = outgoing.meta;
        let sending = sys::Sending {
            to: outgoing.to,
            payload,
            segment: segment.filter(|&size| usize::from(size) < payload.len()),
            hops: Some(meta.hops).filter(|&hops| hops != USUAL_HOPS),
            tos: Some(meta.tos).filter(|&tos| tos != 0),
            from,
        };
        sys::send(socket.as_fd(), &sending)
    }
}

/// What was lent goes to the gateways that stay.
impl Drop for DatagramShell {
    fn drop(&mut self) {
        for carrier in std::mem::take(&mut self.sockets).into_iter().flatten() {
            self.give_back(carrier.slot, carrier.socket, &carrier.origin);
        }
    }
}

fn unwatch(registry: &Registry, socket: &OwnedFd) {
    if let Err(error) = registry.deregister(&mut SourceFd(&socket.as_raw_fd())) {
        tracing::debug!(%error, "cannot stop watching a socket");
    }
}

/// What binding a socket says that is bound.
const INVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// What a packet has left that left a Linux container with the usual 64 hops: the host's own default will do.
const USUAL_HOPS: u8 = 63;
