//! Asks one server many questions: by UDP with many in flight, by TCP for what was cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::Message;

use super::question::Question;

/// Questions in flight: fewer than a receive buffer of the default size holds.
const WINDOW: usize = 64;
/// Longest wait for an answer before those in flight are asked again.
const WAIT: Duration = Duration::from_secs(2);
/// Times that a window is asked.
const TRIES: usize = 10;
/// The payload size that the questions offer.
pub(super) const PAYLOAD: u16 = 1232;

/// One server.
#[derive(Debug)]
pub(super) struct Asker {
    server: SocketAddr,
}

impl Asker {
    pub(super) const fn new(server: SocketAddr) -> Self {
        Self { server }
    }

    /// The answer to each question, whole: what UDP cuts is asked again by TCP.
    ///
    /// # Panics
    ///
    /// When a question gets no answer, or one that cannot be decoded.
    pub(super) fn ask_all(&self, questions: &[Question]) -> Vec<Message> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.connect(self.server).expect("an address of this machine");
        socket.set_read_timeout(Some(WAIT)).expect("a limit above zero");
        questions.chunks(WINDOW).flat_map(|window| self.ask_window(&socket, window)).collect()
    }

    /// One question by TCP.
    ///
    /// # Panics
    ///
    /// As [`ask_all`](Self::ask_all).
    pub(super) fn ask(&self, question: &Question) -> Message {
        let mut stream = TcpStream::connect(self.server).expect("the server takes connections");
        stream.set_read_timeout(Some(WAIT * 5)).expect("a limit above zero");
        let query = question.to_wire(0);
        let mut framed = u16::try_from(query.len()).expect("a query is short").to_be_bytes().to_vec();
        framed.extend(query);
        stream.write_all(&framed).expect("the server reads");
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap_or_else(|error| panic!("{question} by TCP: {error}"));
        let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{question} by TCP: {error}"));
        decode(question, &answer)
    }

    fn ask_window(&self, socket: &UdpSocket, window: &[Question]) -> Vec<Message> {
        let mut answers: Vec<Option<Message>> = window.iter().map(|_| None).collect();
        let mut buffer = [0; 4096];
        for _ in 0..TRIES {
            let open = answers.iter().enumerate().filter(|(_, answer)| answer.is_none());
            let mut waiting = 0;
            for (index, _) in open {
                let id = u16::try_from(index).expect("a window is short");
                socket.send(&window[index].to_wire(id)).expect("the server's socket is open");
                waiting += 1;
            }
            while waiting > 0 {
                let len = match socket.recv(&mut buffer) {
                    Ok(len) => len,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                    Err(error) => panic!("{}: {error}", self.server),
                };
                let id = buffer.first_chunk().map_or(0, |id| usize::from(u16::from_be_bytes(*id)));
                // A late copy from the window before may carry an id of this one: the question tells.
                let Some(question) = window.get(id).filter(|question| question.is_in(&buffer[..len])) else { continue };
                let answer = decode(question, &buffer[..len]);
                waiting -= usize::from(answers[id].is_none());
                answers[id] = Some(if answer.truncation { self.ask(question) } else { answer });
            }
            if waiting == 0 {
                break;
            }
        }
        let whole = answers.into_iter().zip(window);
        whole.map(|(answer, question)| answer.unwrap_or_else(|| panic!("no answer to {question}"))).collect()
    }
}

fn decode(question: &Question, octets: &[u8]) -> Message {
    Message::from_vec(octets).unwrap_or_else(|error| panic!("{question}: {error}: {octets:02x?}"))
}
