//! The parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11), and who they come with.

use std::fmt;

use super::{Extension, Extensions};

/// The envelope's sender, and what the client said about the message in MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sender {
    address: String,
    size: Option<u64>,
    body: Option<BodyType>,
    smtp_utf8: bool,
    ret: Option<Ret>,
    envelope_id: Option<String>,
    auth: Option<String>,
}

/// One recipient of the envelope, and what the client asked for in its RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipient {
    address: String,
    notify: Option<Notify>,
    original: Option<(String, String)>,
}

/// How a message is encoded (the parameter BODY; RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyType {
    /// `7BIT`: lines of ASCII.
    SevenBit,
    /// `8BITMIME`: lines with octets above 127.
    EightBitMime,
    /// `BINARYMIME`: any octets, not in lines; for BDAT only.
    BinaryMime,
}

/// What a failure report is to bring back (the parameter RET; RFC 3461 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ret {
    /// `FULL`: the whole message.
    Full,
    /// `HDRS`: its header.
    Headers,
}

/// When the sender wants a report (the parameter NOTIFY; RFC 3461 section 4.1). All `false` is `NEVER`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`: when the message is delivered.
    pub success: bool,
    /// `FAILURE`: when it cannot be delivered.
    pub failure: bool,
    /// `DELAY`: when its delivery is delayed.
    pub delay: bool,
}

impl Sender {
    /// The address without brackets and source route; empty for `<>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The message's size in octets as announced (SIZE; RFC 1870).
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The announced encoding (BODY).
    pub fn body(&self) -> Option<BodyType> {
        self.body
    }

    /// Whether addresses and header fields may hold UTF-8 (SMTPUTF8; RFC 6531).
    pub fn smtp_utf8(&self) -> bool {
        self.smtp_utf8
    }

    /// What a failure report is to bring back (RET).
    pub fn ret(&self) -> Option<Ret> {
        self.ret
    }

    /// The sender's name for this envelope, decoded (ENVID; RFC 3461 section 4.4).
    pub fn envelope_id(&self) -> Option<&str> {
        self.envelope_id.as_deref()
    }

    /// Who submitted the message first, decoded; `<>` for unknown (AUTH; RFC 4954 section 5).
    pub fn auth(&self) -> Option<&str> {
        self.auth.as_deref()
    }

    /// The octets of memory that it takes.
    pub(crate) fn weight(&self) -> usize {
        let texts = [&self.envelope_id, &self.auth].into_iter().flatten();
        size_of::<Sender>() + self.address.len() + texts.map(String::len).sum::<usize>()
    }

    /// Reads what follows the path of MAIL.
    pub(crate) fn parse(
        address: &str,
        parameters: &str,
        offered: Extensions,
    ) -> Result<Sender, BadParameter> {
        let mut sender = Sender {
            address: address.to_owned(),
            ..Sender::default()
        };
        for parameter in Parameters::new(parameters)? {
            let (keyword, value) = parameter?;
            sender.set(&keyword, value, offered)?;
        }
        Ok(sender)
    }

    fn set(
        &mut self,
        keyword: &str,
        value: Option<&str>,
        offered: Extensions,
    ) -> Result<(), BadParameter> {
        let bad = || BadParameter::Value(keyword.to_owned());
        match keyword {
            "SIZE" if offered.has(Extension::Size) => {
                once(&mut self.size, value.and_then(number), bad)
            }
            "BODY" if offered.has(Extension::EightBitMime) => once(
                &mut self.body,
                value.and_then(|name| body_type(name, offered)),
                bad,
            ),
            "SMTPUTF8" if offered.has(Extension::SmtpUtf8) => {
                let valid = value.is_none() && !self.smtp_utf8;
                self.smtp_utf8 = true;
                valid.then_some(()).ok_or_else(bad)
            }
            "RET" if offered.has(Extension::Dsn) => once(&mut self.ret, value.and_then(ret), bad),
            "ENVID" if offered.has(Extension::Dsn) => {
                let id = value.filter(|value| value.len() <= 100);
                let id = id.and_then(|id| unxtext(id, false));
                once(&mut self.envelope_id, id, bad)
            }
            "AUTH" if offered.has(Extension::Auth) => {
                let auth = value.and_then(|value| unxtext(value, false));
                once(&mut self.auth, auth, bad)
            }
            _ => Err(BadParameter::Unknown(keyword.to_owned())),
        }
    }
}

