//! What BIND makes of a master file: its records in wire form, or that BIND is not here.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// Owner (wire form) and type to data, sorted.
pub(crate) type Records = BTreeMap<(Vec<u8>, u16), Vec<Vec<u8>>>;

/// Loads a master file of zone `node.test` by `named-compilezone`, in its raw format; `None` where that is not installed.
///
/// # Panics
///
/// If BIND refuses the text.
pub(crate) fn load(text: &str) -> Option<Records> {
    let arguments = ["-q", "-k", "ignore", "-n", "ignore", "-i", "none", "-F", "raw", "-o", "-", "node.test", "-"];
    let mut child = Command::new("named-compilezone")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads all");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "BIND refuses it: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    Some(read_raw(&output.stdout))
}

/// BIND's raw format 1: 24 octets in front, then sets.
fn read_raw(raw: &[u8]) -> Records {
    assert_eq!(raw[..8], [0, 0, 0, 2, 0, 0, 0, 1], "raw format, version 1");
    let mut rest = &raw[24..];
    let mut records = Records::new();
    let u16_at = |octets: &[u8], at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
    while !rest.is_empty() {
        // length u32, class u16, type u16, covers u16, TTL u32, count u32, length of owner u16
        let kind = u16_at(rest, 6);
        let count = u32::from_be_bytes(rest[14..18].try_into().expect("four octets"));
        let owner_length = usize::from(u16_at(rest, 18));
        let owner = rest[20..20 + owner_length].to_vec();
        rest = &rest[20 + owner_length..];
        let set = records.entry((owner, kind)).or_default();
        for _ in 0..count {
            let length = usize::from(u16_at(rest, 0));
            set.push(rest[2..2 + length].to_vec());
            rest = &rest[2 + length..];
        }
        set.sort();
    }
    records
}
