//! `tandem prove`: shows the directory that a domain in nobody's zone there is one's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use tandem_agent::node_key;
use tandem_identity::{ChallengeToken, KeyAuthorization};
use tandem_model::DomainName;
use tandem_probe::Responder;
use tokio::runtime::Runtime;

use super::client::{self, ApiArgs, Client, ClientError, Wallet};
use super::progress::Progress;
use super::{Failure, life, output};

/// Between two questions how far it has come.
const PAUSE: Duration = Duration::from_secs(2);

/// Show that a domain is yours: name the node's key in its zone
///
/// For domains that the directory gives no names in. The key is made if there is none; the directory then reads the record
/// that this prints at the domain's own name servers. It stays there as long as the domain takes part: it is read again
/// before the proof ends, after 90 days.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem prove example.org --api https://directory.example
  tandem prove example.org --wait                 # until the record was seen
  tandem prove example.org --method tls --listen 0.0.0.0:5061
  tandem prove example.org --method mtls \\
      --certificate fullchain.pem --certificate-key privkey.pem
  tandem register example.org                     # then: a token")]
pub(super) struct Prove {
    /// The domain, or a name below one that is yours
    #[arg(value_name = "DOMAIN", value_parser = client::parse_step)]
    domain: String,
    /// dns: a TXT record. tls: answer at the domain's SIPS target for a moment, in the place of the SIP server. mtls: show the
    /// directory the certificate of the domain, as the SIP server has it; again before 90 days are over
    #[arg(long, value_name = "METHOD", default_value = "dns")]
    method: Method,
    /// The node's key; made if there is none [default: DOMAIN.key beside the tokens that `tandem join` keeps]
    #[arg(long, value_name = "FILE", env = "TANDEM_NODE_KEY")]
    node_key: Option<PathBuf>,
    /// Where to answer with --method tls: the address and port that the domain's SRV records lead to
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:5061")]
    listen: SocketAddr,
    /// With --method mtls: the certificate that names the domain, and those between it and an authority (PEM)
    #[arg(long, value_name = "FILE", required_if_eq("method", "mtls"))]
    certificate: Option<PathBuf>,
    /// With --method mtls: the certificate's private key (PEM)
    #[arg(long, value_name = "FILE", required_if_eq("method", "mtls"))]
    certificate_key: Option<PathBuf>,
    /// Wait until it was seen, at most so long
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "15m", value_parser = life::parse)]
    wait: Option<u64>,
    /// Print the API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    Dns,
    Tls,
    Mtls,
}

impl Method {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Mtls => "mtls",
        }
    }
}

impl Prove {
    pub(super) fn run(self) -> Result<(), Failure> {
        let domain = DomainName::parse(self.domain.trim())?;
        let file = key_file(self.node_key.as_deref(), &domain)?;
        let (key, is_new) = node_key::load_or_make(&file)?;
        let key = key.public_key().thumbprint();
        let client = match (self.method, &self.certificate, &self.certificate_key) {
            (Method::Mtls, Some(chain), Some(private)) => {
                let own = client::client_certificate(chain, private)?;
                Client::open_showing(&self.api, &domain.to_string(), own)?
            }
            _ => Client::open_for(&self.api, &domain.to_string())?,
        };
        let body = json!({"domain": domain.to_string(), "method": self.method.as_str(), "key": key.to_string()});
        let mut proof = client.post::<Value>("/v1/proofs", &body, &[])?.body;
        if is_new && !self.json {
            output::line(format_args!("new key: {}: keep a copy", file.display()))?;
        }
        // Dropped at the end: then nobody answers any more.
        let _answering = match self.method {
            // Judged by now.
            Method::Dns | Method::Mtls => None,
            Method::Tls => {
                let token: ChallengeToken = self.challenge(&proof)["token"].as_str().unwrap_or_default().parse()?;
                Some(answer_at(self.listen, &domain, &KeyAuthorization::new(&token, key))?)
            }
        };
        if !self.json {
            self.tell(&proof)?;
        }
        let wait = self.wait.or_else(|| (self.method == Method::Tls).then_some(15 * 60));
        if let Some(seconds) = wait {
            let path = format!("/v1/proofs/{}/{key}", client::segment(&domain.to_string()));
            proof = self.until_settled(&client, &path, proof, Duration::from_secs(seconds))?;
        }
        if self.json {
            output::json(&proof)?;
        }
        self.end(&domain, &proof, wait.is_some())
    }

