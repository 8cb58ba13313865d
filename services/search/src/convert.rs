//! Requests to queries with all validation, items to hits.

use mediamesh_imaging::colors;
use mediamesh_proto::{
    Error, MediaItemId, TenantId, Violations,
    page_token::PageTokens,
    search::v1::{
        HitExplanation, IndexMediaRequest, SearchFilter, SearchHit, SearchMediaRequest,
        search_media_request as request,
    },
    time::{micros, timestamp},
};
use mediamesh_store::{
    media::{Kind, MediaItem, State},
    search::{ColorFilter, Filter, split_unwanted},
};
use prost::Message as _;

use crate::{
    options::Options,
    query::{Lists, Order, Query},
    wording::wording,
};

/// Sort key of a page token: hits to skip, and the newest item that the first page could see.
pub(crate) type Cursor = (usize, u32);

const MAX_QUERY_CHARS: usize = 1000;
const MAX_EXAMPLES: usize = 32;
const MAX_TAGS: usize = 32;
/// OKLab distance that people still call the same colour; just-noticeable is about 0.02.
const COLOR_DISTANCE: f32 = 0.12;
/// The same for a name, which covers light and dark ones of its colour.
const NAME_DISTANCE: f32 = 0.18;
/// Least share of a picture that makes it "of this colour".
const COLOR_SHARE: f32 = 0.08;

/// One colour for each word that a picture's own colours are named by; sRGB.
const COLORS: [(&str, [u8; 3]); 12] = [
    ("red", [0xd0, 0x20, 0x20]),
    ("orange", [0xf0, 0x80, 0x20]),
    ("yellow", [0xf0, 0xd0, 0x30]),
    ("green", [0x30, 0xa0, 0x40]),
    ("teal", [0x20, 0x90, 0x90]),
    ("blue", [0x20, 0x48, 0xd0]),
    ("purple", [0x80, 0x30, 0xa0]),
    ("pink", [0xf0, 0x80, 0xb0]),
    ("brown", [0x80, 0x50, 0x30]),
    ("black", [0x10, 0x10, 0x10]),
    ("grey", [0x80, 0x80, 0x80]),
    ("white", [0xf8, 0xf8, 0xf8]),
];

/// What a page token is bound to, and what an answer is kept under: the tenant, and the rest of the
/// request but how it is written (S1-27) and what does not change its answer.
pub(crate) fn fingerprint(
    tenant: TenantId,
    message: &SearchMediaRequest,
    options: &Options,
) -> Vec<u8> {
    let canonical = SearchMediaRequest {
        query: wording(&message.query),
        limit: i32::try_from(limit(message, options)).unwrap_or(i32::MAX),
        page_token: String::new(),
        private: false,
        ..message.clone()
    };
    let mut bytes = tenant.0.as_bytes().to_vec();
    bytes.extend(canonical.encode_to_vec());
    bytes
}

fn limit(message: &SearchMediaRequest, options: &Options) -> u32 {
    match u32::try_from(message.limit).unwrap_or(0) {
        0 => options.default_limit,
        wanted => wanted.min(options.max_limit),
    }
}

