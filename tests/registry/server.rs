//! A server that answers as a test wants it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }
}

/// What is answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// With more behind it, without end.
    pub(crate) endless: bool,
    /// Without its length.
    pub(crate) open: bool,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), endless: false, open: false }
    }

    pub(crate) fn ok(body: Vec<u8>) -> Self {
        Self { body, ..Self::status(200) }
    }

    /// Blanks without end and without a length.
    pub(crate) fn endless() -> Self {
        Self { endless: true, ..Self::status(200) }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

pub(crate) struct Server {
    address: String,
    seen: Seen,
}

impl Server {
    /// Starts one; it ends with the test program.
    pub(crate) fn start(answer: impl Fn(&Request, &str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Seen::default();
        let (own, log) = (address.clone(), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One answer a connection: nobody has to know when a connection is at its end.
                let Some(request) = read(&stream) else { continue };
                let asked = format!("{} {}", request.method, request.path);
                log.lock().unwrap().push((asked, request.header("authorization")));
                write(stream, &request, &answer(&request, &own));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(asked, _)| asked.clone()).collect()
    }

    pub(crate) fn authorizations(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().iter().map(|(_, authorization)| authorization.clone()).collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body).ok()?;
    Some(request)
}

/// A client that goes away early is what some tests are about.
fn write(mut stream: TcpStream, request: &Request, answer: &Answer) {
    let mut head = format!("HTTP/1.1 {} Answer\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer.endless && !answer.open && !answer.headers.iter().any(|(n, _)| n == "content-length") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    head += "\r\n";
    let _ = stream.write_all(head.as_bytes());
    if request.method != "HEAD" {
        let _ = stream.write_all(&answer.body);
    }
    let blanks = [b' '; 64 << 10];
    while answer.endless && stream.write_all(&blanks).is_ok() {}
}
