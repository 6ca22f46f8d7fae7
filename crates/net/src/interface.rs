//! The network interfaces of this machine, as far as links care.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use if_addrs::{IfAddr, IfOperStatus, Interface as Found};

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface {
    /// The operating system's number for the interface; 0 if it has none.
    pub(crate) index: u32,
    /// The address.
    pub(crate) ip: IpAddr,
    /// Leading bits that all addresses of the subnet share.
    pub(crate) prefix: u8,
    /// Where IPv4 broadcasts go.
    pub(crate) broadcast: Option<Ipv4Addr>,
}

impl Interface {
    /// Tells whether the address means nothing without naming the interface, which the transport
    /// can't: it forgets the scope.
    pub(crate) fn is_link_local_v6(&self) -> bool {
        matches!(self.ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
    }

    /// Tells whether `ip` lies in this interface's subnet.
    pub(crate) fn reaches(&self, ip: IpAddr) -> bool {
        fn shared(a: u128, b: u128, width: u32, prefix: u8) -> bool {
            let differing = width.saturating_sub(u32::from(prefix));
            (a ^ b).checked_shr(differing).unwrap_or(0) == 0
        }
        match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                shared(a.to_bits().into(), b.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.to_bits(), b.to_bits(), 128, self.prefix),
            _ => false,
        }
    }
}

/// Returns the addresses of all interfaces that are up and have a carrier, in a fixed order.
pub(crate) fn list() -> io::Result<Vec<Interface>> {
    those(Found::is_oper_up)
}

/// Returns the addresses of all interfaces that aren't down, in a fixed order. A cable that was
/// plugged in just now takes the kernel up to a second to tell of, while its address can be dialled.
pub(crate) fn configured() -> io::Result<Vec<Interface>> {
    those(|interface| interface.oper_status != IfOperStatus::Down)
}

fn those(wanted: impl Fn(&Found) -> bool) -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<_> = if_addrs::get_if_addrs()?
        .into_iter()
        .filter(wanted)
        .map(|interface| {
            let (prefix, broadcast) = match &interface.addr {
                IfAddr::V4(addr) => (addr.prefixlen, addr.broadcast),
                IfAddr::V6(addr) => (addr.prefixlen, None),
            };
            Interface {
                index: interface.index.unwrap_or(0),
                ip: interface.ip(),
                prefix,
                broadcast: broadcast.filter(|_| !interface.is_loopback()),
            }
        })
        .collect();
    interfaces.sort();
    interfaces.dedup();
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(ip: &str, prefix: u8) -> Interface {
        Interface {
            index: 1,
            ip: ip.parse().unwrap(),
            prefix,
            broadcast: None,
        }
    }

    #[test]
    fn subnets() {
        let home = interface("192.168.1.7", 24);
        assert!(home.reaches("192.168.1.200".parse().unwrap()));
        assert!(!home.reaches("192.168.2.1".parse().unwrap()));
        assert!(!home.reaches("fe80::1".parse().unwrap()));
        let link = interface("fe80::1", 64);
        assert!(link.reaches("fe80::2".parse().unwrap()));
        assert!(!link.reaches("fe81::2".parse().unwrap()));
        assert!(interface("10.0.0.1", 0).reaches("8.8.8.8".parse().unwrap()));
        assert!(interface("fd00::1", 0).reaches("2001::1".parse().unwrap()));
        assert!(!interface("10.0.0.1", 32).reaches("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let with_carrier = list().unwrap();
        assert!(with_carrier.iter().any(|i| i.ip.is_loopback()));
        let configured = configured().unwrap();
        assert!(with_carrier.iter().all(|i| configured.contains(i)));
    }
}
