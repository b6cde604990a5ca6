//! What the header fields of a request mean for the connection: where the body ends, whether the connection is kept,
//! whether the client waits for 100.

use super::headers::{Headers, members};
use super::target::is_host;
use super::{Rejection, Version, is_token, quoted};

/// How the end of a request's body is known (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes; 0 when neither field was sent.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
}

impl Default for Framing {
    fn default() -> Framing {
        Framing::Length(0)
    }
}

/// What the fields of one request say about its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) upgrade: bool,
}

/// Reads all fields that matter to the connection in one pass.
pub(super) fn meaning(
    method: &str,
    version: Version,
    headers: &Headers,
    max_body: u64,
) -> Result<Meaning, Rejection> {
    let mut seen = Seen::default();
    for (name, value) in headers.iter() {
        seen.take(name, value)?;
    }
    seen.check_host(version)?;
    let framing = seen.framing(version, max_body)?;
    if method == "CONNECT" && framing != Framing::Length(0) {
        return Err(Rejection::bad("a CONNECT request has no body"));
    }
    let http11 = version >= Version::Http11;
    Ok(Meaning {
        framing,
        keep_alive: !seen.close && (http11 || seen.keep_alive),
        // Both are ignored in HTTP/1.0 (RFC 9110, sections 10.1.1 and 7.8).
        expects_continue: seen.expects(http11)?,
        upgrade: http11 && seen.upgrade && seen.connection_upgrade,
    })
}

/// The fields that matter, as they come.
#[derive(Default)]
struct Seen {
    hosts: usize,
    length: Option<u64>,
    length_too_large: bool,
    coded: bool,
    chunked: bool,
    unknown_coding: Option<String>,
    after_chunked: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
    continues: bool,
    unknown_expectation: Option<String>,
}

