//! Logos: small pictures that are shown as they come, so they are looked at before they are kept.
//!
//! Only PNG, JPEG and WebP, told by what is in them and not by what they are called: an SVG may hold scripts. They are
//! walked through from end to end, so that nothing hides behind the picture, and are not decoded: that is the browsers'
//! business, whose decoders are kept apart from everything else.

use sha2::{Digest as _, Sha256};

/// What a logo may weigh: with it the whole waiting page is still to be at most 20 KB.
pub const MAX_LOGO_BYTES: usize = 3_072;
/// What a side of it may measure, in pixels. A few bytes can claim to be a picture that fills a browser's memory.
pub const MAX_LOGO_SIDE: u32 = 1_024;

/// Which kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoKind {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
}

impl LogoKind {
    /// As the database keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    /// The one that the database calls so.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Png, Self::Jpeg, Self::Webp].into_iter().find(|kind| kind.name() == name)
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// What there is to know of a logo without looking at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoFacts {
    /// Which kind of picture.
    pub kind: LogoKind,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Names its content; part of its address.
    pub version: String,
}

/// A logo that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logo {
    /// What it is.
    pub facts: LogoFacts,
    /// The file.
    pub bytes: Vec<u8>,
}

/// Why something is no logo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogoFault {
    /// More than [`MAX_LOGO_BYTES`].
    TooLarge,
    /// Neither PNG, JPEG nor WebP, or none that is whole.
    NoPicture,
    /// Wider or higher than [`MAX_LOGO_SIDE`], or nothing at all.
    Sides,
    /// It moves: whoever waits could not stop it.
    Animated,
}

type Sides = (u32, u32);

