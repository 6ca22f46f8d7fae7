//! HTTP as it is on the wire: requests that a polite client would not let us make.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::{Device, PATIENCE, Running};

/// An answer.
pub struct Answer {
    pub status: u16,
    /// The lines before the body, in small letters.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the body, which is text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Snapshots by WebDAV, for as long as a test needs them.
pub struct Share {
    command: Running,
    pub port: u16,
    pub secret: String,
}

impl Share {
    /// Opens one with these flags beside `--webdav`.
    pub fn new(device: &Device, flags: &[&str]) -> Self {
        let mut command = device.spawn(&[&["mount", "--webdav"], flags].concat());
        let line: Value = serde_json::from_str(&command.line()).unwrap();
        let address = line["address"].as_str().unwrap().to_owned();
        let place = address.strip_prefix("http://127.0.0.1:").unwrap();
        let (port, secret) = place.split_once('/').unwrap();
        Self {
            command,
            port: port.parse().unwrap(),
            secret: secret.trim_end_matches('/').to_owned(),
        }
    }

    /// Asks for something in the share, as whoever has the address.
    pub fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let host = format!("Host: 127.0.0.1:{}\r\n", self.port);
        let path = format!("/{}/{path}", self.secret);
        ask(self.port, method, &path, &format!("{host}{headers}"))
    }

    pub fn end(self) {
        self.command.interrupt();
        self.command.output();
    }
}

/// Asks for something on a port of this machine; `headers` are whole lines, the one with the host too.
pub fn ask(port: u16, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = answer.split_off(end + 4);
    if head.contains("transfer-encoding: chunked") {
        body = joined(&body);
    }
    Answer { status, head, body }
}

/// Puts together a body that came in chunks.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n").unwrap();
        let length = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
}
