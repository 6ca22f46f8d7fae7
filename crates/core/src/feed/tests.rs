use alloc::{string::ToString, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    codec::Signed,
    entry::{DeviceClass, Offer},
    id::MemberId,
};

const CIRCLE: CircleId = CircleId([9; 32]);
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn certificate(device: DeviceId) -> Body {
    let root = SigningKey::from_bytes(&[1; 32]);
    let certificate = DeviceCertificate {
        member: MemberId(root.verifying_key().to_bytes()),
        device,
        sealing_key: [4; 32],
        class: DeviceClass::Laptop,
        name: "laptop".to_string(),
        issued: NOW,
        expires: None,
    };
    Body::Certified(Certified {
        certificate: Signed::new(&certificate, &root),
        beacon_seed: [5; 32],
    })
}

fn offer(bytes: u64) -> Body {
    let to = MemberId([6; 32]);
    Body::Offered(Offer { to, bytes })
}

/// Returns an author who has written its certificate, and the chain that has read it.
fn pair() -> (Author, Chain, Vec<SignedEntry>) {
    let mut author = Author::new(CIRCLE, &[2; 32]);
    let first = author.write(NOW, &certificate(author.device())).unwrap();
    let mut chain = Chain::new(CIRCLE, author.device());
    chain.accept(&first).unwrap();
    (author, chain, vec![first])
}

#[test]
fn what_is_written_is_read_in_order() {
    let (mut author, mut chain, first) = pair();
    let second = author.write(NOW, &offer(1)).unwrap();
    let third = author.write(NOW, &offer(2)).unwrap();
    let gap = FeedError::Gap { have: 1, found: 2 };
    assert_eq!(chain.check(&third), Err(gap));
    assert_eq!(chain.accept(&second).unwrap().seq, 1);
    let entry = chain.accept(&third).unwrap();
    assert_eq!(Body::from_entry(&entry), Ok(offer(2)));
    assert_eq!(chain.tip(), author.tip());
    assert_eq!(chain.check(&first[0]), Err(FeedError::Duplicate { seq: 0 }));
    assert_eq!(chain.check(&third), Err(FeedError::Duplicate { seq: 2 }));
}

#[test]
fn a_resumed_author_goes_on() {
    let (mut author, mut chain, _) = pair();
    chain
        .accept(&author.write(NOW, &offer(1)).unwrap())
        .unwrap();
    let Tip { len, hash, .. } = author.tip();
    let mut resumed = Author::resume(CIRCLE, &[2; 32], len, hash);
    assert_eq!(
        chain
            .accept(&resumed.write(NOW, &offer(2)).unwrap())
            .unwrap()
            .seq,
        2
    );
}

#[test]
fn a_fork_is_told_from_a_duplicate() {
    let (mut author, mut chain, _) = pair();
    let mut twin = author.clone();
    let told = author.write(NOW, &offer(1)).unwrap();
    let other = twin.write(NOW, &offer(2)).unwrap();
    chain.accept(&told).unwrap();
    assert_eq!(chain.check(&other), Err(FeedError::Fork { seq: 1 }));
    // A longer other history shows at the entry after the contradiction.
    let longer = twin.write(NOW, &offer(3)).unwrap();
    assert_eq!(chain.check(&longer), Err(FeedError::Fork { seq: 1 }));
    // Nothing of it was taken over.
    assert_eq!(chain.tip(), author.tip());
}

#[test]
fn only_the_author_writes_the_feed() {
    let (mut author, chain, _) = pair();
    let good = author.write(NOW, &offer(1)).unwrap();

    let mut forger = Author::resume(CIRCLE, &[3; 32], 1, chain.tip().hash);
    let foreign = forger.write(NOW, &offer(1)).unwrap();
    assert_eq!(chain.check(&foreign), Err(FeedError::ForeignDevice));

    let swapped = SignedEntry {
        signature: foreign.signature,
        ..good.clone()
    };
    let bad = FeedError::Entry(DecodeError::BadSignature("entry"));
    assert_eq!(chain.check(&swapped), Err(bad));

    let elsewhere = CircleId([8; 32]);
    let mut elsewhere = Author::resume(elsewhere, &[2; 32], 1, chain.tip().hash);
    let entry = elsewhere.write(NOW, &offer(1)).unwrap();
    assert_eq!(chain.check(&entry), Err(FeedError::ForeignCircle));
    assert!(chain.check(&good).is_ok());
}