impl Logo {
    /// Takes a file for a logo.
    pub fn read(bytes: Vec<u8>) -> Result<Self, LogoFault> {
        if bytes.len() > MAX_LOGO_BYTES {
            return Err(LogoFault::TooLarge);
        }
        let (kind, (width, height)) = if bytes.starts_with(PNG) {
            (LogoKind::Png, png(&bytes)?)
        } else if bytes.starts_with(JPEG) {
            (LogoKind::Jpeg, jpeg(&bytes)?)
        } else if bytes.starts_with(b"RIFF") {
            (LogoKind::Webp, webp(&bytes)?)
        } else {
            return Err(LogoFault::NoPicture);
        };
        if ![width, height].iter().all(|side| (1..=MAX_LOGO_SIDE).contains(side)) {
            return Err(LogoFault::Sides);
        }
        let version =
            Sha256::digest(&bytes).iter().take(8).fold(String::new(), |hash, byte| format!("{hash}{byte:02x}"));
        Ok(Self { facts: LogoFacts { kind, width, height, version }, bytes })
    }
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// PNG (third edition), 5: chunks of length, name, content and checksum; the header first, the end last.
fn png(bytes: &[u8]) -> Result<Sides, LogoFault> {
    let (mut rest, mut sides, mut has_pixels) = (&bytes[PNG.len()..], None, false);
    loop {
        let (length, behind) = big_u32(rest).ok_or(LogoFault::NoPicture)?;
        let (name, behind) = split(behind, 4)?;
        let (content, behind) = split(behind, length as usize)?;
        (_, rest) = split(behind, 4)?;
        match name {
            b"IHDR" if sides.is_none() && content.len() == 13 => {
                let (width, behind) = big_u32(content).ok_or(LogoFault::NoPicture)?;
                let (height, _) = big_u32(behind).ok_or(LogoFault::NoPicture)?;
                sides = Some((width, height));
            }
            _ if sides.is_none() => return Err(LogoFault::NoPicture),
            b"acTL" => return Err(LogoFault::Animated),
            b"IDAT" => has_pixels = true,
            b"IEND" if rest.is_empty() && has_pixels => return sides.ok_or(LogoFault::NoPicture),
            b"IEND" => return Err(LogoFault::NoPicture),
            _ => {}
        }
    }
}

/// JPEG (ITU-T T.81), B: segments, up to the one whose pixels go on to the end of the image.
fn jpeg(bytes: &[u8]) -> Result<Sides, LogoFault> {
    let (mut rest, mut sides) = (&bytes[2..], None);
    loop {
        let (marker, behind) = split(rest, 2)?;
        let &[0xff, marker] = marker else { return Err(LogoFault::NoPicture) };
        let (length, _) = split(behind, 2)?;
        let (segment, behind) = split(behind, usize::from(u16::from_be_bytes([length[0], length[1]])))?;
        rest = behind;
        match marker {
            // Baseline, extended and progressive: what browsers show.
            0xc0..=0xc2 => {
                let &[_, _, _, h1, h2, w1, w2, ..] = segment else { return Err(LogoFault::NoPicture) };
                sides = Some((u32::from(u16::from_be_bytes([w1, w2])), u32::from(u16::from_be_bytes([h1, h2]))));
            }
            0xda if rest.len() > 2 && rest.ends_with(b"\xff\xd9") => return sides.ok_or(LogoFault::NoPicture),
            // Tables, comments, what programs note.
            0xc4 | 0xdb | 0xdd | 0xe0..=0xef | 0xfe if segment.len() >= 2 => {}
            _ => return Err(LogoFault::NoPicture),
        }
    }
}

/// WebP (RFC 9649), 2: chunks of name, length and content, padded to an even length, in a RIFF file of exactly their size.
fn webp(bytes: &[u8]) -> Result<Sides, LogoFault> {
    let (length, behind) = little_u32(&bytes[4..]).ok_or(LogoFault::NoPicture)?;
    let mut rest = behind.strip_prefix(b"WEBP").ok_or(LogoFault::NoPicture)?;
    if length as usize != bytes.len() - 8 {
        return Err(LogoFault::NoPicture);
    }
    let (mut canvas, mut frame) = (None, None);
    while !rest.is_empty() {
        let (name, behind) = split(rest, 4)?;
        let (length, behind) = little_u32(behind).ok_or(LogoFault::NoPicture)?;
        let (content, behind) = split(behind, length as usize)?;
        (_, rest) = split(behind, length as usize % 2)?;
        match (name, content) {
            (b"ANIM" | b"ANMF", _) => return Err(LogoFault::Animated),
            (b"VP8X", &[_, _, _, _, w1, w2, w3, h1, h2, h3]) if canvas.is_none() => {
                let side = |bytes: [u8; 3]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) + 1;
                canvas = Some((side([w1, w2, w3]), side([h1, h2, h3])));
            }
            (b"VP8 ", &[_, _, _, 0x9d, 0x01, 0x2a, w1, w2, h1, h2, ..]) if frame.is_none() => {
                let side = |bytes: [u8; 2]| u32::from(u16::from_le_bytes(bytes) & 0x3fff);
                frame = Some((side([w1, w2]), side([h1, h2])));
            }
            (b"VP8L", &[0x2f, b1, b2, b3, b4, ..]) if frame.is_none() => {
                let bits = u32::from_le_bytes([b1, b2, b3, b4]);
                frame = Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1));
            }
            (b"VP8X" | b"VP8 " | b"VP8L", _) => return Err(LogoFault::NoPicture),
            _ => {}
        }
    }
    // A still picture fills its canvas.
    frame.filter(|frame| canvas.is_none_or(|canvas| canvas == *frame)).ok_or(LogoFault::NoPicture)
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), LogoFault> {
    bytes.split_at_checked(at).ok_or(LogoFault::NoPicture)
}

fn big_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))
}

