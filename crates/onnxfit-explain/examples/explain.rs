//! Explains the log on standard input as JSON.

use std::io::Read;

fn main() -> std::io::Result<()> {
    let mut reader = onnxfit_explain::LogReader::new();
    let mut chunk = vec![0; 1 << 20];
    let mut input = std::io::stdin().lock();
    loop {
        match input.read(&mut chunk)? {
            0 => break,
            n => reader.feed(&chunk[..n]),
        }
    }
    let json = reader.explain(&onnxfit_explain::Context::default()).to_json()?;
    std::io::Write::write_all(&mut std::io::stdout(), json.as_bytes())
}
