//! Thousands of requests of random sizes in an arena that another session presses: `cargo xtask
//! soak` writes what this prints.

mod campaign;

use std::io::Write;

fn main() {
    let n_requests = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1000);
    let mut stdout = std::io::stdout().lock();
    let began = std::time::Instant::now();
    let mut progress = |hundredths: u64| eprintln!("{hundredths} %, {:.0} s", began.elapsed().as_secs_f64());
    let Some(report) = campaign::soak(n_requests, 7, &mut progress) else {
        let _ = writeln!(stdout, "no ONNX Runtime was found");
        std::process::exit(2);
    };
    // Nobody is left to tell if stdout is closed.
    let _ = write!(stdout, "{}", report.table());
    std::process::exit(if report.is_good() { 0 } else { 1 });
}
