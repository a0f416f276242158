use std::process::Command;
use std::time::Duration;

use onnxfit_base::Bytes;

use super::*;
use crate::test_library::{library, write_model};
use crate::tiny_model::{identity, model, node, value_info};
use crate::{ArenaConfig, ArenaExtend, Meter, Tensor};

const CHILD: &str = "ONNXFIT_TEST_WORKER";

/// Not a test: the worker that the others start, which is this very program.
#[test]
fn serves_as_a_child() {
    match std::env::var(CHILD).as_deref() {
        Ok("serve") => serve(std::io::stdin().lock(), std::io::stdout()).expect("the pipe holds"),
        Ok("abort") => {
            eprintln!("terminate called");
            std::process::abort();
        }
        Ok("sleep") => std::thread::sleep(Duration::from_secs(60)),
        Ok("leave") => std::process::exit(3),
        _ => {}
    }
}

fn child(how: &str) -> Client {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "worker::tests::serves_as_a_child", "--nocapture"]).env(CHILD, how);
    Client::spawn_command(command).expect("a child starts")
}

fn exp_model() -> Vec<u8> {
    model(&[node("Exp", "exp", &["x"], &["y"])], &[], &[value_info("x", 1, &[-1])], &[value_info("y", 1, &[-1])])
}

fn floats(count: u64) -> Tensors {
    let tensor = Tensor::from_f32(vec![count], &vec![0.0; count as usize]).expect("a row");
    [("x".to_owned(), tensor)].into_iter().collect()
}

#[test]
fn runs_and_measures_in_another_process() {
    let Some(library) = library() else { return };
    let file = write_model(&exp_model());
    let mut client = child("serve");
    let spec = SessionSpec { intra_op_threads: Some(1), meter: Meter::ArenaEachRun, ..SessionSpec::new(&file.path) };
    let opened = client.open(library.path(), &spec).expect("it loads");
    assert_eq!(opened.version, library.version());
    assert_eq!(opened.inputs[0].shape, [None]);

    let ran = client.run(&floats(1_000)).expect("it runs");
    assert_eq!(ran.outputs.get("y").and_then(Tensor::values), Some(vec![1.0; 1_000]));
    assert_eq!(ran.measured.arena_with_outputs.map(|arena| arena.in_use), Some(Bytes(4_096)));
    assert_eq!(ran.measured.arena.map(|arena| arena.in_use), Some(Bytes::ZERO));
    let small = client.measure(&floats(10)).expect("it runs");
    assert!(small.outputs.is_empty());
    assert_eq!(small.measured.trace.map(|trace| trace.peak_in_use), Some(Bytes(256)));
}

#[test]
fn running_out_of_memory_in_the_child_is_told_and_the_child_lives_on() {
    let Some(library) = library() else { return };
    let file = write_model(&exp_model());
    let mut client = child("serve");
    let cpu_arena =
        Some(ArenaConfig { limit: Some(Bytes(65_536)), extend: Some(ArenaExtend::Same), ..Default::default() });
    let spec = SessionSpec { cpu_arena, ..SessionSpec::new(&file.path) };
    client.open(library.path(), &spec).expect("it loads");
    let error = client.run(&floats(100_000)).expect_err("it does not fit");
    let RunError::OutOfMemory(found) = &error else { panic!("{error:?}") };
    assert_eq!(
        (found.node.as_deref(), found.requested, found.available),
        (Some("exp"), Some(Bytes(400_128)), Some(Bytes(65_536)))
    );
    assert!(client.run(&floats(1_000)).is_ok());
}

#[test]
fn errors_of_the_caller_come_back_as_they_are() {
    let Some(library) = library() else { return };
    let mut client = child("serve");
    assert_eq!(
        client.run(&floats(1)).expect_err("nothing is loaded").to_string(),
        "the worker process was asked to run before it loaded a model"
    );
    let file = write_model(&identity());
    client.open(library.path(), &SessionSpec::new(&file.path)).expect("it loads");
    let wrong = client.run(&floats(2)).expect_err("a wrong shape");
    assert_eq!(wrong.to_string(), "input `x` is [2], but the model wants [1]");
    let absent = client.open(std::path::Path::new("/no/such/library.so"), &SessionSpec::new(&file.path));
    assert!(matches!(absent, Err(RunError::Library { .. })), "{absent:?}");
}

#[test]
fn a_child_that_is_killed_is_told_by_its_signal() {
    let mut client = child("sleep");
    let id = client.id();
    let killed = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        Command::new("kill").args(["-9", &id.to_string()]).status()
    });
    let error = client.run(&floats(1)).expect_err("it was killed");
    killed.join().expect("the thread ends").expect("kill runs");
    assert!(matches!(error, RunError::WorkerDied { signal: Some(9), .. }), "{error:?}");
    assert!(error.is_out_of_memory() && error.hint().is_some());
    assert_eq!(client.run(&floats(1)).expect_err("it is gone").to_string(), "the worker process has ended already");
}

#[test]
fn a_child_that_aborts_or_leaves_is_told_with_its_last_words() {
    let error = child("abort").run(&floats(1)).expect_err("it aborted");
    let RunError::WorkerDied { signal, stderr_tail, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*signal, Some(6));
    assert!(stderr_tail.contains("terminate called"), "{stderr_tail}");
    assert!(!error.is_out_of_memory());
    let error = child("leave").run(&floats(1)).expect_err("it left");
    assert!(matches!(error, RunError::WorkerDied { exit_code: Some(3), .. }), "{error:?}");
}

#[test]
fn a_child_that_does_not_answer_is_ended() {
    let mut client = child("sleep");
    client.set_timeout(Some(Duration::from_millis(300)));
    // More than a pipe holds, so that even asking does not end by itself.
    let error = client.run(&floats(1 << 20)).expect_err("it sleeps");
    assert!(matches!(error, RunError::WorkerTimeout { .. }), "{error:?}");
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = Client::spawn(std::path::Path::new("/no/such/program"), &[]).err().expect("there is none");
    assert!(error.to_string().starts_with("the worker process `/no/such/program` cannot be started"), "{error}");
}
