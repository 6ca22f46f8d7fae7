//! What tells the network in use from others: the gateway, or the subnets where there is none.
//!
//! Half of the world is 192.168.1.0/24 behind 192.168.1.1, so the gateway's hardware address counts.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::interface;

/// The kernel's table of IPv4 routes.
const ROUTES: &str = "/proc/net/route";
/// The kernel's table of IPv4 neighbours.
const NEIGHBOURS: &str = "/proc/net/arp";
/// The route is up and leads to a gateway.
const UP_BY_GATEWAY: u32 = 0x1 | 0x2;
/// The neighbour's hardware address is known.
const COMPLETE: u32 = 0x2;

/// What tells the network in use from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// The gateway.
    Behind {
        /// Its address.
        gateway: IpAddr,
        /// Its hardware address.
        hardware: [u8; 6],
    },
    /// The subnets, as their first address and leading bits; there is no gateway.
    Subnets(Vec<(IpAddr, u8)>),
    /// There is a gateway, and nothing is known of it yet.
    Unclear,
}

impl Surroundings {
    /// Looks around. Where the kernel can't be asked for its gateway, there is none.
    pub fn now() -> Self {
        let table = |path| fs::read_to_string(path).unwrap_or_default();
        let Some(gateway) = default_gateway(&table(ROUTES)) else {
            let interfaces = interface::list().unwrap_or_default();
            let addresses = interfaces.iter().map(|it| (it.ip, it.prefix));
            return Self::Subnets(subnets(addresses));
        };
        match hardware_of(&table(NEIGHBOURS), gateway) {
            Some(hardware) => Self::Behind {
                gateway: gateway.into(),
                hardware,
            },
            None => Self::Unclear,
        }
    }
}

/// Returns the gateway of the default route with the lowest metric.
fn default_gateway(routes: &str) -> Option<Ipv4Addr> {
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let (destination, gateway, flags, mask) = (hex(1)?, hex(2)?, hex(3)?, hex(7)?);
        let metric: u32 = fields.get(6)?.parse().ok()?;
        let is_default = destination == 0 && mask == 0 && flags & UP_BY_GATEWAY == UP_BY_GATEWAY;
        // The kernel prints addresses as numbers of this machine.
        is_default.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    };
    let (_, gateway) = routes.lines().filter_map(route).min()?;
    Some(gateway)
}

/// Returns the hardware address of a neighbour.
fn hardware_of(neighbours: &str, address: Ipv4Addr) -> Option<[u8; 6]> {
    neighbours.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (found, flags) = (fields.first()?, fields.get(2)?.trim_start_matches("0x"));
        let is_known = u32::from_str_radix(flags, 16).ok()? & COMPLETE != 0;
        if !is_known || found.parse() != Ok(address) {
            return None;
        }
        let bytes = fields.get(3)?.split(':');
        let bytes = bytes.map(|it| u8::from_str_radix(it, 16));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
        bytes.try_into().ok()
    })
}

/// Returns the subnets of addresses, as far as they mean something: loopback and link-local ones are
/// the same everywhere.
fn subnets(addresses: impl Iterator<Item = (IpAddr, u8)>) -> Vec<(IpAddr, u8)> {
    let mut subnets: Vec<(IpAddr, u8)> = addresses
        .filter(|(ip, _)| !ip.is_loopback() && !is_link_local(*ip))
        .map(|(ip, prefix)| (first_of(ip, prefix), prefix))
        .collect();
    subnets.sort_unstable();
    subnets.dedup();
    subnets
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Returns the first address of a subnet.
fn first_of(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let rest = 32_u32.saturating_sub(prefix.into());
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let rest = 128_u32.saturating_sub(prefix.into());
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_of_the_best_route() {
        // As a machine of this kind of byte order prints it.
        let gateway = |last: u8| format!("{:08X}", u32::from_ne_bytes([192, 168, 1, last]));
        let (one, two, tunnel) = (gateway(1), gateway(2), gateway(3));
        let header = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT";
        let lines = [
            header.to_owned(),
            format!("wlan0\t00000000\t{one}\t0003\t0\t0\t600\t00000000\t0\t0\t0"),
            format!("eth0\t00000000\t{two}\t0003\t0\t0\t100\t00000000\t0\t0\t0"),
            format!("tun0\t00000000\t{tunnel}\t0001\t0\t0\t0\t00000000\t0\t0\t0"),
            format!("eth0\t{one}\t00000000\t0001\t0\t0\t100\tFFFFFFFF\t0\t0\t0"),
        ];
        let best = Some(Ipv4Addr::new(192, 168, 1, 2));
        assert_eq!(default_gateway(&lines.join("\n")), best);
        assert_eq!(default_gateway(header), None);
        assert_eq!(default_gateway("nonsense\n\n00 00"), None);
    }

    #[test]
    fn the_neighbour_s_hardware() {
        let table = "IP address HW type Flags HW address Mask Device\n\
                     192.168.1.2 0x1 0x2 02:00:00:00:00:0a * eth0\n\
                     192.168.1.3 0x1 0x0 00:00:00:00:00:00 * eth0\n\
                     192.168.1.4 0x1 0x2 02:00 * eth0\n";
        let of = |last| hardware_of(table, Ipv4Addr::new(192, 168, 1, last));
        assert_eq!(of(2), Some([2, 0, 0, 0, 0, 10]));
        assert_eq!((of(3), of(4), of(5)), (None, None, None));
    }

    #[test]
    fn subnets_that_say_something() {
        let addresses = [
            ("127.0.0.1", 8),
            ("::1", 128),
            ("fe80::7", 64),
            ("169.254.3.4", 16),
            ("10.1.2.3", 16),
            ("10.1.9.9", 16),
            ("fd00::17", 64),
        ];
        let parse = |(ip, bits): (&str, u8)| (ip.parse::<IpAddr>().unwrap(), bits);
        let found = subnets(addresses.into_iter().map(parse));
        assert_eq!(found, [("10.1.0.0", 16), ("fd00::", 64)].map(parse));
        let any = first_of("1.2.3.4".parse().unwrap(), 0);
        assert_eq!(any.to_string(), "0.0.0.0");
    }
}
