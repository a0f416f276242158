//! Takes the libraries out of a wheel, each checked against the wheel's own record.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use onnxfit_base::Bytes;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::InstallError;

/// Most bytes that one wheel's libraries may unpack to.
const UNPACKED_BYTES_MAX: Bytes = Bytes::gib(8);
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256_of(path: &Path) -> Result<String, InstallError> {
    let read = || {
        let mut hasher = Hashing { inner: io::sink(), hasher: Sha256::new() };
        io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(hasher.hasher.finalize())
    };
    let digest = read().map_err(|error| InstallError::io(path, error))?;
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Unpacks the libraries and licence texts of a wheel into a folder, flat. Returns the main
/// library's name and every file's.
pub(super) fn unpack_libraries(wheel: &Path, folder: &Path) -> Result<(String, Vec<String>), InstallError> {
    let wheel_name = wheel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let refuse = |reason: String| InstallError::Wheel { wheel: wheel_name.clone(), reason };
    let file = File::open(wheel).map_err(|error| InstallError::io(wheel, error))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| refuse(error.to_string()))?;
    let record = read_record(&mut archive).map_err(&refuse)?;

    let mut kept: Vec<String> = Vec::new();
    let mut unpacked = Bytes::ZERO;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(|error| refuse(error.to_string()))?;
        let path = entry.name().map_err(|error| refuse(error.to_string()))?.into_owned();
        let Some(name) = wanted(&path) else { continue };
        if kept.iter().any(|known| known == name) {
            return Err(refuse(format!("it holds `{name}` twice")));
        }
        unpacked = unpacked.checked_add(Bytes(entry.size())).unwrap_or(Bytes(u64::MAX));
        if unpacked > UNPACKED_BYTES_MAX {
            return Err(refuse(format!("its libraries are larger than {UNPACKED_BYTES_MAX}")));
        }
        let want = record.get(&path).ok_or_else(|| refuse(format!("its record has no hash of `{path}`")))?;
        let target = folder.join(name);
        let size = entry.size();
        let have = unpack(&mut entry.by_ref().take(size), &target).map_err(|error| match error.kind() {
            // A checksum or a compressed stream that is wrong, not the disk.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
                refuse(format!("`{path}`: {error}"))
            }
            _ => InstallError::io(&target, error),
        })?;
        if have != *want {
            return Err(refuse(format!("`{path}` does not have the hash that its record says")));
        }
        kept.push(name.to_owned());
    }
    kept.sort();
    let library = kept.iter().find(|name| is_main_library(name)).cloned();
    let library = library.ok_or_else(|| refuse("it holds no ONNX Runtime library".to_owned()))?;
    Ok((library, kept))
}

/// The file name to keep, for the libraries and the licence texts that must go with them.
fn wanted(path: &str) -> Option<&str> {
    if let Some(name) = path.strip_prefix("onnxruntime/capi/") {
        let library = (name.starts_with("libonnxruntime") && (name.contains(".so") || name.ends_with(".dylib")))
            || (name.starts_with("onnxruntime") && name.ends_with(".dll"));
        return (library && !name.contains(['/', '\\'])).then_some(name);
    }
    let name = path.strip_prefix("onnxruntime/")?;
    matches!(name, "LICENSE" | "ThirdPartyNotices.txt").then_some(name)
}

fn is_main_library(name: &str) -> bool {
    !name.contains("providers")
        && (name.starts_with("libonnxruntime.so") || name.ends_with(".dylib") || name == "onnxruntime.dll")
}

/// `path,sha256=HASH,SIZE` lines of the wheel's RECORD, by path; the hash is base64 without padding.
fn read_record(archive: &mut ZipArchive<BufReader<File>>) -> Result<BTreeMap<String, String>, String> {
    let names: Vec<String> =
        archive.file_names().map(|name| name.map(|name| name.into_owned()).unwrap_or_default()).collect();
    let name = names.iter().find(|name| name.ends_with(".dist-info/RECORD")).ok_or("it has no record of its files")?;
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    let mut text = String::new();
    entry.take(RECORD_BYTES_MAX).read_to_string(&mut text).map_err(|error| format!("its record: {error}"))?;
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.rsplitn(3, ',');
        let (_, hash, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((path.trim_matches('"').to_owned(), hash.strip_prefix("sha256=")?.to_owned()))
    });
    Ok(lines.collect())
}

fn unpack(reader: &mut impl Read, target: &Path) -> io::Result<String> {
    let mut writer = Hashing { inner: fs::File::create_new(target)?, hasher: Sha256::new() };
    io::copy(reader, &mut writer)?;
    writer.flush()?;
    Ok(base64_url(&writer.hasher.finalize()))
}

/// Passes bytes on and hashes them.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Base64 in the URL alphabet without padding (RFC 4648, section 5), as RECORD writes hashes.
pub(super) fn base64_url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0u32, |group, (at, byte)| group | u32::from(*byte) << (16 - 8 * at));
        for at in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * at) & 63) as usize]));
        }
    }
    text
}
