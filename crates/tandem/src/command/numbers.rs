//! `tandem numbers`: who has which number, who asks for one, and what is given and taken away.

use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{self, ApiArgs, Client};
use super::{Failure, output};

/// Show, claim, approve, delegate and revoke numbers and blocks
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Numbers {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tandem numbers list
  tandem numbers claim +155502 --block debug.ostn.test # an operator asks
  tandem numbers claims                                # an admin looks
  tandem numbers approve h2Vb81kq0xYc
  tandem numbers delegate +15550207 lab.ostn.test      # out of one's own block
  tandem numbers revoke +155502 --block";

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Claim(Claim),
    Claims(List),
    Approve(Approve),
    Reject(Reject),
    Delegate(Delegate),
    Revoke(Revoke),
}

/// List what the token may see
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers list
  tandem numbers claims --json | jq -r '.claims[].id'")]
struct List {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Show who has one number
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers show +15550207")]
struct Show {
    /// The number: + and its digits
    #[arg(value_name = "NUMBER")]
    number: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Ask for a number or block; it waits for an admin
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers claim +15550101 debug.ostn.test
  tandem numbers claim +155502 --block debug.ostn.test")]
struct Claim {
    #[command(flatten)]
    range: Range,
    /// Whose it is to be
    #[arg(value_name = "DOMAIN")]
    domain: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Give what a claim asks for
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers approve h2Vb81kq0xYc")]
struct Approve {
    /// The claim's id, as `tandem numbers claims` shows it
    // An id may begin with a hyphen (base64url).
    #[arg(allow_hyphen_values = true, value_parser = client::parse_step)]
    id: String,
    /// Also out of a block that another domain holds
    #[arg(long)]
    over_holder: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Refuse a claim, or withdraw one's own
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers reject h2Vb81kq0xYc --reason 'not yours'")]
struct Reject {
    /// The claim's id, as `tandem numbers claims` shows it
    #[arg(allow_hyphen_values = true, value_parser = client::parse_step)]
    id: String,
    /// Why; shown in the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Give a number or block to a domain: any as an admin, a part of one's own block as its holder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers delegate +15550207 lab.ostn.test
  tandem numbers delegate +155503 --block lab.ostn.test")]
struct Delegate {
    #[command(flatten)]
    range: Range,
    /// Who gets it, with every name below
    #[arg(value_name = "DOMAIN")]
    domain: String,
    /// As an admin: also out of a block that another domain holds
    #[arg(long)]
    over_holder: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// Take a number or block away; what stood on it leaves DNS at once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem numbers revoke +15550207
  tandem numbers revoke +155503 --block")]
struct Revoke {
    #[command(flatten)]
    range: Range,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// A number or a block.
#[derive(Debug, Args)]
struct Range {
    /// The number, + and its digits; with --block the first digits of many
    #[arg(value_name = "NUMBER")]
    number: String,
    /// Take all numbers that begin with these digits and are longer
    #[arg(long)]
    block: bool,
}

impl Range {
    fn member(&self) -> &'static str {
        if self.block { "block" } else { "e164" }
    }

    /// As it stands in a path.
    fn text(&self) -> String {
        format!("{}{}", self.number, if self.block { "*" } else { "" })
    }
}

/// One of the answers' two ways to say a number.
#[derive(Debug, Deserialize)]
struct Which {
    e164: Option<String>,
    block: Option<String>,
}

impl Which {
    fn text(self) -> String {
        self.e164.or_else(|| self.block.map(|block| format!("{block}*"))).unwrap_or_default()
    }
}

/// An entry of the list.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(flatten)]
    which: Which,
    domain: String,
    #[serde(default)]
    delegated: bool,
    from: Option<String>,
    node: Option<String>,
}

/// A claim that waits.
#[derive(Debug, Deserialize)]
struct Waiting {
    id: String,
    #[serde(flatten)]
    which: Which,
    domain: String,
    created: String,
}

/// What was taken away.
#[derive(Debug, Deserialize)]
struct Revoked {
    #[serde(flatten)]
    which: Which,
    domain: String,
    nodes: Vec<String>,
}

impl Numbers {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.numbers(),
            Action::Show(show) => show.run(),
            Action::Claim(claim) => claim.run(),
            Action::Claims(list) => list.claims(),
            Action::Approve(approve) => approve.run(),
            Action::Reject(reject) => reject.run(),
            Action::Delegate(delegate) => delegate.run(),
            Action::Revoke(revoke) => revoke.run(),
        }
    }
}

impl List {
    fn numbers(self) -> Result<(), Failure> {
        let numbers: Vec<Value> = Client::open(&self.api)?.list("/v1/numbers", "numbers")?;
        if self.json {
            return output::json(&json!({ "numbers": numbers }));
        }
        let row = |number: Value| {
            let Entry { which, domain, delegated, from, node } = Entry::deserialize(number)?;
            let given = if delegated { from.unwrap_or_else(|| "an admin".to_owned()) } else { "-".to_owned() };
            Ok([which.text(), domain, given, node.unwrap_or_else(|| "-".to_owned())])
        };
        let rows = numbers.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
        Ok(output::table(["NUMBER", "DOMAIN", "GIVEN BY", "PUBLISHED BY"], &rows)?)
    }

