//! Which networks cost by the byte: what the owner says, else what NetworkManager knows.
//!
//! NetworkManager is asked over D-Bus by the tool that comes with systemd, only when the owner wants
//! its word and only after the interfaces have changed. Where one of the two is missing, nothing is
//! known to cost.

use std::{collections::BTreeSet, fs, path::Path, process::Stdio, time::Duration};

use carryall_net::Metered;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::config::{Bind, Config, Metering};

/// A bus that has not answered by then won't.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where the system lists its interfaces.
const INTERFACES: &str = "/sys/class/net";
/// "Yes" and "probably yes", in NetworkManager's words.
const COSTS: [u64; 2] = [1, 3];

/// Returns which interfaces cost by the byte, by these settings.
pub(crate) async fn read(config: &Config) -> Metered {
    let mut names: BTreeSet<String> = config.metered_on.iter().cloned().collect();
    match config.metered {
        Metering::Yes => return Metered::Everywhere,
        Metering::No => {}
        Metering::Auto if config.bind == Bind::Loopback => {}
        Metering::Auto => names.extend(ask_network_manager().await),
    }
    let indexes: BTreeSet<u32> = names
        .iter()
        .filter_map(|name| index(Path::new(INTERFACES), name))
        .collect();
    if indexes.is_empty() {
        Metered::Nowhere
    } else {
        Metered::On(indexes)
    }
}

/// Returns the system's number for an interface; nothing if there is none of that name.
fn index(interfaces: &Path, name: &str) -> Option<u32> {
    if name.contains(['/', '.']) {
        return None;
    }
    let text = fs::read_to_string(interfaces.join(name).join("ifindex")).ok()?;
    text.trim().parse().ok()
}

async fn ask_network_manager() -> Vec<String> {
    let asked = Command::new("busctl")
        .args(["--system", "--auto-start=no", "--json=short", "call"])
        .args(["org.freedesktop.NetworkManager", "/org/freedesktop"])
        .args(["org.freedesktop.DBus.ObjectManager", "GetManagedObjects"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) if answer.status.success() => costly(&answer.stdout),
        _ => Vec::new(),
    }
}

/// Returns the names of the interfaces that cost, from NetworkManager's list of objects.
fn costly(answer: &[u8]) -> Vec<String> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Vec::new();
    };
    let Some(objects) = answer.pointer("/data/0").and_then(Value::as_object) else {
        return Vec::new();
    };
    let devices = objects
        .values()
        .filter_map(|object| object.get("org.freedesktop.NetworkManager.Device"));
    devices
        .filter_map(|device| {
            let metered = device.pointer("/Metered/data")?.as_u64()?;
            // While a modem is connected, its addresses are on another interface than its port.
            let name = ["/IpInterface/data", "/Interface/data"]
                .iter()
                .filter_map(|key| device.pointer(key)?.as_str())
                .find(|name| !name.is_empty())?;
            COSTS.contains(&metered).then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_networks_that_cost_are_named() {
        let device = |name: &str, ip: &str, metered: u64| {
            serde_json::json!({ "org.freedesktop.NetworkManager.Device": {
                "Interface": { "type": "s", "data": name },
                "IpInterface": { "type": "s", "data": ip },
                "Metered": { "type": "u", "data": metered },
            } })
        };
        let answer = serde_json::json!({ "type": "a{oa{sa{sv}}}", "data": [{
            "/org/freedesktop/NetworkManager/Settings": {},
            "/org/freedesktop/NetworkManager/Devices/1": device("eth0", "eth0", 4),
            "/org/freedesktop/NetworkManager/Devices/2": device("wlan0", "wlan0", 3),
            "/org/freedesktop/NetworkManager/Devices/3": device("ttyUSB2", "wwan0", 1),
            "/org/freedesktop/NetworkManager/Devices/4": device("wlan1", "", 1),
            "/org/freedesktop/NetworkManager/Devices/5": device("lo", "lo", 0),
        }] });
        let named = costly(answer.to_string().as_bytes());
        assert_eq!(named, ["wlan0", "wwan0", "wlan1"]);
        assert!(costly(b"no such service").is_empty());
        assert!(costly(b"{}").is_empty());
    }

    #[test]
    fn names_become_numbers() {
        let interfaces = tempfile::tempdir().unwrap();
        fs::create_dir(interfaces.path().join("wlan0")).unwrap();
        fs::write(interfaces.path().join("wlan0/ifindex"), "7\n").unwrap();
        assert_eq!(index(interfaces.path(), "wlan0"), Some(7));
        assert_eq!(index(interfaces.path(), "wlan1"), None);
        assert_eq!(index(interfaces.path(), "../wlan0"), None);
    }

    #[tokio::test]
    async fn the_owner_has_the_last_word() {
        let mut config = Config {
            bind: Bind::Loopback,
            ..Config::default()
        };
        assert_eq!(read(&config).await, Metered::Nowhere);
        config.metered = Metering::Yes;
        assert_eq!(read(&config).await, Metered::Everywhere);
        config.metered = Metering::No;
        assert_eq!(read(&config).await, Metered::Nowhere);
    }
}
