//! `tandem token`: who may call the API. The secret is shown once, when the token is made.

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::TokenInfo;
use super::client::{self, ApiArgs, Client};
use super::{Failure, output};

/// Make, list and revoke tokens of the API
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
  tandem token revoke 3f2a9c01";

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
    List(List),
    Revoke(Revoke),
}

/// Make a token; its secret is printed now and never again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem token new --name debug.ostn.test --name ostel.me --days 90
  tandem token new --name debug.ostn.test --json | jq -r .secret
  tandem token new --admin --label 'second admin'")]
struct New {
    /// Domain that the token may register, with every name below it; may be given several times
    #[arg(long = "name", value_name = "DOMAIN", required_unless_present = "admin")]
    names: Vec<String>,
    /// Allow everything
    #[arg(long, conflicts_with = "names")]
    admin: bool,
    /// Days until the token expires [default: a year]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3_650))]
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
            Action::Revoke(revoke) => revoke.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let mut body = if self.admin { json!({ "admin": true }) } else { json!({ "names": self.names }) };
        if let Some(days) = self.days {
            body["expires_in"] = (days * 86_400).into();
        }
        if let Some(label) = self.label {
            body["label"] = label.into();
        }
        let answer = Client::open(&self.api)?.post::<Value>("/v1/tokens", &body)?;
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

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        Client::open(&self.api)?.delete(&format!("/v1/tokens/{}", client::segment(&self.id)), &[])?;
        Ok(output::line(format_args!("{}: revoked", self.id))?)
    }
}
