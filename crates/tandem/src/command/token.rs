//! `tandem token`: who may call the API. A secret is shown once, when the token is made or rotated.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::TokenInfo;
use super::client::{self, ApiArgs, Client, TokenPlace, Wallet};
use super::{Failure, life, output};

/// Make, list, rotate and revoke tokens of the API
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Token {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tandem token new --name debug.ostn.test --days 90 --label 'debug node'
  tandem token list
  tandem token rotate 3f2a9c01
  tandem token revoke 3f2a9c01";

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
    List(List),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// Make a token; its secret is printed now and never again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem token new --name debug.ostn.test --name ostel.me --days 90
  tandem token new --name debug.ostn.test --json | jq -r .secret
  tandem token new --name debug.ostn.test --action renew \\
                   --source 192.0.2.0/24 --expires 30d
  tandem token new --role read --label monitoring
  tandem token new --role read --action numbers
  tandem token new --admin --label 'second admin'")]
struct New {
    /// Domain that the token may register, with every name below it; may be given several times
    #[arg(long = "name", value_name = "DOMAIN", required_unless_present_any = ["admin", "role"])]
    names: Vec<String>,
    /// What it is for: node (with --name), read (every registration and zone) or admin
    #[arg(long, value_name = "ROLE", value_parser = ["node", "read", "admin"], conflicts_with = "admin")]
    role: Option<String>,
    /// Allow everything: the same as --role admin
    #[arg(long, conflicts_with = "names")]
    admin: bool,
    /// What it may do with its names, all when not given; may be given several times. With --role read: numbers, to see
    /// the numbers of all nodes too
    #[arg(long = "action", value_name = "ACTION", value_parser = ["publish", "renew", "operate", "read", "numbers"])]
    actions: Vec<String>,
    /// Network that its holder calls from, anywhere when not given; may be given several times
    #[arg(long = "source", value_name = "ADDRESS/LENGTH")]
    sources: Vec<String>,
    /// How long it works: 12h, 90d [default: 365d]
    #[arg(long, value_name = "TIME", value_parser = life::parse)]
    expires: Option<u64>,
    /// The same in days
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3_650), conflicts_with = "expires")]
    days: Option<u64>,
    /// A word for lists
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// List the tokens in force, without their secrets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem token list
  tandem token list --json | jq -r '.tokens[].id'")]
