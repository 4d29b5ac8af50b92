//! Server-sent events, as far as the change feed uses them (WHATWG HTML 9.2.6): fields in lines, an empty line ends an event.

/// Most octets of one event; an event of the feed has one node without documents.
const MAX_EVENT: usize = 256 * 1024;

/// What came on the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// An event.
    Event(Event),
    /// A comment: the stream lives.
    Alive,
    /// After how many milliseconds to come again.
    Retry(u64),
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// The stream sent an event that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Puts octets together to events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    /// How much of the buffer was looked at.
    read: usize,
    event: Event,
    has_fields: bool,
}

impl Parser {
    /// Takes more octets.
    pub(crate) fn push(&mut self, octets: &[u8]) -> Result<(), TooLong> {
        self.buffer.drain(..self.read);
        self.read = 0;
        if self.buffer.len() + self.event.data.len() + octets.len() > 2 * MAX_EVENT {
            return Err(TooLong);
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    /// The next thing that is complete.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        loop {
            let rest = &self.buffer[self.read..];
            let end = rest.iter().position(|octet| *octet == b'\n')?;
            let line = String::from_utf8_lossy(&rest[..end]);
            let line = line.trim_end_matches('\r').to_owned();
            self.read += end + 1;
            if line.is_empty() {
                if std::mem::take(&mut self.has_fields) {
                    return Some(Signal::Event(std::mem::take(&mut self.event)));
                }
                continue;
            }
            let (field, value) = line
                .split_once(':')
                .map_or((line.as_str(), ""), |(field, value)| (field, value.strip_prefix(' ').unwrap_or(value)));
            match field {
                "" => return Some(Signal::Alive),
                "retry" => {
                    if let Ok(milliseconds) = value.parse() {
                        return Some(Signal::Retry(milliseconds));
                    }
                }
                "id" => {
                    self.event.id = value.parse().ok();
                    self.has_fields = true;
                }
                "event" => {
                    self.event.kind = value.to_owned();
                    self.has_fields = true;
                }
                "data" => {
                    if !self.event.data.is_empty() {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                    self.has_fields = true;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_in_any_pieces() {
        let text = "retry: 2417\n\nid: 12\nevent: ready\ndata: {}\n\n:\n\nid: 13\r\nevent: register\r\ndata: {\"a\":\ndata:1}\nx: y\n\n";
        let event = |id, kind: &str, data: &str| Signal::Event(Event { id, kind: kind.into(), data: data.into() });
        for size in [1, 2, 7, 1000] {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                parser.push(piece).unwrap();
                found.extend(std::iter::from_fn(|| parser.next()));
            }
            let expected = [
                Signal::Retry(2417),
                event(Some(12), "ready", "{}"),
                Signal::Alive,
                event(Some(13), "register", "{\"a\":\n1}"),
            ];
            assert_eq!(found, expected, "in pieces of {size}");
        }
        assert_eq!(Parser::default().push(&vec![b'x'; 2 * MAX_EVENT + 1]), Err(TooLong));
    }
}