impl Seen {
    fn take(&mut self, name: &str, value: &str) -> Result<(), Rejection> {
        // The length of the name rules out nearly every field before its letters are compared.
        match name.len() {
            4 if name.eq_ignore_ascii_case("Host") => self.host(value)?,
            6 if name.eq_ignore_ascii_case("Expect") => self.expect(value),
            7 if name.eq_ignore_ascii_case("Upgrade") => self.upgrade = !value.is_empty(),
            10 if name.eq_ignore_ascii_case("Connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case("Content-Length") => self.content_length(value)?,
            17 if name.eq_ignore_ascii_case("Transfer-Encoding") => {
                self.transfer_encoding(value)?
            }
            _ => {}
        }
        Ok(())
    }

    fn host(&mut self, value: &str) -> Result<(), Rejection> {
        self.hosts += 1;
        if is_host(value) {
            return Ok(());
        }
        let value = quoted(value.as_bytes());
        Err(Rejection::bad(format!(
            "the Host field {value} is not a host and port"
        )))
    }

    fn connection(&mut self, value: &str) {
        for member in members(value) {
            self.close |= member.eq_ignore_ascii_case("close");
            self.keep_alive |= member.eq_ignore_ascii_case("keep-alive");
            self.connection_upgrade |= member.eq_ignore_ascii_case("upgrade");
        }
    }

    fn expect(&mut self, value: &str) {
        for member in members(value) {
            if member.eq_ignore_ascii_case("100-continue") {
                self.continues = true;
            } else {
                self.unknown_expectation
                    .get_or_insert_with(|| quoted(member.as_bytes()));
            }
        }
    }

    /// Takes one Content-Length field. A list of equal values is one value (RFC 9110, section 8.6).
    fn content_length(&mut self, value: &str) -> Result<(), Rejection> {
        for member in value.split(',') {
            let digits = member.trim_matches([' ', '\t']);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                let value = quoted(value.as_bytes());
                return Err(Rejection::bad(format!(
                    "the Content-Length {value} is not a number"
                )));
            }
            // Digits alone fail to parse only when they are too many.
            let length = digits.parse::<u64>().unwrap_or_else(|_| {
                self.length_too_large = true;
                u64::MAX
            });
            if self.length.is_some_and(|before| before != length) {
                return Err(Rejection::bad("the Content-Lengths differ"));
            }
            self.length = Some(length);
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &str) -> Result<(), Rejection> {
        self.coded = true;
        for coding in members(value) {
            self.after_chunked |= self.chunked;
            if coding.eq_ignore_ascii_case("chunked") {
                self.chunked = true;
            } else if self.unknown_coding.is_none() {
                let name = coding.split(';').next().unwrap_or_default();
                if !is_token(name.trim_matches([' ', '\t'])) {
                    let coding = quoted(coding.as_bytes());
                    return Err(Rejection::bad(format!(
                        "the transfer coding {coding} is malformed"
                    )));
                }
                self.unknown_coding = Some(quoted(coding.as_bytes()));
            }
        }
        Ok(())
    }

    fn check_host(&self, version: Version) -> Result<(), Rejection> {
        match (self.hosts, version) {
            (0, Version::Http11) => {
                Err(Rejection::bad("an HTTP/1.1 request must have a Host field"))
            }
            (0 | 1, _) => Ok(()),
            (hosts, _) => Err(Rejection::bad(format!(
                "the request has {hosts} Host fields"
            ))),
        }
    }

    fn framing(&self, version: Version, max_body: u64) -> Result<Framing, Rejection> {
        if self.coded {
            return self.coded_framing(version);
        }
        let length = self.length.unwrap_or(0);
        if self.length_too_large || length > max_body {
            let announced = if self.length_too_large {
                "more than 2^64".into()
            } else {
                length.to_string()
            };
            let reason = format!(
                "a body of {announced} bytes is announced, the limit is {max_body} (builder().max_body)"
            );
            return Err(Rejection::new(413, reason));
        }
        Ok(Framing::Length(length))
    }

    /// The framing when there is a Transfer-Encoding (RFC 9112, sections 6.1 and 6.3).
    fn coded_framing(&self, version: Version) -> Result<Framing, Rejection> {
        if self.length.is_some() {
            return Err(Rejection::bad(
                "the request has both Content-Length and Transfer-Encoding",
            ));
        }
        if version == Version::Http10 {
            return Err(Rejection::bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        if !self.chunked || self.after_chunked {
            return Err(Rejection::bad(
                "the last transfer coding must be chunked, once",
            ));
        }
        match &self.unknown_coding {
            Some(coding) => Err(Rejection::new(
                501,
                format!("the transfer coding {coding} is unknown"),
            )),
            None => Ok(Framing::Chunked),
        }
    }

    fn expects(&self, http11: bool) -> Result<bool, Rejection> {
        match &self.unknown_expectation {
            Some(expectation) if http11 => {
                let reason = format!("the expectation {expectation} is unknown");
                Err(Rejection::new(417, reason))
            }
            _ => Ok(http11 && self.continues),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(version: Version, fields: &[(&str, &str)]) -> Result<Meaning, u16> {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value).unwrap();
        }
        meaning("POST", version, &headers, 1000).map_err(|rejection| rejection.status)
    }

    fn framed(fields: &[(&str, &str)]) -> Result<Framing, u16> {
        let fields: Vec<_> = [("Host", "h")].iter().chain(fields).copied().collect();
        judged(Version::Http11, &fields).map(|meaning| meaning.framing)
    }

    #[test]
    fn content_lengths() {
        let cl = "Content-Length";
        assert_eq!(framed(&[]), Ok(Framing::Length(0)));
        assert_eq!(framed(&[(cl, "0")]), Ok(Framing::Length(0)));
        assert_eq!(
            framed(&[("content-length", "0012")]),
            Ok(Framing::Length(12))
        );
        assert_eq!(framed(&[(cl, "5, 5")]), Ok(Framing::Length(5)));
        assert_eq!(framed(&[(cl, "5"), (cl, "5")]), Ok(Framing::Length(5)));
        assert_eq!(framed(&[(cl, "1000")]), Ok(Framing::Length(1000)));
        assert_eq!(framed(&[(cl, "1001")]), Err(413));
        assert_eq!(framed(&[(cl, "18446744073709551616")]), Err(413));
        for bad in [
            "", "+5", "-5", "5 5", "0x5", "5,", ",5", "5;", "5, 6", "five", "5.0",
        ] {
            assert_eq!(framed(&[(cl, bad)]), Err(400), "{bad:?}");
        }
        assert_eq!(framed(&[(cl, "5"), (cl, "6")]), Err(400));
        assert_eq!(framed(&[(cl, "18446744073709551616"), (cl, "6")]), Err(400));
    }

    #[test]
    fn transfer_encodings() {
        let te = "Transfer-Encoding";
        assert_eq!(framed(&[(te, "chunked")]), Ok(Framing::Chunked));
        assert_eq!(framed(&[(te, "CHUNKED")]), Ok(Framing::Chunked));
        assert_eq!(framed(&[(te, ", chunked ,")]), Ok(Framing::Chunked));
        for unknown in ["gzip, chunked", "foo;a=b,chunked", "identity, chunked"] {
            assert_eq!(framed(&[(te, unknown)]), Err(501), "{unknown}");
        }
        for bad in [
            "",
            "gzip",
            "identity",
            "chunked, gzip",
            "chunked, chunked",
            "chunked;q=1",
            "xchunked",
            "\"chunked\"",
            "a b, chunked",
        ] {
            assert_eq!(framed(&[(te, bad)]), Err(400), "{bad}");
        }
        assert_eq!(framed(&[(te, "gzip"), (te, "chunked")]), Err(501));
        assert_eq!(framed(&[(te, "chunked"), (te, "chunked")]), Err(400));
        assert_eq!(
            framed(&[(te, "chunked"), ("Content-Length", "5")]),
            Err(400)
        );
        assert_eq!(
            framed(&[("Content-Length", "5"), (te, "gzip, chunked")]),
            Err(400)
        );
        let fields = [("Host", "h"), (te, "chunked")];
        assert_eq!(judged(Version::Http10, &fields), Err(400));
    }

    #[test]
    fn names_of_the_same_length_mean_nothing() {
        let fields = [
            ("Host", "h"),
            ("Date", "a b"),
            ("Accept", "*/*"),
            ("Referer", "x"),
            ("User-Agent", "close, upgrade"),
            ("Accept-Charset", "x"),
            ("If-Modified-Since", "x"),
        ];
        let plain = judged(Version::Http11, &fields[..1]);
        assert_eq!(judged(Version::Http11, &fields), plain);
        assert!(plain.is_ok());
    }

    #[test]
    fn hosts() {
        assert_eq!(judged(Version::Http11, &[]), Err(400));
        assert!(judged(Version::Http10, &[]).is_ok());
        assert!(judged(Version::Http11, &[("hOST", "")]).is_ok());
        for version in [Version::Http10, Version::Http11] {
            assert_eq!(judged(version, &[("Host", "h"), ("Host", "h")]), Err(400));
            assert_eq!(judged(version, &[("Host", "h h")]), Err(400));
        }
    }

    #[test]
    fn connections_are_kept_as_the_version_has_it() {
        let kept = |version, value| {
            let fields = [("Host", "h"), ("Connection", value)];
            judged(version, &fields).unwrap().keep_alive
        };
        assert!(kept(Version::Http11, ""));
        assert!(!kept(Version::Http11, "x, Close"));
        assert!(!kept(Version::Http11, "keep-alive, close"));
        assert!(!kept(Version::Http10, ""));
        assert!(kept(Version::Http10, "Keep-Alive"));
    }

    #[test]
    fn expectations() {
        let expects = |version, value| {
            let fields = [("Host", "h"), ("Expect", value)];
            judged(version, &fields).map(|meaning| meaning.expects_continue)
        };
        assert_eq!(expects(Version::Http11, "100-Continue"), Ok(true));
        assert_eq!(expects(Version::Http11, "100-continue, more"), Err(417));
        assert_eq!(expects(Version::Http11, "200-ok"), Err(417));
        assert_eq!(expects(Version::Http10, "100-continue"), Ok(false));
        assert_eq!(expects(Version::Http10, "200-ok"), Ok(false));
    }

    #[test]
    fn an_upgrade_takes_both_fields_and_the_version() {
        let upgrade = |version, connection| {
            let fields = [
                ("Host", "h"),
                ("Upgrade", "echo"),
                ("Connection", connection),
            ];
            judged(version, &fields).unwrap().upgrade
        };
        assert!(upgrade(Version::Http11, "keep-alive, Upgrade"));
        assert!(!upgrade(Version::Http11, "keep-alive"));
        assert!(!upgrade(Version::Http10, "Upgrade"));
    }

    #[test]
    fn a_connect_request_has_no_body() {
        let mut headers = Headers::new();
        headers.append("Host", "h:1").unwrap();
        headers.append("Content-Length", "0").unwrap();
        assert!(meaning("CONNECT", Version::Http11, &headers, 9).is_ok());
        headers = Headers::new();
        headers.append("Host", "h:1").unwrap();
        headers.append("Content-Length", "1").unwrap();
        let rejection = meaning("CONNECT", Version::Http11, &headers, 9).unwrap_err();
        assert_eq!(rejection.status, 400);
    }

    /// A length, or a list of equal ones, each of which fits.
    fn length_slowly(value: &str) -> Result<Framing, u16> {
        let mut lengths = value.split(',').map(|member| {
            let digits: String = member.trim_matches([' ', '\t']).into();
            let is_number =
                !digits.is_empty() && digits.chars().all(|digit| "0123456789".contains(digit));
            is_number.then(|| digits.parse::<u128>().unwrap())
        });
        let first = lengths.next().flatten().ok_or(400u16)?;
        if lengths.any(|next| next != Some(first)) {
            return Err(400);
        }
        match u64::try_from(first) {
            Ok(length @ ..=1000) => Ok(Framing::Length(length)),
            _ => Err(413),
        }
    }

    proptest! {
        #[test]
        fn any_fields_have_a_meaning_or_are_refused(
            method in prop_oneof![Just("GET"), Just("CONNECT")], is_new in any::<bool>(),
            fields in proptest::collection::vec((
                prop_oneof![
                    Just("Host"), Just("Expect"), Just("Upgrade"), Just("Connection"), Just("Content-Length"),
                    Just("Transfer-Encoding"), Just("X-Other"),
                ],
                prop_oneof!["[a0-9,;: é\"]{0,8}", "(chunked|close|upgrade|gzip|100-continue|[, ]){0,4}", ".{0,20}"],
            ), 0..5),
        ) {
            let mut headers = Headers::new();
            for (name, value) in &fields {
                // Values with control characters do not get so far.
                let _ = headers.append(name, value);
            }
            let version = if is_new { Version::Http11 } else { Version::Http10 };
            match meaning(method, version, &headers, 1000) {
                Ok(meaning) => {
                    let coded = headers.contains("Transfer-Encoding");
                    prop_assert_eq!(meaning.framing == Framing::Chunked, coded);
                    prop_assert!(headers.get_all("Host").count() <= 1 && headers.get("Host").is_none_or(is_host));
                    prop_assert!(is_new || !meaning.upgrade && !meaning.expects_continue);
                    prop_assert!(!(meaning.keep_alive && headers.lists("Connection", "close")));
                }
                Err(rejection) => {
                    prop_assert!(matches!(rejection.status, 400 | 413 | 417 | 501), "{}", rejection.status);
                }
            }
        }

        #[test]
        fn lengths_are_read_as_slowly(
            value in prop_oneof!["[0-9]{0,22}", "(0{0,2}(7|1000|1001)[ \t]?,?){1,3}", "[0-9, \t+x]{0,6}"],
        ) {
            prop_assume!(!value.contains('\t') || Headers::new().append("X", &value).is_ok());
            prop_assert_eq!(framed(&[("Content-Length", &value)]), length_slowly(&value), "{:?}", value);
        }
    }
}