/// Reads a search. `has_image` says that a picture follows or came with it.
///
/// Errors: `InvalidField` with all violations; `InvalidPageToken`.
pub(crate) fn query(
    mut message: SearchMediaRequest,
    tenant: TenantId,
    has_image: bool,
    options: &Options,
    page_tokens: &PageTokens,
) -> Result<Query, Error> {
    let token = std::mem::take(&mut message.page_token);
    let fingerprint = fingerprint(tenant, &message, options);
    let limit = limit(&message, options);
    let cursor: Option<Cursor> = page_tokens.open(&fingerprint, &token)?;

    let mut faults = Violations::new();
    // Control characters, NUL among them, part words like any other sign.
    let words = message
        .query
        .replace(|c: char| c.is_control(), " ")
        .trim()
        .to_owned();
    let chars = words.chars().count();
    faults.check(chars > MAX_QUERY_CHARS, "query", || {
        format!("has {chars} characters; limit is {MAX_QUERY_CHARS}")
    });
    faults.check(message.limit < 0, "limit", || {
        "must not be negative".to_owned()
    });
    let max_depth = options.max_depth;
    let offset = u32::try_from(message.offset)
        .ok()
        .filter(|offset| *offset <= max_depth);
    faults.check(offset.is_none(), "offset", || {
        format!("must be 0 to {max_depth}")
    });
    faults.check(message.examples.len() > MAX_EXAMPLES, "examples", || {
        format!(
            "has {} items; limit is {MAX_EXAMPLES}",
            message.examples.len()
        )
    });
    let mut examples = Vec::new();
    for (place, example) in message.examples.iter().enumerate() {
        let field = format!("examples[{place}]");
        faults.check(
            !example.weight.is_finite(),
            &format!("{field}.weight"),
            || "must be a finite number".to_owned(),
        );
        let id = example.media_item_id.parse::<MediaItemId>();
        if let Some(id) = faults.take(&format!("{field}.media_item_id"), id) {
            examples.push((
                id,
                if example.weight == 0.0 {
                    1.0
                } else {
                    example.weight
                },
            ));
        }
    }
    faults.check(
        !examples.is_empty() && examples.iter().all(|(_, weight)| *weight < 0.0),
        "examples",
        || "must hold at least one item with a positive weight".to_owned(),
    );
    let min_score = message.min_score;
    faults.check(
        min_score.is_some_and(|score| !(0.0..=1.0).contains(&score)),
        "min_score",
        || "must be in [0, 1]".to_owned(),
    );
    let mode = request::Mode::try_from(message.mode);
    faults.check(mode.is_err(), "mode", || {
        format!("{} is no mode", message.mode)
    });
    let order = request::Order::try_from(message.order);
    faults.check(order.is_err(), "order", || {
        format!("{} is no order", message.order)
    });
    let filter_set = message.filter.is_some();
    let mut filter = filter(message.filter.unwrap_or_default(), &mut faults);
    // Words that must be absent hold for every list, and alone ask for everything but them.
    let (text, without) = split_unwanted(&words);
    filter.without = without;
    let nothing = words.is_empty() && examples.is_empty() && !has_image && !filter_set;
    faults.check(nothing, "query", || {
        "give a query, an example or a filter".to_owned()
    });
    faults.finish()?;

    let (skip, newest_key) = match cursor {
        Some((skip, newest)) => (skip.min(max_depth as usize), Some(newest)),
        None => (offset.unwrap_or(0) as usize, None),
    };
    let mut fingerprint = fingerprint;
    fingerprint.extend(token.as_bytes());
    Ok(Query {
        tenant,
        text,
        examples,
        image: None,
        filter,
        lists: match mode.unwrap_or_default() {
            request::Mode::FullText => Lists {
                full_text: true,
                vectors: false,
            },
            request::Mode::Vector => Lists {
                full_text: false,
                vectors: true,
            },
            request::Mode::Hybrid | request::Mode::Unspecified => Lists {
                full_text: true,
                vectors: true,
            },
        },
        order: match order.unwrap_or_default() {
            request::Order::Newest => Order::Newest,
            request::Order::Oldest => Order::Oldest,
            request::Order::Relevance | request::Order::Unspecified => Order::Relevance,
        },
        limit: limit as usize,
        offset: skip,
        newest_key,
        min_score,
        explain: message.explain,
        fingerprint,
    })
}

fn filter(message: SearchFilter, faults: &mut Violations) -> Filter {
    let named = |values: &[String], field: &str, names: &[(&str, i16)], faults: &mut Violations| {
        let mut numbers = Vec::new();
        for value in values {
            match names
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(value))
            {
                Some((_, number)) => numbers.push(*number),
                None => {
                    let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                    faults.add(field, format!("`{value}` is none of {}", known.join(", ")));
                }
            }
        }
        numbers
    };
    let kinds = named(
        &message.kinds,
        "filter.kinds",
        &[("image", 1), ("video", 2)],
        faults,
    );
    let shapes = [("landscape", 1), ("portrait", 2), ("square", 3)];
    let orientations = named(
        &message.orientations,
        "filter.orientations",
        &shapes,
        faults,
    );
    faults.check(message.tags.len() > MAX_TAGS, "filter.tags", || {
        format!("has {} tags; limit is {MAX_TAGS}", message.tags.len())
    });
    let min_time = message.min_time.as_ref().map(micros);
    let max_time = message.max_time.as_ref().map(micros);
    faults.check(
        matches!((min_time, max_time), (Some(min), Some(max)) if min >= max),
        "filter.min_time",
        || "must be before max_time".to_owned(),
    );
    for (field, value) in [
        ("filter.min_size_bytes", message.min_size_bytes),
        ("filter.max_size_bytes", message.max_size_bytes),
        (
            "filter.min_width_pixels",
            i64::from(message.min_width_pixels),
        ),
        (
            "filter.min_height_pixels",
            i64::from(message.min_height_pixels),
        ),
    ] {
        faults.check(value < 0, field, || "must not be negative".to_owned());
    }
    let sizes = (message.min_size_bytes, message.max_size_bytes);
    faults.check(
        sizes.1 > 0 && sizes.0 > sizes.1,
        "filter.min_size_bytes",
        || "must not be above max_size_bytes".to_owned(),
    );
    Filter {
        kinds,
        folder: message.folder.trim_matches('/').to_owned(),
        tags: message.tags,
        min_time,
        max_time,
        min_size_bytes: message.min_size_bytes,
        max_size_bytes: message.max_size_bytes,
        min_width_pixels: message.min_width_pixels,
        min_height_pixels: message.min_height_pixels,
        color: color(&message.color, faults),
        orientations,
        content_types: message.content_types,
        without: Vec::new(),
        newest_key: None,
    }
}

