//! A message's content: header fields, text, HTML and attachments.

use std::borrow::Cow;
use std::fmt;

use crate::proto::mail::{Decoded, Defects, Field, RawPart, Structured};
use crate::proto::mail::{Mailbox, decode, decode_text, read, read_addresses, unfold};

/// What is in a message, decoded (RFC 5322, MIME).
///
/// Lists of addresses hold those in groups too, with the group's name, of each field at most 10,000.
/// What is not as the RFCs have it is read as far as it can be, and [`defects`](Mail::defects) tells
/// what was wrong. At most 20,000 header fields and 10,000 parts are read, 100 deep in each other; a
/// defect says what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mail {
    headers: Vec<(String, String)>,
    /// The text and the HTML, where there are such parts, then the attachments.
    parts: Vec<Part>,
    text: Option<usize>,
    html: Option<usize>,
    /// Of the fields in [`WITH_ADDRESSES`].
    addresses: [Vec<Mailbox>; WITH_ADDRESSES.len()],
    defects: Vec<String>,
}

/// The header fields that hold addresses.
const WITH_ADDRESSES: [&str; 6] = ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"];

/// A part of a message that is neither its text nor its HTML.
pub type Attachment = Part;

/// A part of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// Its place among all parts.
    number: usize,
    headers: Vec<(String, String)>,
    file_name: Option<String>,
    disposition: Option<Disposition>,
    content_type: String,
    charset: Option<String>,
    flowed: Option<Flowed>,
    content: Vec<u8>,
    text: Option<String>,
    raw: Option<Vec<u8>>,
}

/// Text of `format=flowed` (RFC 3676).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flowed {
    delete_space: bool,
}

/// What a part is there for (RFC 2183).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disposition {
    /// Shown with the message.
    Inline,
    /// A file that comes with it; so is every disposition that is not known (RFC 2183 section 2.8).
    Attachment,
}

impl Mail {
    /// Reads a message as it came, without the dots that DATA adds.
    pub(crate) fn parse(raw: &[u8]) -> Mail {
        let mut defects = Defects::default();
        let (own, raw_parts) = read(raw, &mut defects);
        let mut mail = Mail::default();
        for (name, addresses) in WITH_ADDRESSES.iter().zip(&mut mail.addresses) {
            let named = own.iter();
            for field in named.filter(|field| field.name.eq_ignore_ascii_case(name)) {
                read_addresses(&field.sent, addresses, |wrong| {
                    defects.add("", format_args!("the field {name}: {wrong}"));
                });
            }
        }
        mail.headers = pairs(own);
        let mut bodies = Vec::new();
        let mut attachments = Vec::new();
        for (number, raw_part) in raw_parts.into_iter().enumerate() {
            let part = Part::decode(number, raw_part, &mut defects);
            let slot = match part.content_type.as_str() {
                "text/plain" => &mut mail.text,
                "text/html" => &mut mail.html,
                _ => {
                    attachments.push(part);
                    continue;
                }
            };
            if part.is_attached() || slot.is_some() {
                attachments.push(part);
            } else {
                *slot = Some(bodies.len());
                bodies.push(part);
            }
        }
        mail.parts = bodies;
        mail.parts.append(&mut attachments);
        mail.defects = defects.finish();
        mail
    }

    /// The first header field called `name`, in any case, with encoded words decoded.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// All header fields in their order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The subject.
    pub fn subject(&self) -> Option<&str> {
        self.header("Subject")
    }

    /// The addresses of the field From: who wrote it. The envelope's sender is [`Message::from`](super::Message::from).
    pub fn from(&self) -> &[Mailbox] {
        &self.addresses[0]
    }

    /// The addresses of the field Sender: who sent it for them.
    pub fn sender(&self) -> &[Mailbox] {
        &self.addresses[1]
    }

    /// The addresses of the field Reply-To: who gets answers.
    pub fn reply_to(&self) -> &[Mailbox] {
        &self.addresses[2]
    }

    /// The addresses of the field To: whom it is for. The envelope's recipients are [`Message::to`](super::Message::to).
    pub fn to(&self) -> &[Mailbox] {
        &self.addresses[3]
    }

    /// The addresses of the field Cc: who gets a copy.
    pub fn cc(&self) -> &[Mailbox] {
        &self.addresses[4]
    }

    /// The addresses of the field Bcc: who gets a copy that the others do not know of.
    pub fn bcc(&self) -> &[Mailbox] {
        &self.addresses[5]
    }

    /// The first part of type `text/plain` that is no attachment, decoded.
    ///
    /// Its line ends are CRLF, whatever they were in the message. The text of a message without parts
    /// ends in one, for DATA takes whole lines: `At one.` is `"At one.\r\n"` here. That of a part does
    /// not, for the line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1). Compare
    /// `text().map(str::trim_end)` where it does not matter. Lines are as they were sent also where
    /// the text is `format=flowed`; see [`unfolded_text`](Mail::unfolded_text).
    pub fn text(&self) -> Option<&str> {
        self.parts[self.text?].text.as_deref()
    }

