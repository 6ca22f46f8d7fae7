//! The small pictures that cameras put into the files of their pictures.
//!
//! One lies in the EXIF data (Exif 2.32 §4.5.8), larger ones behind the picture (CIPA DC-007, "MPF").
//! One of another shape than the picture is not believed: it was framed in black, or is left from before
//! the picture was cropped or turned. What lies there is as hostile as the rest of the file.

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom};

use image::metadata::Orientation;

/// Segments that are looked at before the picture itself must begin.
const SEGMENTS_MAX: usize = 256;
/// Longest small picture, in bytes. Those in EXIF data are below 64 KiB, others half a megabyte.
const BYTES_MAX: u64 = 4 << 20;
/// How much the shapes may differ, of 100: sides are rounded to whole pixels and blocks.
const DEVIATION_PERCENT: u32 = 3;

/// What the beginning of a JPEG tells.
#[derive(Debug)]
struct Header {
    width: u16,
    height: u16,
    /// The EXIF data, from its byte order on.
    exif: Vec<u8>,
    /// The list of further pictures and where in the file it lies.
    list: Option<(u64, Vec<u8>)>,
}

/// A small picture of a picture, as a JPEG that is still to be decoded.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) jpeg: Vec<u8>,
    /// The longer side, in pixels.
    pub(super) side: u32,
    /// How it is to be turned.
    pub(super) orientation: Orientation,
}

/// Returns the small pictures in a JPEG that have its shape, the smallest first.
pub(super) fn embedded(file: &mut (impl BufRead + Seek)) -> Vec<Embedded> {
    let Some(header) = Header::read(file) else {
        return Vec::new();
    };
    let orientation = Orientation::from_exif_chunk(&header.exif);
    let mut found: Vec<Embedded> = header
        .candidates(file)
        .into_iter()
        .filter_map(|jpeg| {
            let small = Header::read(&mut Cursor::new(&jpeg))?;
            small.has_shape_of(&header).then(|| Embedded {
                side: small.width.max(small.height).into(),
                jpeg,
                orientation: orientation.unwrap_or(Orientation::NoTransforms),
            })
        })
        .collect();
    found.sort_by_key(|it| it.side);
    found
}

impl Header {
    /// Reads segments up to the picture's data (ITU T.81 §B.1.1).
    fn read(file: &mut (impl BufRead + Seek)) -> Option<Self> {
        let mut size = None;
        let mut exif = Vec::new();
        let mut list = None;
        if bytes::<2>(file)? != [0xff, 0xd8] {
            return None;
        }
        for _ in 0..SEGMENTS_MAX {
            let marker = marker(file)?;
            if matches!(marker, 0xd9 | 0xda) {
                break;
            }
            let length = u16::from_be_bytes(bytes(file)?).checked_sub(2)?;
            match marker {
                0xe1 if exif.is_empty() => {
                    let segment = stretch(file, length.into())?;
                    if let Some(data) = segment.strip_prefix(b"Exif\0\0") {
                        exif = data.to_vec();
                    }
                }
                0xe2 if list.is_none() => {
                    let at = file.stream_position().ok()?;
                    let segment = stretch(file, length.into())?;
                    let data = segment.strip_prefix(b"MPF\0");
                    list = data.map(|data| (at + 4, data.to_vec()));
                }
                // A frame's header, whatever its coding.
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    let frame = stretch(file, length.into())?;
                    let number = |at| Some(u16::from_be_bytes([*frame.get(at)?, frame[at + 1]]));
                    size = frame.get(4).and(number(3).zip(number(1)));
                }
                _ => file.seek_relative(length.into()).ok()?,
            }
        }
        let (width, height) = size.filter(|(width, height)| *width > 0 && *height > 0)?;
        Some(Self {
            width,
            height,
            exif,
            list,
        })
    }

    /// Returns whatever is said to be a small picture.
    fn candidates(&self, file: &mut (impl BufRead + Seek)) -> Vec<Vec<u8>> {
        let in_exif = thumbnail(&self.exif).map(<[u8]>::to_vec);
        let behind = (self.list.iter())
            .flat_map(|(at, list)| previews(list).map(move |(offset, bytes)| (at + offset, bytes)))
            .filter_map(|(at, bytes)| {
                file.seek(SeekFrom::Start(at)).ok()?;
                stretch(file, bytes)
            });
        in_exif.into_iter().chain(behind).collect()
    }

    fn has_shape_of(&self, other: &Self) -> bool {
        let one = u32::from(self.width) * u32::from(other.height);
        let two = u32::from(other.width) * u32::from(self.height);
        one.abs_diff(two) <= one / 100 * DEVIATION_PERCENT
    }
}

fn bytes<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn stretch(file: &mut impl Read, length: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length.min(BYTES_MAX))
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}

/// Reads a marker; any number of bytes may fill the room before it.
fn marker(file: &mut impl Read) -> Option<u8> {
    let [mut first, mut second] = bytes(file)?;
    while (first, second) == (0xff, 0xff) {
        first = second;
        [second] = bytes(file)?;
    }
    (first == 0xff).then_some(second)
}

