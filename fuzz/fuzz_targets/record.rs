//! Trees, segments, snapshots and heads, as they come out of a pack that a thief of a key may have
//! sealed: what is read can be written, and no name leaves its directory.
#![no_main]

use carryall_core::record::{HeadRecord, Segment, SnapshotRecord, Tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(tree) = Tree::from_bytes(data) {
        assert!(tree.nodes.iter().all(|node| !node.name.contains(&b'/') && node.name != b".."));
        assert_eq!(tree.to_bytes().expect("it was read"), data);
    }
    if let Ok(segment) = Segment::from_bytes(data) {
        assert_eq!(segment.to_bytes().expect("it was read"), data);
    }
    if let Ok(snapshot) = SnapshotRecord::from_bytes(data) {
        assert_eq!(snapshot.to_bytes().expect("it was read"), data);
    }
    if let Ok(head) = HeadRecord::from_bytes(data) {
        assert_eq!(head.to_bytes().expect("it was read"), data);
    }
});
