//! Padding (RFC 7830, RFC 8467; DNS-49): on encrypted transports the lengths of answers say little about the questions.
//!
//! It is laid over a finished answer, so that the hot path knows nothing of it. Only [`Shared`](crate::tcp::Shared) calls
//! it, for transports that are encrypted.

use crate::scan::{find_opt, has_option};
use crate::wire::{MAX_MESSAGE, OPT};

/// The option's code.
const PADDING_CODE: u16 = 12;

/// Octets of an option before its data.
const OPTION_HEAD: usize = 4;

/// Answers are made a multiple of so many octets long (RFC 8467 4.1).
const BLOCK: usize = 468;

/// Whether `query` asks for a padded answer.
pub(crate) fn is_wanted(query: &[u8]) -> bool {
    has_option(query, PADDING_CODE)
}

/// Pads the answer in the first `len` octets of `buffer` to a multiple of [`BLOCK`], as far as the buffer and a message
/// reach; the new length. An answer without OPT stays as it is (RFC 7830 4), and so does a signed one: TSIG comes last.
pub(crate) fn pad(buffer: &mut [u8], len: usize) -> usize {
    let Some((at, end)) = find_opt(&buffer[..len]).filter(|(_, end)| *end == len) else { return len };
    let longest = buffer.len().min(MAX_MESSAGE);
    // The client takes any length: these transports have no limit of their own (RFC 7830 4 is about UDP).
    let padded = (len + OPTION_HEAD).next_multiple_of(BLOCK).min(longest);
    let Some(zeros) = padded.checked_sub(len + OPTION_HEAD) else { return len };
    let (Ok(zeros_16), Ok(options)) = (u16::try_from(zeros), u16::try_from(padded - at - OPT)) else { return len };
    let [code_0, code_1] = PADDING_CODE.to_be_bytes();
    let [len_0, len_1] = zeros_16.to_be_bytes();
    buffer[end..end + OPTION_HEAD].copy_from_slice(&[code_0, code_1, len_0, len_1]);
    buffer[end + OPTION_HEAD..padded].fill(0);
    buffer[at + OPT - 2..at + OPT].copy_from_slice(&options.to_be_bytes());
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Query;

    /// A query with an OPT record with `options`.
    fn query(options: &[u8]) -> Vec<u8> {
        Query::new("node.test", "SOA").record("", 41, 1232, 0, options).0
    }

    #[test]
    fn to_multiples_of_468_dns_49() {
        for options in [0, 1, 4, 400, 420, 421, 468, 900] {
            let plain = query(&[&[0, 3, 0, 0][..], &vec![0; options]].concat()[..options.max(4)]);
            let mut buffer = vec![0xee; MAX_MESSAGE];
            buffer[..plain.len()].copy_from_slice(&plain);
            let len = pad(&mut buffer, plain.len());
            assert_eq!(len % BLOCK, 0, "{options}");
            assert!(len >= plain.len() + OPTION_HEAD && len < plain.len() + OPTION_HEAD + BLOCK);
            let (at, end) = find_opt(&buffer[..len]).unwrap();
            assert_eq!((at, end), (find_opt(&plain).unwrap().0, len), "the OPT record reaches to the end");
            assert!(buffer[plain.len() + OPTION_HEAD..len].iter().all(|octet| *octet == 0), "RFC 7830 3: zeros");
        }
    }

    #[test]
    fn never_longer_than_a_message() {
        let mut buffer = vec![0; MAX_MESSAGE];
        for spare in 0..6 {
            // One record that fills all but `spare` octets.
            let data = vec![0; MAX_MESSAGE - spare - query(&[]).len()];
            let plain = query(&data);
            buffer[..plain.len()].copy_from_slice(&plain);
            let len = pad(&mut buffer, plain.len());
            assert_eq!(len, if spare < OPTION_HEAD { plain.len() } else { MAX_MESSAGE });
        }
    }

    #[test]
    fn without_opt_or_with_a_signature_behind_it_nothing_changes() {
        let signed = Query::new("node.test", "SOA").edns(1232).record("key", 250, 255, 0, &[]).0;
        for plain in [Query::new("node.test", "SOA").0, signed] {
            let mut buffer = vec![0; MAX_MESSAGE];
            buffer[..plain.len()].copy_from_slice(&plain);
            assert_eq!(pad(&mut buffer, plain.len()), plain.len());
            assert_eq!(buffer[..plain.len()], plain);
        }
    }

    #[test]
    fn wanted_by_the_option_only() {
        assert!(is_wanted(&query(&[0, 12, 0, 0])));
        assert!(is_wanted(&query(&[0, 10, 0, 1, 7, 0, 12, 0, 2, 0, 0])));
        assert!(!is_wanted(&query(&[])) && !is_wanted(&query(&[0, 10, 0, 4, 0, 12, 0, 0])));
        assert!(!is_wanted(&Query::new("node.test", "SOA").0) && !is_wanted(&[]) && !is_wanted(&[0xff; 40]));
    }
}