fn color(text: &str, faults: &mut Violations) -> Option<ColorFilter> {
    if text.is_empty() {
        return None;
    }
    let named = || {
        COLORS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, rgb)| *rgb)
    };
    let Some(rgb) = colors::parse_hex(text).or_else(named) else {
        faults.add(
            "filter.color",
            format!("`{text}` is neither #rrggbb nor a colour name"),
        );
        return None;
    };
    let lab = colors::Oklab::from(rgb);
    let max_distance = if text.starts_with('#') {
        COLOR_DISTANCE
    } else {
        NAME_DISTANCE
    };
    Some(ColorFilter {
        oklab: [lab.l, lab.a, lab.b],
        max_distance,
        min_share: COLOR_SHARE,
    })
}

/// Vectors by model key.
pub(crate) type ModelVectors = Vec<(String, Vec<f32>)>;

/// Reads vectors to be indexed.
///
/// Errors: `InvalidField` with all violations.
pub(crate) fn vectors(message: IndexMediaRequest) -> Result<(MediaItemId, ModelVectors), Error> {
    let mut faults = Violations::new();
    let id = faults.take(
        "media_item_id",
        message.media_item_id.parse::<MediaItemId>(),
    );
    faults.check(message.embeddings.is_empty(), "embeddings", || {
        "must not be empty".to_owned()
    });
    for (place, embedding) in message.embeddings.iter().enumerate() {
        faults.check(
            embedding.model.is_empty(),
            &format!("embeddings[{place}].model"),
            || "must not be empty".to_owned(),
        );
        let values = &embedding.values;
        faults.check(
            values.len() > 16_384 || values.iter().any(|value| !value.is_finite()),
            &format!("embeddings[{place}].values"),
            || "must be at most 16384 finite numbers".to_owned(),
        );
    }
    faults.finish()?;
    let id = id.expect("a bad id is a violation");
    Ok((
        id,
        message
            .embeddings
            .into_iter()
            .map(|e| (e.model, e.values))
            .collect(),
    ))
}

/// Writes an item as a hit.
pub(crate) fn hit(item: MediaItem, score: f32, explanation: Option<HitExplanation>) -> SearchHit {
    let thumbnail_url = match (item.state, item.kind) {
        // without a version: the hash of the thumbnail is not read for a hit
        (State::Ready, Kind::Image) => {
            format!("/v1/mediaItems/{}/renditions/thumb_300", item.id)
        }
        _ => String::new(),
    };
    SearchHit {
        id: item.id.to_string(),
        score,
        distance: 1.0 - score,
        display_name: item.display_name,
        folder: item.folder,
        kind: match item.kind {
            Kind::Image => "image",
            Kind::Video => "video",
        }
        .to_owned(),
        content_type: item.content_type,
        tags: item.tags,
        caption: item.caption,
        width_pixels: item.width_pixels,
        height_pixels: item.height_pixels,
        size_bytes: item.size_bytes,
        capture_time: item.capture_time.map(timestamp),
        create_time: Some(timestamp(item.create_time)),
        colors: item.colors.into_iter().map(|color| color.hex).collect(),
        thumb_hash: item.thumb_hash.into(),
        thumbnail_url,
        explanation,
    }
}