fn little_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&length[..], &name, content, &[0; 4]].concat()
    }

    fn png_of(width: u32, height: u32, others: &[Vec<u8>]) -> Vec<u8> {
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
        [PNG.to_vec(), chunk(*b"IHDR", &header), others.concat(), chunk(*b"IDAT", &[0]), chunk(*b"IEND", &[])].concat()
    }

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let frame = [&[0xff, 0xc0, 0, 9, 8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 0]].concat();
        [&[0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0][..], &frame, &[0xff, 0xda, 0, 2, 1, 2, 0xff, 0xd9]].concat()
    }

    fn webp_of(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut body = b"WEBP".to_vec();
        for (name, content) in chunks {
            body.extend([&name[..], &u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat());
            body.extend(vec![0; content.len() % 2]);
        }
        [b"RIFF", &u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
    }

    /// 3 × 2 pixels in each of the forms.
    const LOSSY: &[u8] = &[0, 0, 0, 0x9d, 1, 0x2a, 3, 0, 2, 0, 9];
    const LOSSLESS: &[u8] = &[0x2f, 0x02, 0x40, 0, 0];
    const EXTENDED: &[u8] = &[0, 0, 0, 0, 2, 0, 0, 1, 0, 0];

    #[test]
    fn each_kind_is_told_by_its_content_and_measured() {
        let taken =
            |bytes: Vec<u8>| Logo::read(bytes).map(|logo| (logo.facts.kind, logo.facts.width, logo.facts.height));
        assert_eq!(taken(png_of(3, 2, &[])), Ok((LogoKind::Png, 3, 2)));
        assert_eq!(taken(jpeg_of(3, 2)), Ok((LogoKind::Jpeg, 3, 2)));
        for chunks in [&[(b"VP8 ", LOSSY)][..], &[(b"VP8L", LOSSLESS)], &[(b"VP8X", EXTENDED), (b"VP8L", LOSSLESS)]] {
            assert_eq!(taken(webp_of(chunks)), Ok((LogoKind::Webp, 3, 2)));
        }
        assert_eq!(Logo::read(jpeg_of(3, 2)).unwrap().facts.version.len(), 16);
    }

    #[test]
    fn what_is_no_still_and_small_picture_is_refused() {
        let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>".to_vec();
        let behind = |mut bytes: Vec<u8>| {
            bytes.extend(b"<script>alert(1)</script>");
            bytes
        };
        let other_frame = [0x2f, 0x05, 0x40, 0, 0];
        for (bytes, fault) in [
            (Vec::new(), LogoFault::NoPicture),
            (svg, LogoFault::NoPicture),
            (b"GIF89a\x01\0\x01\0".to_vec(), LogoFault::NoPicture),
            (PNG.to_vec(), LogoFault::NoPicture),
            (behind(png_of(3, 2, &[])), LogoFault::NoPicture),
            (behind(jpeg_of(3, 2)), LogoFault::NoPicture),
            (behind(webp_of(&[(b"VP8 ", LOSSY)])), LogoFault::NoPicture),
            (webp_of(&[]), LogoFault::NoPicture),
            (webp_of(&[(b"VP8X", EXTENDED), (b"VP8L", &other_frame)]), LogoFault::NoPicture),
            (webp_of(&[(b"VP8X", EXTENDED), (b"ANIM", &[0; 6]), (b"VP8L", LOSSLESS)]), LogoFault::Animated),
            (png_of(3, 2, &[chunk(*b"acTL", &[0; 8])]), LogoFault::Animated),
            (png_of(0, 2, &[]), LogoFault::Sides),
            (png_of(3, MAX_LOGO_SIDE + 1, &[]), LogoFault::Sides),
            (png_of(u32::MAX, 2, &[]), LogoFault::Sides),
            (jpeg_of(u16::MAX, 2), LogoFault::Sides),
            (png_of(3, 2, &[chunk(*b"tEXt", &[0; MAX_LOGO_BYTES])]), LogoFault::TooLarge),
        ] {
            assert_eq!(Logo::read(bytes.clone()), Err(fault), "{bytes:?}");
        }
        for whole in [png_of(3, 2, &[]), jpeg_of(3, 2), webp_of(&[(b"VP8 ", LOSSY)])] {
            for end in 0..whole.len() {
                assert!(Logo::read(whole[..end].to_vec()).is_err(), "{:?}", &whole[..end]);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_answered(kind in 0..4_usize, garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let begin: &[u8] = [PNG, b"\xff\xd8\xff\xe0", b"RIFF\x40\0\0\0WEBPVP8X", b""][kind];
            let _ = Logo::read([begin, &garbage].concat());
        }
    }
}
