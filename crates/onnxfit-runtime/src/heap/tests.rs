use super::*;

#[test]
fn small_growth_is_not_worth_a_call() {
    assert!(!has_grown(80 << 20, 147 << 20));
    assert!(has_grown(80 << 20, 149 << 20));
    assert!(!has_grown(u64::MAX, 1 << 40));
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn free_pages_between_blocks_in_use_go_back_to_the_system() {
    let mut relief = HeapRelief::default();
    let before = resident_bytes().unwrap();
    // Small enough to lie in the heap, every other one stays.
    let mut blocks: Vec<Option<Vec<u8>>> = (0..2_000).map(|_| Some(vec![1; 100_000])).collect();
    blocks.iter_mut().step_by(2).for_each(|block| *block = None);
    let fragmented = resident_bytes().unwrap();
    assert!(fragmented > before + (150 << 20), "{before} {fragmented}");
    relief.next = Instant::now() + Duration::from_secs(3600);
    relief.look();
    assert!(resident_bytes().unwrap() > before + (150 << 20), "it looked before its time");
    let now = Instant::now();
    relief.next = now;
    relief.look();
    let relieved = resident_bytes().unwrap();
    assert!(relieved < before + (130 << 20), "{before} {fragmented} {relieved}");
    assert_eq!(blocks.iter().flatten().map(Vec::len).sum::<usize>(), 100_000_000);
    assert!(relief.next > now);
}
