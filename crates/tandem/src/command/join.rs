//! `tandem join`: redeems an invitation and keeps the token, so that `tandem publish` works from then on.

use clap::Parser;
use serde_json::{Value, json};
use tandem_model::DomainName;

use super::client::{ApiArgs, Client, ClientError, Entry, Wallet, replace};
use super::{Failure, output};

/// Become a member with the code of an invitation
///
/// The code works once. The token that it makes is kept in a file that only you can read (tandem/tokens.json in
/// XDG_CONFIG_HOME or ~/.config); `tandem publish` and the others take it from there. With --token-file it is kept in that
/// file alone, as `tandem agent` wants it. If the answer gets lost on its way, the same command again brings it.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem join tandem_invite_3q2-7wAAAA --api https://directory.example
  tandem join tandem_invite_3q2-7wAAAA --token-file node.token
  tandem publish example.org --target sip.example.org:5061")]
pub(super) struct Join {
    /// The code, as the operator of the directory gave it
    #[arg(value_name = "CODE")]
    code: String,
    #[command(flatten)]
    api: ApiArgs,
}

impl Join {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::open_without_token(&self.api)?;
        let code = self.code.trim();
        let own_file = self.api.token_file();
        if let Some(file) = own_file.filter(|file| file.exists()) {
            return Err(
                format!("{} is there already, perhaps with a token in use: name another file", file.display()).into()
            );
        }
        let mut wallet = Wallet::open()?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let new_key = || random.iter().map(|octet| format!("{octet:02x}")).collect();
        let key = format!("\"{}\"", wallet.key_of(code, new_key)?);
        let fields = [("idempotency-key", key.as_str())];
        let answer = match client.post::<Value>("/v1/invitations/redeem", &json!({ "code": code }), &fields) {
            Ok(answer) => answer.body,
            Err(error) => {
                // A code that is refused will never work.
                if matches!(&error, ClientError::Problem(problem) if matches!(problem.status(), 404 | 422)) {
                    wallet.forget(code);
                    wallet.write()?;
                }
                return Err(error.into());
            }
        };
        let secret = answer["secret"].as_str().ok_or("the answer holds no token")?;
        // It becomes part of a file's name: whatever else a directory might say is none.
        let domain = answer["names"][0].as_str().and_then(|name| DomainName::parse(name).ok());
        let domain = domain.ok_or("the answer holds no domain")?.to_string();
        if let Some(file) = own_file {
            replace(file, format!("{secret}\n").as_bytes())
                .map_err(|error| format!("the token cannot be written to {}: {error}", file.display()))?;
            wallet.forget(code);
            wallet.write()?;
        } else {
            wallet.forget(code);
            let (api, key) = (client.base().to_owned(), Some(wallet.key_file(&domain)));
            let ca = self.api.absolute_ca()?;
            wallet.keep(Entry { api, domain: domain.clone(), token: secret.to_owned(), key, ca })?;
        }
        let file = own_file.unwrap_or_else(|| wallet.file());
        output::line(format_args!("{domain}: joined; the token is in {}", file.display()))?;
        if let Some(expires) = answer["expires"].as_str() {
            output::line(format_args!("It ends {expires}."))?;
        }
        // What the file of tokens holds needs no flag again; a token elsewhere has to be named, and so has its API.
        let flags = own_file.map(|_| self.api.flags()).unwrap_or_default();
        Ok(output::line(format_args!("Next: tandem publish {domain} --target HOST:PORT --address ADDRESS{flags}"))?)
    }
}
