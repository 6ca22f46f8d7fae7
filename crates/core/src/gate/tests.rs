use alloc::collections::BTreeSet;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const QUARTER: u64 = EPOCH_SECS * 1000;

fn gates() -> Gates {
    let mut gates = Gates::new();
    gates.add_circle(&[1; 32]);
    gates.add_invite(InviteId([1; 32]));
    gates.add_rendezvous(MemberId([1; 32]), &[1; 32]);
    gates
}

#[test]
fn one_secret_makes_another_name_at_each_gate() {
    let alpns = gates().alpns(NOW);
    assert_eq!(alpns.len(), 9);
    let names: BTreeSet<_> = alpns.iter().map(|(alpn, _)| *alpn).collect();
    assert_eq!(names.len(), 9);
    assert!(
        names
            .iter()
            .flatten()
            .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    );
}

#[test]
fn a_clock_may_differ_by_an_epoch_and_not_by_two() {
    let gates = gates();
    for gate in [
        Gate::Circle,
        Gate::Invite(InviteId([1; 32])),
        Gate::Rendezvous(MemberId([1; 32])),
    ] {
        let knocked = gates.alpn(gate, NOW).unwrap();
        let opens = |at: u64| gates.alpns(Timestamp(at)).contains(&(knocked, gate));
        assert!(opens(NOW.0) && opens(NOW.0 + QUARTER) && opens(NOW.0 - QUARTER));
        assert!(!opens(NOW.0 + 2 * QUARTER) && !opens(NOW.0 - 2 * QUARTER));
    }
}

#[test]
fn what_is_not_known_here_can_not_be_knocked_at() {
    assert_eq!(gates().alpn(Gate::Invite(InviteId([2; 32])), NOW), None);
}

#[test]
fn the_edges_of_time_are_no_trouble() {
    for now in [Timestamp(0), Timestamp(u64::MAX)] {
        assert_eq!(gates().alpns(now).len(), 9);
    }
}

/// Both sides must compute these names, whatever their version.
#[test]
fn golden_names() {
    let text = |alpn: Alpn| core::str::from_utf8(&alpn).map(alloc::string::String::from);
    let epoch = epoch(NOW);
    let names = [
        circle_alpn(&[1; 32], epoch),
        invite_alpn(&InviteId([1; 32]), epoch),
        rendezvous_alpn(&[1; 32], epoch),
    ]
    .map(|alpn| text(alpn).unwrap());
    let golden = include_str!("../../../../testdata/protocol/gates-v1.txt");
    assert_eq!(names.as_slice(), golden.lines().collect::<Vec<_>>());
}
