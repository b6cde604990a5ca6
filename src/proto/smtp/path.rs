//! Reverse and forward paths (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Which path is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// After `MAIL FROM:`; `<>` is the empty sender.
    Reverse,
    /// After `RCPT TO:`; `<postmaster>` needs no domain.
    Forward,
}

/// Reads `<path>` at the start of `text`. Returns the mailbox without brackets and source route
/// (which is to be ignored, RFC 5321 appendix C), and what follows the path.
pub(crate) fn parse(text: &str, kind: Kind) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('<')?;
    if kind == Kind::Reverse
        && let Some(rest) = inner.strip_prefix('>')
    {
        return Some(("", rest));
    }
    let start = source_route(inner)?;
    let end = mailbox(start).or_else(|| postmaster(start, kind))?;
    let (address, rest) = start.split_at(start.len() - end.len());
    Some((address, rest.strip_prefix('>')?))
}

/// Reads a path as it is written by clients that have not read the RFC: after spaces, without its
/// brackets, or without a domain.
pub(crate) fn parse_leniently(text: &str, kind: Kind) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    if let Some(path) = parse(text, kind) {
        return Some(path);
    }
    let inner = text.strip_prefix('<');
    let start = source_route(inner.unwrap_or(text))?;
    let end = mailbox(start).or_else(|| local_part(start))?;
    let (address, rest) = start.split_at(start.len() - end.len());
    let rest = match inner {
        Some(_) => rest.strip_prefix('>')?,
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(' ')).then_some((address, rest))
}

// Each reader below takes the text from where it is to begin, and returns the text after what it read.

fn source_route(text: &str) -> Option<&str> {
    let Some(mut rest) = text.strip_prefix('@') else {
        return Some(text);
    };
    loop {
        rest = domain(rest)?;
        match rest.strip_prefix(",@") {
            Some(next) => rest = next,
            None => return rest.strip_prefix(':'),
        }
    }
}

fn mailbox(text: &str) -> Option<&str> {
    let rest = local_part(text)?.strip_prefix('@')?;
    match rest.strip_prefix('[') {
        Some(literal) => address_literal(literal),
        None => domain(rest),
    }
}

fn local_part(text: &str) -> Option<&str> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted_string(quoted),
        None => dotted(text, atom),
    }
}

fn postmaster(text: &str, kind: Kind) -> Option<&str> {
    let (word, rest) = text.split_at_checked("postmaster".len())?;
    (kind == Kind::Forward && word.eq_ignore_ascii_case("postmaster")).then_some(rest)
}

fn domain(text: &str) -> Option<&str> {
    dotted(text, label)
}

/// One or more of what `part` reads, with dots between.
fn dotted(text: &str, part: fn(&str) -> Option<&str>) -> Option<&str> {
    let mut rest = part(text)?;
    while let Some(next) = rest.strip_prefix('.') {
        rest = part(next)?;
    }
    Some(rest)
}

fn atom(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii()
    });
    (rest.len() < text.len()).then_some(rest)
}

fn label(text: &str) -> Option<&str> {
    // An underscore is in no host name of the RFC's, but in many of a test's.
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii();
    let rest = text.trim_start_matches(inside);
    let label = &text[..text.len() - rest.len()];
    let valid = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    valid.then_some(rest)
}

fn quoted_string(text: &str) -> Option<&str> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some(&text[at + 1..]),
            '\\' => {
                chars.next().filter(|(_, c)| (' '..='~').contains(c))?;
            }
            ' '..='~' => {}
            _ if c.is_ascii() => return None,
            _ => {}
        }
    }
    None
}