struct List {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Give a token another secret; the old one works on for a while
///
/// Without an ID it is the token in use, and the new secret goes to where the old one was found: the file, or what
/// `tandem join` kept. Anything else is printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem token rotate
  tandem token rotate 3f2a9c01 --overlap 1h --expires 90d")]
struct Rotate {
    /// The token's id, as `tandem token list` shows it
    #[arg(allow_hyphen_values = true, value_parser = client::parse_step)]
    id: Option<String>,
    /// How long the old secret works on: 0s, 12h, at most 30d [default: 1d]
    #[arg(long, value_name = "TIME", value_parser = life::parse)]
    overlap: Option<u64>,
    /// How long the token works from now on; for admins, else its end stays
    #[arg(long, value_name = "TIME", value_parser = life::parse)]
    expires: Option<u64>,
    /// Print the answer as JSON, and keep the secret nowhere
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// End a token; it is refused from now on
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem token revoke 3f2a9c01")]
struct Revoke {
    /// The token's id, as `tandem token list` shows it
    // An id may begin with a hyphen (base64url).
    #[arg(allow_hyphen_values = true, value_parser = client::parse_step)]
    id: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::New(new) => new.run(),
            Action::List(list) => list.run(),
            Action::Rotate(rotate) => rotate.run(),
            Action::Revoke(revoke) => revoke.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let mut body = if self.admin { json!({ "role": "admin" }) } else { json!({}) };
        for (name, list) in [("names", self.names), ("actions", self.actions), ("sources", self.sources)] {
            if !list.is_empty() {
                body[name] = list.into();
            }
        }
        if let Some(role) = self.role {
            body["role"] = role.into();
        }
        if let Some(seconds) = self.expires.or_else(|| self.days.map(|days| days * 86_400)) {
            body["expires_in"] = seconds.into();
        }
        if let Some(label) = self.label {
            body["label"] = label.into();
        }
        let answer = Client::open(&self.api)?.post::<Value>("/v1/tokens", &body, &[])?;
        if self.json {
            return output::json(&answer.body);
        }
        let secret = answer.body["secret"].as_str().ok_or("the answer holds no secret")?.to_owned();
        let info = TokenInfo::deserialize(answer.body)?;
        output::line(format_args!("id       {}", info.id))?;
        output::line(format_args!("allows   {}", info.scope()))?;
        output::line(format_args!("expires  {}", info.expires.as_deref().unwrap_or("never")))?;
        output::line(format_args!("secret   {secret}"))?;
        Ok(output::line("The secret is not shown again: hand it to its holder, who sets TANDEM_TOKEN to it.")?)
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        let tokens: Vec<Value> = Client::open(&self.api)?.list("/v1/tokens", "tokens")?;
        if self.json {
            return output::json(&json!({ "tokens": tokens }));
        }
        let row = |token: Value| {
            let info = TokenInfo::deserialize(token)?;
            let scope = info.scope();
            Ok([
                info.id,
                scope,
                info.created,
                info.expires.unwrap_or_else(|| "never".to_owned()),
                info.label.unwrap_or_default(),
            ])
        };
        let rows = tokens.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
        Ok(output::table(["ID", "ALLOWS", "CREATED", "EXPIRES", "LABEL"], &rows)?)
    }
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let client = Client::open(&self.api)?;
        let mut body = json!({});
        for (name, seconds) in [("overlap_seconds", self.overlap), ("expires_in", self.expires)] {
            if let Some(seconds) = seconds {
                body[name] = seconds.into();
            }
        }
        let path = format!("/v1/tokens/{}/rotate", client::segment(self.id.as_deref().unwrap_or("self")));
        let answer = client.post::<Value>(&path, &body, &[])?;
        if self.json {
            return output::json(&answer.body);
        }
        let secret = answer.body["secret"].as_str().ok_or("the answer holds no secret")?.to_owned();
        let until = answer.body["previous_until"].as_str().map(str::to_owned);
        let info = TokenInfo::deserialize(answer.body)?;
        let place = client.token_place().filter(|_| self.id.is_none());
        let kept = place.map(|place| keep(&client, place, &secret)).transpose();
        match &kept {
            Ok(Some(Some(file))) => {
                output::line(format_args!("{}: rotated; the secret is in {}", info.id, file.display()))?
            }
            // Also when it could not be kept: it is shown nowhere else.
            Ok(_) | Err(_) => {
                output::line(format_args!("{}: rotated", info.id))?;
                output::line(format_args!("secret   {secret}"))?;
            }
        }
        kept?;
        match until {
            Some(until) => Ok(output::line(format_args!("The old secret works until {until}."))?),
            None => Ok(output::line("The old secret is refused from now on.")?),
        }
    }
}

/// Puts a new secret where the old one was found; `None` where nothing can be put.
fn keep(client: &Client, place: &TokenPlace, secret: &str) -> Result<Option<PathBuf>, Failure> {
    match place {
        TokenPlace::Variable => Ok(None),
        TokenPlace::File(file) => {
            let text = format!("{secret}\n");
            client::replace(file, text.as_bytes())
                .map_err(|error| format!("the secret cannot be written to {}: {error}", file.display()))?;
            Ok(Some(file.clone()))
        }
        TokenPlace::Wallet(domain) => {
            let mut wallet = Wallet::open()?;
            wallet.change_secret(client.base(), domain, secret)?;
            Ok(Some(wallet.file().to_owned()))
        }
    }
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        Client::open(&self.api)?.delete(&format!("/v1/tokens/{}", client::segment(&self.id)), &[])?;
        Ok(output::line(format_args!("{}: revoked", self.id))?)
    }
}