impl Recipient {
    /// The address without brackets and source route; `postmaster` may have no domain.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// When the sender wants a report (NOTIFY).
    pub fn notify(&self) -> Option<Notify> {
        self.notify
    }

    /// Type (`rfc822`, `utf-8`) and decoded address of the recipient as it was given first (ORCPT; RFC 3461
    /// section 4.2, RFC 6533 section 3).
    pub fn original(&self) -> Option<(&str, &str)> {
        let (kind, address) = self.original.as_ref()?;
        Some((kind, address))
    }

    /// The octets of memory that it takes.
    pub(crate) fn weight(&self) -> usize {
        let original = self.original.as_ref();
        let original = original.map_or(0, |(kind, address)| kind.len() + address.len());
        size_of::<Recipient>() + self.address.len() + original
    }

    /// Reads what follows the path of RCPT.
    pub(crate) fn parse(
        address: &str,
        parameters: &str,
        offered: Extensions,
    ) -> Result<Recipient, BadParameter> {
        let mut recipient = Recipient {
            address: address.to_owned(),
            ..Recipient::default()
        };
        for parameter in Parameters::new(parameters)? {
            let (keyword, value) = parameter?;
            let bad = || BadParameter::Value(keyword.clone());
            match keyword.as_str() {
                "NOTIFY" if offered.has(Extension::Dsn) => {
                    once(&mut recipient.notify, value.and_then(notify), bad)?;
                }
                "ORCPT" if offered.has(Extension::Dsn) => {
                    let value = value.filter(|value| value.len() <= 500);
                    once(&mut recipient.original, value.and_then(original), bad)?;
                }
                _ => return Err(BadParameter::Unknown(keyword)),
            }
        }
        Ok(recipient)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Why a parameter is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadParameter {
    /// Not `keyword` or `keyword=value`.
    Syntax,
    /// Not known, or of an extension that is not offered.
    Unknown(String),
    /// Without the value it needs, with one it cannot have, or given twice.
    Value(String),
}

/// Splits `" KEY=value KEY"`, keywords in upper case.
struct Parameters<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Parameters<'a> {
    fn new(text: &'a str) -> Result<Parameters<'a>, BadParameter> {
        if !text.is_empty() && !text.starts_with(' ') {
            return Err(BadParameter::Syntax);
        }
        Ok(Parameters(text.split_ascii_whitespace()))
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<(String, Option<&'a str>), BadParameter>;

    fn next(&mut self) -> Option<Self::Item> {
        let word = self.0.next()?;
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword_valid = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-');
        let value_valid = value.is_none_or(|value| {
            !value.is_empty() && value.chars().all(|c| c != '=' && !c.is_ascii_control())
        });
        Some(if keyword_valid && value_valid {
            Ok((keyword.to_ascii_uppercase(), value))
        } else {
            Err(BadParameter::Syntax)
        })
    }
}

fn once<T>(
    slot: &mut Option<T>,
    value: Option<T>,
    bad: impl Fn() -> BadParameter,
) -> Result<(), BadParameter> {
    match slot.replace(value.ok_or_else(&bad)?) {
        None => Ok(()),
        Some(_) => Err(bad()),
    }
}

/// RFC 1870 section 3: up to 20 digits; what does not fit 64 bits is larger than any limit.
fn number(text: &str) -> Option<u64> {
    let valid = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().unwrap_or(u64::MAX))
}

fn body_type(name: &str, offered: Extensions) -> Option<BodyType> {
    [
        ("7BIT", BodyType::SevenBit),
        ("8BITMIME", BodyType::EightBitMime),
        ("BINARYMIME", BodyType::BinaryMime),
    ]
    .into_iter()
    .filter(|(_, kind)| *kind != BodyType::BinaryMime || offered.has(Extension::BinaryMime))
    .find_map(|(known, kind)| known.eq_ignore_ascii_case(name).then_some(kind))
}

fn ret(value: &str) -> Option<Ret> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Headers),
        _ => None,
    }
}

fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in value.split(',') {
        let wish = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut notify.success,
            "FAILURE" => &mut notify.failure,
            "DELAY" => &mut notify.delay,
            _ => return None,
        };
        *wish = true;
    }
    Some(notify)
}

fn original(value: &str) -> Option<(String, String)> {
    let (kind, address) = value.split_once(';').filter(|(kind, _)| !kind.is_empty())?;
    let address = unxtext(address, kind.eq_ignore_ascii_case("utf-8"))?;
    Some((kind.to_owned(), address))
}

/// Decodes xtext: `+` and two upper-case hex digits stand for an octet (RFC 3461 section 4). Text
/// outside ASCII stands for itself (RFC 6533 section 3).
///
/// An address of the type `utf-8` has `\x{hex}` for a character, and may be written as it is: a `+` or `\`
/// that begins neither form stands for itself there (`utf-8-address` in RFC 6533 section 3).
fn unxtext(text: &str, is_utf8_address: bool) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', &[high, low, ref after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                octets.push(hex(high)? << 4 | hex(low)?);
                rest = after;
            }
            (b'+', _) if !is_utf8_address => return None,
            (b'\\', [b'x', b'{', after @ ..]) if is_utf8_address => {
                let end = after.iter().position(|&byte| byte == b'}')?;
                let digits = std::str::from_utf8(&after[..end]).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let character = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
                let character = char::from_u32(character)?;
                octets.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &after[end + 1..];
            }
            _ => octets.push(byte),
        }
    }
    String::from_utf8(octets).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sender(parameters: &str) -> Result<Sender, BadParameter> {
        Sender::parse("a@b", parameters, Extensions::all())
    }

    fn recipient(parameters: &str) -> Result<Recipient, BadParameter> {
        Recipient::parse("a@b", parameters, Extensions::all())
    }

    #[test]
    fn all_of_mail() {
        let all =
            sender(" SIZE=12 body=8bitmime SMTPUTF8 RET=hdrs ENVID=x+20y+2B AUTH=<>").unwrap();
        assert_eq!(all.address(), "a@b");
        assert_eq!(all.size(), Some(12));
        assert_eq!(all.body(), Some(BodyType::EightBitMime));
        assert!(all.smtp_utf8());
        assert_eq!(all.ret(), Some(Ret::Headers));
        assert_eq!(all.envelope_id(), Some("x y+"));
        assert_eq!(all.auth(), Some("<>"));
        assert_eq!(sender("").unwrap().size(), None);
        assert_eq!(
            sender(" SIZE=99999999999999999999").unwrap().size(),
            Some(u64::MAX)
        );
    }

    #[test]
    fn all_of_rcpt() {
        let all = recipient(" NOTIFY=success,DELAY ORCPT=rfc822;Bob+40example.com").unwrap();
        let notify = Notify {
            success: true,
            failure: false,
            delay: true,
        };
        assert_eq!(all.notify(), Some(notify));
        assert_eq!(all.original(), Some(("rfc822", "Bob@example.com")));
        assert_eq!(
            recipient(" NOTIFY=never").unwrap().notify(),
            Some(Notify::default())
        );
        assert_eq!(recipient("").unwrap().notify(), None);
    }

    /// The forms of RFC 6533 section 3, and xtext, which some write there too.
    #[test]
    fn original_addresses_in_utf8() {
        for (value, address) in [
            ("utf-8;J\\x{F6}rg@example.com", "Jörg@example.com"),
            (
                "UTF-8;J\\x{f6}rg\\x{2B}x@\\x{1F600}.example",
                "Jörg+x@😀.example",
            ),
            ("utf-8;Jörg@example.com", "Jörg@example.com"),
            ("utf-8;J+C3+B6rg@example.com", "Jörg@example.com"),
            ("utf-8;bob+tag@example.com", "bob+tag@example.com"),
            ("utf-8;\"a\\\"b\"@example.com", "\"a\\\"b\"@example.com"),
            // It is no encoding in the other types.
            ("rfc822;J\\x{F6}rg", "J\\x{F6}rg"),
        ] {
            let recipient = recipient(&format!(" ORCPT={value}")).unwrap();
            assert_eq!(recipient.original().unwrap().1, address, "{value}");
        }
        for value in [
            "utf-8;\\x{}",
            "utf-8;\\x{F6",
            "utf-8;\\x{+6}",
            "utf-8;\\x{D800}",
            "utf-8;\\x{110000}",
            "utf-8;\\x{100000000F6}",
            "utf-8;+FF",
            "rfc822;bob+tag",
        ] {
            let refused = recipient(&format!(" ORCPT={value}"));
            assert_eq!(refused, Err(BadParameter::Value("ORCPT".into())), "{value}");
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        let value = |name: &str| Err(BadParameter::Value(name.into()));
        let unknown = |name: &str| Err(BadParameter::Unknown(name.into()));
        for (text, error) in [
            ("SIZE=1", Err(BadParameter::Syntax)),
            (" SIZE=", Err(BadParameter::Syntax)),
            (" =1", Err(BadParameter::Syntax)),
            (" SIZE=1=2", Err(BadParameter::Syntax)),
            (" S_ZE=1", Err(BadParameter::Syntax)),
            (" SIZE", value("SIZE")),
            (" SIZE=1k", value("SIZE")),
            (" SIZE=123456789012345678901", value("SIZE")),
            (" SIZE=1 SIZE=1", value("SIZE")),
            (" BODY=9BIT", value("BODY")),
            (" SMTPUTF8=1", value("SMTPUTF8")),
            (" SMTPUTF8 SMTPUTF8", value("SMTPUTF8")),
            (" RET=HALF", value("RET")),
            (" ENVID=+4", value("ENVID")),
            (" ENVID=+4g", value("ENVID")),
            (" ENVID=+FF", value("ENVID")),
            (" XYZ=1", unknown("XYZ")),
            (" NOTIFY=NEVER", unknown("NOTIFY")),
        ] {
            assert_eq!(sender(text), error, "{text}");
        }
        for text in [" NOTIFY=NEVER,DELAY", " NOTIFY=,DELAY", " NOTIFY"] {
            assert_eq!(
                recipient(text).unwrap_err(),
                BadParameter::Value("NOTIFY".into())
            );
        }
        for text in [" ORCPT=rfc822", " ORCPT=;x"] {
            assert_eq!(
                recipient(text).unwrap_err(),
                BadParameter::Value("ORCPT".into())
            );
        }
        let long = format!(" ENVID={}", "x".repeat(101));
        assert_eq!(sender(&long), value("ENVID"));
    }

    #[test]
    fn the_parameters_of_what_is_not_offered_are_unknown() {
        for (extension, text) in [
            (Extension::Size, " SIZE=1"),
            (Extension::EightBitMime, " BODY=7BIT"),
            (Extension::SmtpUtf8, " SMTPUTF8"),
            (Extension::Dsn, " RET=FULL"),
            (Extension::Dsn, " ENVID=1"),
            (Extension::Auth, " AUTH=<>"),
        ] {
            let offered = Extensions::all().without(extension);
            let refused = Sender::parse("a@b", text, offered);
            assert!(matches!(refused, Err(BadParameter::Unknown(_))), "{text}");
        }
        let offered = Extensions::all().without(Extension::BinaryMime);
        assert!(Sender::parse("a@b", " BODY=BINARYMIME", offered).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), near in "( (SIZE|BODY|NOTIFY|ORCPT|ENVID)?=?[+0-9A-F;,é]{0,6}){0,3}") {
            for text in [text, near] {
                let _ = (sender(&text), recipient(&text));
            }
        }
    }
}
