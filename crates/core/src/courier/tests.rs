//! What lies on a courier: golden vectors, and what must be refused.

use alloc::{string::ToString, vec};

use super::*;
use crate::{golden::assert_golden, id::hex, key::Words};

const SECRET: [u8; 32] = [7; 32];

fn label() -> (Label, Vec<u8>) {
    let root = Words::generate([2; 16]).root();
    let recovery = root.recovery_public();
    let readers = Readers {
        circle_secret: &SECRET,
        inventory: &recovery,
        recovery: &recovery,
    };
    let (name, now) = ("blue disk".to_string(), Timestamp(5));
    Label::create(root.member(), name, 1 << 30, now, readers, [1; 32]).unwrap()
}

fn bill(courier: DeviceId) -> Signed<Bill> {
    let writer = SigningKey::from_bytes(&[3; 32]);
    let bill = Bill {
        courier,
        device: DeviceId(writer.verifying_key().to_bytes()),
        generation: 4,
        parcels: vec![Parcel {
            shard: ShardId([5; 32]),
            bytes: 6,
            to: MemberId([7; 32]),
        }],
        asks: Vec::new(),
    };
    Signed::new(&bill, &writer)
}

#[test]
fn a_disk_is_written_as_ever() {
    let (label, written) = label();
    let (_, key) = Label::open(&written, &SECRET).unwrap();
    let card = label.card.verify().unwrap();
    let bill = bill(card.courier);
    assert_golden(
        include_str!("../../../../testdata/format/courier.txt"),
        &[
            ("card", hex(&label.card.bytes)),
            ("label", hex(&written[..57])),
            ("sealed", hex(&key.seal(b"place", b"text"))),
            ("path", key.path("parcel", b"id")),
            ("bill", hex(&bill.bytes)),
            (
                "group",
                group_to_show(&[1; 32], &ShardId([2; 32]), 20 << 20).to_string(),
            ),
        ],
    );
}

#[test]
fn a_label_is_opened_by_its_circle_alone() {
    let (label, written) = label();
    let (read, _) = Label::open(&written, &SECRET).unwrap();
    assert_eq!(read, label);
    let foreign = Label::open(&written, &[8; 32]).unwrap_err();
    assert_eq!(foreign, LabelError::ForeignCircle);
    let mut newer = written.clone();
    newer[7] = 2;
    let newer = Label::open(&newer, &SECRET).unwrap_err();
    assert_eq!(newer, LabelError::TooNew(2));
    for cut in 0..written.len() {
        assert!(Label::open(&written[..cut], &SECRET).is_err(), "{cut}");
    }
    let mut rotten = written;
    *rotten.last_mut().unwrap() ^= 1;
    let rotten = Label::open(&rotten, &SECRET).unwrap_err();
    assert_eq!(rotten, LabelError::Damaged);
}

#[test]
fn the_words_open_the_disk() {
    let (label, written) = label();
    let root = Words::generate([2; 16]).root();
    assert_eq!(*Label::way_back(&written, &root).unwrap(), SECRET);
    let other = Words::generate([3; 16]).root();
    let foreign = Label::way_back(&written, &other).unwrap_err();
    assert_eq!(foreign, LabelError::ForeignWords);
    for cut in 0..57 + WAY_BACK_BYTES {
        assert!(Label::way_back(&written[..cut], &root).is_err(), "{cut}");
    }
    let info = context::COURIER_SECRET.as_bytes();
    let secret = key::open_with(root.recovery_secret(), info, &label.secret).unwrap();
    let secret: [u8; 32] = secret.try_into().unwrap();
    let public = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
    assert_eq!(label.card.verify().unwrap().courier.0, public);
}

#[test]
fn what_is_sealed_for_one_place_opens_at_no_other() {
    let key = DiskKey::new(&SECRET, &[1; 32]);
    let sealed = key.seal(b"here", b"text");
    assert_eq!(key.open(b"here", &sealed).unwrap(), b"text");
    assert_eq!(key.open(b"there", &sealed), Err(SealError));
    let other = DiskKey::new(&SECRET, &[2; 32]);
    assert_eq!(other.open(b"here", &sealed), Err(SealError));
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(key.open(b"here", &changed), Err(SealError), "{bit}");
    }
}

#[test]
fn a_bill_is_of_one_disk() {
    let here = DeviceId([9; 32]);
    let mut signed = bill(here);
    assert!(Bill::open(&signed, here).is_ok());
    assert!(Bill::open(&signed, DeviceId([10; 32])).is_err());
    *signed.bytes.last_mut().unwrap() ^= 1;
    assert!(Bill::open(&signed, here).is_err());
}

#[test]
fn the_group_to_show_depends_on_receipt_and_shard() {
    let groups: alloc::collections::BTreeSet<u32> = (0..64)
        .map(|at| group_to_show(&[at; 32], &ShardId([1; 32]), 16 << 20))
        .collect();
    assert!(groups.len() > 50, "{groups:?}");
    assert!(groups.iter().all(|group| *group < 1024));
    assert_eq!(group_to_show(&[1; 32], &ShardId([1; 32]), 1), 0);
}
