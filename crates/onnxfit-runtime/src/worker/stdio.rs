//! The worker's own ends of its pipes.
//!
//! Rust's standard output looks for line ends in what it writes; a worker writes tensors.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// Bytes that are read or written at once where messages are small; larger blocks pass by.
const BUFFER_BYTES: usize = 64 << 10;

/// This process's standard input and output, as a worker uses them.
pub fn stdio() -> io::Result<(impl Read, impl Write)> {
    #[cfg(unix)]
    let (input, output) = {
        use std::os::fd::AsFd;
        (io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?)
    };
    #[cfg(windows)]
    let (input, output) = {
        use std::os::windows::io::AsHandle;
        (io::stdin().as_handle().try_clone_to_owned()?, io::stdout().as_handle().try_clone_to_owned()?)
    };
    let input = BufReader::with_capacity(BUFFER_BYTES, File::from(input));
    Ok((input, BufWriter::with_capacity(BUFFER_BYTES, File::from(output))))
}
