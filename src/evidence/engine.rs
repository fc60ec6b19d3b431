//! An image of a running engine, as it saves it: the archive of `docker save`, asked for over the engine's socket
//! (Docker Engine API, `GET /images/{name}/get`). Nothing is started or changed there.

use crate::image::reference::Reference;
use std::io::{self, Read};
use std::path::PathBuf;

/// Where Docker's engine listens if nobody says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// Why an engine does not give an image.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// What is asked for cannot be an image.
    #[error("`{0}` is neither the name of an image nor an image ID")]
    Name(String),
    /// An address that is not a socket on this machine.
    #[error("the engine at {0} is not asked: only engines behind a socket on this machine are")]
    Host(String),
    /// Nobody listens, or may be asked.
    #[error("cannot reach the engine at {}: {message}", socket.display())]
    Unreachable {
        /// where
        socket: PathBuf,
        /// what the system said
        message: String,
    },
    /// It has no such image.
    #[error("the engine has no image `{0}`")]
    NotFound(String),
    /// It answers something else.
    #[error("the engine at {} answers {message}", socket.display())]
    Answer {
        /// where
        socket: PathBuf,
        /// what
        message: String,
    },
}

impl EngineError {
    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Host(_) => "pipe the image in: `docker save NAME | layerlint verify -`".to_owned(),
            Self::Unreachable { .. } => {
                "DOCKER_HOST says where an engine listens, as `unix:///PATH`; `docker context ls` shows it"
                    .to_owned()
            }
            Self::NotFound(_) => "`docker image ls` lists what it has; nothing is pulled here".to_owned(),
            Self::Name(_) | Self::Answer { .. } => return None,
        })
    }
}

/// Whether an engine may be asked for this: it becomes a part of an address.
fn is_name(name: &str) -> bool {
    let id = name.strip_prefix("sha256:").unwrap_or(name);
    let is_id = (12..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id || Reference::parse(name).is_some()
}

/// The socket that DOCKER_HOST names, or the one of Docker's engine.
fn socket() -> Result<PathBuf, EngineError> {
    match std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
            _ => Err(EngineError::Host(host)),
        },
        None => {
            let own = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("docker.sock"));
            // An engine without root listens there.
            let own = own.filter(|socket| socket.exists() && !PathBuf::from(SOCKET).exists());
            Ok(own.unwrap_or_else(|| PathBuf::from(SOCKET)))
        }
    }
}

/// Asks the engine for an image, and gives the archive as it comes.
pub fn save(name: &str) -> Result<impl Read, EngineError> {
    if !is_name(name) {
        return Err(EngineError::Name(name.to_owned()));
    }
    let socket = socket()?;
    let stream = connection::open(&socket).map_err(|e| EngineError::Unreachable {
        socket: socket.clone(),
        message: crate::source::reason(&e),
    })?;
    answer(stream, name, socket)
}

#[cfg(unix)]
mod connection {
    use std::io;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::time::Duration;

    /// How long an engine may be silent: it packs the whole image before it sends the first byte.
    const SILENCE: Duration = Duration::from_secs(15 * 60);

    pub(super) fn open(socket: &Path) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(stream)
    }
}

#[cfg(not(unix))]
mod connection {
    use std::io;
    use std::path::Path;

    pub(super) fn open(_: &Path) -> io::Result<std::net::TcpStream> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

/// Most bytes of the head of an answer.
const HEAD: usize = 64 << 10;
/// Most bytes of what is said about an error.
const MESSAGE: u64 = 64 << 10;

fn answer<S: Read + io::Write>(mut stream: S, name: &str, socket: PathBuf) -> Result<impl Read, EngineError> {
    let wrong = |message: String| EngineError::Answer { socket: socket.clone(), message };
    let broken = |e: io::Error| wrong(format!("nothing that could be read: {}", crate::source::reason(&e)));
    let agent = concat!("layerlint/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET /images/{name}/get HTTP/1.1\r\nHost: docker\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let (head, rest) = head(&mut stream).map_err(broken)?;
    let Some(head) = Head::parse(&head) else {
        return Err(wrong("in another language than HTTP".to_owned()));
    };
    // Sizes of chunks are read byte by byte.
    let stream = io::BufReader::with_capacity(64 << 10, stream);
    let mut body = Body::new(io::Cursor::new(rest).chain(stream), &head);
    if head.status == 200 {
        return Ok(body);
    }
    let mut said = Vec::new();
    // What cannot be read of it would not have been more than a remark.
    let _ = (&mut body).take(MESSAGE).read_to_end(&mut said);
    if head.status == 404 {
        return Err(EngineError::NotFound(name.to_owned()));
    }
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
    let said = said.get("message").and_then(serde_json::Value::as_str).unwrap_or_default();
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    Err(wrong(if said.is_empty() { head.status.to_string() } else { format!("{}: {said}", head.status) }))
}

/// The bytes up to the blank line, and those behind it that came along.
fn head(stream: &mut impl Read) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let from = bytes.len().saturating_sub(3);
        bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
        let new = bytes.get(from..).unwrap_or_default();
        if let Some(end) = bstr::ByteSlice::find(new, b"\r\n\r\n") {
            let rest = bytes.split_off(from + end + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > HEAD {
            return Err(io::Error::other("the head of its answer has no end"));
        }
    }
}

struct Head {
    status: u16,
    chunked: bool,
    length: Option<u64>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        if !response.parse(bytes).ok()?.is_complete() {
            return None;
        }
        let value = |name: &str| {
            let header = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        Some(Self {
            status: response.code?,
            chunked: value("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked")),
            length: value("content-length").and_then(|v| v.trim().parse().ok()),
        })
    }
}

/// What follows the head, to its end and no further. An end that comes too early is an error.
enum Body<S> {
    Chunked(Chunks<S>),
    Sized {
        stream: S,
        left: u64,
    },
    /// up to the end of the connection
    Open(S),
}

impl<S: Read> Body<S> {
    fn new(stream: S, head: &Head) -> Self {
        match head {
            Head { chunked: true, .. } => Body::Chunked(Chunks { stream, left: 0, first: true, over: false }),
            Head { length: Some(left), .. } => Body::Sized { stream, left: *left },
            _ => Body::Open(stream),
        }
    }
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Body::Chunked(chunks) => chunks.read(buf),
            Body::Open(stream) => stream.read(buf),
            Body::Sized { stream, left } => read_some(stream, left, buf),
        }
    }
}