fn address_literal(text: &str) -> Option<&str> {
    let (literal, rest) = text.split_once(']')?;
    let valid = match literal.split_once(':') {
        None => literal.parse::<Ipv4Addr>().is_ok(),
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        Some((tag, content)) => {
            let printable = |c: char| ('!'..='Z').contains(&c) || ('^'..='~').contains(&c);
            label(tag) == Some("")
                && tag.is_ascii()
                && !content.is_empty()
                && content.chars().all(printable)
        }
    };
    valid.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward(text: &str) -> Option<(&str, &str)> {
        parse(text, Kind::Forward)
    }

    #[test]
    fn mailboxes() {
        for address in [
            "bob@example.com",
            "b@c",
            "a.b+c@x-y.example",
            "!#$%&'*+-/=?^_`{|}~@c",
            r#""a b"@c"#,
            r#""a\"b\\>"@c"#,
            r#"""@c"#,
            "u@[127.0.0.1]",
            "u@[IPv6:::1]",
            "u@[ipv6:2001:db8::1]",
            "u@[x-tag:anything]",
            "u@my_host",
            "üser@exämple.com",
            "\"ü\"@c",
        ] {
            let text = format!("<{address}> SIZE=1");
            assert_eq!(forward(&text), Some((address, " SIZE=1")), "{address}");
            assert_eq!(parse(&text, Kind::Reverse), Some((address, " SIZE=1")));
            for end in 0..text.len() - " SIZE=1".len() {
                if let Some(prefix) = text.get(..end) {
                    assert_eq!(forward(prefix), None, "{prefix}");
                }
            }
        }
    }

    #[test]
    fn no_mailboxes() {
        for text in [
            "",
            "<",
            ">",
            "<>",
            "bob@c",
            "<bob>",
            "<@c>",
            "<bob@>",
            "<bob@c",
            "< bob@c>",
            "<bob@c >",
            "<a b@c>",
            "<.a@c>",
            "<a.@c>",
            "<a..b@c>",
            "<a@.c>",
            "<a@c.>",
            "<a@c..d>",
            "<a@-c>",
            "<a@c->",
            "<a@b@c>",
            "<a@[127.0.0.256]>",
            "<a@[]>",
            "<a@[IPv6:1]>",
            "<a@[::1]>",
            "<a@[127.0.0.1>",
            "<a@[tag:]>",
            "<a@[tag:x y]>",
            "<\"a@c>",
            "<\"a\"b@c>",
            "<\"a\\\u{1}\"@c>",
            "<\"\t\"@c>",
            "<@a>",
            "<@a:>",
            "<@a::u@c>",
            "<@a,b:u@c>",
            "<@a,@b u@c>",
            "<@a,@:u@c>",
            "<a@c\u{0}>",
        ] {
            assert_eq!(forward(text), None, "{text}");
        }
    }

    #[test]
    fn a_source_route_is_dropped() {
        assert_eq!(forward("<@a,@b:u@c>"), Some(("u@c", "")));
        assert_eq!(forward("<@a.example:u@c> X"), Some(("u@c", " X")));
    }

    #[test]
    fn the_two_paths_without_a_domain() {
        assert_eq!(parse("<> X", Kind::Reverse), Some(("", " X")));
        assert_eq!(forward("<PostMaster>"), Some(("PostMaster", "")));
        assert_eq!(parse("<postmaster>", Kind::Reverse), None);
        assert_eq!(forward("<postmaster@c>"), Some(("postmaster@c", "")));
        assert_eq!(forward("<postmasters>"), None);
    }

    #[test]
    fn lenient_paths() {
        let lenient = |text| parse_leniently(text, Kind::Reverse);
        assert_eq!(lenient("  <a@b> X"), Some(("a@b", " X")));
        assert_eq!(lenient("a@b X=1"), Some(("a@b", " X=1")));
        assert_eq!(lenient("<bob>"), Some(("bob", "")));
        assert_eq!(lenient(" bob"), Some(("bob", "")));
        assert_eq!(lenient(" <>"), Some(("", "")));
        for text in [
            "", "<", "<a@b", "a@b>", "<bob", "bob@", "a@b,c", "@", "<bob>x",
        ] {
            assert_eq!(lenient(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[<>@\"\\\\\\[\\]:., aé]{0,24}", any in any::<String>()) {
            for text in [text, any] {
                for kind in [Kind::Forward, Kind::Reverse] {
                    let paths = [parse(&text, kind), parse_leniently(&text, kind)];
                    for (address, rest) in paths.into_iter().flatten() {
                        prop_assert!(text.contains(address) && text.ends_with(rest));
                    }
                }
            }
        }
    }
}
