//! Hosts of targets outside every zone served here: somebody else publishes their addresses, so they must resolve.
//!
//! The program that wires Tandem brings the resolver ([`HostCheck`]); this file bounds it in time and number.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tandem_model::DomainName;
use tokio::sync::Semaphore;

/// Longest wait for one host's answer: a resolver's usual two tries.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);
/// Most lookups at a time over all requests: a flood of PUTs must not become a flood of questions (threat 11).
const MAX_LOOKUPS: usize = 32;

/// Asks DNS whether a host has addresses.
pub trait HostCheck: std::fmt::Debug + Send + Sync + 'static {
    /// Looks for A and AAAA records at `host`; an alias is not followed.
    fn check<'a>(&'a self, host: &'a DomainName) -> Pin<Box<dyn Future<Output = HostAnswer> + Send + 'a>>;
}

/// What DNS says about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAnswer {
    /// It has at least one address.
    Addresses,
    /// A CNAME stands there (RFC 2782 "Target": not allowed).
    Alias,
    /// The name exists, without A and AAAA.
    NoAddress,
    /// The name does not exist.
    NoSuchName,
    /// The question was not answered; the text is shown to the caller and names nothing internal.
    Failed(String),
}

/// Asks with the limits of this file.
#[derive(Debug)]
pub(crate) struct BoundedCheck {
    inner: Box<dyn HostCheck>,
    permits: Semaphore,
    limit: Duration,
}

impl BoundedCheck {
    pub(crate) fn new(inner: Box<dyn HostCheck>) -> Self {
        Self { inner, permits: Semaphore::new(MAX_LOOKUPS), limit: LOOKUP_LIMIT }
    }

    /// What is wrong with `host` as a target; `None` when it has addresses.
    pub(crate) async fn fault(&self, host: &DomainName) -> Option<String> {
        let ask = async {
            let _permit = self.permits.acquire().await.ok()?;
            Some(self.inner.check(host).await)
        };
        let answer = tokio::time::timeout(self.limit, ask).await.ok().flatten();
        match answer {
            Some(HostAnswer::Addresses) => None,
            Some(HostAnswer::Alias) => {
                Some(format!("{host} is an alias (CNAME): a target must be the host's own name"))
            }
            Some(HostAnswer::NoAddress) => Some(format!(
                "{host} has no A or AAAA record: have its owner publish one, or name a host below your own domain and \
                 give its `addresses`"
            )),
            Some(HostAnswer::NoSuchName) => Some(format!(
                "{host} does not exist in DNS: correct the name, or name a host below your own domain and give its \
                 `addresses`"
            )),
            Some(HostAnswer::Failed(reason)) => {
                Some(format!("the addresses of {host} could not be looked up ({reason}): try again later"))
            }
            None => {
                Some(format!("the addresses of {host} could not be looked up within {:?}: try again later", self.limit))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Script(Option<HostAnswer>);

    impl HostCheck for Script {
        fn check<'a>(&'a self, _: &'a DomainName) -> Pin<Box<dyn Future<Output = HostAnswer> + Send + 'a>> {
            let answer = self.0.clone();
            Box::pin(async move {
                match answer {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        }
    }

    #[tokio::test]
    async fn each_answer() {
        let host = DomainName::parse("sip.example.org").unwrap();
        for (answer, part) in [
            (Some(HostAnswer::Addresses), None),
            (Some(HostAnswer::Alias), Some("alias")),
            (Some(HostAnswer::NoAddress), Some("no A or AAAA")),
            (Some(HostAnswer::NoSuchName), Some("does not exist")),
            (Some(HostAnswer::Failed("SERVFAIL".into())), Some("(SERVFAIL)")),
            (None, Some("within 20ms")),
        ] {
            let mut check = BoundedCheck::new(Box::new(Script(answer.clone())));
            check.limit = Duration::from_millis(20);
            let fault = check.fault(&host).await;
            match (fault, part) {
                (None, None) => {}
                (Some(fault), Some(part)) => assert!(fault.contains(part), "{answer:?}: {fault}"),
                other => panic!("{answer:?}: {other:?}"),
            }
        }
    }
}