/// Reads of something that has so many bytes left.
fn read_some(stream: &mut impl Read, left: &mut u64, buf: &mut [u8]) -> io::Result<usize> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
    let Some(buf) = buf.get_mut(..most).filter(|b| !b.is_empty()) else { return Ok(0) };
    match stream.read(buf)? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        n => {
            *left -= n as u64;
            Ok(n)
        }
    }
}

/// A body in chunks, each with its size before it and a line end behind it; an empty one is the last (RFC 9112, 7.1).
struct Chunks<S> {
    stream: S,
    left: u64,
    first: bool,
    over: bool,
}

impl<S: Read> Chunks<S> {
    /// Longest line with a size.
    const LINE: usize = 256;

    /// The size of the next chunk.
    fn size(&mut self) -> io::Result<u64> {
        let malformed =
            || io::Error::new(io::ErrorKind::InvalidData, "the answer is not in chunks as it says");
        if !self.first {
            let mut end = [0; 2];
            self.stream.read_exact(&mut end)?;
            if end != *b"\r\n" {
                return Err(malformed());
            }
        }
        self.first = false;
        let mut line = Vec::with_capacity(16);
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte)?;
            line.extend_from_slice(&byte);
            match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, size))) => return Ok(size),
                Ok(httparse::Status::Partial) if line.len() < Self::LINE => {}
                _ => return Err(malformed()),
            }
        }
    }
}

impl<S: Read> Read for Chunks<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.over {
            self.left = self.size()?;
            self.over = self.left == 0;
        }
        read_some(&mut self.stream, &mut self.left, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that says this, whatever it is asked, in pieces of that size.
    struct Says {
        bytes: Vec<u8>,
        piece: usize,
        asked: Vec<u8>,
    }

    impl Read for Says {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(self.piece).min(self.bytes.len());
            buf[..n].copy_from_slice(&self.bytes[..n]);
            self.bytes.drain(..n);
            Ok(n)
        }
    }

    impl io::Write for Says {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.asked.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn body(said: &str, piece: usize) -> Result<String, String> {
        let says = Says { bytes: said.into(), piece, asked: Vec::new() };
        let mut reader = answer(says, "app:1", PathBuf::from("/sock")).map_err(|e| e.to_string())?;
        let mut out = String::new();
        reader.read_to_string(&mut out).map_err(|e| format!("after {out:?}: {:?}", e.kind()))?;
        Ok(out)
    }

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        for piece in [1, 3, 4096] {
            let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n2;x=y\r\nef\r\n0\r\n\r\nrest";
            assert_eq!(body(chunked, piece).as_deref(), Ok("abcdef"));
            let sized = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef";
            assert_eq!(body(sized, piece).as_deref(), Ok("abc"));
            assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nabc", piece).as_deref(), Ok("abc"));
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_no_answer() {
        assert!(body("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabcd", 8).is_err());
        assert!(body("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n", 8).is_err());
        assert!(body("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabcd", 8).is_err());
        assert!(body("HTTP/1.1 200 OK\r\ncontent", 8).is_err());
        assert!(body("", 8).is_err());
    }

    #[test]
    fn what_an_engine_refuses_is_told() {
        let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(body(missing, 64).unwrap_err(), "the engine has no image `app:1`");
        let failed = "HTTP/1.1 500 Oh\r\n\r\n{\"message\":\"no \\u001b[2Jspace\"}";
        assert_eq!(body(failed, 64).unwrap_err(), "the engine at /sock answers 500: no [2Jspace");
        assert_eq!(
            body("SSH-2.0\r\n\r\n", 64).unwrap_err(),
            "the engine at /sock answers in another language than HTTP"
        );
        assert!(body(&"x".repeat(1 << 20), 4096).unwrap_err().contains("has no end"));
    }

    #[test]
    fn only_names_of_images_become_addresses() {
        for name in [
            "app",
            "team/app:1.0",
            "localhost:5000/app@sha256:0123456789abcdef0123456789abcdef",
            "0123456789ab",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "../containers/json?", "a b", "app HTTP/1.1\r\nX: y", "app?x=1", "app#x", "-x"] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
