//! Paragraphs that were sent as several lines (RFC 3676).

/// The text with the lines of each paragraph joined. Quoted paragraphs keep their marks.
pub(crate) fn unfold(text: &str, delete_space: bool) -> String {
    let mut unfolded = String::with_capacity(text.len());
    let mut open: Option<usize> = None;
    for line in text.split_inclusive("\r\n") {
        let (line, end) = match line.strip_suffix("\r\n") {
            Some(line) => (line, "\r\n"),
            None => (line, ""),
        };
        let unquoted = line.trim_start_matches('>');
        let depth = line.len() - unquoted.len();
        let content = unquoted.strip_prefix(' ').unwrap_or(unquoted);
        let is_signature = content == "-- ";
        if open.is_some_and(|other| other != depth || is_signature) {
            unfolded.push_str("\r\n");
            open = None;
        }
        if open.is_none() && depth > 0 {
            unfolded.push_str(&line[..depth]);
            unfolded.push(' ');
        }
        let flows = content.ends_with(' ') && !is_signature && !end.is_empty();
        if flows {
            let kept = content.len() - usize::from(delete_space);
            unfolded.push_str(&content[..kept]);
            open = Some(depth);
        } else {
            unfolded.push_str(content);
            unfolded.push_str(end);
            open = None;
        }
    }
    unfolded
}
