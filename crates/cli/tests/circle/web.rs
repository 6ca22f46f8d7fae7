//! HTTP as it is on the wire: requests that a polite client would not let us make.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::PATIENCE;

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
