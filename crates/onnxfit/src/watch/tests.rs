use super::*;

/// A driver that says one thing after another.
struct Simulated(std::cell::RefCell<Vec<Vec<GpuReading>>>);

impl Readings for Simulated {
    fn driver(&self) -> Option<String> {
        Some("595.0".to_owned())
    }

    fn gpus(&self) -> Result<Vec<GpuReading>, Error> {
        Ok(self.0.borrow_mut().remove(0))
    }

    fn command(&self, pid: u32) -> String {
        format!("process-{pid}")
    }
}

fn gpu(index: u32, used_mib: u64, processes: &[(u32, Option<u64>)]) -> GpuReading {
    GpuReading {
        index,
        name: "Tesla T4".to_owned(),
        total: Bytes::mib(15360),
        used: Bytes::mib(used_mib),
        free: Bytes::mib(15360 - used_mib),
        utilization_percent: Some(42),
        processes: processes.iter().map(|(pid, used)| (*pid, used.map(Bytes::mib))).collect(),
    }
}

fn watch(readings: Vec<Vec<GpuReading>>, only: Option<u32>) -> Watch {
    Watch::over(Box::new(Simulated(std::cell::RefCell::new(readings))), only)
}

fn session(pid: u32, device_index: Option<u32>) -> LiveSession {
    LiveSession {
        schema: live::SCHEMA.to_owned(),
        pid,
        model: "m.onnx".to_owned(),
        device_index,
        held_bytes: Some(2 << 30),
        used_bytes: Some(512 << 20),
        peak_used_bytes: Some(1 << 30),
        limit_bytes: None,
        predicted_bytes: None,
        n_runs: 7,
        updated_unix_seconds: 0,
    }
}

#[test]
fn the_largest_holder_comes_first_and_the_rest_is_the_drivers() {
    let readings = vec![vec![gpu(0, 4400, &[(10, Some(1000)), (20, Some(3000)), (10, Some(1000)), (30, None)])]];
    let view = watch(readings, None).view(0, &[]).expect("a reading");
    let shown: Vec<(u32, Option<u64>)> = view.gpus[0]
        .processes
        .iter()
        .map(|process| (process.pid, process.used_bytes.map(|used| used.0.get() >> 20)))
        .collect();
    // A process that both computes and draws is counted once.
    assert_eq!(shown, [(20, Some(3000)), (10, Some(1000)), (30, None)]);
    assert_eq!(view.gpus[0].unattributed_bytes.0, Bytes::mib(400));
}

#[test]
fn a_second_reading_says_what_changed() {
    let readings =
        vec![vec![gpu(0, 1000, &[(10, Some(1000))])], vec![gpu(0, 2500, &[(10, Some(800)), (11, Some(1700))])]];
    let mut watch = watch(readings, None);
    let first = watch.view(0, &[]).expect("a reading");
    assert_eq!(first.gpus[0].processes[0].change_bytes, None);
    let second = watch.view(1, &[]).expect("a reading");
    let changes: Vec<Option<i64>> = second.gpus[0].processes.iter().map(|process| process.change_bytes).collect();
    assert_eq!(changes, [Some(1700 << 20), Some(-(200 << 20))]);
}

#[test]
fn an_arena_is_shown_with_its_process_on_its_gpu() {
    let readings = vec![vec![gpu(0, 3000, &[(10, Some(2500))]), gpu(1, 3000, &[(10, Some(2500))])]];
    let view = watch(readings, None).view(0, &[session(10, Some(1)), session(99, None)]).expect("a reading");
    assert!(view.gpus[0].processes[0].sessions.is_empty());
    assert_eq!(view.gpus[1].processes[0].sessions[0].model, "m.onnx");
    assert_eq!(view.host_sessions[0].pid, 99);
    let mut text = Vec::new();
    onnxfit_report::watch::write_text(&mut text, &view).expect("text");
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains("512.00 MiB used of 2.00 GiB held, most 1.00 GiB, 7 runs"), "{text}");
    assert!(text.contains("process-10"), "{text}");
}

#[test]
fn one_gpu_can_be_watched_and_one_that_is_not_there_is_named() {
    let readings = || vec![vec![gpu(0, 10, &[]), gpu(1, 20, &[])]];
    let view = watch(readings(), Some(1)).view(0, &[]).expect("a reading");
    assert_eq!(view.gpus.iter().map(|gpu| gpu.index).collect::<Vec<_>>(), [1]);
    let error = watch(readings(), Some(5)).view(0, &[]).expect_err("there are two");
    assert_eq!(error.to_string(), "there is no GPU 5 here");
}
