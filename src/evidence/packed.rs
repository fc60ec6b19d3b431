//! Packed data, unpacked while it is read and within bounds.

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

/// How data is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// not at all
    None,
    /// gzip, also in several members
    Gzip,
    /// zstd, also in several frames
    Zstd,
}

impl Packing {
    /// By the first bytes; media types lie.
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zstd,
            _ => Packing::None,
        }
    }
}

/// Unpacks whatever it is.
pub(super) fn unpacked<'r, R: BufRead + 'r>(mut source: R) -> io::Result<Box<dyn Read + 'r>> {
    let packing = Packing::of(source.fill_buf()?);
    Ok(match packing {
        Packing::None => Box::new(source),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Packing::Zstd => Box::new(Zstd { source, frame: FrameDecoder::new(), open: false }),
    })
}

/// How many bytes something may unpack to: a bound that grows with what was sent, so that time does too. Real layers
/// stay below a tenth of it.
pub(super) fn bound(packed: u64) -> u64 {
    packed.saturating_mul(200).max(256 << 20)
}

/// All frames of a zstd stream, skippable ones left out.
struct Zstd<R> {
    source: R,
    frame: FrameDecoder,
    open: bool,
}

impl<R: BufRead> Zstd<R> {
    /// Opens the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.frame.init(&mut self.source) {
                Ok(()) => {
                    self.open = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.open && !self.next_frame()? {
                return Ok(0);
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                self.frame
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let n = self.frame.read(buf)?;
            if n > 0 {
                return Ok(n);
            }
            self.open = false;
        }
    }
}

/// How much may pass.
#[derive(Debug)]
pub(super) struct Limit {
    /// in bytes, at least
    least: u64,
    /// Of what comes from elsewhere nobody knows the true size: what has come of it so far counts.
    packed: Option<Rc<Cell<u64>>>,
}

impl Limit {
    /// A bound that grows with what was received.
    pub(super) fn growing(least: u64, packed: Rc<Cell<u64>>) -> Self {
        Self { least, packed: Some(packed) }
    }

    /// In bytes, as it is now.
    pub(super) fn now(&self) -> u64 {
        self.packed.as_ref().map_or(0, |packed| bound(packed.get())).max(self.least)
    }
}

impl From<u64> for Limit {
    fn from(least: u64) -> Self {
        Self { least, packed: None }
    }
}

/// Counts what passes and stops at a bound.
pub(super) struct Metered<R> {
    inner: R,
    meter: Rc<Meter>,
}

/// The count of a [`Metered`] reader, shared with whoever sets its bounds.
#[derive(Debug)]
pub(super) struct Meter {
    passed: Cell<u64>,
    bound: Limit,
    /// A nearer bound, while something small is read.
    stop: Cell<u64>,
    exceeded: Cell<bool>,
}

impl Meter {
    /// What may pass before [`Meter::anything`] is called: headers of one entry, long names included.
    const HEADERS: u64 = 1 << 20;

    /// Only headers from here on.
    pub(super) fn headers(&self) {
        self.stop.set(self.passed.get().saturating_add(Self::HEADERS));
    }

    /// Anything from here on, up to the bound.
    pub(super) fn anything(&self) {
        self.stop.set(u64::MAX);
    }

    /// What may pass as a whole, in bytes.
    pub(super) fn bound(&self) -> u64 {
        self.bound.now()
    }

    /// Whether reading ended because of a bound.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.get()
    }
}

impl<R> Metered<R> {
    pub(super) fn new(inner: R, bound: impl Into<Limit>) -> (Self, Rc<Meter>) {
        let meter = Rc::new(Meter {
            passed: Cell::new(0),
            bound: bound.into(),
            stop: Cell::new(u64::MAX),
            exceeded: Cell::new(false),
        });
        (Self { inner, meter: Rc::clone(&meter) }, meter)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let passed = self.meter.passed.get();
        if passed >= self.meter.bound().min(self.meter.stop.get()) {
            self.meter.exceeded.set(true);
            return Err(io::Error::other("too much data"));
        }
        let n = self.inner.read(buf)?;
        self.meter.passed.set(passed + n as u64);
        Ok(n)
    }
}

/// Hashes what passes.
pub(super) struct Hashing<R> {
    inner: R,
    hash: Rc<std::cell::RefCell<Sha256>>,
    passed: Rc<Cell<u64>>,
}

impl<R: Read> Hashing<R> {
    /// The reader, and the hash that grows with it.
    pub(super) fn new(inner: R) -> (BufReader<Self>, Rc<std::cell::RefCell<Sha256>>) {
        let hash = Rc::new(std::cell::RefCell::new(Sha256::new()));
        let hashing = Self { inner, hash: Rc::clone(&hash), passed: Rc::default() };
        (BufReader::with_capacity(128 << 10, hashing), hash)
    }

    /// The number of bytes that have passed, which grows with them.
    pub(super) fn passed(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.passed)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.borrow_mut().update(buf.get(..n).unwrap_or_default());
        self.passed.set(self.passed.get() + n as u64);
        Ok(n)
    }
}

/// `sha256:` and the digest in hexadecimal.
pub(super) fn text(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(71);
    out.push_str("sha256:");
    for byte in hash {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
