//! `tandem invite`: a code for the operator of a domain, who becomes a member with `tandem join`.

use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{self, ApiArgs, Client};
use super::{Failure, life, output};

/// Invite the operator of a domain: prints a code that works once
///
/// Whoever is invited runs `tandem join CODE` and has the domain's first token then.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem invite example.org --expires 7d
  tandem invite --list
  tandem invite --revoke h2Vb81kq0xYc")]
pub(super) struct Invite {
    /// The domain that the token will be about, with every name below it
    #[arg(value_name = "DOMAIN", required_unless_present_any = ["list", "revoke"])]
    domain: Option<String>,
    /// How long the code works: 30m, 12h, 7d [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = life::parse, requires = "domain")]
    expires: Option<u64>,
    /// How long the token will work [default: 365d]
    #[arg(long, value_name = "TIME", value_parser = life::parse, requires = "domain")]
    token_expires: Option<u64>,
    /// A word for lists
    #[arg(long, value_name = "TEXT", requires = "domain")]
    label: Option<String>,
    /// List the invitations that are open, without their codes
    #[arg(long, conflicts_with_all = ["domain", "revoke"])]
    list: bool,
    /// Withdraw the invitation with this id
    #[arg(long, value_name = "ID", conflicts_with = "domain", allow_hyphen_values = true, value_parser = client::parse_step)]
    revoke: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// An invitation, without its code.
#[derive(Debug, Deserialize)]
struct Invitation {
    id: String,
    domain: String,
    label: Option<String>,
    created: String,
    expires: String,
}

impl Invite {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::open(&self.api)?;
        if let Some(id) = &self.revoke {
            client.delete(&format!("/v1/invitations/{}", client::segment(id)), &[])?;
            return Ok(output::line(format_args!("{id}: withdrawn"))?);
        }
        let Some(domain) = &self.domain else { return list(&client, self.json) };
        let mut body = json!({ "domain": domain });
        for (name, value) in [("expires_in", self.expires), ("token_expires_in", self.token_expires)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        if let Some(label) = &self.label {
            body["label"] = label.as_str().into();
        }
        let answer = client.post::<Value>("/v1/invitations", &body, &[])?;
        if self.json {
            return output::json(&answer.body);
        }
        let code = answer.body["code"].as_str().ok_or("the answer holds no code")?.to_owned();
        let made = Invitation::deserialize(answer.body)?;
        output::line(format_args!("id       {}", made.id))?;
        output::line(format_args!("domain   {}", made.domain))?;
        output::line(format_args!("expires  {}", made.expires))?;
        output::line(format_args!("code     {code}"))?;
        if let Some(file) = self.api.own_certificate(client.base())? {
            output::line(format_args!(
                "The API shows the certificate that it made itself: hand over {} with the code.",
                file.display()
            ))?;
            output::line("The code works once and is not shown again. The operator runs:")?;
            return Ok(output::line(format_args!("  tandem join {code} --api {} --ca api.crt", client.base()))?);
        }
        output::line("The code works once and is not shown again. Hand it to the operator, who runs:")?;
        Ok(output::line(format_args!("  tandem join {code} --api {}", client.base()))?)
    }
}

fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let open: Vec<Value> = client.list("/v1/invitations", "invitations")?;
    if as_json {
        return output::json(&json!({ "invitations": open }));
    }
    let row = |invitation: Value| {
        let Invitation { id, domain, label, created, expires } = Invitation::deserialize(invitation)?;
        Ok([id, domain, created, expires, label.unwrap_or_default()])
    };
    let rows = open.into_iter().map(row).collect::<Result<Vec<_>, serde_json::Error>>()?;
    Ok(output::table(["ID", "DOMAIN", "CREATED", "EXPIRES", "LABEL"], &rows)?)
}
