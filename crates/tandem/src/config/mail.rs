//! The settings of mail to nodes' contacts: `[mail]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::spec::Faults;

/// Longest password that is read, in octets.
const MAX_PASSWORD: usize = 1024;

/// Where mail goes out.
#[derive(Clone, PartialEq, Eq)]
pub struct MailConfig {
    /// The mail server: `smtps://host:465`, `smtp://host:587?tls=required`, `smtp://127.0.0.1:25`.
    pub url: String,
    /// The sender.
    pub from: String,
    /// Name and password for the mail server.
    pub login: Option<(String, String)>,
}

/// Without the password.
impl std::fmt::Debug for MailConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailConfig").field("url", &self.url).field("from", &self.from).finish_non_exhaustive()
    }
}

/// `[mail]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MailSpec {
    url: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    user: Option<String>,
    password_file: Option<Spanned<PathBuf>>,
}

impl MailSpec {
    /// Checks what is given into `config`; paths count from `folder`.
    pub(super) fn check_into(self, folder: &Path, config: &mut Option<MailConfig>, faults: &mut Faults) {
        let given = |text: &Spanned<String>| !text.get_ref().is_empty();
        let Some(url) = self.url.filter(given) else { return };
        let span = url.span();
        let url = faults.check(Some(url), parse_url);
        let Some(from) = self.from.filter(given) else {
            faults.add(Some(span), "mail.url needs mail.from beside it: the sender's address");
            return;
        };
        let from = faults.check(Some(from), |from| match from.parse::<lettre::message::Mailbox>() {
            Ok(_) => Ok(from),
            Err(_) => Err(format!("`{from}` is no mail address: write directory@example.org")),
        });
        let file = self.password_file.filter(|file| !file.get_ref().as_os_str().is_empty());
        let password = faults.check(file, |file| read_password(&folder.join(file)));
        let user = self.user.filter(|user| !user.is_empty());
        if let (Some(url), Some(from)) = (url, from) {
            *config = Some(MailConfig { url, from, login: user.zip(password) });
        }
    }
}

fn parse_url(url: String) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("`{url}` is no mail server here: {why}"));
    let write = "write smtps://mail.example:465, or smtp://mail.example:587?tls=required";
    let Some((scheme, rest)) = url.split_once("://") else { return wrong(write) };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.is_empty() || !url.is_ascii() {
        return wrong(write);
    }
    if authority.contains('@') {
        return wrong("put the name into mail.user and the password into mail.password_file");
    }
    let host = match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    match scheme {
        "smtps" => Ok(url),
        "smtp" if rest.ends_with("?tls=required") || is_loopback => Ok(url),
        "smtp" => wrong("over a network only with TLS: add ?tls=required"),
        _ => wrong(write),
    }
}

fn read_password(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    match text.trim_end_matches(['\r', '\n']) {
        password if password.is_empty() || password.len() > MAX_PASSWORD || password.contains('\n') => {
            Err(format!("{} must hold one line, the password", file.display()))
        }
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, good) in [
            ("smtps://mail.example", true),
            ("smtps://mail.example:465", true),
            ("smtp://mail.example:587?tls=required", true),
            ("smtp://127.0.0.1:25", true),
            ("smtp://[::1]:25", true),
            ("smtp://mail.example:25", false),
            ("smtp://mail.example:25?tls=opportunistic", false),
            ("smtps://user:pw@mail.example", false),
            ("https://mail.example", false),
            ("mail.example", false),
            ("smtps://", false),
        ] {
            assert_eq!(parse_url(url.into()).is_ok(), good, "{url}");
        }
    }
}
