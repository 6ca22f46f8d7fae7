//! Datagrams from anybody on the network.
#![no_main]

use carryall_core::{
    beacon::BeaconTable,
    circle::Circle,
    id::{CircleId, DeviceId, ShardId},
    message::GroupProof,
    proof,
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let now = Timestamp(1_700_000_000_000);
    let table = BeaconTable::of_circle(DeviceId([0; 32]), &Circle::new(CircleId([0; 32])), now, 1);
    assert!(table.open(data, now).is_none(), "nobody is known");

    // A proof by a holder who has nothing.
    if let Some((head, rest)) = data.split_first_chunk::<8>() {
        let bytes = u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]]));
        let group = u32::from(head[4]);
        let (path, data) = rest.split_at(rest.len().min(usize::from(head[5]) * 32));
        let path = path.chunks_exact(32).filter_map(|hash| hash.try_into().ok()).collect();
        let proof = GroupProof { data: data.to_vec(), path };
        assert!(proof::verify(&ShardId([3; 32]), bytes, group, &proof).is_err());
    }
});
