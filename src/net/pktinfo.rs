//! Which of the system's addresses a datagram was sent to, for sockets on all of them.
//!
//! A reply leaves such a socket from the address that the system prefers, and a client that has connected
//! its socket to another one never sees it. IP_PKTINFO (ip(7)) and IPV6_RECVPKTINFO (RFC 3542 section 6)
//! tell the address with each datagram, and have the reply leave from there.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage,
    recvmsg, sendmsg, setsockopt, sockopt,
};

/// Has the system tell of each datagram to which address it was sent.
pub(super) fn enable(socket: &UdpSocket, own: SocketAddr) -> io::Result<()> {
    match own {
        SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Receives a datagram: its length, who sent it, and to which address, where one could answer from it.
pub(super) fn receive_from(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr, Option<IpAddr>)> {
    // Room for the larger of the two.
    let mut room = nix::cmsg_space!(libc::in6_pktinfo);
    let mut pieces = [IoSliceMut::new(buffer)];
    let received = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut pieces,
        Some(&mut room),
        MsgFlags::empty(),
    )?;
    let mut asked = None;
    for message in received.cmsgs()? {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let own = u32::from_be(info.ipi_spec_dst.s_addr);
                asked = Some(Ipv4Addr::from(own).into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let own = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // Nobody has such an address for a source.
                asked = (!own.is_multicast()).then(|| own.into());
            }
            _ => {}
        }
    }
    let peer = received.address.as_ref().and_then(to_std);
    let peer = peer.ok_or_else(|| io::Error::other("a datagram came without its sender"))?;
    Ok((received.bytes, peer, asked))
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || Some(SocketAddrV4::from(*address.as_sockaddr_in()?).into());
    let v6 = || Some(SocketAddrV6::from(*address.as_sockaddr_in6()?).into());
    v4().or_else(v6)
}

/// Sends a datagram from one of the system's addresses.
pub(super) fn send_to(
    socket: &UdpSocket,
    data: &[u8],
    peer: SocketAddr,
    from: IpAddr,
) -> io::Result<usize> {
    let (fd, pieces, flags) = (socket.as_raw_fd(), [IoSlice::new(data)], MsgFlags::empty());
    let sent = match (peer, from) {
        (SocketAddr::V4(peer), IpAddr::V4(from)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(from).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let from = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(fd, &pieces, &from, flags, Some(&SockaddrIn::from(peer)))?
        }
        (SocketAddr::V6(peer), IpAddr::V6(from)) => {
            let info = libc::in6_pktinfo {
                // A link-local peer's own scope says over which interface.
                ipi6_ifindex: 0,
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
            };
            let from = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(fd, &pieces, &from, flags, Some(&SockaddrIn6::from(peer)))?
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(sent)
}
