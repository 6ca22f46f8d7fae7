//! Previews: a small JPEG of each picture, so that people can look at what lies elsewhere.
//!
//! A picture is whatever begins as one, whatever its name. Files come from anywhere, so none may take
//! more memory than it should, and none may stop the backup: one that can't be read has no preview.

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use carryall_core::limits::PREVIEW_BYTES_MAX;
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage,
    codecs::jpeg::JpegEncoder, metadata::Orientation,
};
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};

/// The longer side of a preview, in pixels.
const SIDE: u32 = 256;
/// The longer side of the largest picture that is looked at, in pixels.
const SIDE_MAX: u32 = 1 << 14;
/// Most memory for one picture: some 40 million pixels.
const MEMORY_MAX: u64 = 128 << 20;
/// Of 100: where neither blocks nor bytes stand out.
const QUALITY: u8 = 75;

/// Returns a preview of a file with this content, if it is a picture that can be read.
pub(super) fn preview(file: &[u8]) -> Option<Vec<u8>> {
    let format = format_of(file)?;
    // A decoder that panics at somebody's broken picture is no reason to save nothing.
    catch_unwind(AssertUnwindSafe(|| draw(file, format))).ok()?
}

fn format_of(file: &[u8]) -> Option<ImageFormat> {
    let formats = [ImageFormat::Jpeg, ImageFormat::Png];
    let format = image::guess_format(file).ok()?;
    formats.contains(&format).then_some(format)
}

fn draw(file: &[u8], format: ImageFormat) -> Option<Vec<u8>> {
    let (picture, orientation) = match format {
        ImageFormat::Jpeg if !is_affordable(file) => return None,
        ImageFormat::Jpeg => decode_coarsely(file).or_else(|| decode(file, format))?,
        _ => decode(file, format)?,
    };
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

/// Tells whether a JPEG takes no more memory than a picture may, by its header. A progressive one keeps
/// two bytes for each value until all its scans have come (ITU T.81 §4.9), however coarsely it is decoded.
fn is_affordable(file: &[u8]) -> bool {
    let mut decoder = Decoder::new(Cursor::new(file));
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
fn decode_coarsely(file: &[u8]) -> Option<(DynamicImage, Orientation)> {
    let mut decoder = Decoder::new(Cursor::new(file));
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

fn decode(file: &[u8], format: ImageFormat) -> Option<(DynamicImage, Orientation)> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(MEMORY_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
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

    use super::*;

    /// A picture: red above, blue below.
    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let colour = |_, y| match y < height / 2 {
            true => Rgb([220, 20, 20]),
            false => Rgb([20, 20, 220]),
        };
        let mut file = Cursor::new(Vec::new());
        let picture = RgbImage::from_fn(width, height, colour);
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
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
