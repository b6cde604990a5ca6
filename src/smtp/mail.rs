//! A message's content: header fields, text, HTML and attachments.

use std::fmt;

use mailparse::{DispositionType, ParsedMail};

/// What is in a message, decoded (RFC 5322, MIME).
///
/// What cannot be decoded as it claims to be is left out or kept as it came; [`defect`](Mail::defect)
/// tells when the message could not be read at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    headers: Vec<(String, String)>,
    text: Option<String>,
    html: Option<String>,
    attachments: Vec<Attachment>,
    defect: Option<String>,
}

/// A part of a message that is neither its text nor its HTML.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    file_name: Option<String>,
    content_type: String,
    content: Vec<u8>,
}

impl Mail {
    /// Reads a message as it came, without the dots that DATA adds.
    pub(crate) fn parse(raw: &[u8]) -> Mail {
        let mut mail = Mail::default();
        match mailparse::parse_mail(raw) {
            Ok(parsed) => mail.read(&parsed),
            Err(error) => mail.defect = Some(error.to_string()),
        }
        mail
    }

    /// The first header field called `name`, in any case, with encoded words decoded.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    /// All header fields in their order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The subject.
    pub fn subject(&self) -> Option<&str> {
        self.header("Subject")
    }

    /// The first part of type `text/plain` that is no attachment, decoded.
    ///
    /// Its line ends are CRLF, as they came. The text of a message without parts ends in one, for DATA
    /// takes whole lines: `At one.` is `"At one.\r\n"` here. That of a part does not, for the line end
    /// before a boundary belongs to the boundary (RFC 2046 section 5.1.1). Compare
    /// `text().map(str::trim_end)` where it does not matter.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The first part of type `text/html` that is no attachment, decoded; its end is as that of
    /// [`text`](Mail::text).
    pub fn html(&self) -> Option<&str> {
        self.html.as_deref()
    }

    /// All other parts, in their order; images within the HTML are among them.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Why the message could not be read, if so; then there is nothing else here.
    pub fn defect(&self) -> Option<&str> {
        self.defect.as_deref()
    }

    fn read(&mut self, parsed: &ParsedMail<'_>) {
        let fields = parsed.headers.iter();
        self.headers = fields
            .map(|field| (field.get_key(), field.get_value()))
            .collect();
        for part in parsed.parts().filter(|part| part.subparts.is_empty()) {
            self.part(part);
        }
    }

    fn part(&mut self, part: &ParsedMail<'_>) {
        let content_type = part.ctype.mimetype.as_str();
        if content_type.starts_with("multipart/") {
            return;
        }
        let disposition = part.get_content_disposition();
        let name = disposition.params.get("filename");
        let file_name = name.or_else(|| part.ctype.params.get("name")).cloned();
        let attached =
            disposition.disposition == DispositionType::Attachment || file_name.is_some();
        let slot = match content_type {
            "text/plain" if !attached => Some(&mut self.text),
            "text/html" if !attached => Some(&mut self.html),
            _ => None,
        };
        if let Some(slot) = slot
            && slot.is_none()
            && let Ok(text) = part.get_body()
        {
            *slot = Some(text);
            return;
        }
        let content = part.get_body_raw();
        self.attachments.push(Attachment {
            file_name,
            content_type: content_type.to_owned(),
            content: content.unwrap_or_else(|_| part.raw_bytes.to_vec()),
        });
    }
}

impl Attachment {
    /// The name of the file it was, when it has one.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Its MIME type in lower case, as `image/png`.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Its octets, decoded.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("file_name", &self.file_name)
            .field("content_type", &self.content_type)
            .field("octets", &self.content.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LETTER: &str = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
        To: bob@example.com\r\n\
        Content-Type: multipart/mixed; boundary=outer\r\n\r\n\
        --outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n\
        --inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHall=C3=B6\r\n\
        --inner\r\nContent-Type: text/html\r\n\r\n<p>Hi</p>\r\n--inner--\r\n\
        --outer\r\nContent-Type: text/plain; name=notes.txt\r\n\r\nnotes\r\n\
        --outer\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n<p>page</p>\r\n\
        --outer\r\nContent-Type: Application/Octet-Stream\r\nContent-Disposition: attachment; filename=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n\
        --outer--\r\n";

    #[test]
    fn a_letter_with_everything() {
        let mail = Mail::parse(LETTER.as_bytes());
        assert_eq!(mail.subject(), Some("Grüße"));
        assert_eq!(mail.header("TO"), Some("bob@example.com"));
        assert_eq!(mail.headers().len(), 3);
        assert_eq!(mail.text(), Some("Hallö"));
        assert_eq!(mail.html(), Some("<p>Hi</p>"));
        let names: Vec<_> = mail
            .attachments()
            .iter()
            .map(Attachment::file_name)
            .collect();
        assert_eq!(names, [Some("notes.txt"), None, Some("a.bin")]);
        assert_eq!(mail.attachments()[2].content(), [0, 1, 2]);
        assert_eq!(
            mail.attachments()[2].content_type(),
            "application/octet-stream"
        );
        assert_eq!(mail.defect(), None);
    }

    #[test]
    fn a_plain_letter_and_no_letter() {
        let mail = Mail::parse(b"Subject: x\r\n\r\nhello\r\n");
        assert_eq!(
            (mail.subject(), mail.text()),
            (Some("x"), Some("hello\r\n"))
        );
        assert_eq!(Mail::parse(b"").subject(), None);
    }

    #[test]
    fn an_attached_text_is_not_the_text() {
        for kind in ["text/plain", "text/html"] {
            let letter =
                format!("Content-Type: {kind}\r\nContent-Disposition: attachment\r\n\r\nx\r\n");
            let mail = Mail::parse(letter.as_bytes());
            assert_eq!((mail.text(), mail.html()), (None, None));
            assert_eq!(mail.attachments()[0].content_type(), kind);
        }
    }

    #[test]
    fn content_that_is_not_what_it_claims_is_kept() {
        let mail = Mail::parse(
            b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n",
        );
        assert_eq!(mail.text(), None);
        assert_eq!(mail.attachments().len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in any::<Vec<u8>>(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            Mail::parse(&bytes);
            let mut letter = LETTER.as_bytes().to_vec();
            let at = at.index(letter.len());
            letter[at] = byte;
            Mail::parse(&letter);
            Mail::parse(&LETTER.as_bytes()[..at]);
        }
    }
}
