//! Packs: first as friends may damage them, then as somebody with the key may forge them.
#![no_main]

use carryall_core::{
    key::VaultKeys,
    pack::{OpenPack, PackBuilder},
    compression::Expander,
    id::ChunkId,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let vault = VaultKeys::generate([7; 96]);
    let keys = vault.sealing_keys().expect("one epoch");
    assert!(OpenPack::open(&keys, data.to_vec()).is_err(), "nobody guesses a sealed pack");

    // A frame that claims any length, inside an honest seal.
    let mut out = Vec::new();
    let claimed = data.first().map_or(1, |byte| usize::from(*byte) << 14);
    let _ = Expander::new().expand(data, claimed, &mut out);

    let mut builder = PackBuilder::new();
    if builder.add(ChunkId([1; 32]), data.len() + 1, data).is_ok() {
        let sealed = builder.seal(&keys, Vec::new());
        let open = OpenPack::open(&keys, sealed.bytes).expect("sealed a moment ago");
        assert!(open.chunk(&vault.chunk_key(), 0).is_err(), "its id is made up");
    }
});