    /// The challenge of the method that was asked for.
    fn challenge<'p>(&self, proof: &'p Value) -> &'p Value {
        let mut all = proof["challenges"].as_array().into_iter().flatten();
        all.find(|one| one["method"] == self.method.as_str()).unwrap_or(&Value::Null)
    }

    fn tell(&self, proof: &Value) -> Result<(), Failure> {
        let challenge = self.challenge(proof);
        if challenge["state"] == "valid" {
            return Ok(());
        }
        match challenge["record"]["line"].as_str() {
            Some(line) => {
                output::line("Put this record into the domain's zone, and leave it there:")?;
                output::line("")?;
                output::line(format_args!("  {line}"))?;
                output::line("")?;
            }
            None => output::line(format_args!("answering at {}, until the directory has looked", self.listen))?,
        }
        Ok(())
    }

    /// Asks until nothing is open any more, or the time is over.
    fn until_settled(&self, client: &Client, path: &str, first: Value, wait: Duration) -> Result<Value, Failure> {
        let end = Instant::now() + wait;
        let mut progress = Progress::start(self.json, None, "looks");
        let mut proof = first;
        loop {
            let challenge = self.challenge(&proof);
            if !matches!(challenge["state"].as_str(), Some("pending" | "processing")) || Instant::now() >= end {
                progress.end();
                return Ok(proof);
            }
            progress.advance(0, challenge["tries"].as_u64().unwrap_or(0));
            sleep(PAUSE);
            match client.get::<Value>(path) {
                Ok(answer) => proof = answer.body,
                // It restarts, or asks for patience.
                Err(ClientError::Problem(problem)) if matches!(problem.status(), 429 | 503) => {}
                Err(error) => {
                    progress.end();
                    return Err(error.into());
                }
            }
        }
    }

    /// What the next command needs, too.
    fn flags(&self) -> String {
        let key = self.node_key.as_ref().map(|file| format!(" --node-key {}", file.display()));
        key.unwrap_or_default() + &self.api.flags()
    }

    fn end(&self, domain: &DomainName, proof: &Value, waited: bool) -> Result<(), Failure> {
        let challenge = self.challenge(proof);
        let why = challenge["error"].as_str();
        match challenge["state"].as_str() {
            Some("valid") if self.json => Ok(()),
            Some("valid") => {
                let until = challenge["valid_until"].as_str().unwrap_or_default();
                output::line(format_args!("{domain}: proved until {until}"))?;
                Ok(output::line(format_args!("Next: tandem register {domain}{}", self.flags()))?)
            }
            Some("invalid") => {
                Err(format!("{domain} is not proved: {}; correct it, then run this again", why.unwrap_or("?")).into())
            }
            _ if waited => {
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                Err(format!(
                    "{domain} was not seen to be proved in time{why}; the directory goes on looking for a while"
                )
                .into())
            }
            _ if self.json => Ok(()),
            _ => Ok(output::line(format_args!("Then: tandem prove {domain} --wait{}", self.flags()))?),
        }
    }
}

/// Where the key for `domain` is.
pub(super) fn key_file(given: Option<&std::path::Path>, domain: &DomainName) -> Result<PathBuf, Failure> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    let wallet = Wallet::open()?;
    wallet.make_folder()?;
    Ok(wallet.key_file(&domain.to_string()))
}

/// Answers the challenge for as long as the values live.
fn answer_at(
    listen: SocketAddr,
    domain: &DomainName,
    authorization: &KeyAuthorization,
) -> Result<(Responder, Runtime), Failure> {
    // A thread of its own: this one sleeps between its questions.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let responder = runtime.block_on(Responder::start(listen, domain, authorization))?;
    Ok((responder, runtime))
}