    /// As [`text`](Mail::text), with the lines of each paragraph joined where the text is
    /// `format=flowed` (RFC 3676).
    pub fn unfolded_text(&self) -> Option<Cow<'_, str>> {
        self.parts[self.text?].unfolded_text()
    }

    /// The first part of type `text/html` that is no attachment, decoded; its line ends are as those of
    /// [`text`](Mail::text).
    pub fn html(&self) -> Option<&str> {
        self.parts[self.html?].text.as_deref()
    }

    /// All other parts, in their order; images within the HTML are among them, and a second text.
    pub fn attachments(&self) -> &[Attachment] {
        let bodies = usize::from(self.text.is_some()) + usize::from(self.html.is_some());
        &self.parts[bodies..]
    }

    /// All parts in their order, text and HTML too. A message that is no multipart is one part.
    pub fn parts(&self) -> Vec<&Part> {
        let mut parts: Vec<_> = self.parts.iter().collect();
        parts.sort_by_key(|part| part.number);
        parts
    }

    /// All parts of type `text/plain` and `text/html` that are no attachments, in their order.
    pub fn text_parts(&self) -> Vec<&Part> {
        let mut parts = self.parts();
        parts.retain(|part| part.text.is_some());
        parts
    }

    /// What was wrong with the message, in words: at most 100, then how many more.
    pub fn defects(&self) -> &[String] {
        &self.defects
    }

    /// The first of the [`defects`](Mail::defects).
    pub fn defect(&self) -> Option<&str> {
        self.defects.first().map(String::as_str)
    }
}

impl Part {
    fn decode(number: usize, raw: RawPart<'_>, defects: &mut Defects) -> Part {
        let mut once = |name: &str| {
            let mut named = raw
                .fields
                .iter()
                .filter(|field| field.name.eq_ignore_ascii_case(name));
            let first = named.next()?;
            if named.next().is_some() {
                defects.add(
                    &raw.path,
                    format_args!("{name} is there twice; the first counts"),
                );
            }
            let read = Structured::parse(&first.sent);
            for wrong in &read.defects {
                defects.add(&raw.path, format_args!("{name}: {wrong}"));
            }
            Some(read)
        };
        let encoding = once("Content-Transfer-Encoding").unwrap_or_default();
        let disposed = once("Content-Disposition");
        let disposition = disposed.as_ref().map(|read| match read.value.as_str() {
            "inline" | "" => Disposition::Inline,
            _ => Disposition::Attachment,
        });
        let name = disposed
            .as_ref()
            .and_then(|read| read.parameter("filename"));
        let file_name = name
            .or(raw.content_type.parameter("name"))
            .map(str::to_owned);
        let is = |name, value: &str| {
            let given = raw.content_type.parameter(name);
            given.is_some_and(|given| given.eq_ignore_ascii_case(value))
        };
        let flowed = is("format", "flowed").then(|| Flowed {
            delete_space: is("delsp", "yes"),
        });
        let charset = raw.content_type.parameter("charset").map(str::to_owned);
        let Decoded { octets, defect } = decode(&encoding.value, raw.body);
        let undecoded = defect.is_some().then(|| raw.body.to_vec());
        if let Some(defect) = defect {
            defects.add(&raw.path, defect);
        }
        let mut part = Part {
            number,
            file_name,
            disposition,
            content_type: raw.content_type.value,
            charset,
            flowed,
            content: octets,
            text: None,
            raw: undecoded,
            headers: Vec::new(),
        };
        let is_text = matches!(part.content_type.as_str(), "text/plain" | "text/html");
        if is_text && !part.is_attached() {
            let (text, wrong) = decode_text(&part.content, part.charset.as_deref());
            if let Some(wrong) = wrong {
                defects.add(&raw.path, wrong);
            }
            part.text = Some(with_crlf(text));
        }
        part.headers = pairs(raw.fields);
        part
    }

    fn is_attached(&self) -> bool {
        self.disposition == Some(Disposition::Attachment) || self.file_name.is_some()
    }

    /// The name of the file it was, when it has one.
    ///
    /// `filename*` goes before `filename`, and both before the `name` of Content-Type.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Its MIME type in lower case, as `image/png`.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The `charset` of its type, as it was sent.
    pub fn charset(&self) -> Option<&str> {
        self.charset.as_deref()
    }

    /// Its octets, decoded as far as they can be.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Its octets as they were sent, where they could not be decoded; else
    /// [`content`](Part::content) is all.
    pub fn raw(&self) -> Option<&[u8]> {
        self.raw.as_deref()
    }

    /// Its text with CRLF as line ends, when it is `text/plain` or `text/html` and no attachment.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// As [`text`](Part::text), with the lines of each paragraph joined where it is `format=flowed`
    /// (RFC 3676).
    pub fn unfolded_text(&self) -> Option<Cow<'_, str>> {
        let text = self.text()?;
        Some(match self.flowed {
            Some(flowed) => Cow::Owned(unfold(text, flowed.delete_space)),
            None => Cow::Borrowed(text),
        })
    }

    /// Its Content-ID without the brackets, by which HTML refers to it as `cid:` (RFC 2392).
    pub fn content_id(&self) -> Option<&str> {
        let id = self.header("Content-ID")?.trim();
        let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
        Some(inner.unwrap_or(id))
    }

    /// Its Content-Disposition, when it has one.
    pub fn disposition(&self) -> Option<Disposition> {
        self.disposition
    }

    /// Its first header field called `name`, in any case, with encoded words decoded.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Its header fields in their order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

fn pairs(fields: Vec<Field>) -> Vec<(String, String)> {
    let pairs = fields.into_iter().map(|field| (field.name, field.value));
    pairs.collect()
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut named = headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.as_str())
}

/// A single CR or LF ends a line too.
fn with_crlf(text: String) -> String {
    let bytes = text.as_bytes();
    let pairs = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    let ends = bytes.iter().filter(|byte| b"\r\n".contains(byte)).count();
    if ends == 2 * pairs {
        return text;
    }
    let mut whole = String::with_capacity(text.len() + ends);
    let mut before = '\0';
    for c in text.chars() {
        match c {
            '\n' if before == '\r' => {}
            '\r' | '\n' => whole.push_str("\r\n"),
            _ => whole.push(c),
        }
        before = c;
    }
    whole
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("file_name", &self.file_name)
            .field("content_type", &self.content_type)
            .field("octets", &self.content.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