/// Returns the thumbnail in EXIF data: it is what the second directory describes.
fn thumbnail(exif: &[u8]) -> Option<&[u8]> {
    let tiff = Tiff::new(exif)?;
    let first = tiff.number(4)?;
    let second = tiff.next(first)?;
    let turned = |directory| tiff.value(directory, 0x112);
    if turned(second).is_some_and(|it| Some(it) != turned(first)) {
        // Somebody has turned the picture, and not this.
        return None;
    }
    let from = usize::try_from(tiff.value(second, 0x201)?).ok()?;
    let length = usize::try_from(tiff.value(second, 0x202)?).ok()?;
    exif.get(from..from.checked_add(length)?)
}

/// Returns where a list of further pictures has small ones of this one, from the list's beginning, and
/// their lengths. Others are the other eye's view, or tell how bright things are.
fn previews(list: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    const LARGE_THUMBNAIL: u32 = 1;
    let tiff = Tiff::new(list);
    let entries = tiff.as_ref().and_then(|tiff| {
        let directory = tiff.number(4)?;
        Some((
            tiff.value(directory, 0xb002)?,
            tiff.value(directory, 0xb001)?,
        ))
    });
    let (from, count) = entries.unwrap_or_default();
    (0..count.min(16)).filter_map(move |entry| {
        let tiff = tiff.as_ref()?;
        let at = from.checked_add(16 * entry)?;
        let kind = tiff.number(at)? & 0xff_ffff;
        let (bytes, offset) = (
            tiff.number(at.checked_add(4)?)?,
            tiff.number(at.checked_add(8)?)?,
        );
        (kind >> 16 == LARGE_THUMBNAIL).then_some((offset.into(), bytes.into()))
    })
}

/// Directories of tagged values (TIFF 6.0 §2).
#[derive(Debug)]
struct Tiff<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let is_big_endian = match bytes.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        Some(Self {
            bytes,
            is_big_endian,
        })
    }

    fn array<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn short(&self, at: u32) -> Option<u16> {
        let bytes = self.array(at)?;
        Some(match self.is_big_endian {
            true => u16::from_be_bytes(bytes),
            false => u16::from_le_bytes(bytes),
        })
    }

    fn number(&self, at: u32) -> Option<u32> {
        let bytes = self.array(at)?;
        Some(match self.is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        })
    }

    /// Returns the first value of a tag, or where its values are if they are longer than four bytes.
    fn value(&self, directory: u32, tag: u16) -> Option<u32> {
        const SHORT: u16 = 3;
        let count = self.short(directory)?;
        let entries = (0..u32::from(count)).map_while(|it| directory.checked_add(2 + 12 * it));
        let at = entries
            .take_while(|at| self.short(*at).is_some())
            .find(|at| self.short(*at) == Some(tag))?;
        match self.short(at.checked_add(2)?)? {
            SHORT => self.short(at.checked_add(8)?).map(u32::from),
            _ => self.number(at.checked_add(8)?),
        }
    }

    /// Returns where the directory after this one is.
    fn next(&self, directory: u32) -> Option<u32> {
        let count = u32::from(self.short(directory)?);
        self.number(directory.checked_add(2 + 12 * count)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Puts a small picture into a JPEG's EXIF data, which says how both are to be turned.
    pub(in super::super) fn with_thumbnail(jpeg: &[u8], small: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08".to_vec();
        exif.extend(b"\0\x01\x01\x12\0\x03\0\0\0\x01\0");
        exif.extend([orientation, 0, 0, 0, 0, 0, 26]);
        exif.extend(b"\0\x02\x02\x01\0\x04\0\0\0\x01\0\0\0\x38\x02\x02\0\x04\0\0\0\x01");
        exif.extend(u32::try_from(small.len()).unwrap().to_be_bytes());
        exif.extend([0; 4]);
        exif.extend(small);
        with_segment(jpeg, 0xe1, &exif)
    }

    /// Puts a small picture behind a JPEG, as one of this type.
    pub(in super::super) fn with_preview(jpeg: &[u8], small: &[u8], kind: u32) -> Vec<u8> {
        let mut list = b"MPF\0II*\0\x08\0\0\0\x02\0".to_vec();
        list.extend(
            b"\x01\xb0\x04\0\x01\0\0\0\x02\0\0\0\x02\xb0\x07\0\x20\0\0\0\x26\0\0\0\0\0\0\0",
        );
        list.extend([0; 16]);
        list.extend(kind.to_le_bytes());
        list.extend(u32::try_from(small.len()).unwrap().to_le_bytes());
        // From the list's byte order on: this segment's beginning is 10 bytes into the file.
        let whole = jpeg.len() + 4 + list.len() + 8;
        list.extend(u32::try_from(whole - 10).unwrap().to_le_bytes());
        list.extend([0; 4]);
        [with_segment(jpeg, 0xe2, &list), small.to_vec()].concat()
    }

    fn with_segment(jpeg: &[u8], marker: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
        let (start, rest) = jpeg.split_at(2);
        [start, &[0xff, marker], &length, data, rest].concat()
    }

    #[test]
    fn whatever_lies_in_a_file_does_no_harm() {
        let frame = b"\xff\xd8\xff\xc0\0\x0b\x08\0\x78\0\xa0\x01\0\0\0\xff\xd9";
        let whole = with_preview(&with_thumbnail(frame, frame, 1), frame, 0x1_0001);
        let find = |file: &[u8]| embedded(&mut Cursor::new(file)).len();
        assert_eq!(find(&whole), 2);
        for at in 0..whole.len() {
            find(&whole[..at]);
            for byte in [0, 0x7f, 0xff] {
                let mut other = whole.clone();
                other[at] = byte;
                find(&other);
            }
        }
    }
}
