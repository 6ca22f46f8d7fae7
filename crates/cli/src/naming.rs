//! What a new device and its owner are called where they don't say.

use std::env;

use carryall_core::limits::NAME_BYTES_MAX;
use carryall_daemon::founding::Naming;

/// Returns the names for a new device: the owner's as given, else the account's; the machine's for
/// the device.
pub(crate) fn naming(name: Option<String>) -> Naming {
    let account = || {
        env::var("USER")
            .or_else(|_| env::var("LOGNAME"))
            .ok()
            .and_then(fitting)
    };
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    Naming {
        member: name
            .or_else(account)
            .unwrap_or_else(|| "somebody".to_owned()),
        device: fitting(machine).unwrap_or_else(|| "device".to_owned()),
    }
}

/// Returns a name that the system gave, if it can serve as one.
fn fitting(name: String) -> Option<String> {
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control);
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_goes_first() {
        assert_eq!(naming(Some("Ada".into())).member, "Ada");
        assert!(!naming(None).member.is_empty());
        assert_eq!(fitting("a\nb".into()), None);
        assert_eq!(fitting("x".repeat(NAME_BYTES_MAX + 1)), None);
    }
}
