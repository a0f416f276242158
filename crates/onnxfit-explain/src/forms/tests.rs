use super::*;

#[test]
fn every_pattern_compiles() {
    for form in REGISTRY.iter().flat_map(|forms| forms.iter()) {
        let compiled = Regex::new(&spaced(form.pattern));
        assert!(compiled.is_ok(), "{}: {:?}", form.id, compiled.err());
    }
}

fn first(text: &str) -> String {
    match read(text).first() {
        Some(hit) => format!("{} {:?} requested={:?} available={:?}", hit.form, hit.kind, hit.requested, hit.available),
        None => "nothing".to_owned(),
    }
}

#[test]
fn reads_a_number_that_the_terminal_cut() {
    let cut = "Failed to allocate memory for requested buffer of size 1342\n17728 and more";
    assert_eq!(first(cut), "bfc_failed_to_allocate OutOfMemory requested=Some(134217728) available=None");
}

#[test]
fn leaves_a_number_alone_that_the_next_record_follows() {
    let whole = "Failed to allocate memory for requested buffer of size 1000\n2024-01-01 00:00:00 next";
    assert_eq!(first(whole), "bfc_failed_to_allocate OutOfMemory requested=Some(1000) available=None");
}

#[test]
fn tells_the_two_arena_messages_apart() {
    assert_eq!(
        first("Available memory of 1920000 is smaller than requested bytes of 2048000"),
        "bfc_available_memory OutOfMemory requested=Some(2048000) available=Some(1920000)"
    );
}

#[test]
fn matches_names_and_not_numbers_of_a_status() {
    let kind = |text: &str| read(text).first().map(|hit| hit.kind);
    assert_eq!(kind("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"), Some(Kind::OutOfMemory));
    assert_eq!(kind("CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc"), Some(Kind::OutOfMemory));
    assert_eq!(kind("CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0"), Some(Kind::Ambiguous));
    assert_eq!(kind("CUDA failure 700: an illegal memory access was encountered ; GPU=0"), Some(Kind::NotMemory));
}
