//! All vectors as f16, in append-only slots.
//!
//! A slot is written once and never reused: an update appends and marks the old slot dead. That
//! is what lets the graph refer to slots for ever, lets a snapshot copy only the block pointers
//! under the lock, and makes a stale answer impossible (a dead slot is skipped by every reader).
//! Dead slots are squeezed out by [`Arena::compact`], which renumbers and so starts a new epoch.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use numkong::f16;
use roaring::RoaringBitmap;

use crate::types::ItemKey;

/// Position of a vector in the arena.
pub(crate) type Slot = u32;

/// Slots per block: 768 KiB at 384 dimensions, the most a write copies while a snapshot runs.
pub(crate) const BLOCK_SLOTS: usize = 1024;

/// Dead slots tolerated whatever the size, so that small indexes do not compact all the time.
const MIN_DEAD_SLOTS: usize = 1024;

/// Keys are rowids of our own tables, not hostile input: one multiplication is hash enough.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }
    fn write_u32(&mut self, key: u32) {
        // 2^64 / golden ratio; the fold brings the well-mixed high bits down to the bucket bits.
        let mixed = (self.0 ^ u64::from(key)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// The vectors and who owns them. Clones share the blocks.
#[derive(Clone)]
pub(crate) struct Arena {
    dims: usize,
    /// `[slots, dims]`, row-major, cut every `BLOCK_SLOTS` rows.
    blocks: Vec<Arc<Vec<f16>>>,
    /// Owner of each slot, dead ones included.
    keys: Vec<ItemKey>,
    live: Vec<bool>,
    /// Exactly the live slots, by owner.
    slot_of: HashMap<ItemKey, Slot, BuildHasherDefault<KeyHasher>>,
    /// Keys of `slot_of`, for fast intersection with filters.
    live_keys: RoaringBitmap,
    /// Changes whenever slots are renumbered.
    epoch: u64,
}

impl Arena {
    pub(crate) fn new(dims: usize) -> Self {
        Self {
            dims,
            blocks: Vec::new(),
            keys: Vec::new(),
            live: Vec::new(),
            slot_of: HashMap::default(),
            live_keys: RoaringBitmap::new(),
            epoch: 0,
        }
    }

    /// Rebuilds an arena slot by slot; `None` if two live slots have one owner.
    pub(crate) fn from_parts(
        dims: usize,
        blocks: Vec<Vec<f16>>,
        keys: Vec<ItemKey>,
        live: Vec<bool>,
    ) -> Option<Self> {
        let mut arena = Self::new(dims);
        for (slot, (&key, &live)) in keys.iter().zip(&live).enumerate() {
            if live && arena.slot_of.insert(key, slot as Slot).is_some() {
                return None;
            }
        }
        arena.live_keys = arena.slot_of.keys().copied().collect();
        arena.blocks = blocks.into_iter().map(Arc::new).collect();
        arena.keys = keys;
        arena.live = live;
        Some(arena)
    }

    pub(crate) fn upsert(&mut self, key: ItemKey, vector: &[f16]) {
        debug_assert_eq!(vector.len(), self.dims, "callers check dimensions");
        self.remove(key);
        let slot = self.keys.len();
        if slot.is_multiple_of(BLOCK_SLOTS) {
            self.blocks
                .push(Arc::new(Vec::with_capacity(BLOCK_SLOTS * self.dims)));
        }
        if let Some(block) = self.blocks.last_mut() {
            Arc::make_mut(block).extend_from_slice(vector);
        }
        self.keys.push(key);
        self.live.push(true);
        self.slot_of.insert(key, slot as Slot);
        self.live_keys.insert(key);
    }

    pub(crate) fn remove(&mut self, key: ItemKey) {
        if let Some(slot) = self.slot_of.remove(&key) {
            self.live[slot as usize] = false;
            self.live_keys.remove(key);
        }
    }

    /// Whether more than a fifth of the slots, and enough to matter, are dead.
    pub(crate) fn wants_compaction(&self) -> bool {
        let dead = self.slots() - self.len();
        dead > MIN_DEAD_SLOTS && dead * 5 > self.slots()
    }

    /// Moves the live vectors together, block by block, so memory never doubles.
    pub(crate) fn compact(&mut self) {
        let mut fresh = Self::new(self.dims);
        fresh.epoch = self.epoch + 1;
        fresh.slot_of.reserve(self.len());
        for (number, block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            let first = number * BLOCK_SLOTS;
            for (offset, vector) in block.chunks_exact(self.dims).enumerate() {
                if self.live[first + offset] {
                    fresh.upsert(self.keys[first + offset], vector);
                }
            }
        }
        *self = fresh;
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Live vectors.
    pub(crate) fn len(&self) -> usize {
        self.slot_of.len()
    }

    /// Slots in use, dead ones included.
    pub(crate) fn slots(&self) -> usize {
        self.keys.len()
    }

    /// Owner of the slot if its vector is current.
    #[inline]
    pub(crate) fn live_key(&self, slot: usize) -> Option<ItemKey> {
        match self.live.get(slot) {
            Some(true) => Some(self.keys[slot]),
            _ => None,
        }
    }

    pub(crate) fn slot(&self, key: ItemKey) -> Option<usize> {
        self.slot_of.get(&key).map(|&slot| slot as usize)
    }

    pub(crate) fn live_keys(&self) -> &RoaringBitmap {
        &self.live_keys
    }

    #[inline]
    pub(crate) fn vector(&self, slot: usize) -> &[f16] {
        let start = (slot % BLOCK_SLOTS) * self.dims;
        &self.blocks[slot / BLOCK_SLOTS][start..start + self.dims]
    }

    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &[f16]> {
        self.blocks.iter().map(|block| block.as_slice())
    }

    pub(crate) fn keys(&self) -> &[ItemKey] {
        &self.keys
    }

    pub(crate) fn live_flags(&self) -> &[bool] {
        &self.live
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let vectors: usize = self.blocks.iter().map(|block| block.capacity() * 2).sum();
        let slots = self.keys.capacity() * size_of::<ItemKey>() + self.live.capacity();
        // One byte of control per bucket beside the pair.
        let map = self.slot_of.capacity() * (size_of::<(ItemKey, Slot)>() + 1);
        vectors + slots + map + self.live_keys.serialized_size()
    }
}
