use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use onnxfit::runtime::Tensor;

use super::*;

fn waiting(rows: u64) -> (Waiting, oneshot::Receiver<Result<Tensors, Refusal>>) {
    let tensor = Tensor::from_f32(vec![rows, 2], &vec![1.0; rows as usize * 2]).expect("of that size");
    let (reply, answer) = oneshot::channel();
    let counted = Counted { rows, cuttable: true, sizes: vec![1, 2] };
    let inputs = [("x".to_owned(), tensor)].into_iter().collect();
    let request =
        Waiting { inputs, counted, n_bytes: rows * 8, since: Instant::now(), deadline: None, n_deaths: 0, reply };
    (request, answer)
}

fn taken(queue: &Queue, most: u64) -> Vec<u64> {
    let cut_inputs = BTreeMap::from([("x".to_owned(), 0)]);
    let fits = |_: &[u64], rows: u64| rows <= most;
    let rule = BatchRule { cut_inputs: &cut_inputs, delay: Duration::ZERO, fits: &fits };
    let batch = queue.take(&rule).unwrap_or_default();
    batch.iter().map(|request| request.counted.rows).collect()
}

fn put(queue: &Queue, request: Waiting) -> Result<(), Refusal> {
    queue.put(request).map_err(|(refusal, _)| refusal)
}

fn limits(requests: usize) -> QueueLimits {
    QueueLimits { requests, bytes: 1 << 20 }
}

#[test]
fn takes_as_many_requests_at_once_as_fit() {
    let queue = Queue::new(limits(10));
    let answers: Vec<_> = [3, 4, 2, 5]
        .into_iter()
        .map(|rows| {
            let (request, answer) = waiting(rows);
            put(&queue, request).expect("there is room");
            answer
        })
        .collect();
    assert_eq!(taken(&queue, 9), [3, 4, 2]);
    assert_eq!(taken(&queue, 9), [5]);
    drop(answers);
}

#[test]
fn a_request_larger_than_a_batch_runs_alone() {
    let queue = Queue::new(limits(10));
    let kept: Vec<_> = [50, 1]
        .into_iter()
        .map(|rows| {
            let (request, answer) = waiting(rows);
            put(&queue, request).expect("there is room");
            answer
        })
        .collect();
    assert_eq!(taken(&queue, 9), [50]);
    assert_eq!(taken(&queue, 9), [1]);
    drop(kept);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let queue = Queue::new(limits(1));
    let (first, _first) = waiting(1);
    let (second, _second) = waiting(1);
    put(&queue, first).expect("there is room");
    let refusal = put(&queue, second).expect_err("there is none");
    assert_eq!(refusal.kind, RefusalKind::Busy);
    assert!(refusal.retry_after.is_some_and(|after| after >= Duration::from_secs(1)), "{refusal:?}");
}

#[test]
fn requests_that_waited_too_long_or_whose_callers_left_do_not_run() {
    let queue = Queue::new(limits(10));
    let (mut late, mut answer) = waiting(1);
    late.deadline = Some(Instant::now());
    let (left, gone) = waiting(2);
    drop(gone);
    let (last, _last) = waiting(3);
    for request in [late, left, last] {
        put(&queue, request).expect("there is room");
    }
    assert_eq!(taken(&queue, 9), [3]);
    let refusal = answer.try_recv().expect("it was answered").expect_err("with a refusal");
    assert_eq!(refusal.kind, RefusalKind::Deadline);
    assert_eq!(queue.depth(), (0, 0));
}

#[test]
fn what_a_worker_died_with_comes_back_in_front_and_runs_alone() {
    let queue = Queue::new(limits(10));
    let (later, _later) = waiting(7);
    put(&queue, later).expect("there is room");
    let (mut first, _first) = waiting(1);
    let (mut second, _second) = waiting(2);
    (first.n_deaths, second.n_deaths) = (1, 1);
    queue.put_back(vec![first, second]);
    assert_eq!(taken(&queue, 100), [1]);
    assert_eq!(taken(&queue, 100), [2]);
    assert_eq!(taken(&queue, 100), [7]);
}

#[test]
fn a_closed_queue_answers_what_waits_and_takes_nothing_more() {
    let queue = Queue::new(limits(10));
    let (request, _answer) = waiting(1);
    put(&queue, request).expect("there is room");
    queue.close();
    let (more, _more) = waiting(1);
    assert_eq!(put(&queue, more).expect_err("it is closed").kind, RefusalKind::Unavailable);
    assert_eq!(taken(&queue, 9), [1]);
    assert_eq!(taken(&queue, 9), Vec::<u64>::new());
}
