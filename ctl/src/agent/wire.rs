//! Packets and descriptors over a SOCK_SEQPACKET Unix socket. Read first: unix(7), "SCM_RIGHTS".

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::Serialize;
use tokio::{io::Interest, net::UnixStream};

use super::protocol::MAX_MESSAGE;
use crate::peer::Peer;

/// Most descriptors beside one message.
pub(crate) const MAX_DESCRIPTORS: usize = 8;

/// The receiver was out of descriptors: those of one message are lost, the connection is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process has no descriptors left for what was sent to it")]
pub(crate) struct Exhausted;

/// A message and the descriptors beside it.
pub(crate) type Packet = (Vec<u8>, Result<Vec<OwnedFd>, Exhausted>);

/// One end of the connection between vswitchd and its agent.
#[derive(Debug)]
pub(crate) struct Channel {
    // Used for its place in the reactor only: every packet goes through `send` and `receive` below.
    socket: UnixStream,
}

impl Channel {
    /// Takes a connected socket; needs a running tokio reactor.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Channel> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // The default is below MAX_MESSAGE on most hosts.
        sockopt::set_socket_send_buffer_size(&socket, MAX_MESSAGE)?;
        Ok(Channel { socket: UnixStream::from_std(socket.into())? })
    }

    /// The process at the other end.
    pub(crate) fn peer(&self) -> Option<u32> {
        Peer::of(&self.socket).ok()?.pid
    }

    /// Ends the connection, also for those who use it still.
    pub(crate) fn close(&self) {
        // Fails when the other side has ended it.
        let _ = net::shutdown(&self.socket, net::Shutdown::Both);
    }

    /// Sends one message.
    pub(crate) async fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(message)?;
        self.socket.async_io(Interest::WRITABLE, || send(self.socket.as_fd(), &bytes, descriptors)).await
    }

    /// Receives one message; `None` when the other side is gone.
    pub(crate) async fn receive(&self) -> io::Result<Option<Packet>> {
        self.socket.async_io(Interest::READABLE, || receive(self.socket.as_fd())).await
    }
}

/// A connected pair of sockets.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The JSON of a message, if it fits.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

/// Sends one packet.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet; `None` at the end of the connection.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = match net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    {
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        other => other?,
    };
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    // The kernel hands over those that it has room for, and drops the others without a word but this.
    let descriptors = if received.flags.contains(ReturnFlags::CTRUNC) { Err(Exhausted) } else { Ok(descriptors) };
    Ok(Some((bytes, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message and its descriptors arrive whole, and the end of the connection is seen.
    #[test]
    fn carries_descriptors() {
        let (left, right) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(left.as_fd(), b"hello", &[writer.as_fd()]).unwrap();
        drop(writer);
        let (bytes, descriptors) = receive(right.as_fd()).unwrap().unwrap();
        assert_eq!(bytes, b"hello");
        rustix::io::write(&descriptors.unwrap()[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0u8; 4]).unwrap(), 1);
        drop(left);
        assert!(receive(right.as_fd()).unwrap().is_none());
    }

    /// A message of the largest size passes.
    #[tokio::test]
    async fn carries_the_largest_message() {
        let (left, right) = pair().unwrap();
        let (left, right) = (Channel::new(left).unwrap(), Channel::new(right).unwrap());
        let text = "x".repeat(MAX_MESSAGE - 2);
        left.send(&text, &[]).await.unwrap();
        assert_eq!(right.receive().await.unwrap().unwrap().0.len(), MAX_MESSAGE);
        assert!(left.send(&(text + "x"), &[]).await.is_err());
    }
}
