//! Naming content by its magic bytes, never by its name.

/// What a piece of content is, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MediaType {
    /// IANA media type, such as `image/jpeg`.
    pub content_type: &'static str,
    /// Still image or video.
    pub kind: Kind,
    /// Usual file name extension, without the dot.
    pub extension: &'static str,
}

/// Family of a piece of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Still or animated image.
    Image,
    /// Video container (which may hold sound only).
    Video,
}

/// Image formats this library decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG, any colour space, baseline or progressive.
    Jpeg,
    /// PNG, also animated (first frame).
    Png,
    /// WebP, lossy, lossless or animated (first frame).
    WebP,
    /// GIF (first frame).
    Gif,
    /// TIFF (first page).
    Tiff,
    /// Windows bitmap.
    Bmp,
}

impl Format {
    /// Returns the IANA media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::WebP => "image/webp",
            Format::Gif => "image/gif",
            Format::Tiff => "image/tiff",
            Format::Bmp => "image/bmp",
        }
    }

    /// Returns the decodable format of a media type, `None` for all others.
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        [
            Self::Jpeg,
            Self::Png,
            Self::WebP,
            Self::Gif,
            Self::Tiff,
            Self::Bmp,
        ]
        .into_iter()
        .find(|format| format.content_type() == content_type)
    }
}

/// Bytes of content that [`sniff`] looks at; more does no harm.
pub const SNIFF_BYTES: usize = 4096;

/// Names content by its magic bytes; `None` if it is neither an image nor a video we know.
///
/// Only the first [`SNIFF_BYTES`] matter. A known name does not promise that the content is whole.
pub fn sniff(bytes: &[u8]) -> Option<MediaType> {
    let head = &bytes[..bytes.len().min(SNIFF_BYTES)];
    own(head).or_else(|| inferred(head))
}

/// Cases where `infer` is too lax (BMP is two letters there) or knows too little (ISO media brands, Matroska).
fn own(head: &[u8]) -> Option<MediaType> {
    if head.len() >= 12 && &head[4..8] == b"ftyp" {
        return iso_media(head);
    }
    if head.starts_with(b"BM") {
        // The header's own size is one of the few that ever existed, and its reserved words are zero.
        let header = head.get(14..18)?.try_into().map(u32::from_le_bytes).ok()?;
        let known = matches!(header, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124);
        return (known && head[6..10] == [0; 4]).then_some(image("image/bmp", "bmp"));
    }
    if head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        let webm = head.windows(4).take(256).any(|w| w == b"webm");
        return Some(if webm {
            video("video/webm", "webm")
        } else {
            video("video/x-matroska", "mkv")
        });
    }
    if head.starts_with(b"OggS") && head.windows(7).take(256).any(|w| w == b"\x80theora") {
        return Some(video("video/ogg", "ogv"));
    }
    // MPEG transport stream: a sync byte every 188 bytes.
    if head.len() > 564 && (0..4).all(|i| head[188 * i] == 0x47) {
        return Some(video("video/mp2t", "ts"));
    }
    None
}

/// Tells ISO base media files apart by their major brand, then by their compatible brands.
fn iso_media(head: &[u8]) -> Option<MediaType> {
    let size = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
    let end = size.clamp(12, head.len());
    let compatible = head.get(16..end).unwrap_or_default();
    std::iter::once(&head[8..12])
        .chain(compatible.chunks_exact(4))
        .find_map(|brand| {
            Some(match brand {
                b"avif" | b"avis" => image("image/avif", "avif"),
                b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" => {
                    image("image/heic", "heic")
                }
                b"qt  " => video("video/quicktime", "mov"),
                b"M4V " | b"M4VH" | b"M4VP" => video("video/x-m4v", "m4v"),
                b"3gp4" | b"3gp5" | b"3gp6" | b"3gp7" | b"3ge6" | b"3gg6" => {
                    video("video/3gpp", "3gp")
                }
                b"isom" | b"iso2" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"avc1"
                | b"dash" | b"mmp4" | b"MSNV" => video("video/mp4", "mp4"),
                b"crx " => image("image/x-canon-cr3", "cr3"),
                _ => return None,
            })
        })
        // `mif1` alone says only "HEIF structure"; what is inside is named by the brands tried above.
        .or_else(|| {
            matches!(&head[8..12], b"mif1" | b"msf1").then_some(image("image/heif", "heif"))
        })
}

fn inferred(head: &[u8]) -> Option<MediaType> {
    // `own` has refused BMP already: two letters of a text are none.
    let found = infer::get(head).filter(|found| found.mime_type() != "image/bmp")?;
    match found.matcher_type() {
        infer::MatcherType::Image => Some(image(found.mime_type(), found.extension())),
        infer::MatcherType::Video => Some(video(found.mime_type(), found.extension())),
        _ => None,
    }
}

const fn image(content_type: &'static str, extension: &'static str) -> MediaType {
    MediaType {
        content_type,
        kind: Kind::Image,
        extension,
    }
}

const fn video(content_type: &'static str, extension: &'static str) -> MediaType {
    MediaType {
        content_type,
        kind: Kind::Video,
        extension,
    }
}
