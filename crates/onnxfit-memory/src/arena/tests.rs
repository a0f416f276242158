//! The arena against an allocator written the naive way, and against measured numbers.

mod naive;

use proptest::prelude::*;

use super::*;
use naive::NaiveArena;

const STREAM: StreamTag = StreamTag(0);

#[derive(Clone, Debug)]
enum Action {
    Alloc(u64, bool),
    Reserve(u64),
    Free(usize),
    Shrink,
    ReleaseStream,
}

fn action(with_stream: bool) -> impl Strategy<Value = Action> {
    let bytes = prop_oneof![0_u64..4, 1_u64..5_000, 200_000_u64..3_000_000, 1_u64..40_000_000];
    prop_oneof![
        6 => (bytes, any::<bool>()).prop_map(move |(bytes, on)| Action::Alloc(bytes, on && with_stream)),
        1 => (1_u64..5_000_000).prop_map(Action::Reserve),
        5 => any::<usize>().prop_map(Action::Free),
        1 => Just(if with_stream { Action::ReleaseStream } else { Action::Shrink }),
    ]
}

fn config() -> impl Strategy<Value = ArenaConfig> {
    (
        prop_oneof![Just(None), (1_u64..200_000_000).prop_map(|limit| Some(Bytes(limit)))],
        any::<bool>(),
        prop_oneof![Just(1_u64 << 20), 1_u64..5_000_000],
        prop_oneof![Just(128_u64 << 20), 256_u64..2_000_000],
        prop_oneof![Just(None), (1_u64..300_000_000).prop_map(|bytes| Some(Bytes(bytes)))],
        any::<bool>(),
    )
        .prop_map(|(limit, same, initial, dead, device_capacity, descending)| ArenaConfig {
            limit,
            extend_strategy: if same {
                ArenaExtendStrategy::SameAsRequested
            } else {
                ArenaExtendStrategy::NextPowerOfTwo
            },
            initial_chunk_bytes: Bytes(initial),
            max_dead_bytes_per_chunk: Bytes(dead),
            device_capacity,
            region_addresses: if descending { RegionAddresses::Descending } else { RegionAddresses::Ascending },
            ..ArenaConfig::default()
        })
}

/// Chunks partition their regions, free neighbours of one tag are merged, counters add up.
fn assert_sound(arena: &Arena) {
    let (mut in_use, mut requested, mut held, mut n_free) = (0, 0, 0, 0);
    for region in arena.regions.iter().filter(|region| region.alive) {
        let mut covered = 0;
        let mut before: Option<&Chunk> = None;
        for index in arena.chunks_of(region) {
            let chunk = &arena.chunks[index as usize];
            if let Some(before) = before {
                assert_eq!(before.address + before.bytes, chunk.address, "no gap and no overlap");
                assert!(before.in_use || chunk.in_use || before.tag != chunk.tag, "free neighbours merged");
            }
            if chunk.in_use {
                in_use += chunk.bytes;
                requested += chunk.requested_bytes;
            } else {
                n_free += 1;
                assert!(arena.free[&chunk.tag].contains(&(chunk.bytes, chunk.address, index)));
            }
            covered += chunk.bytes;
            before = Some(chunk);
        }
        assert_eq!(covered, region.bytes);
        held += region.bytes;
    }
    let reserved: u64 = arena.reserved.iter().flatten().map(|block| block.bytes.0).sum();
    assert_eq!(arena.free.values().map(BTreeSet::len).sum::<usize>(), n_free);
    assert_eq!(arena.stats.in_use_bytes.0, in_use + reserved);
    assert_eq!(arena.stats.requested_in_use_bytes.0, requested + reserved);
    assert_eq!(arena.stats.total_allocated_bytes.0, held + reserved);
}

