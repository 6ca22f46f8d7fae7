//! Previews: a small JPEG of each picture, so that people can look at what lies elsewhere.
//!
//! A picture is whatever begins as one, whatever its name. Files come from anywhere, so none may take
//! more memory than it should, and none may stop the backup: one that can't be read has no preview.
//!
//! What a camera has made small itself is taken if it is large enough for a preview; it is drawn anew all
//! the same, so that nothing else that lies in it comes along.

mod embedded;

use std::{
    io::{BufRead, Cursor, Read, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
};

use carryall_core::limits::PREVIEW_BYTES_MAX;
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage,
    codecs::jpeg::JpegEncoder, metadata::Orientation,
};
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};

use self::embedded::{Embedded, embedded};

/// The longer side of a preview, in pixels.
const SIDE: u32 = 256;
/// The longer side of what a camera has made small, in pixels, where the picture itself can't be decoded:
/// better than nothing.
const SIDE_MIN: u32 = 160;
/// The longer side of the largest picture that is looked at, in pixels.
const SIDE_MAX: u32 = 1 << 14;
/// Most memory for one picture: some 40 million pixels.
const MEMORY_MAX: u64 = 128 << 20;
/// Bytes from which it is seen what a file is.
pub(super) const START_BYTES: usize = 16;
/// Longest file that is read again for a preview, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 128 << 20;
/// Of 100: where neither blocks nor bytes stand out.
const QUALITY: u8 = 75;

/// Returns a preview of a file with this content, if it is a picture that can be read.
pub(super) fn preview(mut file: impl BufRead + Seek) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    (&mut file)
        .take(START_BYTES as u64)
        .read_to_end(&mut start)
        .ok()?;
    let format = format_of(&start)?;
    // A decoder that panics at somebody's broken picture is no reason to save nothing.
    catch_unwind(AssertUnwindSafe(|| draw(&mut file, format))).ok()?
}

/// Tells whether a file that begins so is taken for a picture.
pub(super) fn is_picture(start: &[u8]) -> bool {
    format_of(start).is_some()
}

fn format_of(file: &[u8]) -> Option<ImageFormat> {
    let formats = [ImageFormat::Jpeg, ImageFormat::Png];
    let format = image::guess_format(file).ok()?;
    formats.contains(&format).then_some(format)
}

fn draw(file: &mut (impl BufRead + Seek), format: ImageFormat) -> Option<Vec<u8>> {
    if format == ImageFormat::Png {
        return shrink(decode(file, format)?);
    }
    file.rewind().ok()?;
    let small = embedded(file);
    let drawn = |small: &Embedded| {
        let (picture, _) = decode_jpeg(&mut Cursor::new(&small.jpeg))?;
        shrink((picture, small.orientation))
    };
    (small.iter().find(|it| it.side >= SIDE).and_then(drawn))
        .or_else(|| shrink(decode_jpeg(file)?))
        .or_else(|| drawn(small.last().filter(|it| it.side >= SIDE_MIN)?))
}

/// Makes a preview of a picture.
fn shrink((picture, orientation): (DynamicImage, Orientation)) -> Option<Vec<u8>> {
    let small = match picture.width().max(picture.height()) > SIDE {
        true => picture.thumbnail(SIDE, SIDE),
        false => picture,
    };
    // JPEG knows neither transparency nor more than eight bits.
    let mut small = DynamicImage::from(small.to_rgb8());
    small.apply_orientation(orientation);
    let mut bytes = Vec::new();
    small
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))
        .ok()?;
    (bytes.len() <= PREVIEW_BYTES_MAX).then_some(bytes)
}

fn decode_jpeg(file: &mut (impl BufRead + Seek)) -> Option<(DynamicImage, Orientation)> {
    if !is_affordable(file) {
        return None;
    }
    decode_coarsely(file).or_else(|| decode(file, ImageFormat::Jpeg))
}

/// Tells whether a JPEG takes no more memory than a picture may, by its header. A progressive one keeps
/// two bytes for each value until all its scans have come (ITU T.81 §4.9), however coarsely it is decoded.
fn is_affordable(file: &mut (impl Read + Seek)) -> bool {
    if file.rewind().is_err() {
        return false;
    }
    let mut decoder = Decoder::new(file);
    let info = decoder.read_info().ok().and_then(|()| decoder.info());
    info.is_some_and(|info| {
        let values = u64::from(info.width) * u64::from(info.height);
        let values = values * info.pixel_format.pixel_bytes() as u64;
        let each = match info.coding_process {
            CodingProcess::DctProgressive => 3,
            _ => 1,
        };
        values * each <= MEMORY_MAX
    })
}

