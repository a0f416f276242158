//! Any sequence of requests leaves the arena's books in order.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onnxfit_base::Bytes;
use onnxfit_memory::arena::{Arena, ArenaConfig, ArenaExtendStrategy, Block, Handle, RegionAddresses, StreamTag};

fuzz_target!(|data: &[u8]| {
    let Some((head, steps)) = data.split_first_chunk::<8>() else { return };
    let mut arena = Arena::new(config(head));
    let mut live: Vec<Handle> = Vec::new();
    for step in steps.chunks_exact(4) {
        let (operation, size) = (step[0], size(step[1], u16::from_le_bytes([step[2], step[3]])));
        let stream = (operation & 0x40 != 0).then_some(StreamTag(u32::from(operation >> 7)));
        match operation & 0x0f {
            0..=7 => live.extend(arena.alloc(size, stream)),
            8 => live.extend(arena.reserve(size)),
            9..=13 if !live.is_empty() => {
                let index = usize::from(step[2]) % live.len();
                arena.free(live.swap_remove(index));
            }
            14 => arena.shrink(),
            15 => arena.release_stream(stream.unwrap_or(StreamTag(0))),
            _ => arena.restart_peak(),
        }
        check(&arena, &live);
    }
    for handle in live.drain(..) {
        arena.free(handle);
    }
    for stream in [0, 1] {
        arena.release_stream(StreamTag(stream));
    }
    check(&arena, &live);
    assert_eq!(arena.stats().in_use_bytes, Bytes::ZERO);
    arena.shrink();
    let is_first_kept = arena.config().extend_strategy == ArenaExtendStrategy::NextPowerOfTwo;
    assert!(is_first_kept || arena.region_bytes().is_empty(), "an idle arena gives everything back");
});

fn config(head: &[u8; 8]) -> ArenaConfig {
    let flags = head[0];
    ArenaConfig {
        limit: (flags & 1 != 0).then(|| size(head[1], u16::from(head[2]))),
        extend_strategy: match flags & 2 {
            0 => ArenaExtendStrategy::NextPowerOfTwo,
            _ => ArenaExtendStrategy::SameAsRequested,
        },
        device_capacity: (flags & 4 != 0).then(|| size(head[3], u16::from(head[4]))),
        region_addresses: match flags & 8 {
            0 => RegionAddresses::Ascending,
            _ => RegionAddresses::Descending,
        },
        max_dead_bytes_per_chunk: size(head[5] % 32, u16::from(head[6])),
        ..ArenaConfig::default()
    }
}

/// Up to 47 bits, as often small as large.
fn size(shift: u8, low: u16) -> Bytes {
    Bytes(u64::from(low) << (shift % 32))
}

fn check(arena: &Arena, live: &[Handle]) {
    let stats = arena.stats();
    let mut blocks: Vec<_> = live.iter().filter_map(|handle| arena.block(*handle)).collect();
    blocks.sort_by_key(|block| block.address);
    for pair in blocks.windows(2) {
        assert!(pair[0].address + pair[0].bytes.get() <= pair[1].address, "{:?} overlaps {:?}", pair[0], pair[1]);
    }
    let sum = |bytes: fn(&Block) -> Bytes| blocks.iter().map(|block| bytes(block).get()).sum::<u64>();
    assert_eq!(stats.in_use_bytes.get(), sum(|block| block.bytes));
    assert_eq!(stats.requested_in_use_bytes.get(), sum(|block| block.requested_bytes));
    assert!(blocks.iter().all(|block| block.requested_bytes <= block.bytes));
    assert!(stats.in_use_bytes <= stats.total_allocated_bytes && stats.in_use_bytes <= stats.max_in_use_bytes);
    if let Some(capacity) = arena.config().device_capacity {
        assert!(stats.total_allocated_bytes <= capacity, "{} of {capacity}", stats.total_allocated_bytes);
    }
    let regions: u64 = arena.region_bytes().iter().map(|bytes| bytes.get()).sum();
    assert!(regions <= stats.total_allocated_bytes.get());
}
