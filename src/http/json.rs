//! JSON in and out.

use std::io;

use serde::{Deserialize, Serialize};

use super::request::Request;
use super::response::Response;
use crate::connection::quoted;
use crate::deadline::prose;

impl Request {
    /// The body as JSON, whatever its Content-Type (feature `json`).
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// # use std::io::Write;
    /// # use loopback::TestHttpServer;
    /// # let server = TestHttpServer::sink("127.0.0.1:0")?;
    /// # let mut client = std::net::TcpStream::connect(server.local_addr())?;
    /// client.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n{\"cups\": [1, 2]}")?;
    /// let request = server.take_request(std::time::Duration::from_secs(1))?;
    /// let order: BTreeMap<&str, Vec<u32>> = request.json()?;
    /// assert_eq!(order["cups"], [1, 2]);
    /// assert!(request.json::<bool>().is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidData` where it is no JSON, or not that of a `T`; the error shows what it is.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> io::Result<T> {
        let body = self.body();
        serde_json::from_slice(body).map_err(|error| {
            let (method, target) = (self.method(), self.target());
            let what = quoted(body, 64);
            let cut = match self.body_size() - body.len() as u64 {
                0 => String::new(),
                more => format!(", {more} more bytes were not kept (builder().keep_body)"),
            };
            let why = format!("the body of {method} {target} is not the JSON that is wanted: {error}; it is {what}{cut}");
            prose(io::ErrorKind::InvalidData, why)
        })
    }
}

impl Response {
    /// 200 with a body that is this value as JSON (feature `json`). A value that cannot be written, such as a map whose
    /// keys are no text, makes the response a failure of the handler.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use loopback::{Response, TestHttpServer};
    ///
    /// let stock = BTreeMap::from([("green", 3), ("black", 5)]);
    /// let server = TestHttpServer::fixed("127.0.0.1:0", Response::json(&stock))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn json(value: &(impl Serialize + ?Sized)) -> Response {
        match serde_json::to_string(value) {
            Ok(text) => Response::json_text(text),
            Err(error) => {
                let mut response = Response::json_text("");
                response.refuse(format!("the value cannot be written as JSON: {error}"));
                response
            }
        }
    }
}
