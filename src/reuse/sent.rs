//! How many bytes a builder receives when it asks for a build context.
//!
//! The client lists every file that it would send, and the builder asks for the content of those whose size, mode or
//! time it does not know yet. Both are counted in `transferring context: N` (`util/types/{stat,wire}.proto`, `send.go`
//! and `receive.go` of fsutil), so the number tells whether a file can have been among them.

use crate::context::{Entry, EntryKind, View};

/// The end of a transfer.
pub const END: u64 = 2;
/// Bytes of the shortest entry of the list for a file that is not empty, without its path.
pub const LEAST_HEADER: u64 = 19;
/// Bytes of the shortest content that is sent: a packet with one byte, and one that ends it.
pub const LEAST_CONTENT: u64 = 7;

/// Bytes of a variable-length number.
fn number(value: u64) -> u64 {
    let bits = 64 - u64::from(value.max(1).leading_zeros());
    bits.div_ceil(7)
}

/// Bytes of a field with a text or message of that length; none for an empty one.
fn field(length: u64) -> u64 {
    if length == 0 { 0 } else { 1 + number(length) + length }
}

/// Bytes of an entry of the list. Extended attributes are not counted, so it can be more.
pub fn header(entry: &Entry) -> u64 {
    let special = |bits: u32, bit: u32, flag: u64| if bits & bit == 0 { 0 } else { flag };
    let mut mode = u64::from(entry.mode & 0o777)
        | special(entry.mode, 0o4000, 1 << 23)
        | special(entry.mode, 0o2000, 1 << 22)
        | special(entry.mode, 0o1000, 1 << 20);
    let mut link = 0;
    let mut size = entry.size;
    match &entry.kind {
        EntryKind::Dir => {
            mode |= 1 << 31;
            size = 0;
        }
        EntryKind::Symlink { target } => {
            mode |= 1 << 27;
            link = target.len() as u64;
            size = link;
        }
        EntryKind::Fifo => mode |= 1 << 25,
        EntryKind::CharDevice { .. } => mode |= 1 << 26 | 1 << 21,
        EntryKind::BlockDevice { .. } => mode |= 1 << 26,
        EntryKind::File | EntryKind::Socket => {}
    }
    let plain = |value: u64| if value == 0 { 0 } else { 1 + number(value) };
    let time = u64::try_from(entry.mtime_ns).map_or(11, plain);
    field(field(entry.path.len() as u64) + plain(mode) + plain(size) + time + field(link))
}

/// Bytes of the list alone: what is transferred if the builder asks for no content at all.
pub fn list(view: &View<'_>) -> u64 {
    END + view.entries().map(header).sum::<u64>()
}

/// The fewest bytes that the content of a file takes on its way.
pub fn content(size: u64) -> u64 {
    if size == 0 { END } else { size + LEAST_CONTENT - 1 }
}
