//! The sockets of the beacon: ears on the shared port, one mouth for each interface.
//!
//! All nodes of a machine share the port, and each gets a copy of what is sent to the group.
//! Unicast to a shared port would reach only one of them, so answers go to the mouth's own port,
//! from which the hello came.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

use carryall_core::beacon::BEACON_BYTES;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, sync::mpsc, task::JoinSet};

use super::listen::{Caught, Sieve, listen};
use crate::{config::BeaconConfig, interface::Interface};

/// Beacons that may wait to be answered. Only those of friends, and none twice, come so far.
const CAUGHT_MAX: usize = 256;
/// What the kernel keeps while we are busy, as far as it lets us: a tenth of a second of a flood.
const EAR_BYTES: usize = 4 << 20;

/// A socket that speaks on one interface and hears the answers.
#[derive(Debug)]
pub(super) struct Mouth {
    pub(super) interface: Interface,
    /// Where hellos go: the group, and the subnet's broadcast address for access points that drop
    /// multicast.
    pub(super) targets: Vec<SocketAddr>,
    socket: Arc<UdpSocket>,
}

impl Mouth {
    /// Sends a packet. One that can't be sent is as lost as any other.
    pub(super) async fn say(&self, packet: &[u8; BEACON_BYTES], to: SocketAddr) {
        if let Err(error) = self.socket.send_to(packet, to).await {
            tracing::debug!(%to, %error, "beacon not sent");
        }
    }
}

/// All sockets. Dropping them ends the tasks that listen.
#[derive(Debug)]
pub(super) struct Sockets {
    mouths: Vec<Mouth>,
    /// An interface refused, which may change: a new IPv6 address is of use after a second.
    incomplete: bool,
    caught: mpsc::Receiver<Caught>,
    /// Keeps the channel open where there is nothing to listen to.
    _open: mpsc::Sender<Caught>,
    _listeners: JoinSet<()>,
}

impl Sockets {
    /// Opens what can be opened: an interface that refuses is left out.
    pub(super) fn open(
        config: &BeaconConfig,
        interfaces: &[Interface],
        sieve: &Arc<Sieve>,
    ) -> Self {
        let usable = usable(interfaces, config.loopback_only);
        let (sender, caught) = mpsc::channel(CAUGHT_MAX);
        let mut listeners = JoinSet::new();
        let ears = [ear_v4(config, &usable), ear_v6(config, &usable)];
        for ear in ears {
            match ear {
                Ok(Some(ear)) => {
                    listeners.spawn(listen(Arc::new(ear), Arc::clone(sieve), sender.clone()));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(port = config.port, %error, "can't listen for beacons");
                }
            }
        }
        let mut mouths = Vec::new();
        let mut incomplete = false;
        for interface in usable {
            match mouth(config, &interface) {
                Ok((socket, targets)) => {
                    let socket = Arc::new(socket);
                    let (hears, sieve) = (Arc::clone(&socket), Arc::clone(sieve));
                    listeners.spawn(listen(hears, sieve, sender.clone()));
                    mouths.push(Mouth {
                        interface,
                        targets,
                        socket,
                    });
                }
                Err(error) => {
                    incomplete = true;
                    tracing::debug!(ip = %interface.ip, %error, "no beacon here");
                }
            }
        }
        Self {
            mouths,
            incomplete,
            caught,
            _open: sender,
            _listeners: listeners,
        }
    }

