use proptest::prelude::*;

use super::*;

fn placed(script: &str) -> String {
    let mut planner = PatternPlanner::new();
    let mut names = Vec::new();
    for step in script.split_whitespace() {
        if let Some(name) = step.strip_prefix('-') {
            planner.free(name);
        } else {
            let (name, bytes) = step.split_once('=').unwrap();
            planner.alloc(name, Bytes(bytes.parse().unwrap()));
            names.push(name);
        }
    }
    let pattern = planner.finish();
    let places: Vec<String> =
        names.iter().map(|name| format!("{name}@{}", pattern.blocks[name].offset_bytes.0)).collect();
    format!("{} = {}", places.join(" "), pattern.peak_bytes.0)
}

#[test]
fn takes_the_tightest_gap_and_grows_only_when_none_fits() {
    let script = "a=512 b=1024 c=256 d=512 -b e=512 -a f=256 g=2048";
    assert_eq!(placed(script), "a@0 b@512 c@1536 d@1792 e@512 f@0 g@2304 = 4352");
}

#[test]
fn the_end_of_the_buffer_counts_as_a_gap() {
    assert_eq!(placed("a=256 b=1024 -b c=512"), "a@0 b@256 c@256 = 1280");
}

#[test]
fn empty_tensors_take_no_room() {
    assert_eq!(placed("a=0 b=256 -a c=0"), "a@0 b@0 c@0 = 256");
}

#[test]
fn equal_inputs_always_collide() {
    assert_eq!(pattern_key([[64_u64, 1000].as_slice(), &[64, 1000]]), 0);
    assert_eq!(pattern_key([[8_u64, 256].as_slice()]), 8 ^ 256);
}

proptest! {
    #[test]
    fn live_tensors_never_overlap(steps in prop::collection::vec((0_u64..2000, any::<bool>(), any::<usize>()), 1..150)) {
        let mut planner = PatternPlanner::new();
        let mut live: Vec<(usize, PatternBlock)> = Vec::new();
        for (id, (bytes, frees, which)) in steps.into_iter().enumerate() {
            if frees && !live.is_empty() {
                let (gone, _) = live.swap_remove(which % live.len());
                planner.free(gone);
            }
            planner.alloc(id, Bytes(bytes * 256));
            let (_, block) = *planner.placed.iter().rfind(|(placed, _)| *placed == id).unwrap();
            for (_, other) in &live {
                let apart = block.offset_bytes.0 + block.bytes.0 <= other.offset_bytes.0
                    || other.offset_bytes.0 + other.bytes.0 <= block.offset_bytes.0;
                prop_assert!(apart || block.bytes == Bytes::ZERO || other.bytes == Bytes::ZERO);
            }
            prop_assert!(block.offset_bytes.0 + block.bytes.0 <= planner.peak);
            live.push((id, block));
        }
    }
}
