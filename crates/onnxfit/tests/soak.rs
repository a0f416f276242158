//! A few hundred requests of random sizes in an arena that another session presses; `cargo xtask
//! soak` sends ten thousand.

#[path = "../examples/soak/campaign.rs"]
mod campaign;

#[test]
fn every_request_is_answered_rightly_while_memory_runs_out_again_and_again() {
    let Some(report) = campaign::soak(250, 11, &mut |_| ()) else {
        eprintln!("skipped: no ONNX Runtime was found");
        return;
    };
    let table = report.table();
    assert!(report.is_good(), "{table}");
    assert!(report.ways[0].n_out_of_memory > 3, "{table}");
}
