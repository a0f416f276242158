use super::*;

#[test]
fn regions_are_read_from_the_log_of_the_arena_that_is_asked_for() {
    let log = [
        "Extending BFCArena for Cpu. bin_num:13 (requested) num_bytes: 4194304 (actual) rounded_bytes:4194304",
        "Extended allocation by 4194304 bytes.",
        "Total allocated bytes: 4194304",
        "Extending BFCArena for CudaPinned. bin_num:0 (requested) num_bytes: 4 (actual) rounded_bytes:256",
        "Extended allocation by 1048576 bytes.",
        "Extending BFCArena for Cuda. bin_num:0 (requested) num_bytes: 4 (actual) rounded_bytes:256",
        "Extended allocation by 2097152 bytes.",
    ]
    .map(str::to_owned);
    assert_eq!(extensions(&log, "Cpu"), [Bytes(4_194_304)]);
    assert_eq!(extensions(&log, "Cuda"), [Bytes(2_097_152)]);
}

#[test]
fn this_process_has_memory_and_no_process_has_none() {
    assert!(!cfg!(target_os = "linux") || resident(std::process::id(), "VmRSS:") > Bytes::mib(1));
    assert_eq!(resident(u32::MAX, "VmRSS:"), Bytes::ZERO);
}