fn replay_on_both(config: ArenaConfig, actions: &[Action]) {
    let mut arena = Arena::new(config.clone());
    let mut naive = NaiveArena::new(config);
    let mut live = Vec::new();
    for action in actions {
        match *action {
            Action::Alloc(bytes, on_stream) => {
                let stream = on_stream.then_some(STREAM);
                match (arena.alloc(Bytes(bytes), stream), naive.alloc(bytes, on_stream)) {
                    (Ok(real), Ok(expected)) => {
                        let block = arena.block(real);
                        assert_eq!(block.map(|block| block.bytes.0), expected.map(|id| naive.bytes(id)));
                        live.push((real, expected));
                    }
                    (Err(error), Err(text)) => assert_eq!(error.to_string(), text),
                    (real, expected) => panic!("{bytes}: {real:?} but {expected:?}"),
                }
            }
            Action::Reserve(bytes) => match (arena.reserve(Bytes(bytes)), naive.reserve(bytes)) {
                (Ok(real), Some(expected)) => live.push((real, Some(expected))),
                (Err(_), None) => {}
                (real, expected) => panic!("{bytes}: {real:?} but {expected:?}"),
            },
            Action::Free(at) if !live.is_empty() => {
                let (real, expected) = live.swap_remove(at % live.len());
                arena.free(real);
                if let Some(id) = expected {
                    naive.free(id);
                }
            }
            Action::Free(_) => {}
            Action::Shrink => {
                arena.shrink();
                naive.shrink();
            }
            Action::ReleaseStream => {
                arena.release_stream(STREAM);
                naive.release_stream();
            }
        }
        assert_eq!(arena.stats(), naive.stats());
        assert_sound(&arena);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn equals_the_naive_allocator(config in config(), actions in prop::collection::vec(action(false), 1..120)) {
        replay_on_both(config, &actions);
    }

    #[test]
    fn equals_the_naive_allocator_with_stream_tags(
        config in config(),
        actions in prop::collection::vec(action(true), 1..120),
    ) {
        replay_on_both(config, &actions);
    }
}

#[test]
fn regions_double_from_one_mebibyte_to_one_gibibyte() {
    let mut arena = Arena::new(ArenaConfig::default());
    let mut regions = 0;
    while regions < 13 {
        arena.alloc(Bytes::mib(1), None).unwrap();
        regions = arena.region_bytes().len();
    }
    let mebibytes: Vec<u64> = arena.region_bytes().iter().map(|bytes| bytes.0 >> 20).collect();
    assert_eq!(mebibytes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
}

/// The verbatim log of 1.31.1 in which a 144 000 000 byte block follows five of 12 000 000.
#[test]
fn a_request_above_the_step_raises_it_without_doubling_it_again() {
    let mut arena = Arena::new(ArenaConfig::default());
    for _ in 0..9 {
        arena.alloc(Bytes(12_000_000), None).unwrap();
    }
    arena.alloc(Bytes(144_000_000), None).unwrap();
    let mebibytes: Vec<u64> = arena.region_bytes().iter().map(|bytes| bytes.0 >> 20).collect();
    assert_eq!(mebibytes, [16, 16, 32, 64, 256]);
}

#[test]
fn a_chunk_is_handed_out_whole_when_too_little_would_be_left() {
    let mut arena = Arena::new(ArenaConfig::default());
    let handle = arena.alloc(Bytes(144_000_000), None).unwrap();
    assert_eq!(arena.block(handle).unwrap().bytes, Bytes::mib(256));
}

#[test]
fn the_limit_stops_working_once_reserved_blocks_pass_it() {
    let mut arena = Arena::new(ArenaConfig { limit: Some(Bytes(1_000_000)), ..ArenaConfig::default() });
    arena.reserve(Bytes(7_471_144)).unwrap();
    assert!(arena.alloc(Bytes(100_000), None).is_ok());
}

#[test]
fn a_refused_request_reads_as_the_original_does() {
    let mut arena = Arena::new(ArenaConfig {
        limit: Some(Bytes(50_000_000)),
        extend_strategy: ArenaExtendStrategy::SameAsRequested,
        ..ArenaConfig::default()
    });
    arena.alloc(Bytes(48_000_000), None).unwrap();
    assert_eq!(
        arena.alloc(Bytes(24_000_000), None).unwrap_err().to_string(),
        "Available memory of 1999872 is smaller than requested bytes of 24000000"
    );
}

#[test]
fn backs_off_by_tenths_until_the_device_grants() {
    let mut arena = Arena::new(ArenaConfig {
        initial_chunk_bytes: Bytes::gib(1),
        device_capacity: Some(Bytes(600_000_000)),
        ..ArenaConfig::default()
    });
    arena.alloc(Bytes(300_000_000), None).unwrap();
    assert_eq!(arena.region_bytes(), [Bytes(570_630_912)]);
}

#[test]
fn absurd_sizes_are_refused_and_never_wrap() {
    let mut arena = Arena::new(ArenaConfig::default());
    for bytes in [u64::MAX, u64::MAX - 255, 1 << 63, 1 << 58] {
        assert!(arena.alloc(Bytes(bytes), None).is_err(), "{bytes}");
        assert!(arena.reserve(Bytes(bytes)).is_err(), "{bytes}");
    }
}
