use proptest::prelude::*;

use super::*;

/// A machine on which a run of `n` rows takes `fixed + row * n` bytes.
struct Machine {
    fixed: u64,
    row: u64,
    /// What there is.
    capacity: u64,
    /// What the prediction is off by, per mille.
    off: i64,
    /// Whether the room can be read.
    readable: bool,
    /// Whether sizes are known at all.
    known: bool,
}

impl Situation for Machine {
    fn need(&mut self, rows: u64) -> Option<Bytes> {
        let true_need = (self.fixed + self.row * rows) as i64;
        self.known.then_some(Bytes((true_need + true_need * self.off / 1000).max(0) as u64))
    }

    fn room(&mut self) -> Option<Bytes> {
        self.readable.then_some(Bytes(self.capacity))
    }
}

impl Machine {
    fn run(&self, rows: u64) -> Result<(), OutOfMemory> {
        let need = self.fixed + self.row * rows;
        if need <= self.capacity {
            return Ok(());
        }
        // The last allocation is the one that fails.
        let requested = self.row * rows;
        let available = self.capacity.saturating_sub(self.fixed);
        let message = format!(
            "Available memory of {available} is smaller than requested bytes of {}",
            requested.max(available + 1)
        );
        Err(OutOfMemory::parse(&message).expect("it is one of the arena's messages"))
    }
}

const ROOMY: Machine = Machine { fixed: 1000, row: 500, capacity: 1 << 30, off: 0, readable: false, known: true };

/// Runs a request; the pieces that ran, with a cross where memory ran out.
fn told(planner: &mut Planner, machine: &mut Machine, rows: u64, cuttable: bool) -> (String, Option<Box<DoesNotFit>>) {
    let mut job = planner.begin(rows, cuttable, machine);
    let mut text = Vec::new();
    while let Some(piece) = planner.next(&mut job) {
        let n = piece.rows.end - piece.rows.start;
        let shrunk = if piece.shrink { "s" } else { "" };
        match machine.run(n) {
            Ok(()) => {
                text.push(format!("{shrunk}{n}"));
                planner.succeeded(&mut job, &piece, machine);
            }
            Err(failure) => {
                text.push(format!("{shrunk}{n}x"));
                if let Err(error) = planner.failed(&mut job, &piece, &failure, machine) {
                    return (text.join(" "), Some(error));
                }
            }
        }
    }
    (text.join(" "), None)
}

fn planner(limit: u64) -> Planner {
    Planner::new(PlannerOptions { limit: Some(Bytes(limit)) })
}

#[test]
fn what_fits_runs_whole() {
    let (text, _) = told(&mut planner(1 << 30), &mut Machine { ..ROOMY }, 32, true);
    assert_eq!(text, "32");
}

#[test]
fn what_does_not_fit_runs_in_the_fewest_equal_pieces_without_trying() {
    // 1000 + 500 n <= 6000: ten rows at most.
    let mut machine = Machine { capacity: 6000, ..ROOMY };
    let mut planner = planner(6000);
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "8 8 8 8");
    assert_eq!(told(&mut planner, &mut machine, 31, true).0, "8 8 8 7");
    assert_eq!(planner.counts().out_of_memory, 0);
    assert_eq!(planner.counts().cut_requests, 2);
}

#[test]
fn learns_from_the_message_how_much_there_was() {
    // Others hold half of what was promised; the message tells it to the byte.
    let mut machine = Machine { capacity: 8200, ..ROOMY };
    let mut planner = planner(1 << 20);
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "32x s11 11 10");
    // And remembers.
    assert_eq!(told(&mut planner, &mut machine, 14, true).0, "14");
    assert_eq!(told(&mut planner, &mut machine, 15, true).0, "8 7");
}