    /// Returns the next beacon of somebody known.
    pub(super) async fn hear(&mut self) -> Caught {
        match self.caught.recv().await {
            Some(caught) => caught,
            // Not while this holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Tells whether to open them again soon.
    pub(super) const fn are_incomplete(&self) -> bool {
        self.incomplete
    }

    pub(super) fn mouths(&self) -> &[Mouth] {
        &self.mouths
    }

    /// Returns the mouth that is nearest to `peer`.
    pub(super) fn mouth_towards(&self, peer: SocketAddr) -> Option<&Mouth> {
        let same_family = || {
            let mouths = self.mouths.iter();
            mouths.filter(|mouth| mouth.interface.ip.is_ipv4() == peer.is_ipv4())
        };
        same_family()
            .find(|mouth| mouth.interface.reaches(peer.ip()))
            .or_else(|| same_family().find(|mouth| !mouth.interface.ip.is_loopback()))
    }
}

/// Returns the addresses to speak from. They must be dialable, since hearers dial the packet's
/// source: the transport forgets the scope of link-local IPv6 addresses, so those are left out. Of
/// other IPv6 addresses each interface needs one.
fn usable(interfaces: &[Interface], loopback_only: bool) -> Vec<Interface> {
    let mut spoken_for = BTreeSet::new();
    let usable = interfaces.iter().filter(|interface| match interface.ip {
        IpAddr::V4(ip) => ip.is_loopback() || !loopback_only,
        IpAddr::V6(ip) => {
            let dialable = !ip.is_loopback() && !ip.is_unicast_link_local();
            dialable && !loopback_only && spoken_for.insert(interface.index)
        }
    });
    usable.cloned().collect()
}

/// Opens the shared IPv4 port and joins the group on every interface.
fn ear_v4(config: &BeaconConfig, interfaces: &[Interface]) -> io::Result<Option<UdpSocket>> {
    let socket = shared(Domain::IPV4)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, config.port)).into())?;
    for interface in interfaces {
        if let IpAddr::V4(ip) = interface.ip
            && let Err(error) = socket.join_multicast_v4(&config.group_v4, &ip)
        {
            tracing::debug!(%ip, %error, "can't join the beacon's group");
        }
    }
    finish(socket).map(Some)
}

/// Opens the shared IPv6 port and joins the group on every interface; nothing without IPv6.
fn ear_v6(config: &BeaconConfig, interfaces: &[Interface]) -> io::Result<Option<UdpSocket>> {
    let indices = interfaces.iter().filter(|interface| interface.ip.is_ipv6());
    let indices: Vec<u32> = indices.map(|interface| interface.index).collect();
    if indices.is_empty() {
        return Ok(None);
    }
    let socket = shared(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, config.port)).into())?;
    for index in indices {
        if let Err(error) = socket.join_multicast_v6(&config.group_v6, index) {
            tracing::debug!(index, %error, "can't join the beacon's group");
        }
    }
    finish(socket).map(Some)
}

/// Opens the socket that speaks on an interface, and names its targets.
fn mouth(config: &BeaconConfig, interface: &Interface) -> io::Result<(UdpSocket, Vec<SocketAddr>)> {
    match interface.ip {
        IpAddr::V4(ip) => {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind(&SocketAddr::from((ip, 0)).into())?;
            // Also where no route leads to the group, as on the loopback interface.
            socket.set_multicast_if_v4(&ip)?;
            socket.set_multicast_loop_v4(true)?;
            socket.set_multicast_ttl_v4(1)?;
            socket.set_broadcast(true)?;
            let groups = [Some(config.group_v4), interface.broadcast];
            let targets = groups.into_iter().flatten();
            let targets = targets.map(|ip| (ip, config.port).into()).collect();
            Ok((finish(socket)?, targets))
        }
        IpAddr::V6(ip) => {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_only_v6(true)?;
            let index = interface.index;
            socket.bind(&SocketAddr::from((ip, 0)).into())?;
            socket.set_multicast_if_v6(index)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(1)?;
            let group = SocketAddrV6::new(config.group_v6, config.port, 0, index);
            Ok((finish(socket)?, vec![group.into()]))
        }
    }
}

/// Returns a socket that can share its port with other nodes of this machine.
fn shared(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    // Less will do.
    let _ = socket.set_recv_buffer_size(EAR_BYTES);
    Ok(socket)
}

fn finish(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_only_from_addresses_that_can_be_dialled() {
        let interface = |index, ip: &str| Interface {
            index,
            ip: ip.parse().unwrap(),
            prefix: 24,
            broadcast: None,
        };
        let all = [
            interface(1, "127.0.0.1"),
            interface(1, "::1"),
            interface(2, "192.168.1.7"),
            interface(2, "fd00::1"),
            interface(2, "fd00::2"),
            interface(2, "fe80::1"),
            interface(3, "169.254.3.4"),
        ];
        let ips = |loopback_only| {
            let usable = usable(&all, loopback_only);
            let ips = usable.iter().map(|interface| interface.ip.to_string());
            ips.collect::<Vec<_>>()
        };
        assert_eq!(
            ips(false),
            ["127.0.0.1", "192.168.1.7", "fd00::1", "169.254.3.4"]
        );
        assert_eq!(ips(true), ["127.0.0.1"]);
    }
}
