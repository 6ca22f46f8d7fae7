use alloc::{format, string::ToString};

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn invite() -> Invite {
    Invite {
        circle: CircleId([1; 32]),
        secret: InviteSecret([2; 16]),
        expires: Timestamp(1_800_000_600_000),
        doors: Vec::from([(
            DeviceId([3; 32]),
            Vec::from([
                "192.168.1.20:47470".parse().unwrap(),
                "[fd00::20]:47470".parse().unwrap(),
            ]),
        )]),
    }
}

/// Returns the link of a payload with a good checksum.
fn link_of(body: &[u8]) -> String {
    let mut link = String::from(LINK_PREFIX);
    to_base32(&[body, &checksum(body)].concat(), &mut link);
    link
}

#[test]
fn base32_is_that_of_rfc_4648() {
    let cases = [
        ("", ""),
        ("f", "MY"),
        ("fo", "MZXQ"),
        ("foo", "MZXW6"),
        ("foob", "MZXW6YQ"),
        ("fooba", "MZXW6YTB"),
        ("foobar", "MZXW6YTBOI"),
    ];
    for (plain, coded) in cases {
        let mut text = String::new();
        to_base32(plain.as_bytes(), &mut text);
        assert_eq!(text, coded);
        assert_eq!(from_base32(coded).as_deref(), Some(plain.as_bytes()));
    }
    // Bits left over, and a length that no bytes have.
    assert_eq!(from_base32("MZ"), None);
    assert_eq!(from_base32("M"), None);
}

#[test]
fn a_link_is_read_as_people_paste_it() {
    let link = invite().to_link();
    let fragment = link.strip_prefix(LINK_PREFIX).unwrap();
    let broken = format!("{}\r\n   {}", &link[..60], &link[60..]);
    let other_port = format!("http://carryall.localhost:4801/join#{fragment}");
    let pasted = [
        link.clone(),
        format!("  {link}\n"),
        format!("<{link}>."),
        broken,
        other_port,
        fragment.to_string(),
        fragment.to_lowercase(),
    ];
    for text in pasted {
        assert_eq!(Invite::parse(&text, NOW), Ok(invite()), "{text}");
    }
}

#[test]
fn a_link_fits_a_small_qr_code() {
    let mut invite = invite();
    invite.doors[0].1.truncate(1);
    // Version 10 at level L takes 1,896 bits after its headers; the prefix costs 8 bits a character.
    let link = invite.to_link();
    let digits = link.len() - LINK_PREFIX.len();
    assert!(
        LINK_PREFIX.len() * 8 + digits * 11 / 2 <= 1_896,
        "{digits} digits"
    );
}

#[test]
fn errors_are_told_apart() {
    let link = invite().to_link();
    let expires = invite().expires;
    assert_eq!(Invite::parse(&link, expires), Err(InviteError::Expired));
    for text in [
        "",
        "hello",
        "https://example.org/#ABC",
        "abandon abandon abandon",
    ] {
        assert_eq!(
            Invite::parse(text, NOW),
            Err(InviteError::NotAnInvite),
            "{text}"
        );
    }
    let words =
        "abandon ability able about above absent absorb abstract absurd abuse access accident";
    // Twelve words are letters only, so they look like a fragment; they still aren't an invite.
    assert!(Invite::parse(words, NOW).is_err());
    for cut in [
        &link[..link.len() - 1],
        &link[..100],
        &link[..LINK_PREFIX.len() - 1],
    ] {
        assert_eq!(Invite::parse(cut, NOW), Err(InviteError::Damaged), "{cut}");
    }
    assert_eq!(
        Invite::parse(&link_of(&[2, 7, 7]), NOW),
        Err(InviteError::TooNew)
    );
    assert_eq!(
        Invite::parse(&link_of(&[1, 7, 7]), NOW),
        Err(InviteError::Damaged)
    );
    assert_eq!(Invite::parse(&link_of(&[]), NOW), Err(InviteError::Damaged));
    assert_eq!(
        Invite::parse(&"A".repeat(5000), NOW),
        Err(InviteError::NotAnInvite)
    );
}

#[test]
fn an_invite_without_a_door_is_refused() {
    let mut without = invite();
    without.doors.clear();
    assert_eq!(
        Invite::parse(&without.to_link(), NOW),
        Err(InviteError::Damaged)
    );
}

#[test]
fn any_single_changed_digit_is_noticed() {
    let link = invite().to_link();
    for at in LINK_PREFIX.len()..link.len() {
        let mut changed = link.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(
            Invite::parse(&changed, NOW),
            Err(InviteError::Damaged),
            "{at}"
        );
    }
}

#[test]
fn doors_beyond_the_limit_are_left_out() {
    let mut many = invite();
    let address = many.doors[0].1[0];
    many.doors = (0..9)
        .map(|i| (DeviceId([i; 32]), Vec::from([address; 20])))
        .collect();
    let parsed = Invite::parse(&many.to_link(), NOW).unwrap();
    assert_eq!(parsed.doors.len(), DOORS_MAX);
    assert_eq!(parsed.doors[0].1.len(), DOOR_ADDRESSES_MAX);
    assert!(many.to_link().len() <= LINK_BYTES_MAX / 2);
}

#[test]
fn the_secret_is_not_printed() {
    let printed = format!("{:?}", invite());
    assert!(!printed.contains("2, 2, 2"), "{printed}");
}

/// The link must stay readable for as long as version 1 is.
#[test]
fn golden_link() {
    let golden = include_str!("../../../../testdata/format/invite-v1.txt");
    let (link, id) = golden.trim().split_once('\n').unwrap();
    assert_eq!(invite().to_link(), link);
    assert_eq!(Invite::parse(link, NOW), Ok(invite()));
    assert_eq!(invite().secret.id().to_string(), id);
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic(text: String) {
        prop_assert!(Invite::parse(&text, NOW).is_err());
    }

    #[test]
    fn any_payload_is_read_without_panic(body: Vec<u8>) {
        let _ = Invite::parse(&link_of(&body), NOW);
        let mut versioned = Vec::from([VERSION]);
        versioned.extend(body);
        let _ = Invite::parse(&link_of(&versioned), NOW);
    }

    #[test]
    fn what_is_written_is_read(
        circle: [u8; 32], secret: [u8; 16], secs in 1_800_000_001_u64..u64::MAX / 1000,
        doors in prop::collection::vec((any::<[u8; 32]>(), prop::collection::vec(any::<SocketAddr>(), 0..8)), 1..4),
    ) {
        let invite = Invite {
            circle: CircleId(circle),
            secret: InviteSecret(secret),
            expires: Timestamp(secs * 1000),
            doors: (doors.into_iter())
                .map(|(device, addresses)| {
                    // Flow labels and scopes mean nothing to other machines and are not sent.
                    let plain = addresses.into_iter().map(|a| SocketAddr::new(a.ip(), a.port()));
                    (DeviceId(device), plain.collect())
                })
                .collect(),
        };
        prop_assert_eq!(Invite::parse(&invite.to_link(), NOW), Ok(invite));
    }
}