    fn claims(self) -> Result<(), Failure> {
        let claims: Vec<Value> = Client::open(&self.api)?.list("/v1/numbers/claims", "claims")?;
        if self.json {
            return output::json(&json!({ "claims": claims }));
        }
        let row = |claim: Value| {
            let Waiting { id, which, domain, created } = Waiting::deserialize(claim)?;
            Ok([id, which.text(), domain, created])
        };
        let rows = claims.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
        Ok(output::table(["ID", "NUMBER", "DOMAIN", "CREATED"], &rows)?)
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/numbers/{}", client::segment(&self.number));
        let body = Client::open(&self.api)?.get::<Value>(&path)?.body;
        if self.json {
            return output::json(&body);
        }
        output::line(format_args!("number     {}", body["e164"].as_str().unwrap_or_default()))?;
        for (label, member, whose) in [("delegated", "delegation", "domain"), ("published", "published", "node")] {
            if let Some(found) = body.get(member) {
                let which = Which::deserialize(found)?.text();
                let whose = found[whose].as_str().unwrap_or_default();
                output::line(format_args!("{label}  {which} {whose}"))?;
            }
        }
        Ok(())
    }
}

impl Claim {
    fn run(self) -> Result<(), Failure> {
        let body = json!({ "domain": self.domain, self.range.member(): self.range.number });
        let answer = Client::open_for(&self.api, &self.domain)?.post::<Value>("/v1/numbers/claims", &body, &[])?;
        if self.json {
            return output::json(&answer.body);
        }
        let Waiting { id, which, domain, .. } = Waiting::deserialize(answer.body)?;
        Ok(output::line(format_args!("{id}: {} for {domain} waits for an admin", which.text()))?)
    }
}

impl Approve {
    fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/numbers/claims/{}/approve", client::segment(&self.id));
        let body = json!({ "over_holder": self.over_holder });
        delegated(Client::open(&self.api)?.post::<Value>(&path, &body, &[])?.body, self.json)
    }
}

impl Reject {
    fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/numbers/claims/{}/reject", client::segment(&self.id));
        let mut body = json!({});
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        let answer = Client::open(&self.api)?.post::<Value>(&path, &body, &[])?;
        if self.json {
            return output::json(&answer.body);
        }
        let Waiting { id, which, domain, .. } = Waiting::deserialize(answer.body)?;
        Ok(output::line(format_args!("{id}: {} not given to {domain}", which.text()))?)
    }
}

impl Delegate {
    fn run(self) -> Result<(), Failure> {
        let mut body = json!({ "domain": self.domain, self.range.member(): self.range.number });
        if self.over_holder {
            body["over_holder"] = true.into();
        }
        delegated(Client::open(&self.api)?.post::<Value>("/v1/numbers/delegations", &body, &[])?.body, self.json)
    }
}

/// Prints a delegation that was made.
fn delegated(body: Value, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(&body);
    }
    let Entry { which, domain, .. } = Entry::deserialize(body)?;
    Ok(output::line(format_args!("{}: delegated to {domain}", which.text()))?)
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/numbers/delegations/{}", client::segment(&self.range.text()));
        let body = Client::open(&self.api)?.remove::<Value>(&path)?.body;
        if self.json {
            return output::json(&body);
        }
        let Revoked { which, domain, nodes } = Revoked::deserialize(body)?;
        output::line(format_args!("{}: revoked from {domain}", which.text()))?;
        Ok(nodes.iter().try_for_each(|node| output::line(format_args!("{node}: published without it now")))?)
    }
}