/// Decodes a JPEG no finer than a preview wants: at an eighth of its size most of the arithmetic falls
/// away. Colours for print are left to [`decode`].
fn decode_coarsely(file: &mut (impl Read + Seek)) -> Option<(DynamicImage, Orientation)> {
    file.rewind().ok()?;
    let mut decoder = Decoder::new(file);
    decoder.set_max_decoding_buffer_size(usize::try_from(MEMORY_MAX).ok()?);
    let side = u16::try_from(SIDE).ok()?;
    let (width, height) = decoder.scale(side, side).ok()?;
    let pixels = decoder.decode().ok()?;
    let (width, height) = (width.into(), height.into());
    let picture: DynamicImage = match decoder.info()?.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels)?.into(),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels)?.into(),
        _ => return None,
    };
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    Some((picture, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn decode(
    file: &mut (impl BufRead + Seek),
    format: ImageFormat,
) -> Option<(DynamicImage, Orientation)> {
    file.rewind().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(MEMORY_MAX);
    let mut reader = ImageReader::with_format(file, format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().ok()?;
    if decoder.total_bytes() > MEMORY_MAX {
        return None;
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).ok()?;
    Some((picture, orientation))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::{
        embedded::tests::{with_preview, with_thumbnail},
        *,
    };

    /// Returns the preview of a file in memory.
    fn preview(file: &[u8]) -> Option<Vec<u8>> {
        super::preview(Cursor::new(file))
    }

    fn is_affordable(file: &[u8]) -> bool {
        super::is_affordable(&mut Cursor::new(file))
    }

    /// A picture: red above, blue below.
    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let colours = [Rgb([220, 20, 20]), Rgb([20, 20, 220])];
        painted(width, height, format, colours)
    }

    /// A picture that can be told from the one above: green above, white below.
    fn other(width: u32, height: u32) -> Vec<u8> {
        let colours = [Rgb([20, 220, 20]), Rgb([250, 250, 250])];
        painted(width, height, ImageFormat::Jpeg, colours)
    }

    fn painted(width: u32, height: u32, format: ImageFormat, colours: [Rgb<u8>; 2]) -> Vec<u8> {
        let colour = |_, y| colours[usize::from(y >= height / 2)];
        let mut file = Cursor::new(Vec::new());
        let picture = RgbImage::from_fn(width, height, colour);
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    }

    /// Tells whether a preview is of the picture that [`other`] makes.
    fn is_other(preview: &[u8]) -> bool {
        seen(preview).pixels().all(|it| it[1] > 150)
    }

    fn seen(preview: &[u8]) -> RgbImage {
        let preview = image::load_from_memory_with_format(preview, ImageFormat::Jpeg);
        preview.unwrap().into_rgb8()
    }

    /// Says in a JPEG's EXIF data how it is to be turned (Exif 2.32 §4.6.4, tag 274).
    fn turned(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        let (start, rest) = jpeg.split_at(2);
        [start, &[0xff, 0xe1], &length, &exif, rest].concat()
    }

    #[test]
    fn pictures_become_small_and_stay_what_they_show() {
        for (format, size, small) in [
            (ImageFormat::Jpeg, (1200, 800), (256, 171)),
            (ImageFormat::Png, (300, 900), (85, 256)),
            (ImageFormat::Png, (40, 30), (40, 30)),
        ] {
            let preview = preview(&picture(size.0, size.1, format)).unwrap();
            let seen = seen(&preview);
            assert_eq!(seen.dimensions(), small);
            assert!(preview.len() < 20_000, "{}", preview.len());
            let (above, below) = (seen.get_pixel(5, 5), seen.get_pixel(5, small.1 - 5));
            assert!(above[0] > 180 && above[2] < 60, "{above:?}");
            assert!(below[2] > 180 && below[0] < 60, "{below:?}");
        }
    }

    #[test]
    fn previews_stand_as_the_camera_was_held() {
        let upside_down = turned(&picture(400, 300, ImageFormat::Jpeg), 3);
        let seen = seen(&preview(&upside_down).unwrap());
        assert!(seen.get_pixel(5, 5)[2] > 180, "what was below is above");
        let on_its_side = turned(&picture(400, 300, ImageFormat::Jpeg), 6);
        let seen = self::seen(&preview(&on_its_side).unwrap());
        assert_eq!(seen.dimensions(), (192, 256));
    }

    #[test]
    fn what_a_camera_made_small_is_drawn_if_it_is_large_enough() {
        let large = picture(1200, 800, ImageFormat::Jpeg);
        let drawn = |file: &[u8]| preview(file).unwrap();
        let taken = drawn(&with_thumbnail(&large, &other(384, 256), 1));
        assert!(is_other(&taken));
        assert_eq!(seen(&taken).dimensions(), (256, 171));
        assert!(!taken.windows(4).any(|it| it == b"Exif"));
        // Less than a preview is none, where better can be had.
        for (width, height) in [(160, 107), (160, 120), (384, 288), (256, 384)] {
            assert!(!is_other(&drawn(&with_thumbnail(
                &large,
                &other(width, height),
                1
            ))));
        }
        let behind = with_thumbnail(&large, &other(160, 107), 1);
        let behind = |kind| drawn(&with_preview(&behind, &other(768, 512), kind));
        assert!(is_other(&behind(0x01_0002)));
        assert!(
            !is_other(&behind(0x02_0003)),
            "another picture's, not this one's"
        );
    }

    #[test]
    fn what_a_camera_made_small_stands_as_the_picture_does() {
        let large = picture(1200, 800, ImageFormat::Jpeg);
        let on_its_side = with_thumbnail(&large, &other(384, 256), 6);
        let seen = seen(&preview(&on_its_side).unwrap());
        assert_eq!(seen.dimensions(), (171, 256));
        // What was above is on the right.
        let (left, right) = (seen.get_pixel(5, 128), seen.get_pixel(165, 128));
        assert!(left[0] > 200 && right[0] < 80, "{left:?} {right:?}");
    }

    #[test]
    fn where_the_picture_is_too_large_a_smaller_preview_is_better_than_none() {
        let mut huge = picture(64, 48, ImageFormat::Jpeg);
        let frame = huge.windows(2).position(|it| it == [0xff, 0xc0]).unwrap();
        huge[frame + 5..frame + 9].copy_from_slice(&[0x78, 0, 0xa0, 0]);
        assert_eq!(preview(&huge), None);
        let taken = preview(&with_thumbnail(&huge, &other(160, 120), 1)).unwrap();
        assert!(is_other(&taken));
        assert_eq!(preview(&with_thumbnail(&huge, &other(80, 60), 1)), None);
    }

    #[test]
    fn the_same_picture_has_the_same_preview() {
        let file = picture(800, 600, ImageFormat::Jpeg);
        assert_eq!(preview(&file), preview(&file));
    }

    #[test]
    fn whatever_is_no_picture_has_none() {
        let jpeg = picture(500, 400, ImageFormat::Jpeg);
        let png = picture(500, 400, ImageFormat::Png);
        for file in [
            &b""[..],
            b"\xff\xd8\xff",
            b"GIF89a",
            b"not a picture",
            &png[..60],
        ] {
            assert_eq!(preview(file), None);
        }
        // One that ends early may be shown as far as it goes, or not; it does no harm.
        for file in [jpeg, png] {
            for end in (0..file.len()).step_by(97) {
                preview(&file[..end]);
            }
        }
    }

    #[test]
    fn a_picture_that_claims_to_be_huge_takes_no_memory() {
        let mut png = picture(16, 16, ImageFormat::Png);
        // IHDR: 16,000 pixels each way are 768 MB; with the right checksum (PNG spec §5.3, CRC-32).
        png[16..20].copy_from_slice(&16_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&16_000_u32.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(preview(&png), None);
    }

    /// A progressive picture that said to be 65,000 pixels wide and high took 8 GB for each colour.
    #[test]
    fn a_jpeg_that_claims_to_be_huge_takes_no_memory() {
        let small = picture(64, 64, ImageFormat::Jpeg);
        assert!(is_affordable(&small));
        let frame = (small.windows(2))
            .position(|it| it == [0xff, 0xc0])
            .unwrap();
        for process in [0xc0, 0xc2] {
            let mut huge = small.clone();
            huge[frame + 1] = process;
            huge[frame + 5..frame + 9].copy_from_slice(&[0xfd, 0xe8, 0xfd, 0xe8]);
            assert!(!is_affordable(&huge));
            assert_eq!(preview(&huge), None);
        }
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        !bytes
            .iter()
            .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
