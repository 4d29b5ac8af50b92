//! `tandem register`: asks an open directory for the token of a domain, and keeps it.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde_json::{Value, json};
use tandem_agent::node_key;
use tandem_identity::{Claim, NodeKey};
use tandem_model::DomainName;

use super::client::{self, ApiArgs, Client, ClientError, Entry, Wallet};
use super::prove::key_file;
use super::{Failure, output};

/// How long a claim holds, in seconds.
const CLAIM_TERM: u64 = 120;

/// Ask a directory that is open for the token of a domain
///
/// A name in one of its zones goes to whoever asks first. For any other domain, prove it first (`tandem prove`): the key
/// that was proved signs the request. The token is kept where `tandem join` keeps its own.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem register new.ostn.test --api https://directory.example
  tandem prove example.org --wait && tandem register example.org
  tandem publish example.org --target sip.example.org:5061")]
pub(super) struct Register {
    /// The SIP domain
    #[arg(value_name = "DOMAIN", value_parser = client::parse_step)]
    domain: String,
    /// The key that the domain's owner has named [default: that of `tandem prove`, if it made one]
    #[arg(long, value_name = "FILE", env = "TANDEM_NODE_KEY")]
    node_key: Option<PathBuf>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Register {
    pub(super) fn run(self) -> Result<(), Failure> {
        let domain = DomainName::parse(self.domain.trim())?;
        let client = Client::open_without_token(&self.api)?;
        let file = key_file(self.node_key.as_deref(), &domain)?;
        let key = node_key::load(&file)?;
        let challenge = match &key {
            Some(key) => challenge(&client, &domain, key)?,
            None => None,
        };
        // It is kept before anything is asked for: an answer must have a place.
        let mut wallet = Wallet::open()?;
        wallet.make_folder()?;
        let answer = match (&key, challenge) {
            (Some(key), Some(challenge)) => claim(&client, &domain, key, &challenge)?,
            (None | Some(_), None) | (None, Some(_)) => {
                let body = json!({ "domain": domain.to_string() });
                client.post::<Value>("/v1/registrations", &body, &[])?.body
            }
        };
        let secret = answer["secret"].as_str().ok_or("the answer holds no token")?;
        // Proved or not: the first publication makes the key, if there is none.
        let key = Some(std::path::absolute(&file)?);
        let api = client.base().to_owned();
        wallet.keep(Entry {
            api,
            domain: domain.to_string(),
            token: secret.to_owned(),
            key,
            ca: self.api.absolute_ca()?,
        })?;
        output::line(format_args!("{domain}: registered; the token is in {}", wallet.file().display()))?;
        if let Some(expires) = answer["expires"].as_str() {
            output::line(format_args!("It ends {expires}."))?;
        }
        Ok(output::line(format_args!("Next: tandem publish {domain} --target HOST:PORT"))?)
    }
}

/// The challenge by which the domain is proved with this key; `None` if nothing was begun.
fn challenge(client: &Client, domain: &DomainName, key: &NodeKey) -> Result<Option<Value>, Failure> {
    let key = key.public_key().thumbprint();
    let path = format!("/v1/proofs/{}/{key}", client::segment(&domain.to_string()));
    let proof = match client.get::<Value>(&path) {
        Ok(answer) => answer.body,
        // Nothing begun, or a directory that is not open: the registration itself says what is missing.
        Err(ClientError::Problem(problem)) if matches!(problem.status(), 401 | 404) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut all = proof["challenges"].as_array().into_iter().flatten();
    if let Some(valid) = all.find(|one| one["state"] == "valid") {
        return Ok(Some(valid.clone()));
    }
    Err(format!("{domain} is not proved yet: run `tandem prove {domain} --wait` first").into())
}

/// Sends a claim that the key signs. If the challenge's token is old, once more with a new one.
fn claim(client: &Client, domain: &DomainName, key: &NodeKey, challenge: &Value) -> Result<Value, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    let hex: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
    let send = |token: &Value, try_no: usize| -> Result<Result<Value, ClientError>, Failure> {
        let issued = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let token = token.as_str().unwrap_or_default().parse()?;
        let claim = Claim { domain: domain.clone(), token, issued, expires: issued + CLAIM_TERM };
        let again = format!("\"{hex}{try_no}\"");
        let fields = [("idempotency-key", again.as_str())];
        let sent = client.post_text("/v1/registrations", "application/jose+json", &claim.sign(key), &fields);
        Ok(sent.map(|answer| answer.body))
    };
    match send(&challenge["token"], 0)? {
        Ok(answer) => Ok(answer),
        Err(ClientError::Problem(problem)) if problem.status() == 422 && challenge["method"] != "mtls" => {
            let thumbprint = key.public_key().thumbprint().to_string();
            let body = json!({"domain": domain.to_string(), "method": challenge["method"], "key": thumbprint});
            let proof = client.post::<Value>("/v1/proofs", &body, &[])?.body;
            let mut all = proof["challenges"].as_array().into_iter().flatten();
            let anew = all.find(|one| one["method"] == challenge["method"]).cloned().unwrap_or_default();
            if anew["token"] == challenge["token"] {
                return Err(ClientError::Problem(problem).into());
            }
            Ok(send(&anew["token"], 1)??)
        }
        Err(error) => Err(error.into()),
    }
}
