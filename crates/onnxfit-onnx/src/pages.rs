//! Files in memory: mapped, and given back piece by piece, so that a pass over a file of gigabytes
//! takes the memory of one tensor.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes as Buffer;
use memmap2::Mmap;

/// The maps that are alive, to find the one that a slice is of.
static MAPS: Mutex<Vec<Weak<Mmap>>> = Mutex::new(Vec::new());

struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a file; an empty one gives an empty buffer.
pub(crate) fn map(file: &File, length: u64) -> io::Result<Buffer> {
    if length == 0 {
        return Ok(Buffer::new());
    }
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // SAFETY: the map is read-only and private to this process. A writer that truncates the file
    // meanwhile can make a read fault; every reader of a mapped model has that risk, and copying
    // gigabytes of weights is the alternative.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::MmapOptions::new().len(length).map(file) }?;
    let map = Arc::new(map);
    let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    maps.retain(|map| map.strong_count() > 0);
    maps.push(Arc::downgrade(&map));
    Ok(Buffer::from_owner(Owner(map)))
}

/// Gives the pages of a slice of a mapped file back; they are read again if anybody looks. Does
/// nothing to bytes that are in no map.
pub fn release_pages(bytes: &Buffer) {
    const PAGE_BYTES: usize = 4096;
    let address = bytes.as_ptr() as usize;
    let maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    for map in maps.iter().filter_map(Weak::upgrade) {
        let start = map.as_ptr() as usize;
        if address < start || address + bytes.len() > start + map.len() {
            continue;
        }
        // Whole pages alone: the others are shared with neighbours.
        let first = (address - start).next_multiple_of(PAGE_BYTES);
        let end = (address - start + bytes.len()) / PAGE_BYTES * PAGE_BYTES;
        if first < end {
            forget(&map, first, end - first);
        }
        break;
    }
}

#[cfg(unix)]
fn forget(map: &Mmap, offset: usize, length: usize) {
    // SAFETY: the map is of a file and never written to, so that a page that is given back holds
    // the same bytes when it comes again.
    #[allow(unsafe_code)]
    let given = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, length) };
    // Advice that is not taken costs memory, no answers.
    drop(given);
}

#[cfg(not(unix))]
fn forget(_: &Mmap, _: usize, _: usize) {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pages_that_were_given_back_hold_the_same_bytes() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
        file.write_all(&content).unwrap();
        let mapped = map(&file, content.len() as u64).unwrap();
        let piece = mapped.slice(100..30_000);
        assert_eq!(piece, content[100..30_000]);
        release_pages(&piece);
        release_pages(&Buffer::from_static(b"in no map"));
        assert_eq!(mapped, content);
    }
}
