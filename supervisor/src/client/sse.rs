//! Server-sent events: bytes in, events out.
//!
//! Pure: whoever reads the socket pushes what came, in whatever pieces it came, and gets the events
//! that are complete. An event larger than the limit ends the stream, so that a server that never
//! ends a line costs no memory. `id:` and `retry:` are read and dropped: this client does not
//! resume. See the HTML standard, "Interpreting an event stream".

use thiserror::Error;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its `event:` field; `message` when there is none.
    pub name: String,
    /// Its `data:` lines, joined by line feeds.
    pub data: String,
}

/// An event is larger than the parser's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an event of the stream has more than {limit} bytes")]
pub struct TooLarge {
    /// The limit.
    pub limit: usize,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Takes a stream apart.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The last line ended with CR: a LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet, so the first may begin with a byte order mark.
    at_start: bool,
    name: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// A parser for events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            name: String::new(),
            data: String::new(),
            has_data: false,
        }
    }

    /// Takes what came and appends the events that it completes.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        events: &mut impl Extend<Event>,
    ) -> Result<(), TooLarge> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.name.len() + self.data.len() + piece.len() > self.limit {
                return Err(TooLarge { limit: self.limit });
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { break };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            events.extend(self.end_line());
        }
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.at_start) && line.starts_with(BOM) {
            line.drain(..BOM.len());
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line.as_slice(), &[][..]),
        };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"event" => self.name = value.into_owned(),
            b"data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(&value);
                self.has_data = true;
            }
            // A comment, or a field that does not concern this client.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then(|| Event {
            name: if name.is_empty() {
                "message".to_owned()
            } else {
                name
            },
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<(String, String)> {
        let mut events = Vec::new();
        Parser::new(1024).push(bytes, &mut events).unwrap();
        events.into_iter().map(|e| (e.name, e.data)).collect()
    }

    #[test]
    fn streams_are_taken_apart() {
        let cases: [(&str, &[(&str, &str)]); 10] = [
            ("", &[]),
            ("data: a\n\n", &[("message", "a")]),
            ("event: delta\ndata: a\n\n", &[("delta", "a")]),
            ("data:a\ndata:  b\ndata\n\n", &[("message", "a\n b\n")]),
            (
                "data: a\r\n\r\ndata: b\r\r",
                &[("message", "a"), ("message", "b")],
            ),
            (": keep alive\n\ndata: a\n\n", &[("message", "a")]),
            ("event: lost\n\ndata: a\n\n", &[("message", "a")]),
            ("data: never ended\n", &[]),
            (
                "\u{feff}data: a\n\n\u{feff}data: b\n\n",
                &[("message", "a")],
            ),
            (
                "id: 1\nretry: 5\nother: x\ndata: a:b\n\n",
                &[("message", "a:b")],
            ),
        ];
        for (text, expected) in cases {
            let found = all(text.as_bytes());
            let found: Vec<_> = found
                .iter()
                .map(|(n, d)| (n.as_str(), d.as_str()))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_without_end_costs_no_more_than_the_limit() {
        let mut parser = Parser::new(100);
        let mut events = Vec::new();
        parser.push(&[b'x'; 100], &mut events).unwrap();
        assert_eq!(parser.push(b"x", &mut events), Err(TooLarge { limit: 100 }));
    }

    #[test]
    fn an_event_of_many_lines_is_limited_too() {
        let mut events = Vec::new();
        let text = "data: 1234567890\n".repeat(20);
        assert!(Parser::new(100).push(text.as_bytes(), &mut events).is_err());
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"data: ".to_vec()),
            Just(b"event: delta".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\r".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n\n".to_vec()),
            Just(b"\xef\xbb\xbf".to_vec()),
            Just("ü:".as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(bytes in stream(), cuts in prop::collection::vec(1usize..9, 1..60)) {
            let whole = all(&bytes);
            let mut parser = Parser::new(1024);
            let mut events = Vec::new();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                parser.push(piece, &mut events).unwrap();
                rest = tail;
            }
            let pieces: Vec<_> = events.into_iter().map(|e| (e.name, e.data)).collect();
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn what_is_written_is_read(data in "[^\r]{0,60}", name in "[a-z]{1,8}") {
            let lines = data.replace('\n', "\ndata: ");
            let found = all(format!("event: {name}\ndata: {lines}\n\n").as_bytes());
            prop_assert_eq!(found, vec![(name, data)]);
        }
    }
}
