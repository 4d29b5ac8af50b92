//! The API's problems (RFC 9457) as people read them: what is wrong, where in their own words, and what to do.

use std::fmt;

use serde::Deserialize;

/// A problem body, as far as people need it; unknown members are ignored (API-21).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    /// What programs tell problems apart by.
    r#type: Option<Box<str>>,
    title: Option<Box<str>>,
    detail: Option<Box<str>>,
    instance: Option<Box<str>>,
    errors: Vec<Part>,
    /// The HTTP status, from the answer itself.
    #[serde(skip)]
    status: u16,
}

#[derive(Debug, Clone, Deserialize)]
struct Part {
    detail: String,
    #[serde(default)]
    pointer: Option<String>,
    /// The rule behind it, in docs/quirks.md.
    #[serde(default)]
    rule: Option<String>,
}

impl Problem {
    /// Reads an error answer; an answer that is no problem body becomes one.
    pub(super) fn read(status: u16, body: &str) -> Self {
        let problem = serde_json::from_str(body).unwrap_or_else(|_| Self {
            title: Some("the answer is not from a Tandem API: check the URL".into()),
            ..Self::default()
        });
        Self { status, ..problem }
    }

    /// The HTTP status.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// The same with each pointer that `name` knows in the words of whoever wrote the request.
    pub(super) fn with_names(mut self, name: impl Fn(&[&str]) -> Option<String>) -> Self {
        for part in &mut self.errors {
            let Some(pointer) = &part.pointer else { continue };
            let path = steps(pointer);
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            if let Some(name) = name(&words) {
                part.pointer = Some(name);
            }
        }
        self
    }
}

/// `#/targets/0/port` as its steps (RFC 6901 3 and 6).
pub(super) fn steps(pointer: &str) -> Vec<String> {
    let path = pointer.strip_prefix('#').unwrap_or(pointer);
    path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// `#/targets/0/port` as a reader of JSON says it: `targets[0].port`. Anything else is given as it is.
pub(super) fn spoken(pointer: &str) -> String {
    if !pointer.starts_with('#') && !pointer.starts_with('/') {
        return pointer.to_owned();
    }
    let mut text = String::new();
    for step in steps(pointer) {
        if step.bytes().all(|octet| octet.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&step);
        }
    }
    text
}

/// What the caller of the command can do about a problem, when the problem itself cannot know it.
fn hint(kind: &str, status: u16) -> Option<&'static str> {
    match (kind, status) {
        ("key-refused", _) => Some("sign with the node's key: --node-key FILE (an admin resets one that is lost)"),
        ("old-serial", _) => Some("see that this machine's clock is right: serials are made from it"),
        (_, 401) => Some(
            "give a valid token: TANDEM_TOKEN, --token-file FILE, or --data-dir of the running service; \
             `tandem join CODE` and `tandem register DOMAIN` get one",
        ),
        (_, 503) => Some("try again in a moment"),
        (_, 500) => Some("the service's log says more under this instance"),
        _ => None,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title.as_deref().unwrap_or("the request failed"))?;
        write!(f, " ({})", self.status)?;
        if let Some(detail) = &self.detail
            && self.errors.is_empty()
        {
            write!(f, ": {detail}")?;
        }
        for part in &self.errors {
            match part.pointer.as_deref().map(spoken).filter(|name| !name.is_empty()) {
                Some(name) => write!(f, "\n  {name}: {}", part.detail)?,
                None => write!(f, "\n  {}", part.detail)?,
            }
            if let Some(rule) = &part.rule {
                write!(f, " ({rule})")?;
            }
        }
        let kind = self.r#type.as_deref().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default();
        if let Some(hint) = hint(kind, self.status) {
            write!(f, "\n  {hint}")?;
        }
        if self.status >= 500
            && let Some(instance) = &self.instance
        {
            write!(f, "\n  instance: {instance}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_translated() {
        let body = r##"{"type":"t","title":"The request is not valid","status":422,"detail":"2 errors","extra":1,
            "errors":[{"detail":"port must be 1 to 65535","pointer":"#/targets/0/port"},{"detail":"unknown member","pointer":"#/a~1b"}]}"##;
        let problem = Problem::read(422, body);
        assert_eq!(
            problem.to_string(),
            "The request is not valid (422)\n  targets[0].port: port must be 1 to 65535\n  a/b: unknown member"
        );
        let named = problem.with_names(|path| (path == ["targets", "0", "port"]).then(|| "--target a:0".to_owned()));
        assert!(named.to_string().contains("\n  --target a:0: port must be"), "{named}");
    }

    #[test]
    fn other_answers_are_told_apart() {
        // API-21: what is unknown is left alone.
        assert!(Problem::read(404, "<html>").to_string().contains("not from a Tandem API"));
        assert!(Problem::read(401, r#"{"title":"No token"}"#).to_string().contains("TANDEM_TOKEN"));
    }
}
