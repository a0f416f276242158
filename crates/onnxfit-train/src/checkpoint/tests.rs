use super::*;

fn checkpoint(step: u64) -> Checkpoint {
    let tensor = |value: f32| Tensor::from_f32(vec![2], &[value, -value]).unwrap();
    Checkpoint {
        step,
        position: Position { epoch: 1, seed: Some(9), index: 40 },
        micro_batch: 8,
        loss_scale: Some((1024.0, 3)),
        n_skipped: 2,
        fingerprint: "a model".to_owned(),
        parameters: BTreeMap::from([("w".to_owned(), tensor(step as f32 + 0.1))]),
        states: BTreeMap::from([("w/first_moment".to_owned(), tensor(0.5))]),
    }
}

#[test]
fn a_checkpoint_comes_back_as_it_was_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path().join("run")).unwrap();
    assert_eq!(checkpoints.newest().unwrap(), None);
    for step in [1, 2, 10] {
        checkpoints.write(&checkpoint(step)).unwrap();
    }
    assert_eq!(checkpoints.newest().unwrap(), Some(checkpoint(10)));
    assert_eq!(checkpoints.list().unwrap().len(), KEPT);
}

#[test]
fn what_a_killed_process_left_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::open(folder.path()).unwrap();
    let path = checkpoints.write(&checkpoint(5)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    // A rename that went through although the bytes did not, and a file that was never renamed.
    for length in 0..whole.len() {
        std::fs::write(folder.path().join("step-000000006.safetensors"), &whole[..length]).unwrap();
        assert_eq!(checkpoints.newest().unwrap(), Some(checkpoint(5)), "{length} bytes");
    }
    std::fs::write(folder.path().join("step-000000007.part"), &whole[..40]).unwrap();
    Checkpoints::open(folder.path()).unwrap();
    assert!(!folder.path().join("step-000000007.part").exists());
}
