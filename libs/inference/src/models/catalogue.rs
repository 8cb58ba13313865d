//! Models known to work, for `models list`. Nothing here is installed.

use serde::Serialize;

use crate::spec::{Family, Towers};

/// A model one may pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogueEntry {
    /// Hub id.
    pub id: &'static str,
    /// Architecture family.
    pub family: Family,
    /// Length of a vector.
    pub dims: usize,
    /// Which inputs it takes.
    pub towers: Towers,
    /// Download size, about, in megabytes (10^6 bytes).
    pub about_megabytes: u32,
    /// What it is good for.
    pub summary: &'static str,
}

const BOTH: Towers = Towers {
    text: true,
    image: true,
};

/// Models known to work, best general choice first.
pub const CATALOGUE: &[CatalogueEntry] = &[
    CatalogueEntry {
        id: "openai/clip-vit-base-patch32",
        family: Family::Clip,
        dims: 512,
        towers: BOTH,
        about_megabytes: 605,
        summary: "Finds photos by English words and by example; the fastest of the image models.",
    },
    CatalogueEntry {
        id: "Xenova/clip-vit-base-patch32",
        family: Family::Clip,
        dims: 512,
        towers: BOTH,
        about_megabytes: 606,
        summary: "The same model as exported graphs, also with int8 weights at a quarter of the size.",
    },
    CatalogueEntry {
        id: "google/siglip-base-patch16-224",
        family: Family::Siglip,
        dims: 768,
        towers: BOTH,
        about_megabytes: 813,
        summary: "Finds photos by words more accurately, at five times the work per image.",
    },
    CatalogueEntry {
        id: "sentence-transformers/all-MiniLM-L6-v2",
        family: Family::Bert,
        dims: 384,
        towers: Towers {
            text: true,
            image: false,
        },
        about_megabytes: 91,
        summary: "Text only: matches captions, names and notes by meaning; no images.",
    },
];
