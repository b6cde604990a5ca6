//! The little of HTTP/2 by which a server of HTTP/1.1 can tell a client that it has come to the wrong one.

/// `HTTP_1_1_REQUIRED` (RFC 9113, section 7).
const HTTP_1_1_REQUIRED: u32 = 0xd;

/// The answer to a client's connection preface: an empty SETTINGS frame, with which a server has to begin (RFC 9113,
/// section 3.4), and a GOAWAY frame (section 6.8) that asks for HTTP/1.1 and carries `why` as its debug data.
pub(crate) fn refusal(why: &str) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let mut out = Vec::new();
    frame(&mut out, SETTINGS, &[]);
    let mut payload = Vec::from(0u32.to_be_bytes());
    payload.extend(HTTP_1_1_REQUIRED.to_be_bytes());
    payload.extend(why.as_bytes());
    frame(&mut out, GOAWAY, &payload);
    out
}

/// Appends a frame of the connection itself, without flags (RFC 9113, section 4.1).
fn frame(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    // Every client takes frames of 16 KiB, and none of ours comes near that.
    let length = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_settings_and_goaway() {
        let expected = b"\0\0\0\x04\0\0\0\0\0\0\0\x0a\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0dno";
        assert_eq!(refusal("no"), expected);
    }
}