#[test]
fn a_feed_begins_with_its_own_certificate() {
    let mut author = Author::new(CIRCLE, &[2; 32]);
    let chain = Chain::new(CIRCLE, author.device());
    assert_eq!(author.write(NOW, &offer(1)), Err(WriteError::NotCertified));
    assert_eq!(author.tip().len, 0);

    let stolen = author
        .clone()
        .write(NOW, &certificate(DeviceId([7; 32])))
        .unwrap();
    assert_eq!(chain.check(&stolen), Err(FeedError::NotCertified));

    let mut hanging = Author::resume(CIRCLE, &[2; 32], 0, EntryHash([1; 32]));
    let hanging = hanging.write(NOW, &certificate(author.device())).unwrap();
    assert_eq!(chain.check(&hanging), Err(FeedError::NotCertified));

    let (kind, body) = offer(1).to_parts();
    let entry = Entry {
        version: FEED_VERSION,
        circle: CIRCLE,
        device: author.device(),
        seq: 0,
        prev: EntryHash::NONE,
        time: NOW,
        kind,
        body,
    };
    let bytes = encode(&entry);
    let signature = Signature::sign(&author.key, ENTRY_DOMAIN, &bytes);
    let uncertified = SignedEntry { bytes, signature };
    assert_eq!(chain.check(&uncertified), Err(FeedError::NotCertified));
}

#[test]
fn an_entry_that_fits_no_frame_is_not_written() {
    let (mut author, chain, _) = pair();
    let huge = Body::Head(vec![0; limits::ENTRY_BYTES_MAX]);
    assert!(matches!(
        author.write(NOW, &huge),
        Err(WriteError::TooLong { .. })
    ));
    assert_eq!(author.tip(), chain.tip());
}

#[test]
fn kinds_of_the_future_are_chained() {
    let (mut author, mut chain, _) = pair();
    let future = author.write(NOW, &Body::Unknown(40_000)).unwrap();
    let entry = chain.accept(&future).unwrap();
    assert_eq!(Body::from_entry(&entry), Ok(Body::Unknown(40_000)));
}

#[test]
fn a_newer_format_is_refused_politely() {
    let (author, chain, _) = pair();
    let mut entry = Entry {
        version: FEED_VERSION + 1,
        circle: CIRCLE,
        device: author.device(),
        seq: 1,
        prev: chain.tip().hash,
        time: NOW,
        kind: 7,
        body: Vec::new(),
    };
    let sign = |entry: &Entry| {
        let bytes = encode(entry);
        let signature = Signature::sign(&author.key, ENTRY_DOMAIN, &bytes);
        SignedEntry { bytes, signature }
    };
    let error = chain.check(&sign(&entry)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "entry has format version 2, this program reads up to 1"
    );
    entry.version = FEED_VERSION;
    assert!(chain.check(&sign(&entry)).is_ok());
}

/// Two entries of one feed: version 1 must stay readable, and nobody else's bytes may be accepted.
#[test]
fn golden_feed() {
    let golden = include_str!("../../../../testdata/format/feed-v1.txt");
    let (mut author, _, mut entries) = pair();
    entries.push(author.write(NOW, &offer(1 << 30)).unwrap());
    let lines: Vec<_> = (entries.iter())
        .map(|entry| crate::id::hex(&encode(entry)))
        .collect();
    assert_eq!(lines, golden.lines().collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn any_damage_is_noticed(at: prop::sample::Index, bit in 0..8_u8) {
        let (mut author, chain, _) = pair();
        let good = author.write(NOW, &offer(1)).unwrap();
        let mut bytes = encode(&good);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(damaged) = crate::codec::decode::<SignedEntry>("entry", &bytes) {
            prop_assert!(chain.check(&damaged).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let (mut author, chain, _) = pair();
        let signature = author.write(NOW, &offer(1)).unwrap().signature;
        let checked = chain.check(&SignedEntry { bytes, signature });
        prop_assert!(checked.is_err());
    }

    #[test]
    fn any_signed_body_is_chained_or_refused_without_panic(kind: u16, body: Vec<u8>, seq in 0..3_u64) {
        let (author, mut chain, _) = pair();
        let bytes = encode(&Entry {
            version: FEED_VERSION, circle: CIRCLE, device: author.device(), seq,
            prev: chain.tip().hash, time: NOW, kind, body,
        });
        let signature = Signature::sign(&author.key, ENTRY_DOMAIN, &bytes);
        let signed = SignedEntry { bytes, signature };
        prop_assert_eq!(chain.accept(&signed).is_ok(), seq == 1);
    }
}
