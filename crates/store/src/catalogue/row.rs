//! Long rows, compressed: names, times and inode numbers of neighbours have much in common.
//!
//! A row is its plain length (u32, little-endian; 0 for a row that is stored as it is), then a zstd
//! frame or the plain bytes. Nothing depends on the encoder's output, unlike in packs.

/// Level of compression: what is gained above it is under a twentieth.
const LEVEL: i32 = 3;
/// Rows below this are stored as they are, in bytes.
const SQUEEZED_BYTES_MIN: usize = 256;
/// Longest plain row, in bytes: the memory of a directory with half a million long names. A longer
/// one is damage.
const PLAIN_BYTES_MAX: usize = 256 << 20;
const LENGTH_BYTES: usize = 4;

/// Returns what to store for a row.
pub(super) fn squeeze(plain: &[u8]) -> Vec<u8> {
    if let Some(row) = frame(plain) {
        return row;
    }
    let mut row = vec![0; LENGTH_BYTES];
    row.extend_from_slice(plain);
    row
}

/// Returns the frame after its length, where that is shorter than the plain row.
fn frame(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < SQUEEZED_BYTES_MIN || plain.len() > PLAIN_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(plain.len()).ok()?;
    let mut row = vec![0; plain.len()];
    row[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    let squeezed = zstd_safe::compress(&mut row[LENGTH_BYTES..], plain, LEVEL).ok()?;
    row.truncate(LENGTH_BYTES + squeezed);
    Some(row)
}

/// Returns the plain row; nothing if this is none.
pub(super) fn expand(row: &[u8]) -> Option<Vec<u8>> {
    let (length, stored) = row.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length == 0 {
        return Some(stored.to_vec());
    }
    if length > PLAIN_BYTES_MAX {
        return None;
    }
    let mut plain = vec![0; length];
    let expanded = zstd_safe::decompress(&mut plain[..], stored).ok()?;
    (expanded == length).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        for length in [0, 1, SQUEEZED_BYTES_MIN - 1, SQUEEZED_BYTES_MIN, 100_000] {
            let plain: Vec<u8> = (0..length).map(|at| (at % 7) as u8).collect();
            let row = squeeze(&plain);
            assert_eq!(expand(&row), Some(plain));
        }
        let names = b"IMG_0001.jpg IMG_0002.jpg ".repeat(100);
        assert!(squeeze(&names).len() * 4 < names.len());
    }

    #[test]
    fn what_does_not_compress_is_stored_as_it_is() {
        let mut noise = vec![0; 5000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let row = squeeze(&noise);
        assert!(row.len() <= noise.len() + LENGTH_BYTES);
        assert_eq!(expand(&row), Some(noise));
    }

    #[test]
    fn damage_is_no_row() {
        let row = squeeze(&b"names and times ".repeat(100));
        assert_eq!(expand(&row[..3]), None);
        assert_eq!(expand(&row[..row.len() - 1]), None);
        let mut long = row;
        long[..LENGTH_BYTES].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(expand(&long), None, "and costs no memory");
    }
}