#[test]
fn grows_back_when_memory_is_free_again() {
    let mut machine = Machine { capacity: 4000, ..ROOMY };
    let mut planner = planner(1 << 20);
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "32x s6 6 6 6 6 2");
    machine.capacity = 1 << 20;
    let pieces: Vec<usize> = (0..40).map(|_| told(&mut planner, &mut machine, 32, true).0.split(' ').count()).collect();
    assert_eq!(pieces[0], 6);
    assert_eq!(pieces[39], 1);
    assert_eq!(planner.counts().out_of_memory, 1);
}

#[test]
fn asks_rather_than_tries_where_the_room_can_be_read() {
    let mut machine = Machine { capacity: 4000, readable: true, ..ROOMY };
    let mut planner = planner(1 << 20);
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "32x s6 6 6 6 6 2");
    machine.capacity = 1 << 20;
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "32");
    assert_eq!(planner.learned(), (None, None));
}

#[test]
fn tries_ever_more_rarely_while_others_keep_the_memory() {
    let mut machine = Machine { capacity: 4000, ..ROOMY };
    let mut planner = planner(1 << 20);
    for _ in 0..1000 {
        let (_, error) = told(&mut planner, &mut machine, 32, true);
        assert!(error.is_none());
    }
    let counts = planner.counts();
    assert!(counts.out_of_memory <= 12, "{counts:?}");
}

#[test]
fn without_sizes_it_halves_and_remembers_rows() {
    let mut machine = Machine { capacity: 6000, known: false, ..ROOMY };
    let mut planner = Planner::new(PlannerOptions { limit: None });
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "32x s16x s8 8 8 8");
    assert_eq!(told(&mut planner, &mut machine, 32, true).0, "8 8 8 8");
}

#[test]
fn only_what_cannot_be_made_smaller_is_an_error_after_a_shrunk_arena() {
    let mut machine = Machine { capacity: 1200, ..ROOMY };
    let (text, error) = told(&mut planner(1 << 20), &mut machine, 4, true);
    assert_eq!(text, "4x s1x");
    let error = error.expect("one row takes 1500 bytes").to_string();
    assert!(error.starts_with("one row does not fit by itself (predicted to take 1"), "{error}");

    let mut machine = Machine { capacity: 2000, ..ROOMY };
    let (text, error) = told(&mut planner(1 << 20), &mut machine, 4, false);
    assert_eq!(text, "4x s4x");
    let error = error.expect("it may not be cut").to_string();
    assert!(error.starts_with("the request does not fit, and the model may not be cut along its batch"), "{error}");
}

#[test]
fn an_empty_request_is_run_once() {
    let (text, _) = told(&mut planner(1), &mut Machine { known: false, ..ROOMY }, 0, false);
    assert_eq!(text, "0");
}

proptest! {
    #[test]
    fn every_request_whose_single_rows_fit_is_answered_in_order(
        requests in prop::collection::vec((1u64..200, 0u64..60), 1..40),
        limit in 2_000u64..200_000,
        off in -300i64..300,
        readable: bool,
        known: bool,
    ) {
        let mut planner = planner(limit);
        for (rows, free) in requests {
            let mut machine = Machine { capacity: 1500 + free * 900, off, readable, known, ..ROOMY };
            let mut job = planner.begin(rows, true, &mut machine);
            let (mut done, mut n_failed) = (0, 0);
            while let Some(piece) = planner.next(&mut job) {
                prop_assert_eq!(piece.rows.start, done);
                prop_assert!(piece.rows.end > done && piece.rows.end <= rows);
                match machine.run(piece.rows.end - piece.rows.start) {
                    Ok(()) => {
                        done = piece.rows.end;
                        planner.succeeded(&mut job, &piece, &mut machine);
                    }
                    Err(failure) => {
                        n_failed += 1;
                        let smaller = planner.failed(&mut job, &piece, &failure, &mut machine);
                        prop_assert!(smaller.is_ok(), "{:?}", smaller);
                    }
                }
            }
            prop_assert_eq!(done, rows);
            prop_assert!(n_failed <= 2 * rows + 2, "{} failures for {} rows", n_failed, rows);
        }
    }
}
