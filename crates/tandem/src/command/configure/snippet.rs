//! The guides' snippets, and putting one's own values in place of the examples'.

/// The guides that have snippets.
pub(super) const KAMAILIO: &str = include_str!("../../../../../docs/guides/kamailio.md");
pub(super) const AGENT: &str = include_str!("../../../../../docs/guides/agent.md");
pub(super) const FREESWITCH: &str = include_str!("../../../../../docs/guides/freeswitch.md");
pub(super) const ASTERISK: &str = include_str!("../../../../../docs/guides/asterisk.md");
pub(super) const OPENSIPS: &str = include_str!("../../../../../docs/guides/opensips.md");
pub(super) const UNBOUND: &str = include_str!("../../../../../docs/guides/unbound.md");
pub(super) const BIND: &str = include_str!("../../../../../docs/guides/bind.md");

/// The fenced block after the line `<!-- snippet: NAME -->`.
///
/// # Panics
///
/// When the guide has no such snippet: a test takes every one that is used.
pub(super) fn snippet(guide: &'static str, name: &str) -> &'static str {
    let marker = format!("<!-- snippet: {name} -->\n```");
    let block = guide
        .split_once(marker.as_str())
        .and_then(|(_, after)| after.split_once('\n'))
        .and_then(|(_, body)| body.split_once("\n```"));
    let Some((text, _)) = block else { panic!("a guide has no snippet {name}") };
    text
}

/// `text` with each of the examples' values replaced by its own; in one pass, so that no value is replaced twice, and the
/// longest example first.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let found =
            values.iter().filter(|(example, _)| rest.starts_with(example)).max_by_key(|(example, _)| example.len());
        if let Some((example, value)) = found {
            filled.push_str(value);
            rest = &rest[example.len()..];
        } else {
            let next = rest.chars().next().map_or(0, char::len_utf8);
            filled.push_str(&rest[..next]);
            rest = &rest[next..];
        }
    }
    filled.push('\n');
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_twice() {
        let values = [("ostn.test", "debug.ostel.me"), ("debug.ostel.me", "a.ostn.test"), ("x.ostn.test", "long")];
        assert_eq!(fill("ostn.test debug.ostel.me x.ostn.test é", &values), "debug.ostel.me a.ostn.test long é\n");
    }
}
